"""Superpixel pooling: mean features of superpixels, straight from a low-resolution feature map.

SPN (Kwak, Hong, Han 2017): the feature of a superpixel is the sum over cells j of w_ij z_j, w_ij the share of the
superpixel's pixels in cell j. That is the superpixel's mean of the map enlarged to the image, and since enlarging and
averaging are linear, their product is one small sparse matrix; the enlarged map is never made.

Legend: B images, D channels, h x w cells, M = B h w, H x W pixels, N superpixels (of all images where they are
together), E weights that are not 0, S size of all boxes of cells around superpixels.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Interpolation = Literal["nearest", "bilinear"]
Maps = Sequence[NDArray | Tensor] | NDArray | Tensor
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def pool(feature_BDhw: Tensor, superpixels: Maps, *, interpolation: Interpolation = "nearest") -> tuple[Tensor, Tensor]:
    """Mean feature of every superpixel [N, D] and its image 0..B-1, int64 [N]; differentiable in the features.

    feature_BDhw: any floating dtype and device; the result is float32, or float64 for float64. superpixels: one map
    of integer labels [H, W] per image, of any sizes; negative labels (padding) belong to no superpixel. `interpolation`
    is how a pixel sees the map: see `weights`. Row n of an image is its label n, 0 up to its largest one; a label
    without pixels has a row of zeros and the image -1. ValueError unless there are B maps.
    """
    if len(superpixels) != len(feature_BDhw):
        raise ValueError(f"{len(superpixels)} superpixel maps for {len(feature_BDhw)} feature maps")
    grid = feature_BDhw.shape[2], feature_BDhw.shape[3]
    feature_BDM = feature_BDhw.flatten(2).to(torch.promote_types(feature_BDhw.dtype, torch.float32))
    feature_MD = feature_BDM.transpose(1, 2).flatten(0, 1)
    arrays = _batch_weights(superpixels, grid, interpolation)
    start_N, cell_E, weight_E, image_N = (torch.from_numpy(array).to(feature_MD.device) for array in arrays)
    product = _product if feature_MD.device.type == "cpu" else _gathered
    with torch.autocast(feature_MD.device.type, enabled=False):
        return product(start_N, cell_E, weight_E.to(feature_MD.dtype), feature_MD), image_N


def image_mean(pooled_ND: Tensor, image_N: Tensor, images: int) -> Tensor:
    """Mean over the superpixels of every image [B, D], small ones counting as much as large ones (SPN).

    Superpixels of image -1 are left out; an image without superpixels gets zeros.
    """
    slot_N = torch.where(image_N < 0, images, image_N)
    total = pooled_ND.new_zeros(images + 1, pooled_ND.shape[1]).index_add(0, slot_N, pooled_ND)
    count = torch.bincount(slot_N, minlength=images + 1).clamp(min=1)
    return (total / count[:, None])[:images]


def paint(values_ND: Tensor, superpixel_HW: NDArray | Tensor) -> Tensor:
    """Maps [D, H, W] that give every pixel the values of its superpixel (SP-CAM), 0 where the label is negative."""
    label_HW = torch.as_tensor(superpixel_HW, device=values_ND.device).long()
    values_DN = torch.cat([values_ND, values_ND.new_zeros(1, values_ND.shape[1])]).T
    slot_HW = torch.where(label_HW < 0, len(values_ND), label_HW)
    return values_DN.index_select(1, slot_HW.flatten()).unflatten(1, label_HW.shape)


def weights(superpixel_HW: NDArray, grid: tuple[int, int], interpolation: Interpolation) -> tuple[I64, I64, F64]:
    """Matrix from the cells of a grid (h, w) to superpixel means: row starts [N+1], cells [E] and weights [E].

    superpixel_HW: integer labels; N is the largest + 1. Weights are positive and those of a row sum to one; a label
    without pixels has an empty row. A pixel sees, with "nearest", the cell its centre lies in (SPN's definition), with
    "bilinear", four cells as in torch's interpolate with align_corners=False.
    """
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"interpolation {interpolation!r} is neither nearest nor bilinear")
    label_HW = np.ascontiguousarray(superpixel_HW, np.int32)
    row_H, down_H = _taps(grid[0], label_HW.shape[0], interpolation)
    column_W, right_W = _taps(grid[1], label_HW.shape[1], interpolation)
    box_N4 = _boxes(label_HW, row_H, column_W, *grid)
    first_N = np.zeros(len(box_N4) + 1, np.int64)
    np.cumsum((box_N4[:, 1] - box_N4[:, 0]) * (box_N4[:, 3] - box_N4[:, 2]), out=first_N[1:])
    total_S, size_N = _totals(label_HW, row_H, down_H, column_W, right_W, box_N4, first_N)
    return _rows(box_N4, total_S, size_N, grid[1])


def _batch_weights(superpixels: Maps, grid: tuple[int, int], interpolation: Interpolation) -> tuple[NDArray, ...]:
    """Row starts, cells 0..M-1 and weights of all images' superpixels together, and their images."""
    starts, cells, shares, images = [np.zeros(1, np.int64)], [], [], []
    used = 0
    for image, superpixel_HW in enumerate(superpixels):
        label_HW = torch.as_tensor(superpixel_HW).cpu().numpy()
        start_N, cell_E, weight_E = weights(label_HW, grid, interpolation)
        images.append(np.where(np.diff(start_N) > 0, image, -1))
        starts.append(used + start_N[1:])
        used += len(cell_E)
        cells.append(cell_E + image * grid[0] * grid[1])
        shares.append(weight_E)
    return tuple(np.concatenate(parts) for parts in (starts, cells, shares, images))


def _product(start_N: Tensor, cell_E: Tensor, weight_E: Tensor, feature_MD: Tensor) -> Tensor:
    shape = len(start_N) - 1, len(feature_MD)
    with warnings.catch_warnings():  # that these tensors are in beta would open every training log
        warnings.simplefilter("ignore", UserWarning)
        matrix_NM = torch.sparse_csr_tensor(start_N, cell_E, weight_E, shape, check_invariants=False)
    return matrix_NM @ feature_MD


def _gathered(start_N: Tensor, cell_E: Tensor, weight_E: Tensor, feature_MD: Tensor) -> Tensor:
    """The same product by index operations, which every device has, gradient included."""
    row_E = torch.repeat_interleave(torch.arange(len(start_N) - 1, device=start_N.device), start_N.diff())
    pooled_ND = feature_MD.new_zeros(len(start_N) - 1, feature_MD.shape[1])
    return pooled_ND.index_add(0, row_E, weight_E[:, None] * feature_MD[cell_E])


def _taps(cells: int, pixels: int, interpolation: Interpolation) -> tuple[I64, F64]:
    """Along one axis, the first cell that each pixel sees and the weight of the one after it."""
    if interpolation == "nearest":
        return (2 * np.arange(pixels) + 1) * cells // (2 * pixels), np.zeros(pixels)
    position = np.maximum((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0)
    first = np.minimum(position.astype(np.int64), cells - 1)
    return first, np.where(first < cells - 1, position - first, 0.0)


@numba.njit(cache=True, nogil=True)
def _edges(label_W: NDArray[np.int32], column_W: I64, edge: I64) -> int:
    """Write where the runs of equal label and cell in a row begin, and where the last one ends; their number."""
    edge[0] = 0
    runs = 1
    for x in range(1, len(label_W)):
        edge[runs] = x  # always written: a branch would often be predicted wrongly
        runs += (label_W[x] != label_W[x - 1]) | (column_W[x] != column_W[x - 1])
    edge[runs] = len(label_W)
    return runs


@numba.njit(cache=True, nogil=True)
def _boxes(label_HW: NDArray[np.int32], row_H: I64, column_W: I64, h: int, w: int) -> I64:
    """Boxes of the cells that the labels see [N, 4]: first row, after the last, first column, after the last."""
    box_N4 = np.zeros((label_HW.max() + 1, 4), np.int64)
    box_N4[:, 0] = h
    box_N4[:, 2] = w
    edge = np.empty(len(column_W) + 1, np.int64)
    for y in range(len(label_HW)):
        label_W = label_HW[y]
        for r in range(_edges(label_W, column_W, edge)):
            n, column = label_W[edge[r]], column_W[edge[r]]
            if n >= 0:
                box_N4[n, 0] = min(box_N4[n, 0], row_H[y])
                box_N4[n, 1] = min(row_H[y] + 2, h)
                box_N4[n, 2] = min(box_N4[n, 2], column)
                box_N4[n, 3] = max(box_N4[n, 3], min(column + 2, w))
    for n in range(len(box_N4)):
        if box_N4[n, 1] == 0:
            box_N4[n] = 0
    return box_N4


@numba.njit(cache=True, nogil=True)
def _totals(
    label_HW: NDArray[np.int32], row_H: I64, down_H: F64, column_W: I64, right_W: F64, box_N4: I64, first_N: I64
) -> tuple[F64, F64]:
    """Weights summed over the pixels of each label, box after box [S], and the labels' numbers of pixels [N]."""
    total_S = np.zeros(first_N[-1])
    size_N = np.zeros(len(box_N4))
    edge = np.empty(len(column_W) + 1, np.int64)
    sum_W = np.zeros(len(right_W) + 1)
    sum_W[1:] = np.cumsum(right_W)
    for y in range(len(label_HW)):
        label_W, down = label_HW[y], down_H[y]
        for r in range(_edges(label_W, column_W, edge)):
            start, end = edge[r], edge[r + 1]
            n = label_W[start]
            if n >= 0:
                right = sum_W[end] - sum_W[start]
                left = end - start - right
                width = box_N4[n, 3] - box_N4[n, 2]
                s = first_N[n] + (row_H[y] - box_N4[n, 0]) * width + column_W[start] - box_N4[n, 2]
                size_N[n] += end - start
                total_S[s] += (1 - down) * left
                if right > 0:
                    total_S[s + 1] += (1 - down) * right
                if down > 0:
                    total_S[s + width] += down * left
                    if right > 0:
                        total_S[s + width + 1] += down * right
    return total_S, size_N


@numba.njit(cache=True, nogil=True)
def _rows(box_N4: I64, total_S: F64, size_N: F64, w: int) -> tuple[I64, I64, F64]:
    """The sparse rows of `weights` out of the totals of its boxes."""
    start_N = np.zeros(len(box_N4) + 1, np.int64)
    cell_S, weight_S = np.empty(len(total_S), np.int64), np.empty(len(total_S))
    e = s = 0
    for n in range(len(box_N4)):
        for y in range(box_N4[n, 0], box_N4[n, 1]):
            for x in range(box_N4[n, 2], box_N4[n, 3]):
                if total_S[s] > 0:
                    cell_S[e], weight_S[e] = y * w + x, total_S[s] / size_N[n]
                    e += 1
                s += 1
        start_N[n + 1] = e
    return start_N, cell_S[:e], weight_S[:e]
