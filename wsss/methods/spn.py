"""Superpixel pooling network: class scores per superpixel, learnt from image labels.

Kwak, Hong and Han, "Weakly Supervised Semantic Segmentation Using Superpixel Pooling Network", AAAI 2017. A frozen
encoder and one trained convolution give features z. A small decoder enlarges them, and its map is averaged within each
superpixel of the image. Two branches classify the image: from the mean over its superpixels ("top"), and from the mean
of z ("bottom", which helps convergence). What the paper leaves open is an option: superpixels, strides, widths.

The decoder unpools with the switches of VGG16's last pooling. Other backbones have none; with them the nearest value is
repeated on the grid of the deepest tap that is finer than the last one.

Legend: B batch, C classes, K present classes, D channels, N superpixels, H x W image, S x S square, Z sizes
of it, h x w features.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.backbones.vgg16 import VGG16
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.model import Classifier, backbone_and_head
from wsss.ops.slic import slic
from wsss.ops.superpixel_pooling import Interpolation, image_mean, paint, pool

Unpool = Callable[[Tensor], Tensor]

OWN_INFERENCE = True


def guide(
    rgb_HW3: np.ndarray,
    *,
    algorithm: Literal["slic", "skimage", "felzenszwalb"] = "slic",
    segments: int = 300,
    compactness: float = 10.0,
    scale: float = 100.0,
    sigma: float = 0.5,
    min_size: int = 50,
) -> np.ndarray:
    """Superpixels of a uint8 image: int32 (H,W), labels from 0 without gaps.

    `slic` (this project's) and `skimage` (scikit-image's) go by `segments` and `compactness`, `felzenszwalb` (the graph
    based one of scikit-image) by `scale`, `sigma` and `min_size`.
    """
    if algorithm == "slic":
        return slic(rgb_HW3, segments=segments, compactness=compactness)
    from skimage import segmentation  # loads much of SciPy

    if algorithm == "skimage":
        label_HW = segmentation.slic(rgb_HW3, n_segments=segments, compactness=compactness, start_label=0)
    else:
        label_HW = segmentation.felzenszwalb(rgb_HW3, scale=scale, sigma=sigma, min_size=min_size)
    return label_HW.astype(np.int32)


class Upsampler(nn.Module):
    """Two deconvolutions, an unpooling, two deconvolutions; BatchNorm and ReLU follow every deconvolution."""

    def __init__(self, width: int, strides: Sequence[int]) -> None:
        super().__init__()
        layers = [_deconvolution(width, stride) for stride in strides]
        self.before, self.after = nn.Sequential(*layers[:2]), nn.Sequential(*layers[2:])

    def forward(self, z_BDhw: Tensor, unpool: Unpool) -> Tensor:
        """Enlarged features (B,D,h',w') >= 0."""
        return self.after(unpool(self.before(z_BDhw)))


def _deconvolution(width: int, stride: int) -> nn.Sequential:
    """3x3; the result is exactly `stride` times as large."""
    layer = nn.ConvTranspose2d(width, width, 3, stride, 1, stride - 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class Spn(Classifier):
    """Encoder (`backbone`, `extra`), upsampler, and the classifiers of the two branches."""

    own_inference = OWN_INFERENCE

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        width: int,
        strides: Sequence[int],
        sizes: Sequence[int],
        interpolation: Interpolation,
        merge: Literal["max", "mean"],
        superpixels: Callable[[np.ndarray], np.ndarray],
        head_lr: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.extra = nn.Conv2d(backbone.channels[-1], width, 3, padding=1)
        nn.init.kaiming_normal_(self.extra.weight, mode="fan_out", nonlinearity="relu")
        self.upsampler = Upsampler(width, strides)
        self.top, self.bottom = nn.Linear(width, num_classes), nn.Linear(width, num_classes)
        self.sizes, self.interpolation, self.merge = tuple(sizes), interpolation, merge
        self.superpixels, self.head_lr = superpixels, head_lr

    def features(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's z (B,D,h,w) and the upsampler's map (B,D,h',w'), both >= 0."""
        taps, unpool = self._encoded(image_BCHW)
        z_BDhw = F.relu(self.extra(taps[-1]))
        return z_BDhw, self.upsampler(z_BDhw, unpool)

    def _encoded(self, image_BCHW: Tensor) -> tuple[tuple[Tensor, ...], Unpool]:
        """The backbone's taps, and what undoes its last pooling."""
        if isinstance(self.backbone, VGG16):
            taps, (*_, (index_BDhw, size)) = self.backbone.forward_with_switches(image_BCHW)
            return taps, partial(F.max_unpool2d, indices=index_BDhw, kernel_size=(2, 2), output_size=list(size))
        taps = self.backbone(image_BCHW)
        grids = [tap.shape[2:] for tap in reversed(taps)]
        finer = next((grid for grid in grids if grid != grids[0]), grids[0])
        return taps, partial(F.interpolate, size=finer, mode="nearest-exact")

    def losses(self, batch: dict[str, Tensor], progress: Any) -> dict[str, Tensor]:
        """Losses of the top (`superpixel`) and the bottom branch (`global`) at one of the sizes.

        `image` (B,3,S,S), `labels` (B,C) 0 or 1, `guide` (B,S,S) superpixels, -1 in the padding. The size is drawn from
        the run's seed and the step, one for the whole batch.
        """
        size = self.size_of(progress.seed, progress.step)
        guide_BSS = F.interpolate(batch["guide"][:, None].float(), size, mode="nearest-exact")[:, 0].int().cpu()
        z_BDhw, map_BDhw = self.features(F.interpolate(batch["image"], size, mode="bilinear"))
        with torch.autocast(z_BDhw.device.type, enabled=False):
            pooled_ND, image_N = pool(map_BDhw, guide_BSS, interpolation=self.interpolation)
            mean_BD = image_mean(pooled_ND, image_N, len(map_BDhw))
            z_BD = z_BDhw.mean((2, 3), dtype=mean_BD.dtype)
            return {
                "superpixel": binary_logistic(self.top(mean_BD), batch["labels"]),
                "global": binary_logistic(self.bottom(z_BD), batch["labels"]),
            }

    def size_of(self, seed: int, step: int) -> tuple[int, int]:
        """Height and width of the training images of a step."""
        size = self.sizes[np.random.default_rng([seed, step]).integers(len(self.sizes))]
        return size, size

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w): the top branch's classifier at every place of the upsampler's map."""
        return F.conv2d(self.features(image_BCHW)[1], self.top.weight[:, :, None, None], self.top.bias)

    def image_maps(self, rgb_HW3: np.ndarray, keys: list[int], scales: list[float]) -> Tensor:
        """SP-CAM: scores float (K,H,W) >= 0 of the classes `keys` (from 0), equal within each superpixel.

        `scales` are the sides of the squares that the image is padded and resized to, as in training; the scores of a
        superpixel after the ReLU are merged over them. Superpixels are those of the image as it is: none is lost.

        The paper keeps what reaches half of its map's maximum. Stage `cam` divides maps by their maxima, so that is a
        background of 0.5 (here exactly half is background). Where several classes remain, that stage's labels take the
        largest share of the maximum, not the largest raw score; the two differ only if the classes' maxima do. A class
        without any score above 0 has no pixel.
        """
        label_HW = self.superpixels(rgb_HW3)
        side, largest = max(label_HW.shape), round(max(scales))
        label_SS = np.pad(label_HW, [(0, side - n) for n in label_HW.shape], constant_values=-1)
        image_3SS = self._square(rgb_HW3, largest).to(self.top.weight.device)
        score_ZNK = torch.stack([self._scores(image_3SS, round(size), label_SS)[:, keys].relu() for size in scales])
        return paint(score_ZNK.amax(0) if self.merge == "max" else score_ZNK.mean(0), label_HW)

    def _square(self, rgb_HW3: np.ndarray, side: int) -> Tensor:
        """The normalised image in the top left of a square (3,S,S), its longer side S: what training sees."""
        augment = Augmentation(
            crop=side,
            resize="long_side",
            values=(side, side),
            crop_position="top_left",
            flip=0.0,
            mean=self.backbone.mean,
            std=self.backbone.std,
        )
        return torch.from_numpy(augment(rgb_HW3, np.random.default_rng(0))[0])  # nothing of it is random

    def _scores(self, image_3SS: Tensor, size: int, label_SS: np.ndarray) -> Tensor:
        """Class scores (N,C) of the superpixels of one square image seen at one size."""
        image_13ss = F.interpolate(image_3SS[None], (size, size), mode="bilinear")
        map_1Dhw = self.features(image_13ss.contiguous(memory_format=torch.channels_last))[1]
        return self.top(pool(map_1Dhw, label_SS[None], interpolation=self.interpolation)[0])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone at the recipe's rate (most often frozen), all that is new at `head_lr` times that."""
        new = [*self.extra.parameters(), *self.upsampler.parameters(), *self.top.parameters()]
        new += self.bottom.parameters()
        return backbone_and_head(self.backbone, new, self.head_lr)


