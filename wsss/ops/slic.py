"""SLIC superpixels (Achanta et al. 2012): k-means of pixels in Lab and position, each centre seeing +-S pixels.

Two steps are made cheaper than in the paper. An iteration looks at every `subsample`-th row only, at the next ones in
the next iteration, and only the final assignment looks at all. Rows are then handled as runs of equal labels, whose
colour sums are differences of running sums. Connectivity comes last (wsss/ops/connectivity.py).

Colours are whole steps of 1/4 in Lab, centres eighths of such a step: the products and sums of a distance are then
exact in float32, and no compiler or machine can round them differently.

Letters: H, W image; M = W padded to blocks of 8; K centres (row, column, L, a, b).
"""

import math
import threading
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from wsss.errors import UserError
from wsss.ops.connectivity import I32, connected, edges

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_BLOCK = 8  # pixels, a whole number of vector registers
_STEPS = 1 << 13  # resolution of the cube root table
_XYZ_X3 = np.array(  # linear sRGB to XYZ, each row divided by its sum: the white point D65
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)


def slic(
    rgb_HW3: NDArray[np.uint8],
    *,
    segments: int = 300,
    compactness: float = 10.0,
    iterations: int = 10,
    subsample: int = 6,
) -> I32:
    """Superpixel labels int32 [H, W], 0..N-1 in the order of their first pixels, each of them 4-connected.

    rgb_HW3: sRGB uint8 [H, W, 3]. `segments`: how many are wanted; N is that number, or less in an image of
    few more pixels than that. `compactness` (paper section III-B: m): colour distance in Lab that weighs as much as a
    distance of S pixels, the larger spacing of the seeds, about sqrt(H W / segments). `subsample`: 1 uses every row in
    every iteration; it is at most S/4, so that an iteration sees four rows of a segment. Uses one thread.
    ValueError for another shape or dtype, UserError for settings outside their range.
    """
    if rgb_HW3.dtype != np.uint8 or rgb_HW3.ndim != 3 or rgb_HW3.shape[2] != 3 or rgb_HW3.size == 0:
        raise ValueError(f"SLIC needs a uint8 image [H, W, 3], not {rgb_HW3.dtype} {list(rgb_HW3.shape)}")
    for name, value, least in (("segments", segments, 1), ("iterations", iterations, 0), ("subsample", subsample, 1)):
        if value < least:
            raise UserError(f"{name} is {value} but must be at least {least}")
    if not 0 < compactness < math.inf:
        raise UserError(f"compactness is {compactness} but must be above 0 and finite")
    height, width = rgb_HW3.shape[:2]
    centre_K5, spacing = _seeds(height, width, min(segments, height * width))
    lab_H3M, sum_HW3, best_HM, label_HM = _buffers(height, width)
    _lab(np.ascontiguousarray(rgb_HW3), *_TABLES, lab_H3M, sum_HW3)
    weight = (4 * compactness / spacing) ** 2
    stride = min(subsample, max(int(spacing / 4), 1))
    _cluster(lab_H3M, sum_HW3, centre_K5, spacing, weight, iterations, stride, best_HM, label_HM)
    return connected(label_HM, sum_HW3, len(centre_K5))


_kept = threading.local()


def _buffers(height: int, width: int) -> tuple[F32, I32, F32, I32]:
    """Arrays of an image's size, those of this thread's last image where they fit: fresh memory costs a third more.

    Lab [H, 3, M], running sums [H, W+1, 3], smallest distances [H, M] and labels [H, M].
    """
    if getattr(_kept, "size", None) != (height, width):
        padded = width + _BLOCK
        _kept.size = height, width
        _kept.arrays = (
            np.empty((height, 3, padded), np.float32),
            np.empty((height, width + 1, 3), np.int32),
            np.empty((height, padded), np.float32),
            np.empty((height, padded), np.int32),
        )
    arrays: tuple[F32, I32, F32, I32] = _kept.arrays
    return arrays


