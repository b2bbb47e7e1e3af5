"""SLIC superpixels (Achanta et al. 2012): k-means of pixels in Lab and position, each centre seeing +-S pixels.

Two steps are made cheaper than in the paper. An iteration looks at every `subsample`-th row only, at the next ones in
the next iteration, and only the final assignment looks at all. Rows are then handled as runs of equal labels, whose
colour sums are differences of running sums. Connectivity keeps the largest connected pieces, as many as segments were
asked for, and gives each other piece to the touching one of the most similar colour.

Colours are whole steps of 1/4 in Lab, centres eighths of such a step: the products and sums of a distance are then
exact in float32, and no compiler or machine can round them differently.

Letters: H, W image; M = W padded to blocks of 8; K centres (row, column, L, a, b); R runs; P touching pairs of runs;
N pieces.
"""

import math
import threading
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from wsss.errors import UserError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

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
    distance of S = sqrt(H W / segments) pixels. `subsample`: 1 uses every row in every iteration; it is at most S/4, so
    that an iteration sees four rows of a segment. Uses one thread.
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
    return _connected(label_HM, sum_HW3, len(centre_K5))


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
    edges = np.arange(rows + 1) * count // rows
    centre_K5 = np.zeros((count, 5))
    for row, (first, last) in enumerate(pairwise(edges)):
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
        for r in range(_edges(label_M, edge)):
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


@numba.njit(cache=True, nogil=True)
def _edges(label_M: I32, edge: NDArray[np.int64]) -> int:
    """Write where the runs of equal labels in a row begin, and where the last one ends; returns their number."""
    width = len(edge) - 1
    edge[0] = 0
    runs = 1
    for x in range(1, width):
        edge[runs] = x  # always written: a branch would often be predicted wrongly
        runs += label_M[x] != label_M[x - 1]
    edge[runs] = width
    return runs


@numba.njit(cache=True, nogil=True)
def _connected(label_HM: I32, sum_HW3: I32, count: int) -> I32:
    """Labels [H, W] of at most `count` connected segments."""
    run_R4 = _runs(label_HM, sum_HW3.shape[1] - 1)
    parent_R, border_P2 = _borders(run_R4)
    piece_R, total_N4 = _pieces(parent_R, run_R4, sum_HW3)
    for p in range(len(border_P2)):
        border_P2[p, 0], border_P2[p, 1] = piece_R[border_P2[p, 0]], piece_R[border_P2[p, 1]]
    owner_N = _merge(border_P2, total_N4, count)
    segment_N = np.full(len(owner_N), -1, np.int32)
    segments = 0
    label_HW = np.empty((sum_HW3.shape[0], sum_HW3.shape[1] - 1), np.int32)
    for r in range(len(run_R4)):
        owner = owner_N[piece_R[r]]
        if segment_N[owner] < 0:
            segment_N[owner] = segments
            segments += 1
        y, start, end = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2]
        label_HW[y, start:end] = segment_N[owner]
    return label_HW


@numba.njit(cache=True, nogil=True)
def _runs(label_HM: I32, width: int) -> I32:
    """Runs of equal labels in raster order [R, 4]: row, first column, column after the last, label."""
    edge = np.empty(width + 1, np.int64)
    count = 0
    for y in range(len(label_HM)):
        count += _edges(label_HM[y], edge)
    run_R4 = np.empty((count, 4), np.int32)
    first = 0
    for y in range(len(label_HM)):
        label_M = label_HM[y]
        runs = _edges(label_M, edge)
        for r in range(runs):
            run_R4[first + r, 0], run_R4[first + r, 1] = y, edge[r]
            run_R4[first + r, 2], run_R4[first + r, 3] = edge[r + 1], label_M[edge[r]]
        first += runs
    return run_R4


@numba.njit(cache=True, nogil=True)
def _borders(run_R4: I32) -> tuple[NDArray[np.int64], I32]:
    """Trees of the connected runs of one label (parents [R]), and the pairs of touching runs of two labels [P, 2]."""
    parent_R = np.arange(len(run_R4))
    border_P2 = np.empty((3 * len(run_R4), 2), np.int32)
    borders = 0
    upper = 0
    for r in range(len(run_R4)):
        y, start, end, label = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2], run_R4[r, 3]
        if start > 0:
            border_P2[borders, 0], border_P2[borders, 1] = r - 1, r
            borders += 1
        while run_R4[upper, 0] < y - 1 or (run_R4[upper, 0] < y and run_R4[upper, 2] <= start):
            upper += 1
        above = upper
        while run_R4[above, 0] < y and run_R4[above, 1] < end:
            if run_R4[above, 3] == label:
                _join(parent_R, above, r)
            else:
                border_P2[borders, 0], border_P2[borders, 1] = above, r
                borders += 1
            above += 1
    return parent_R, border_P2[:borders]


