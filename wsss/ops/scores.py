"""From stored score maps to full resolution and to labels: the only definition, shared by all consumers.

Letters: K classes of one image, h w the stored grid, H W the image.
"""

from collections.abc import Sequence

import numba
import numpy as np

from wsss.errors import UserError

ONE_BITS = 0x3C00  # float16 1.0; the 15,361 patterns 0..ONE_BITS are all half numbers in [0, 1], in order


def enlarge(score_Khw: np.ndarray, size: Sequence[int], grid: Sequence[int] | None = None) -> np.ndarray:
    """Enlarge (or reduce) score maps to size (H, W) and round them to float16.

    With `grid` (gh, gw), at least as large, the maps cover gh x gw pixels, whose top left part is the image: they are
    enlarged to that size and cut (the random walks of IRNet and PSA run on padded grids).

    Bilinear with half-pixel centres (torch: align_corners=False, no antialiasing), in float32 with its
    coordinates in float64, then rounded to the nearest half. Any float dtype [K, h, w] in, float16 [K, H, W]
    out; the same bits on every machine. ValueError for other shapes, UserError for NaN or infinite scores.
    """
    score_Khw = np.asarray(score_Khw)
    height, width = (int(n) for n in size)
    tall, wide = (int(n) for n in grid or size)
    if score_Khw.ndim != 3 or min(*score_Khw.shape[1:], height, width) < 1 or tall < height or wide < width:
        raise ValueError(
            f"score maps of shape {score_Khw.shape} on {tall} x {wide} cannot be enlarged to {height} x {width}"
        )
    if not np.isfinite(score_Khw).all():
        raise UserError("score maps hold NaN or infinite values; the network that made them has diverged")
    half_KHW = np.empty((len(score_Khw), height, width), np.uint16)
    rows = _taps(score_Khw.shape[1], tall, height)
    columns = _taps(score_Khw.shape[2], wide, width)
    _enlarge(np.ascontiguousarray(score_Khw, np.float32), *rows, *columns, half_KHW)
    return half_KHW.view(np.float16)


def half_below(threshold: float) -> np.float16:
    """The largest float16 that is <= float32(threshold): against float16 scores both decide alike.

    UserError unless 0 <= threshold <= 1.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"background threshold {threshold} is outside 0..1; scores are normalised to 0..1")
    exact = np.float32(threshold)
    half = np.float16(exact)
    return half if np.float32(half) <= exact else np.nextafter(half, np.float16(0))


def labels_at(score_KHW: np.ndarray, classes: Sequence[int], threshold: float | None) -> np.ndarray:
    """Class ids of the argmax over [threshold, scores]; background (0) wins ties, then the first class.

    score_KHW float16 or float32 [K, H, W], classes K ids in 1..254, threshold in 0..1 (as float32) -> uint8
    [H, W]. With threshold None the maps hold their own background (id 0 among classes) and the label is the
    plain argmax. UserError for a threshold outside 0..1.
    """
    ids = np.asarray(classes, np.uint8)
    if len(ids) != len(score_KHW):
        raise ValueError(f"{len(score_KHW)} score maps but {len(ids)} classes")
    if threshold is None:
        return ids[np.argmax(score_KHW, axis=0)]
    limit = half_below(threshold)
    label_HW = np.empty(score_KHW.shape[1:], np.uint8)
    if score_KHW.dtype == np.float16:
        # read as int16, non-negative halves keep their order, and negative ones stay below every threshold
        _labels(np.ascontiguousarray(score_KHW).view(np.int16), limit.view(np.int16), ids, label_HW)
    else:
        _labels(np.ascontiguousarray(score_KHW, np.float32), np.float32(threshold), ids, label_HW)
    return label_HW


def background_alpha(score_KHW: np.ndarray, alpha: float) -> np.ndarray:
    """Background score (1 - max over classes)^alpha of PSA (infer_cls.py), float32 [H, W].

    Scores in 0..1, alpha > 0; without classes (K = 0) it is 1 everywhere.
    """
    highest_HW = np.max(score_KHW, axis=0, initial=0).astype(np.float32)
    return np.power(np.maximum(1 - highest_HW, 0), np.float32(alpha))


def _taps(source: int, target: int, kept: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper neighbour and the weight of the upper one, for `kept` of an axis' `target` positions."""
    position = np.maximum((np.arange(kept) + 0.5) * (source / target) - 0.5, 0)
    lower = np.minimum(position.astype(np.int64), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    return lower, upper, (position - lower).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _enlarge(
    score_Khw: np.ndarray,
    top: np.ndarray,
    bottom: np.ndarray,
    down: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    across: np.ndarray,
    half_KHW: np.ndarray,
) -> None:
    source = np.empty(score_Khw.shape[2], np.float32)
    row = np.empty(len(left), np.float32)
    for k in range(len(score_Khw)):
        for y in range(len(top)):
            upper, lower, weight = score_Khw[k, top[y]], score_Khw[k, bottom[y]], down[y]
            for x in range(len(source)):
                source[x] = upper[x] + weight * (lower[x] - upper[x])
            for x in range(len(row)):
                row[x] = source[left[x]] + across[x] * (source[right[x]] - source[left[x]])
            _round_to_half(row, half_KHW[k, y])


@numba.njit(cache=True, nogil=True)
def _round_to_half(row: np.ndarray, half: np.ndarray) -> None:
    """Float32 -> float16 patterns, nearest with ties to even (numpy's own conversion is much slower)."""
    bits = row.view(np.int32)
    small = (np.abs(row) + np.float32(0.5)).view(np.int32)  # below 2^-14 the sum rounds at a half's last digit
    for x in range(len(row)):
        size = bits[x] & 0x7FFFFFFF
        value = (size - 0x38000000 + 0xFFF + ((size >> 13) & 1)) >> 13
        value = small[x] - 0x3F000000 if size < 0x38800000 else value
        value = 0x7C00 if size >= 0x47800000 else value
        value = 0x7E00 if size > 0x7F800000 else value
        half[x] = value | ((bits[x] >> 16) & 0x8000)


@numba.njit(cache=True, nogil=True)
def _labels(score_KHW: np.ndarray, threshold: np.number, ids: np.ndarray, label_HW: np.ndarray) -> None:
    best = np.empty(label_HW.shape[1], score_KHW.dtype)
    for y in range(len(label_HW)):
        best[:] = threshold
        label_HW[y] = 0
        for k in range(len(ids)):
            for x in range(len(best)):
                wins = score_KHW[k, y, x] > best[x]
                best[x] = score_KHW[k, y, x] if wins else best[x]
                label_HW[y, x] = ids[k] if wins else label_HW[y, x]
