"""DecoupledNet (Hong, Noh, Han 2015): one network says which classes are there, another separates each from the rest.

The classification branch (wsss/methods/image_classifier.py) is trained before and fixed here. Bridging layers turn its
opinion on one class into a map: they back-propagate the class score to the last tap. The segmentation branch decodes
tap and map into background and foreground of that class (both: wsss/methods/decouplednet_layers.py). Numbers and
layers from HyeonwooNoh/DecoupledNet (training/ and model/*.prototxt, inference/*.m); the data layer is that of
HyeonwooNoh/caffe (select_seg_binary).

Differences from the published code: padding has the mean colour, as everywhere here, instead of black; the maximum of
the score map decides which classes are there, also where the code reports its mean; resizing keeps the aspect ratio.

Legend: B batch, C classes, L = C + 1 labels, D channels, N label sets of one image, H x W image, h x w features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.backbones.vgg16 import VGG16
from wsss.backbones.weights import load_weights
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Sample
from wsss.data.transforms import IGNORE, Augmentation
from wsss.errors import UserError
from wsss.methods.decouplednet_layers import LAYERS, Encoded, SegmentationBranch, back_propagated
from wsss.methods.image_classifier import Head, image_scores
from wsss.model import Segmenter
from wsss.ops.scatter import scatter
from wsss.ops.segmentation_loss import cross_entropy

PASS = 16
"""Images in one pass of the calibration (the published batch)."""

Sides = tuple[int, ...]
"""Top, left, bottom, right; of a window, the last two are exclusive."""

OWN_INFERENCE = True
NEEDS_START = True
"""The classification branch is another network's."""


@dataclass(frozen=True, slots=True)
class Example:
    """A class (id 1..C) in an image, the window that holds it, and how far each side may move outward at random."""

    id: str
    image: Path
    label: int
    window: Sides
    reach: Sides


def examples(
    samples: Sequence[Sample],
    read_label: Callable[[Sample], np.ndarray],
    *,
    per_class: int | None = None,
    measure: Literal["components", "spread", "largest"] = "components",
    margin: float = 0.1,
    context: float = 1.0,
) -> list[Example]:
    """One example per image and class in its label map (uint8 (H,W), 0 background, 255 ignored), in that order.

    `per_class` keeps for every class the images whose masks are the least scattered by `measure` (wsss/ops/scatter.py);
    of equally scattered ones the larger, then the earlier. The window is the mask's bounding box, enlarged at each side
    by `margin` of its length within the image; in training each side moves outward at random, by up to `context` of the
    way to the image's border (the paper samples sub-images that enclose the object; 0 is the window alone).
    Raises UserError for options out of range, and when no label map holds a class.
    """
    if (per_class is not None and per_class < 1) or margin < 0 or not 0 <= context <= 1:
        raise UserError("data: per_class must be at least 1, margin at least 0, context within 0 and 1")
    found: dict[Example, tuple[float, int]] = {}
    for sample in samples:
        label_HW = read_label(sample)
        for label in np.flatnonzero(np.bincount(label_HW.ravel(), minlength=IGNORE + 1)[1:IGNORE]) + 1:
            mask_HW = label_HW == label
            top, left, bottom, right = window = _window(mask_HW, margin)
            ways = top, left, mask_HW.shape[0] - bottom, mask_HW.shape[1] - right
            reach = tuple(int(context * way) for way in ways)
            value = (scatter(mask_HW, measure), -int(mask_HW.sum())) if per_class else (0.0, 0)
            found[Example(sample.id, sample.image, int(label), window, reach)] = value
    if not found:
        raise UserError("no label map holds a class: all of them are background; look at the stage that made them")
    return [*found] if per_class is None else _least_scattered(found, per_class)


def _window(mask_HW: np.ndarray, margin: float) -> Sides:
    """Bounding box of a mask, enlarged within the image."""
    starts, ends = [], []
    for axis in (1, 0):
        line_N = np.flatnonzero(mask_HW.any(axis))
        start, end = int(line_N[0]), int(line_N[-1]) + 1
        more = round(margin * (end - start))
        starts.append(max(start - more, 0))
        ends.append(min(end + more, mask_HW.shape[1 - axis]))
    return starts[0], starts[1], ends[0], ends[1]


