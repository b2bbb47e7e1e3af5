"""IRNet (Ahn, Cho and Kwak 2019): a network learns from CAMs where classes end, and the CAMs walk up to there.

A frozen backbone carries two branches. One finds class boundaries: two pixels are alike unless a boundary crosses the
line between them. The other gives every pixel its displacement to the centre of its object, which separates instances;
semantic labels do not use it. Both learn from pairs of neighbouring pixels whose classes the CAMs are sure of. Numbers
from jiwoon-ahn/irn (net/resnet50_irn.py, step/train_irn.py, step/make_sem_seg_labels.py); there the backbone is
ResNet50 at output stride 16. On others the branches resize each tap to the grid of the second one.

Legend: B batch, D channels, K present classes, n offsets, H x W image, h x w grid (of stride 4 on ResNet50), s x t
regular sources.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import STAGES, Backbone, freeze
from wsss.data.transforms import normalise
from wsss.methods.crf import refine_labels
from wsss.model import TrainableModel
from wsss.ops import pairs
from wsss.ops.crf import PRESETS, DenseCrf
from wsss.ops.neighbours import offsets
from wsss.ops.random_walk import edge_affinity, edge_affinity_torch, walk, walk_torch
from wsss.ops.scores import enlarge
from wsss.ops.sizes import rounded_up, strided
from wsss.stores import Record

OUTPUT = "scores"
PAD = 255

EVALUATION_THRESHOLD = 0.15
"""Background threshold at which the published CAMs scored best; the label thresholds were chosen around it."""


def labels(
    maps: Record,
    rgb_HW3: np.ndarray,
    background: float,
    *,
    thresholds: Literal["fixed", "relative"] = "fixed",
    fg_threshold: float = 0.30,
    bg_threshold: float = 0.05,
    gt_prob: float = 0.7,
    preset: Literal["irn_labels", "psa", "aeft", "vwe_v2"] = "irn_labels",
) -> np.ndarray:
    """Confident labels uint8 (H,W): class ids, 0 for background, 255 where unsure (irn step/cam_to_ir_label.py).

    A class where the dense CRF finds one although the background has the high threshold `fg_threshold`; background
    where it finds that at the low `bg_threshold`. `relative` moves both with the CAMs' own best threshold
    `background`, by the ratio of its odds to those of the published 0.15; `fixed` does not use it.
    """
    if thresholds == "relative":
        fg_threshold, bg_threshold = (_shifted(value, background) for value in (fg_threshold, bg_threshold))
    score_KHW = enlarge(maps.array, maps.meta["size"], maps.meta.get("grid")).astype(np.float32)
    dense_crf = DenseCrf(rgb_HW3, PRESETS[preset])
    class_HW, possible_HW = (
        refine_labels(score_KHW, maps.meta["classes"], value, dense_crf, gt_prob)
        for value in (fg_threshold, bg_threshold)
    )
    return np.where((class_HW == 0) & (possible_HW > 0), np.uint8(PAD), class_HW)


def _shifted(threshold: float, background: float) -> float:
    """The threshold whose odds t / (1 - t) grew by the factor odds(background) / odds(EVALUATION_THRESHOLD)."""
    above = threshold * background * (1 - EVALUATION_THRESHOLD)
    below = (1 - threshold) * (1 - background) * EVALUATION_THRESHOLD
    return above / (above + below)


class _Layer(nn.Module):
    """1x1 convolution, GroupNorm, resizing by `factor`, ReLU: the order matters, as the norm sees the small map."""

    def __init__(self, depth: int, width: int, groups: int, factor: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(depth, width, 1, bias=False)
        self.norm = nn.GroupNorm(groups, width)
        self.factor = factor

    def forward(self, x_BDhw: Tensor, size: Sequence[int]) -> Tensor:
        out_BDhw = self.norm(self.conv(x_BDhw))
        if self.factor != 1:
            out_BDhw = F.interpolate(out_BDhw, scale_factor=self.factor, mode="bilinear")
        return F.relu(out_BDhw[:, :, : size[0], : size[1]])


class _Boundary(nn.Module):
    """Boundary logits from 32 channels of every tap."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        grid = backbone.strides[1]
        shapes = zip(backbone.channels, backbone.strides, strict=True)
        self.layers = nn.ModuleList(_Layer(depth, 32, 4, stride / grid) for depth, stride in shapes)
        self.last = nn.Conv2d(STAGES * 32, 1, 1)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Logits (B,h,w) on the grid of the second tap."""
        size = taps[1].shape[2:]
        parts = [layer(tap, size) for layer, tap in zip(self.layers, taps, strict=True)]
        return self.last(torch.cat(parts, 1))[:, 0]


class _Displacement(nn.Module):
    """Displacements: the three deep taps meet on the third tap's grid, and then the shallow ones on the second's."""

    mean_2: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        grid, middle = backbone.strides[1:3]
        widths, targets = (64, 128, 256, 256, 256), (grid, grid, middle, middle, middle)
        factors = [stride / target for stride, target in zip(backbone.strides, targets, strict=True)]
        shapes = zip(backbone.channels, widths, (8, 16, 16, 16, 16), factors, strict=True)
        self.layers = nn.ModuleList(_Layer(*shape) for shape in shapes)
        self.deep = _Layer(sum(widths[2:]), 256, 16, middle / grid)
        self.all = _Layer(sum(widths[:2]) + 256, 256, 16)
        self.last = nn.Conv2d(256, 2, 1, bias=False)
        self.register_buffer("mean_2", torch.zeros(2))

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Displacements (B,2,h,w) along y and x in grid cells, before the mean is subtracted."""
        size, middle = taps[1].shape[2:], taps[2].shape[2:]
        sizes = (size, size, middle, middle, middle)
        parts = [layer(tap, each) for layer, tap, each in zip(self.layers, taps, sizes, strict=True)]
        deep_BDhw = self.deep(torch.cat(parts[2:], 1), size)
        return self.last(self.all(torch.cat([*parts[:2], deep_BDhw], 1), size))