def binary_logistic(logit_BC: Tensor, labels_BC: Tensor) -> Tensor:
    """Sum of the C binary logistic losses of an image, averaged over the batch."""
    return F.binary_cross_entropy_with_logits(logit_BC, labels_BC, reduction="none").sum(1).mean()


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    sizes: Sequence[int] = (250, 300, 350, 400, 450, 500),
    width: int = 512,
    strides: Sequence[int] = (1, 1, 1, 1),
    interpolation: Literal["nearest", "bilinear"] = "nearest",
    merge: Literal["max", "mean"] = "max",
    head_lr: float = 1.0,
    algorithm: Literal["slic", "skimage", "felzenszwalb"] = "slic",
    segments: int = 300,
    compactness: float = 10.0,
    scale: float = 100.0,
    sigma: float = 0.5,
    min_size: int = 50,
) -> Spn:
    """SPN; the options from `algorithm` on are those of `guide`, for inference.

    `strides` of the four deconvolutions: with 1, 1, 2, 2 the map is four times as fine (stride 4 on VGG16).
    `interpolation`: how superpixels see that map, by the share of their pixels in each cell (the paper) or as if it
    were enlarged bilinearly. `merge`: over the sizes of inference. UserError for options that do not fit.
    """
    _refuse(backbone, width=width, strides=strides, sizes=sizes)
    superpixels = partial(
        guide,
        algorithm=algorithm,
        segments=segments,
        compactness=compactness,
        scale=scale,
        sigma=sigma,
        min_size=min_size,
    )
    return Spn(
        backbone,
        num_classes,
        width=width,
        strides=strides,
        sizes=sizes,
        interpolation=interpolation,
        merge=merge,
        superpixels=superpixels,
        head_lr=head_lr,
    )


def _refuse(backbone: Backbone, *, width: int, strides: Sequence[int], sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 1:
        raise UserError(f"sizes: give at least one side of a square in pixels, not {list(sizes)}")
    if len(strides) != 4 or min(strides) < 1 or tuple(strides[:2]) != (1, 1):
        raise UserError(
            f"strides: give four, and 1 for the two deconvolutions before the unpooling, not {list(strides)}"
        )
    if not isinstance(backbone, VGG16):
        return
    if backbone.largefov or backbone.strides[-1] != 32:
        raise UserError("output_stride: SPN unpools VGG16's last 2x2 pooling; give 32, and a backbone without largefov")
    if width != backbone.channels[-1]:
        raise UserError(f"width: VGG16's switches have {backbone.channels[-1]} channels, so width cannot be {width}")
