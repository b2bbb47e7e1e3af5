"""AffinityNet (Ahn and Kwak 2018, PSA): CAMs teach it which neighbouring pixels belong together; then CAMs walk there.

Numbers from jiwoon-ahn/psa (network/resnet38_aff.py, train_aff.py, infer_aff.py). The paper's network is ResNet38 at
output stride 8; on other backbones the last taps take the place of conv4, conv5 and conv6, and their stride that of 8.

Legend: B batch, D channels, K present classes, N = K + 1 planes (background first), n offsets, H x W image, h x w
features, s x t regular sources.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import STAGES, Backbone, freeze_norms, split_parameters
from wsss.data.transforms import normalise
from wsss.errors import UserError
from wsss.model import TrainableModel
from wsss.ops import pairs
from wsss.ops.crf import PRESETS, DenseCrf, unary_from_scores
from wsss.ops.neighbours import offsets
from wsss.ops.random_walk import scattered, walk
from wsss.ops.scores import background_alpha, enlarge
from wsss.ops.sizes import rounded_up, strided
from wsss.stores import Record

OUTPUT = "labels"
"""The scores bring their own background: no threshold is open."""

PAD = 0

USES_THRESHOLD = False
"""The labels weigh background by alpha."""

EPS = 1e-5
UNSURE = 255


def labels(
    maps: Record,
    rgb_HW3: np.ndarray,
    background: float,
    *,
    low_alpha: float = 4.0,
    high_alpha: float = 32.0,
    preset: Literal["psa", "aeft", "irn_labels", "vwe_v2"] = "psa",
) -> np.ndarray:
    """CRF'd probabilities uint8 (2,N,H,W) of background and present classes, with `low_alpha` and with `high_alpha`.

    The background score is (1 - max score)^alpha, so a low alpha is generous to the background and a high one to the
    classes; `background` is not used. Published pairs: 4, 32 (psa code), 4, 24 (paper, SEAM), 2, 21 (AEFT), 1, 12
    (MCTformer). Values are round(255 p): block means move by at most 1/510, so their argmax stays unless two of them
    lie within 1/255.
    """
    score_KHW = enlarge(maps.array, maps.meta["size"], maps.meta.get("grid")).astype(np.float32)
    dense_crf = DenseCrf(rgb_HW3, PRESETS[preset])
    prob_2NHW = [dense_crf(unary_from_scores(with_background(score_KHW, alpha))) for alpha in (low_alpha, high_alpha)]
    return np.rint(255 * np.stack(prob_2NHW)).astype(np.uint8)


def sample_target(cut_2NHW: np.ndarray, *, stride: int = 8) -> np.ndarray:
    """Label grid int64 (h,w) of a cut of `labels`, zero outside the picture: plane numbers 0..K, or 255 for unsure.

    By means over `stride` x `stride` blocks: a class where it leads at the low alpha, background where that leads at
    the high alpha, else (and where nothing is known) unsure. psa voc12/data.py.
    """
    low_Nhw, high_Nhw = block_means(cut_2NHW, stride)
    label_hw = low_Nhw.argmax(0)
    label_hw[label_hw == 0] = UNSURE
    label_hw[high_Nhw.argmax(0) == 0] = 0
    label_hw[np.maximum(low_Nhw, high_Nhw).max(0) < EPS] = UNSURE
    return label_hw


def with_background(score_KHW: np.ndarray, alpha: float) -> np.ndarray:
    """Scores float32 (N,H,W) in 0..1: (1 - max score)^alpha, then the given ones."""
    return np.concatenate([background_alpha(score_KHW, alpha)[None], score_KHW])


def block_means(value_xHW: np.ndarray, block: int) -> np.ndarray:
    """Means over squares of `block` pixels a side, (...,H,W) -> (...,h,w), h = ceil(H / block); zeros fill the last."""
    *leading, height, width = value_xHW.shape
    full_height, full_width = rounded_up((height, width), block)
    margins = [(0, 0)] * len(leading) + [(0, full_height - height), (0, full_width - width)]
    tiled = np.pad(value_xHW, margins).reshape(*leading, full_height // block, block, full_width // block, block)
    return tiled.mean((-3, -1))


class AffinityNet(TrainableModel):
    """Backbone, a 1x1 convolution on each of its last taps, one on all of them; features alike mean the same class."""

    def __init__(self, backbone: Backbone, radius: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not 1 <= len(widths) <= STAGES:
            raise UserError(f"options.widths: {len(widths)} widths; give one for each of the last 1 to {STAGES} taps")
        self.backbone, self.radius, self.stride = backbone, radius, backbone.strides[-1]
        channels = backbone.channels[-len(widths) :]
        self.f8 = nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in zip(channels, widths, strict=True))
        self.f9 = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)
        for weight in self.f8.parameters():
            nn.init.kaiming_normal_(weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)
        freeze_norms(backbone)

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Features (B,D,h,w) at the backbone's last stride, h = ceil(H / stride)."""
        grid = self.grid(image_BCHW)
        taps = self.backbone(image_BCHW)[-len(self.f8) :]
        # Convolving before resizing is the same as after it, on fewer channels.
        small = [F.elu(_resize(layer(tap), grid)) for layer, tap in zip(self.f8, taps, strict=True)]
        return F.elu(self.f9(torch.cat(small, 1)))

    def grid(self, image_BCHW: Tensor) -> tuple[int, int]:
        """Height and width of the features of an image: its own over the stride, rounded up."""
        return strided((image_BCHW.shape[2], image_BCHW.shape[3]), self.stride)

    def affinities(self, image_BCHW: Tensor, radius: int) -> Tensor:
        """Affinities float32 (B,n,s,t) in (0,1] between regular sources and their neighbours; see `affinity`."""
        return affinity(self.features(image_BCHW).float(), radius)

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Losses of `image` (B,3,H,W) against the label grids `label` (B,h,w) of `sample_target`.

        UserError when the images are too small for any pair; ValueError for a grid of another stride.
        """
        label_Bhw, grid = batch["label"], self.grid(batch["image"])
        if label_Bhw.shape[1:] != grid:
            raise ValueError(f"label grid {tuple(label_Bhw.shape[1:])}, features {grid}: stride is {self.stride}")
        affinity_Bnst = self.affinities(batch["image"], self.radius)
        if not affinity_Bnst.numel():
            least = (2 * self.radius - 2) * self.stride + 1
            raise UserError(
                f"augment.crop: no pairs of pixels at radius {self.radius}, stride {self.stride}; use {least} or more"
            )
        return pairs.affinity_losses(affinity_Bnst, *pairs.kinds(label_Bhw, self.radius))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone weights x 1 and biases x 2 without decay, new layers x 10 (x 20 is empty: they have no biases)."""
        weights, _, biases = split_parameters(self.backbone)
        new = [*self.f8.parameters(), *self.f9.parameters()]
        return [
            {"name": "backbone", "params": weights, "lr_factor": 1.0, "weight_decay_factor": 1.0},
            {"name": "backbone bias", "params": biases, "lr_factor": 2.0, "weight_decay_factor": 0.0},
            {"name": "new", "params": new, "lr_factor": 10.0, "weight_decay_factor": 1.0},
        ]