class IRNet(TrainableModel):
    """Frozen backbone, boundary branch, and (unless left out) displacement branch."""

    def __init__(self, backbone: Backbone, radius: int, displacement: bool, displacement_lr: float) -> None:
        super().__init__()
        freeze(backbone, STAGES)
        self.backbone, self.stride = backbone, backbone.strides[1]
        self.radius, self.displacement_lr = radius, displacement_lr
        self.boundary_branch = _Boundary(backbone)
        self.displacement_branch = _Displacement(backbone) if displacement else None
        self.calibration_batches = 50 if displacement else 0

    def train(self, mode: bool = True) -> "IRNet":
        """Training mode for the branches only: the frozen backbone has no dropout."""
        super().train(mode)
        self.backbone.eval()
        return self

    def taps(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The backbone's taps, without gradients, of images filled with zeros to multiples of its strides.

        So the tap of stride r has at least H' / r rows of the filled image (B,3,H',W'), whatever the backbone.
        """
        with torch.no_grad():
            return self.backbone(_filled(image_BCHW, max(self.backbone.strides), 0))

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Losses of `image` (B,3,H,W) against `label` (B,H,W): class ids, 255 for unsure; see `pair_losses`."""
        taps = self.taps(batch["image"])
        label_Bhw = reduced(batch["label"], self.stride)
        height, width = label_Bhw.shape[1:]
        logit_Bhw = self.boundary_branch(taps)[:, :height, :width].float()
        displacement_B2hw = None
        if self.displacement_branch is not None:
            displacement_B2hw = self.displacement_branch(taps)[:, :, :height, :width].float()
        return pair_losses(logit_Bhw, displacement_B2hw, label_Bhw, self.radius)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The boundary branch at the recipe's rate, the displacement branch at `displacement_lr` times that."""
        branches: dict[str, tuple[nn.Module, float]] = {"boundary": (self.boundary_branch, 1.0)}
        if self.displacement_branch is not None:
            branches["displacement"] = (self.displacement_branch, self.displacement_lr)
        return [
            {"name": name, "params": [*branch.parameters()], "lr_factor": factor, "weight_decay_factor": 1.0}
            for name, (branch, factor) in branches.items()
        ]

    @torch.no_grad()
    def calibrate(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Take the mean displacement over the images of training batches.

        The official code goes once through the whole training set, uncropped but for the top left 512 x 512; these
        are fewer images, augmented as in training.
        """
        if self.displacement_branch is not None:
            means = [self.displacement_branch(self.taps(batch["image"])).mean((0, 2, 3)) for batch in batches]
            self.displacement_branch.mean_2.copy_(torch.stack(means).mean(0))

    @torch.inference_mode()
    def boundary(self, image_3HW: Tensor, *, crop_size: int = 512, flip: bool = True) -> Tensor:
        """Probability (h,w) of a class boundary in a normalised image, with `flip` from its mirror image too.

        h, w = floor((n-1)/stride) + 1. GroupNorm sees the zeros that fill the image up to a square of `crop_size`, the
        published size; images that exceed it are filled to a square of the next multiple of 16 (officially: an error).
        """
        height, width = strided((image_3HW.shape[1], image_3HW.shape[2]), self.stride)
        image_B3HW = torch.stack([image_3HW, image_3HW.flip(-1)] if flip else [image_3HW])
        logit_Bhw = self.boundary_branch(self.taps(squared(image_B3HW, crop_size)))[:, :height, :width]
        logit_hw = (logit_Bhw[0] + logit_Bhw[1].flip(-1)) / 2 if flip else logit_Bhw[0]
        return logit_hw.float().sigmoid()

    @torch.inference_mode()
    def displacement(self, image_3HW: Tensor, *, crop_size: int = 512) -> Tensor:
        """Displacements (2,h,w) along y and x in grid cells, less their mean over images; needs that branch."""
        if self.displacement_branch is None:
            raise ValueError("this network was built without displacements")
        height, width = strided((image_3HW.shape[1], image_3HW.shape[2]), self.stride)
        field_2hw = self.displacement_branch(self.taps(squared(image_3HW[None], crop_size)))[0, :, :height, :width]
        return field_2hw.float() - self.displacement_branch.mean_2[:, None, None]


def squared(image_BCHW: Tensor, side: int) -> Tensor:
    """Zeros at the bottom and the right up to a square of `side`, or of a multiple of 16 when the image is larger."""
    height, width = image_BCHW.shape[2:]
    side = max(side, *rounded_up((height, width)))
    return F.pad(image_BCHW, (0, side - width, 0, side - height))


def _filled(x_BxHW: Tensor, multiple: int, value: int) -> Tensor:
    height, width = x_BxHW.shape[-2:]
    return F.pad(x_BxHW, (0, -width % multiple, 0, -height % multiple), value=value)


def reduced(label_BHW: Tensor, stride: int) -> Tensor:
    """Labels (B,h,w) reduced as by Pillow's NEAREST: small[i,j] = full[r i + r/2, r j + r/2] at stride r, 255 outside.

    h = ceil(H / r).
    """
    return _filled(label_BHW, stride, PAD)[:, stride // 2 :: stride, stride // 2 :: stride]


def pair_losses(
    logit_Bhw: Tensor, displacement_B2hw: Tensor | None, label_Bhw: Tensor, radius: int
) -> dict[str, Tensor]:
    """Weighted losses by pairs of equal and of different labels; their sum is the published total.

    logit_Bhw of boundaries, integer labels (0 background, 255 unsure); float32 or float64. Boundaries: the affinity of
    two pixels is 1 - the highest boundary probability on the line between them; cross entropy, averaged over each
    kind's pairs in the batch, kinds without pairs 0. Displacements: those of two pixels of one class should differ by
    their offset, those of two background pixels not at all; mean absolute error.
    """
    background_Bnst, foreground_Bnst, different_Bnst = pairs.kinds(label_Bhw, radius)
    affinity_Bnst = 1 - pairs.path_maximum(logit_Bhw.sigmoid(), radius)
    parts = pairs.affinity_losses(affinity_Bnst, background_Bnst, foreground_Bnst, different_Bnst)
    losses = {"positive": parts["background"] + parts["foreground"], "negative": parts["different"]}
    if displacement_B2hw is None:
        return losses
    start_B21st = pairs.origins(displacement_B2hw, radius).unsqueeze(2)
    change_B2nst = start_B21st - pairs.destinations(displacement_B2hw, radius)
    wanted_2n11 = torch.from_numpy(offsets(radius).T.copy()).to(change_B2nst)[..., None, None]
    error_B2nst = (change_B2nst - wanted_2n11).abs()
    return losses | {
        "displacement_foreground": pairs.mean_over(error_B2nst, foreground_Bnst.unsqueeze(1)) / 2,
        "displacement_background": pairs.mean_over(change_B2nst.abs(), background_Bnst.unsqueeze(1)) / 2,
    }


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    radius: int = 10,
    displacement: bool = True,
    displacement_lr: float = 10.0,
) -> IRNet:
    """IRNet on a backbone with pretrained weights, which stay; classes play no part in it.

    Pairs lie closer than `radius` grid cells. Without `displacement` semantic labels come out about as well
    (the official issue tracker reports it), and training is cheaper.
    """
    return IRNet(backbone, radius, displacement, displacement_lr)


def refine(
    model: IRNet,
    maps: Record,
    rgb_HW3: np.ndarray,
    *,
    radius: int = 5,
    beta: float = 10.0,
    exp_times: int = 8,
    crop_size: int = 512,
    flip: bool = True,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Score maps float16 (K,h,w) after 2^exp_times steps of the random walk, and the size of the area they cover.

    A step goes to pixels closer than `radius` with probabilities like (1 - highest boundary on the way)^beta; what lies
    on boundaries does not start (irn misc/indexing.py: cam (1 - boundary) walks). In the published labels background
    is where no score exceeds 0.25. See `IRNet.boundary` for `crop_size` and `flip`.
    """
    image_3HW = torch.from_numpy(normalise(rgb_HW3, model.backbone.mean, model.backbone.std))
    device = next(model.parameters()).device
    edge_hw = model.boundary(image_3HW.to(device), crop_size=crop_size, flip=flip)
    cam_Khw = _resized(maps.array.astype(np.float32), edge_hw.shape)
    walked_Khw = _walked(cam_Khw, edge_hw, radius, beta=beta, steps=2**exp_times)
    grid = [n * model.stride for n in edge_hw.shape]
    return normalised(walked_Khw, maps.meta["size"], grid).astype(np.float16), {"grid": grid}


def _walked(cam_Khw: np.ndarray, edge_hw: Tensor, radius: int, *, beta: float, steps: int) -> np.ndarray:
    """The walk of the maps outside of boundaries, on the device of the boundary map."""
    if edge_hw.device.type != "cpu":
        value_Khw = torch.from_numpy(cam_Khw).to(edge_hw.device) * (1 - edge_hw)
        return walk_torch(value_Khw, edge_affinity_torch(edge_hw, radius), radius, beta=beta, steps=steps).cpu().numpy()
    boundary_hw = edge_hw.numpy()
    return walk(cam_Khw * (1 - boundary_hw), edge_affinity(boundary_hw, radius), radius, beta=beta, steps=steps)


def normalised(walked_Khw: np.ndarray, size: Sequence[int], grid: Sequence[int]) -> np.ndarray:
    """Maps >= 0 over their common maximum, taken after enlargement to `grid` and the cut to size (H, W).

    So that is 1, and values of single cells may exceed it. Maps of nothing but zeros stay.
    """
    large_KHW = _resized(walked_Khw, grid)[:, : size[0], : size[1]]
    highest = large_KHW.max(initial=0)
    return walked_Khw / highest if highest > 0 else walked_Khw


def _resized(maps_Khw: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Bilinear with half-pixel centres, float32."""
    maps_K1hw = torch.from_numpy(maps_Khw)[:, None]  # torch refuses maps without channels, but not an empty batch
    return F.interpolate(maps_K1hw, tuple(size), mode="bilinear")[:, 0].numpy()