@numba.njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int64], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def _join(parent: NDArray[np.int64], i: int, j: int) -> None:
    i, j = _root(parent, i), _root(parent, j)
    parent[max(i, j)] = min(i, j)


@numba.njit(cache=True, nogil=True)
def _pieces(parent_R: NDArray[np.int64], run_R4: I32, sum_HW3: I32) -> tuple[I32, NDArray[np.int64]]:
    """Number of each run's connected piece, and the pieces' colour sums and sizes [N, 4]."""
    piece_R = np.empty(len(parent_R), np.int32)
    pieces = 0
    for r in range(len(parent_R)):
        if parent_R[r] == r:
            piece_R[r] = pieces
            pieces += 1
        else:
            piece_R[r] = piece_R[parent_R[r]]  # parents come first
    total_N4 = np.zeros((pieces, 4), np.int64)
    for r in range(len(parent_R)):
        y, start, end = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2]
        total = total_N4[piece_R[r]]
        for c in range(3):
            total[c] += sum_HW3[y, end, c] - sum_HW3[y, start, c]
        total[3] += end - start
    return piece_R, total_N4


@numba.njit(cache=True, nogil=True)
def _merge(border_P2: I32, total_N4: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The piece each piece ends in: the `count` largest stay, the others join their most similar neighbours."""
    pieces = len(total_N4)
    owner_N = np.arange(pieces)
    kept_N = _largest(total_N4[:, 3], count)
    borders = len(border_P2)
    while True:
        borders = _open_borders(border_P2[:borders], owner_N, kept_N)
        if borders == 0:
            break
        nearest_N = _most_similar(border_P2[:borders], kept_N, total_N4)
        for n in range(pieces):
            if nearest_N[n] >= 0:
                target = _root(owner_N, nearest_N[n])
                if target != n:  # else the two had chosen each other
                    owner_N[n] = target
                    for c in range(4):
                        total_N4[target, c] += total_N4[n, c]
    for n in range(pieces):
        owner_N[n] = _root(owner_N, n)
    return owner_N


@numba.njit(cache=True, nogil=True)
def _largest(size_N: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """True for the `count` largest, the first ones among equals."""
    if len(size_N) <= count:
        return np.ones(len(size_N), np.bool_)
    limit = np.partition(size_N, len(size_N) - count)[len(size_N) - count]
    kept_N = size_N > limit
    spare = count - kept_N.sum()
    for n in range(len(size_N)):
        if spare > 0 and size_N[n] == limit:
            kept_N[n] = True
            spare -= 1
    return kept_N


@numba.njit(cache=True, nogil=True)
def _open_borders(border_P2: I32, owner_N: NDArray[np.int64], kept_N: NDArray[np.bool_]) -> int:
    """Move the borders of pieces that are still to join another to the front, as pairs of owners; their number."""
    found = 0
    for p in range(len(border_P2)):
        i, j = _root(owner_N, border_P2[p, 0]), _root(owner_N, border_P2[p, 1])
        border_P2[found, 0], border_P2[found, 1] = i, j
        found += (i != j) & ~(kept_N[i] & kept_N[j])
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _most_similar(border_P2: I32, kept_N: NDArray[np.bool_], total_N4: NDArray[np.int64]) -> NDArray[np.int64]:
    """The neighbour of nearest mean colour of every piece with a border that is not kept, -1 for the others."""
    mean_N3 = np.empty((len(total_N4), 3))
    for n in range(len(total_N4)):
        for c in range(3):
            mean_N3[n, c] = total_N4[n, c] / total_N4[n, 3]
    gap_N = np.where(kept_N, -1, np.inf)
    nearest_N = np.full(len(kept_N), -1)
    for p in range(len(border_P2)):
        i, j = border_P2[p, 0], border_P2[p, 1]
        gap = 0.0
        for c in range(3):
            gap += (mean_N3[i, c] - mean_N3[j, c]) ** 2
        if gap < gap_N[i]:
            gap_N[i], nearest_N[i] = gap, j
        if gap < gap_N[j]:
            gap_N[j], nearest_N[j] = gap, i
    return nearest_N
