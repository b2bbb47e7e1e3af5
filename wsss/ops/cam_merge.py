"""Merging raw class maps over scales and mirror images, as the published codes do.

Letters: C classes, h w the grid of one scale, H W the image.
"""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.ops.sizes import rounded_up, strided

Flip = Literal["sum", "max", "none"]
Grid = Literal["stride4", "full", "full16"]
Order = Literal["relu_first", "resize_first"]


def merge(raw: Iterable[Tensor], size: tuple[int, int], *, grid: Grid, flip: Flip, order: Order) -> Tensor:
    """Sum over scales of the merged pair (map, unmirrored map of the mirror image); >= 0, not normalised.

    raw: per scale float [2, C, h, w] before the ReLU, item 1 from the mirror image ([1, C, h, w] where none
    was made); size: the image's (H, W). Result [C, ., .] by `grid`: "stride4" floor((n-1)/4)+1 (irn, vwe:
    strided); "full" H x W directly (vwe, psa, OC-CSE); "full16" the next multiples of 16, cut to H x W (irn).
    `flip`: "sum" (irn, psa, OC-CSE) or "max" (vwe) of the pair, "none" takes the map alone. `order`:
    "relu_first" (irn, vwe, psa) or "resize_first" (OC-CSE). Bilinear, half-pixel centres.
    ValueError without a scale, or without a pair where `flip` needs one.
    """
    height, width = size
    target = {"stride4": strided(size), "full": (height, width), "full16": rounded_up(size)}[grid]
    merged: Tensor | None = None
    for raw_PChw in raw:
        scale_Chw = _of_one_scale(raw_PChw, target, flip, order)
        merged = scale_Chw if merged is None else merged + scale_Chw
    if merged is None:
        raise ValueError("no raw maps: at least one scale is needed")
    return merged[:, :height, :width]


def normalise(maps_Chw: Tensor) -> Tensor:
    """Divide every map by its own maximum + 1e-5 (irn make_cam.py, vwe, psa, OC-CSE); maps >= 0 -> [0, 1)."""
    return maps_Chw / (maps_Chw.amax((1, 2), keepdim=True) + 1e-5)


def _of_one_scale(raw_PChw: Tensor, target: tuple[int, int], flip: Flip, order: Order) -> Tensor:
    if flip != "none" and len(raw_PChw) != 2:
        raise ValueError(f"flip '{flip}' needs a pair of maps, not {len(raw_PChw)}")
    if order == "resize_first":
        raw_PChw = _resize(raw_PChw, target)
    score_PChw = raw_PChw.relu()
    score_Chw = score_PChw[0]
    if flip == "sum":
        score_Chw = score_Chw + score_PChw[1].flip(-1)
    elif flip == "max":
        score_Chw = torch.maximum(score_Chw, score_PChw[1].flip(-1))
    return score_Chw if order == "resize_first" else _resize(score_Chw[None], target)[0]


def _resize(maps_PChw: Tensor, target: tuple[int, int]) -> Tensor:
    # classes in the batch dimension: torch refuses maps without channels (an image without labels)
    flat_N1hw = maps_PChw.flatten(0, 1)[:, None]
    large_NHW = F.interpolate(flat_N1hw, target, mode="bilinear", align_corners=False)[:, 0]
    return large_NHW.unflatten(0, maps_PChw.shape[:2])