def _least_scattered(found: dict[Example, tuple[float, int]], count: int) -> list[Example]:
    """The first `count` examples of every class, in the order of their values; the result keeps the samples' order."""
    ranked: dict[int, list[Example]] = {}
    for example in sorted(found, key=lambda example: found[example]):
        ranked.setdefault(example.label, []).append(example)
    kept = {example for group in ranked.values() for example in group[:count]}
    return [example for example in found if example in kept]


def arrays(
    files: Mapping[str, Path], augment: Augmentation, example: Example, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """An augmented window: `image` (3,S,S), `label` int64 (S,S), `class` int64 (), the id 1..C.

    `label` is 1 on the class, 255 where the label map has 255 and outside the image, 0 elsewhere. `files` holds the
    label maps by image id.
    """
    top, left, bottom, right = (int(way) for way in rng.integers(example.reach, endpoint=True))
    y0, x0, y1, x1 = example.window
    part = slice(y0 - top, y1 + bottom), slice(x0 - left, x1 + right)
    label_HW = read_mask(files[example.id])[part]
    target_HW = np.where(label_HW == IGNORE, IGNORE, label_HW == example.label).astype(np.uint8)
    image_3SS, target_SS = augment(read_rgb(example.image)[part], rng, target_HW)
    return {"image": image_3SS, "label": np.asarray(target_SS), "class": np.asarray(example.label)}


class DecoupledNet(Segmenter):
    """The fixed classification branch (`backbone`, `head`: names as in ImageClassifier) and the segmentation branch."""

    own_inference = OWN_INFERENCE

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        segmentation: SegmentationBranch,
        *,
        num_classes: int,
        size: int,
        score_threshold: float,
        calibration_batches: int,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.segmentation = backbone, head, segmentation
        self.num_classes, self.size, self.score_threshold = num_classes, size, score_threshold
        self.calibration_batches = calibration_batches
        self.backbone.requires_grad_(False)
        self.head.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the segmentation branch only."""
        super().train(mode)
        self.backbone.eval()
        self.head.eval()
        return self

    def start(self, state: dict[str, Tensor]) -> None:
        """Take over the classification branch; UserError with the keys that do not fit."""
        try:
            print(load_weights(nn.ModuleDict({"backbone": self.backbone, "head": self.head}), state), flush=True)
        except UserError as error:
            raise UserError(
                f"start: {error}; name a variant of method image_classifier with the same backbone, kernel and width"
            ) from None

    @torch.no_grad()
    def encode(self, image_BCHW: Tensor) -> Encoded:
        """The fixed backbone's part."""
        switches: list[Tensor | None] = [None] * len(LAYERS)
        if isinstance(self.backbone, VGG16):
            taps, found = self.backbone.forward_with_switches(image_BCHW)
            switches = [each.index_BDhw for each in found]
        else:
            taps = self.backbone(image_BCHW)
        inputs = [image_BCHW, *taps[:-1]]
        return Encoded(taps[-1], [(x_BDhw.shape[2], x_BDhw.shape[3]) for x_BDhw in inputs], switches)

    @torch.no_grad()
    def class_probabilities(self, encoded: Encoded) -> Tensor:
        """What the classification branch holds of every class: (B,C) in 0..1."""
        return image_scores(self.head(encoded.tap_BDhw)).float().sigmoid()

    def decode(self, encoded: Encoded, labels_BC: Tensor) -> Tensor:
        """Logits (B,2,H,W) of background and of the union of the classes with label 1."""
        return self.segmentation(encoded, back_propagated(self.head, encoded.tap_BDhw, labels_BC))

    def logits(self, image_BCHW: Tensor, labels_BC: Tensor | None = None) -> Tensor:
        """Logits (B,2,H,W) of background and of the classes in `labels_BC` (0 or 1; those that it sees by default)."""
        encoded = self.encode(image_BCHW)
        if labels_BC is None:
            labels_BC = (self.class_probabilities(encoded) > self.score_threshold).float()
        return self.decode(encoded, labels_BC)

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Cross entropy of `image` (B,3,H,W), each seen for one `class` (B,) 1..C, against `label` (B,H,W): 0, 1, 255.

        The mean over the batch's valid pixels, 0 where there is none.
        """
        logit_B2HW = self.logits(batch["image"], self._alone(batch["class"]))
        return {"segmentation": cross_entropy(logit_B2HW, batch["label"])}

    def _alone(self, classes_B: Tensor) -> Tensor:
        return F.one_hot(classes_B - 1, self.num_classes).float()

    @torch.no_grad()
    def calibrate(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Set BatchNorm's statistics to their averages over the batches, in passes of 16 images."""
        norms = [module for module in self.segmentation.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        self.train()
        for batch in batches:
            for image_BCHW, classes_B in zip(batch["image"].split(PASS), batch["class"].split(PASS), strict=True):
                self.logits(image_BCHW, self._alone(classes_B))
        for norm in norms:
            # What never changed would be enlarged 31,623 times if it ever did, since eps is so small.
            assert norm.running_var is not None
            norm.running_var[norm.running_var == 0] = 1

    def image_probabilities(self, image_3HW: Tensor, classes: Sequence[int]) -> Tensor:
        """Probabilities (L,H,W) of a normalised image; 0 for all but background and `classes` (ids 1..C).

        Without `classes`, those whose probability is above `score_threshold`; where there is none, all is background.
        The image is padded to a square and resized to `size`. Background comes from a pass for all classes together,
        each class from a pass of its own; then every pixel is divided by its sum.
        """
        height, width = image_3HW.shape[1:]
        side = max(height, width)
        padded_13MM = F.pad(image_3HW[None], (0, side - width, 0, side - height))
        square = (self.size, self.size)
        encoded = self.encode(F.interpolate(padded_13MM, square, mode="bilinear", antialias=True))
        if not classes:
            found = self.class_probabilities(encoded)[0] > self.score_threshold
            classes = [c + 1 for c in found.nonzero().flatten().tolist()]
        prob_LHW = image_3HW.new_zeros(self.num_classes + 1, height, width)
        if not classes:
            prob_LHW[0] = 1
            return prob_LHW
        alone_KC = self._alone(torch.tensor(classes, device=image_3HW.device))
        labels_NC = torch.cat([alone_KC.sum(0, keepdim=True), alone_KC])
        pair_N2SS = self.decode(encoded.repeated(len(labels_NC)), labels_NC).float().softmax(1)
        score_NSS = torch.cat([pair_N2SS[:1, 0], pair_N2SS[1:, 1]])
        score_NSS = torch.where(score_NSS.sum(0) > 0, score_NSS, 1.0)
        large_NMM = F.interpolate((score_NSS / score_NSS.sum(0))[None], (side, side), mode="bilinear")[0]
        prob_LHW[[0, *classes]] = large_NMM[:, :height, :width]
        return prob_LHW

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The segmentation branch: weights and BatchNorm x 1, biases x 2 without decay."""
        named = self.segmentation.convolution_parameters()
        biases = [parameter for name, parameter in named if name == "bias"]
        listed = {id(parameter) for parameter in biases}
        others = [parameter for parameter in self.segmentation.parameters() if id(parameter) not in listed]
        return [
            {"name": "weights", "params": others, "lr_factor": 1.0, "weight_decay_factor": 1.0},
            {"name": "biases", "params": biases, "lr_factor": 2.0, "weight_decay_factor": 0.0},
        ]


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    kernel: int = 7,
    width: int = 4096,
    seg_width: int = 2048,
    size: int = 320,
    score_threshold: float = 0.5,
    calibration_batches: int = 100,
) -> DecoupledNet:
    """DecoupledNet; `kernel` and `width` are those of the classification branch, which `start` must name.

    `seg_width`: channels of fc6-seg and fc7-seg, and the most of any decoding stage on a backbone without switches,
    whose stages otherwise have the widths of the backbone's taps. Images are seen at `size` squared in inference. After
    training, BatchNorm's statistics are taken from `calibration_batches` batches.
    """
    if calibration_batches < 1:
        raise UserError("calibration_batches: must be at least 1; inference needs BatchNorm's statistics")
    channels = backbone.channels
    widths = channels if isinstance(backbone, VGG16) else tuple(min(depth, seg_width) for depth in channels)
    return DecoupledNet(
        backbone,
        Head(channels[-1], num_classes, kernel, width),
        SegmentationBranch(channels[-1], widths, kernel, seg_width),
        num_classes=num_classes,
        size=size,
        score_threshold=score_threshold,
        calibration_batches=calibration_batches,
    )