def _seeds(height: int, width: int, count: int) -> tuple[F64, float]:
    """Exactly `count` centres in rows of almost equal numbers, colours unset, and their larger spacing."""
    rows = round(height / math.sqrt(height * width / count))
    rows = min(max(rows, math.ceil(count / width), 1), height, count)
    firsts = np.arange(rows + 1) * count // rows
    centre_K5 = np.zeros((count, 5))
    for row, (first, last) in enumerate(pairwise(firsts)):
        centre_K5[first:last, 0] = (row + 0.5) * height / rows - 0.5
        centre_K5[first:last, 1] = (np.arange(last - first) + 0.5) * width / (last - first) - 0.5
    return centre_K5, max(height / rows, width / (count // rows))


def _tables() -> tuple[NDArray[np.uint64], I32]:
    """XYZ shares of the 256 levels of each channel, 21 bits each in one word, and the cube root of CIE Lab.

    The shares of white sum to _STEPS * 2^7, rounded down; the root is in units of 2^-16.
    """
    level = np.arange(256) / 255
    linear = np.where(level > 0.04045, ((level + 0.055) / 1.055) ** 2.4, level / 12.92)
    share_C256X = linear[None, :, None] * (_XYZ_X3 / _XYZ_X3.sum(1, keepdims=True)).T[:, None]
    x, y, z = np.moveaxis((share_C256X * (_STEPS << 7)).astype(np.uint64), 2, 0)
    t = np.arange(_STEPS + 1) / _STEPS
    root = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return x << 42 | y << 21 | z, np.rint(root * 2**16).astype(np.int32)


_TABLES = _tables()


@numba.njit(cache=True, nogil=True)
def _lab(rgb_HW3: NDArray[np.uint8], share_C256: NDArray[np.uint64], root: I32, lab_H3M: F32, sum_HW3: I32) -> None:
    """Lab in steps of 1/4 [H, 3, M], 0 in the padding, and its running sums along rows [H, W+1, 3]."""
    height, width = rgb_HW3.shape[:2]
    mask = np.uint64((1 << 14) - 1)
    for y in range(height):
        rgb_W3, sum_W3 = rgb_HW3[y], sum_HW3[y]
        light_M, a_M, b_M = lab_H3M[y, 0], lab_H3M[y, 1], lab_H3M[y, 2]
        lab_H3M[y, :, width:] = 0
        for x in range(width):
            xyz = share_C256[0, rgb_W3[x, 0]] + share_C256[1, rgb_W3[x, 1]] + share_C256[2, rgb_W3[x, 2]]
            root_x = root[xyz >> np.uint64(49)]
            root_y = root[xyz >> np.uint64(28) & mask]
            root_z = root[xyz >> np.uint64(7) & mask]
            light_M[x] = ((4 * 116 * root_y + (1 << 15)) >> 16) - 4 * 16
            a_M[x] = (4 * 500 * (root_x - root_y) + (1 << 15)) >> 16
            b_M[x] = (4 * 200 * (root_y - root_z) + (1 << 15)) >> 16
        light = a = b = np.int32(0)
        sum_W3[0] = 0
        for x in range(width):  # a loop of its own: running sums would keep the other one from vector registers
            light, a, b = light + np.int32(light_M[x]), a + np.int32(a_M[x]), b + np.int32(b_M[x])
            sum_W3[x + 1, 0], sum_W3[x + 1, 1], sum_W3[x + 1, 2] = light, a, b


@numba.njit(cache=True, nogil=True)
def _cluster(
    lab_H3M: F32,
    sum_HW3: I32,
    centre_K5: F64,
    spacing: float,
    weight: float,
    iterations: int,
    stride: int,
    best_HM: F32,
    label_HM: I32,
) -> None:
    """Labels [H, M] of the nearest centre, K where none is within `spacing`."""
    width = sum_HW3.shape[1] - 1
    for k in range(len(centre_K5)):
        y, x = int(centre_K5[k, 0]), int(centre_K5[k, 1])
        centre_K5[k, 2:] = lab_H3M[y, :, x]
    for i in range(iterations):
        _assign(lab_H3M, centre_K5, width, spacing, weight, i % stride, stride, best_HM, label_HM)
        _move(label_HM, sum_HW3, i % stride, stride, centre_K5)
    _assign(lab_H3M, centre_K5, width, spacing, weight, 0, 1, best_HM, label_HM)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def _assign(
    lab_H3M: F32,
    centre_K5: F64,
    width: int,
    spacing: float,
    weight: float,
    first: int,
    stride: int,
    best_HM: F32,
    label_HM: I32,
) -> None:
    """Nearest centre of the pixels of rows first, first + stride, ...; the pixel's own square is left out."""
    height = len(lab_H3M)
    for y in range(first, height, stride):
        best_HM[y] = np.inf
        label_HM[y] = len(centre_K5)
    across = np.empty(best_HM.shape[1], np.float32)
    for k in range(len(centre_K5)):
        row, column = centre_K5[k, 0], centre_K5[k, 1]
        left, right = max(int(np.ceil(column - spacing)), 0), min(int(column + spacing) + 1, width)
        padded = left + (right - left + _BLOCK - 1) // _BLOCK * _BLOCK
        for x in range(left, right):
            across[x - left] = np.rint(4 * weight * (x - column) ** 2) / 4
        across[right - left : padded - left] = np.inf
        light, a, b = centre_K5[k, 2], centre_K5[k, 3], centre_K5[k, 4]
        square = np.rint(4 * (light**2 + a**2 + b**2)) / 4
        to_light, to_a, to_b = np.float32(-2 * light), np.float32(-2 * a), np.float32(-2 * b)
        top, bottom = max(int(np.ceil(row - spacing)), 0), min(int(row + spacing) + 1, height)
        for y in range(top + (first - top) % stride, bottom, stride):
            base = np.float32(square + np.rint(4 * weight * (y - row) ** 2) / 4)
            light_M, a_M, b_M = lab_H3M[y, 0, left:padded], lab_H3M[y, 1, left:padded], lab_H3M[y, 2, left:padded]
            best_M, label_M = best_HM[y, left:padded], label_HM[y, left:padded]
            for x in range(padded - left):
                distance = across[x] + base + to_light * light_M[x] + to_a * a_M[x] + to_b * b_M[x]
                nearer = distance < best_M[x]
                best_M[x] = distance if nearer else best_M[x]
                label_M[x] = k if nearer else label_M[x]


@numba.njit(cache=True, nogil=True)
def _move(label_HM: I32, sum_HW3: I32, first: int, stride: int, centre_K5: F64) -> None:
    """Put every centre at the mean of its pixels in rows first, first + stride, ...; one without pixels stays."""
    width = sum_HW3.shape[1] - 1
    total_K6 = np.zeros((len(centre_K5) + 1, 6), np.int64)
    edge = np.empty(width + 1, np.int64)
    for y in range(first, len(label_HM), stride):
        label_M, sum_W3 = label_HM[y], sum_HW3[y]
        for r in range(edges(label_M, edge)):
            start, end = edge[r], edge[r + 1]
            total = total_K6[label_M[start]]
            total[0] += end - start
            total[1] += (end - start) * y
            total[2] += (end - start) * (start + end - 1)
            for c in range(3):
                total[3 + c] += sum_W3[end, c] - sum_W3[start, c]
    for k in range(len(centre_K5)):
        count = total_K6[k, 0]
        if count > 0:
            centre_K5[k, 0] = total_K6[k, 1] / count
            centre_K5[k, 1] = total_K6[k, 2] / (2 * count)
            for c in range(3):
                centre_K5[k, 2 + c] = np.rint(8 * total_K6[k, 3 + c] / count) / 8