def affinity(feature_BDhw: Tensor, radius: int) -> Tensor:
    """exp(-mean over channels of |f_p - f_q|), (B,n,s,t), for regular sources p and q = p + offset."""
    distance_Bnst: Tensor = _MeanDistance.apply(feature_BDhw, radius)
    return torch.exp(-distance_Bnst)


class _MeanDistance(torch.autograd.Function):
    """Mean over channels of |f_p - f_q|; keeps the features for the backward pass, not their n differences."""

    @staticmethod
    def forward(ctx: Any, feature_BDhw: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(feature_BDhw)
        ctx.radius = radius
        distances = [(end - start).abs_().mean(1) for start, end in _ends(feature_BDhw, radius)]
        return torch.stack(distances, 1)

    @staticmethod
    def backward(ctx: Any, gradient_Bnst: Tensor) -> tuple[Tensor, None]:
        (feature_BDhw,) = ctx.saved_tensors
        result_BDhw = torch.zeros_like(feature_BDhw)
        share_nB1st = (gradient_Bnst / feature_BDhw.shape[1]).unsqueeze(2).unbind(1)
        ends, results = _ends(feature_BDhw, ctx.radius), _ends(result_BDhw, ctx.radius)
        for share_B1st, (start, end), (to_start, to_end) in zip(share_nB1st, ends, results, strict=True):
            part_BDst = (end - start).sign_().mul_(share_B1st)
            to_end += part_BDst
            to_start -= part_BDst
        return result_BDhw, None


def _ends(x_BDhw: Tensor, radius: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (B,D,s,t) of both ends of all pairs, offset by offset."""
    for dy, dx in offsets(radius).tolist():
        yield pairs.origins(x_BDhw, radius), pairs.shifted(x_BDhw, (dy, dx), radius)


def _resize(x_BDhw: Tensor, grid: tuple[int, int]) -> Tensor:
    return x_BDhw if x_BDhw.shape[2:] == grid else F.interpolate(x_BDhw, grid, mode="bilinear")


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    radius: int = 5,
    widths: Sequence[int] = (64, 128, 256),
) -> AffinityNet:
    """AffinityNet on the backbone's last taps, one of `widths` channels for each; classes play no part in it."""
    return AffinityNet(backbone, radius, widths)


def refine(
    model: AffinityNet,
    maps: Record,
    rgb_HW3: np.ndarray,
    *,
    alpha: float = 16.0,
    beta: float = 8.0,
    logt: int = 8,
    radius: int = 5,
    crf: Literal["psa", "aeft"] | None = None,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]:
    """Scores float16 (N,h,w) of background and present classes after 2^logt steps of the random walk, and their meta.

    The background score is (1 - max score)^alpha. Steps go along affinities to the power `beta` between pixels of the
    network's grid. The meta holds the classes, with 0 in front, and the size of the padded image, which the grid
    covers. Published alpha, logt: 16, 8 (psa), 6, 6 (SEAM), 19, 6 (AEFT).

    With `crf` (AEFT): the label map uint8 (H,W) of class ids after the dense CRF of these parameters on the scores.
    """
    score_KHW = enlarge(maps.array, maps.meta["size"], maps.meta.get("grid")).astype(np.float32)
    score_Nhw = block_means(with_background(score_KHW, alpha), model.stride)
    with torch.inference_mode():
        affinity_1nst = model.affinities(_padded(rgb_HW3, model), radius)
    affinity_nhw = scattered(affinity_1nst[0].cpu().numpy(), score_Nhw.shape[1:], radius)
    walked_Nhw = walk(score_Nhw, affinity_nhw, radius, beta=beta, steps=2**logt)
    # The walk's polynomial is cut: where the true score is 0 it may end a millionth below.
    half_Nhw = np.maximum(walked_Nhw, 0).astype(np.float16)
    classes, grid = [0, *maps.meta["classes"]], [n * model.stride for n in score_Nhw.shape[1:]]
    if crf is None:
        return half_Nhw, {"classes": classes, "grid": grid}
    prob_NHW = DenseCrf(rgb_HW3, PRESETS[crf])(unary_from_scores(enlarge(half_Nhw, maps.meta["size"], grid)))
    return np.array(classes, np.uint8)[prob_NHW.argmax(0)]


def _padded(rgb_HW3: np.ndarray, model: AffinityNet) -> Tensor:
    """Normalised image (1,3,H,W) on the model's device, filled with zeros to multiples of its stride."""
    image_3HW = torch.from_numpy(normalise(rgb_HW3, model.backbone.mean, model.backbone.std))
    (height, width), (full_height, full_width) = image_3HW.shape[1:], rounded_up(rgb_HW3.shape[:2], model.stride)
    image_13HW = F.pad(image_3HW, (0, full_width - width, 0, full_height - height))[None]
    return image_13HW.to(next(model.parameters()).device, memory_format=torch.channels_last)
