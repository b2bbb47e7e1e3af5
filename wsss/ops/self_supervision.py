"""What one network's maps teach another: class regions, class prototypes, and targets over scales.

The formulas of RCM and MAM (Yoon et al., "Exploring Pixel-level Self-supervision for Weakly Supervised Semantic
Segmentation"), without networks. Everything is differentiable with respect to the learning network's maps; whether the
teaching network's are detached is up to the caller. Any floating dtype; half precision is too coarse for it.

Legend: B batch, C classes, L = C + 1 regions (background first), D channels, S and T scales, h x w grid, P = h w
pixels.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Merge = Literal["mean", "relu_mean", "max"]
Average = Literal["mean", "sum"]
Form = Literal["log", "prob"]
RegionReduction = Literal["mean", "class_mean", "sum"]
Direct = Literal["bce", "l1"]
Target = Literal["plain", "clamp", "normalise"]
MapReduction = Literal["mean", "class_sum", "sum"]

EPS = 1e-5
CERTAIN = 1e-3
"""Cross entropy takes scores no closer to 0 and 1 than this: its gradient is unbounded there."""


def scaled_cams(raw_xhw: Tensor, *, detach_max: bool = False) -> Tensor:
    """Raw maps (...,h,w) after a ReLU, each divided by its own maximum + 1e-5 (section 3.1): in [0, 1).

    `detach_max`: the maximum is a constant in the backward pass.
    """
    positive_xhw = raw_xhw.relu()
    maximum_x11 = positive_xhw.amax((-2, -1), keepdim=True)
    return positive_xhw / ((maximum_x11.detach() if detach_max else maximum_x11) + EPS)


def merged(raw_SBChw: Tensor, merge: Merge) -> Tensor:
    """Multi-scale map (B,C,h,w) in [0, 1): mean or maximum over scales, then `scaled_cams`.

    `mean` and `max` take raw maps, `relu_mean` takes the ReLU first, as CAM inference does.
    """
    if merge == "max":
        return scaled_cams(raw_SBChw.amax(0))
    return scaled_cams((raw_SBChw.relu() if merge == "relu_mean" else raw_SBChw).mean(0))


def class_regions(cam_BChw: Tensor, labels_BC: Tensor, threshold: float) -> Tensor:
    """Region of every pixel, int64 (B,h,w) in 0..C (eq. 1 and 2, as numbers instead of masks).

    The present class with the highest score where that is above `threshold` (>= 0), else background. cam: >= 0;
    labels: 0 or 1.
    """
    score_Bhw, index_Bhw = (cam_BChw * labels_BC[..., None, None]).max(1)
    return torch.where(score_Bhw > threshold, index_Bhw + 1, 0)


def prototypes(feature_BDhw: Tensor, region_Bhw: Tensor, labels: int, *, average: Average) -> tuple[Tensor, Tensor]:
    """Feature of every region (L,D) and whether the batch has it, bool (L,); zeros where it has not (eq. 3).

    Per image the mean (`mean`, what the text says) or the sum (`sum`, what the equation says) over the region's
    pixels; then the mean over the images that have the region.
    """
    mask_BhwL = F.one_hot(region_Bhw, labels).to(feature_BDhw.dtype)
    count_BL = mask_BhwL.sum((1, 2))
    feature_BLD = torch.einsum("bhwl,bdhw->bld", mask_BhwL, feature_BDhw)
    if average == "mean":
        feature_BLD = feature_BLD / count_BL.clamp(min=1)[..., None]
    images_L = (count_BL > 0).sum(0)
    return feature_BLD.sum(0) / images_L.clamp(min=1)[:, None], images_L > 0


def contrastive_loss(
    feature_BDhw: Tensor,
    prototype_LD: Tensor,
    seen_L: Tensor,
    region_Bhw: Tensor,
    *,
    temperature: float,
    form: Form,
    reduction: RegionReduction,
) -> Tensor:
    """Scalar RCM loss: features move to the prototype of their region, away from those of the others (eq. 4 and 5).

    Features and prototypes are L2-normalised; the softmax over cosines / `temperature` runs over all prototypes with
    `seen` true, which must include every region that occurs. `form`: "log" minus its logarithm (InfoNCE), "prob" minus
    the softmax itself (eq. 5 as printed). `reduction`: "mean" over all pixels, "class_mean" the sum over occurring
    regions of the mean over their pixels, "sum" over pixels as printed, then the mean over images.
    """
    unit_BDhw = F.normalize(feature_BDhw, dim=1, eps=EPS)
    unit_LD = F.normalize(prototype_LD, dim=1, eps=EPS)
    logit_BLhw = torch.einsum("bdhw,ld->blhw", unit_BDhw, unit_LD) / temperature
    log_BLhw = logit_BLhw.masked_fill(~seen_L[:, None, None], -torch.inf).log_softmax(1)
    score_BLhw = log_BLhw if form == "log" else log_BLhw.exp()
    cost_Bhw = F.nll_loss(score_BLhw, region_Bhw, reduction="none")
    if reduction == "mean":
        return cost_Bhw.mean()
    if reduction == "sum":
        return cost_Bhw.sum() / len(cost_Bhw)
    mask_BhwL = F.one_hot(region_Bhw, len(prototype_LD)).to(cost_Bhw.dtype)
    return (torch.einsum("bhw,bhwl->l", cost_Bhw, mask_BhwL) / mask_BhwL.sum((0, 1, 2)).clamp(min=1)).sum()


def direct_loss(cam_BChw: Tensor, region_Bhw: Tensor, labels_BC: Tensor, *, form: Direct) -> Tensor:
    """Scalar loss of scores in [0, 1] against the region masks of the present classes (Table 2, Exp. 1).

    Binary cross entropy or absolute difference, mean over pixels and present classes; 0 without present classes.
    """
    mask_BChw = F.one_hot(region_Bhw, cam_BChw.shape[1] + 1)[..., 1:].movedim(-1, 1).to(cam_BChw.dtype)
    if form == "l1":
        return map_loss(mask_BChw[None], cam_BChw[None], labels_BC, reduction="mean")
    cost_BChw = F.binary_cross_entropy(cam_BChw.clamp(CERTAIN, 1 - CERTAIN), mask_BChw, reduction="none")
    return (cost_BChw.mean((2, 3)) * labels_BC).sum() / labels_BC.sum().clamp(min=1)


def attention(cam_SBChw: Tensor, guide_TBChw: Tensor) -> Tensor:
    """xi (S,T,B,C) in [1, 2]: 2 - cosine of the maps of two scales (eq. 6); maps >= 0, an empty one gives 2."""
    unit_SBCP, unit_TBCP = (F.normalize(maps.flatten(-2), dim=-1, eps=EPS) for maps in (cam_SBChw, guide_TBChw))
    return (2 - torch.einsum("sbcp,tbcp->stbc", unit_SBCP, unit_TBCP)).clamp(1, 2)


def attended(xi_STBC: Tensor, guide_TBChw: Tensor, *, target: Target) -> Tensor:
    """Target map (S,B,C,h,w) of every learning scale: the mean over T of xi times the teaching maps (eq. 7).

    Since xi >= 1, a "plain" target may exceed 1, at most twofold; "clamp" cuts it at 1, "normalise" divides by the
    sum of xi instead of T.
    """
    sum_SBChw = torch.einsum("stbc,tbchw->sbchw", xi_STBC, guide_TBChw)
    if target == "normalise":
        return sum_SBChw / xi_STBC.sum(1)[..., None, None]
    mean_SBChw = sum_SBChw / len(guide_TBChw)
    return mean_SBChw.clamp(max=1) if target == "clamp" else mean_SBChw


def map_loss(target_SBChw: Tensor, cam_SBChw: Tensor, labels_BC: Tensor, *, reduction: MapReduction) -> Tensor:
    """Scalar L1 loss between maps of the present classes, summed over scales (eq. 8); 0 without present classes.

    `reduction`: "mean" over pixels and over the batch's present classes; "class_sum" mean over pixels, sum over an
    image's classes, mean over images; "sum" over pixels and classes as printed, mean over images.
    """
    cost_SBChw = (target_SBChw - cam_SBChw).abs()
    cost_SBC = cost_SBChw.sum((3, 4)) if reduction == "sum" else cost_SBChw.mean((3, 4))
    total = (cost_SBC.sum(0) * labels_BC).sum()
    return total / (labels_BC.sum().clamp(min=1) if reduction == "mean" else len(labels_BC))
