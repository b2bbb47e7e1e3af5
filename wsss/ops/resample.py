"""Resampling of 8-bit images by separable filters, computed only where the result is needed.

Letters: H, W = height, width in pixels; 3 = RGB channels; N = output pixels along one axis, T = filter taps.
The kernels release the GIL.
"""

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

Interpolation = Literal["pillow_bicubic", "cv2_cubic", "cv2_linear"]
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
FIELD, ONE, BIAS = 21, 4096, 1 << 19
"""Three sums of 8-bit channels in an int64: bits of a field, its unit, and what is added; room for -128 to 383."""
MASK = (1 << FIELD) - 1
FOUR = 4
"""Taps of the vertical filter in one pass over a row."""
_FAST_MATH = {"contract", "nnan", "nsz"}


def nearest(n: int, m: int) -> I64:
    """Source indices of Pillow's nearest resize from n to m samples; its running sum decides exact ties."""
    step_N = np.full(m, n / m)
    step_N[0] *= 0.5
    return np.minimum(np.cumsum(step_N).astype(np.int64), n - 1)


def taps(n: int, m: int, method: Interpolation) -> tuple[NDArray[np.uint32], F32]:
    """Filter from n to m samples: per output first source index [N], never falling, and weights [N, T]."""
    if n == m:
        return np.arange(n, dtype=np.uint32), np.ones((n, 1), np.float32)
    if method == "pillow_bicubic":
        return _taps(n, m, 2.0, -0.5, True)
    return _taps(n, m, 1.0 if method == "cv2_linear" else 2.0, -0.75, False)


@njit(nogil=True, cache=True, fastmath=_FAST_MATH | {"arcp"})
def _taps(n: int, m: int, reach: float, a: float, antialias: bool) -> tuple[NDArray[np.uint32], F32]:
    """Weights of the cubic (reach 2, parameter a) or linear (reach 1) kernel around (i + 0.5) n / m.

    With `antialias` the kernel is stretched when shrinking, and cut at the border; without, the border sample
    stands in for what lies outside.
    """
    stretch = max(n / m, 1.0) if antialias else 1.0
    first_N = np.empty(m, np.uint32)
    weight_NT = np.zeros((m, int(np.ceil(2 * reach * stretch)) + 1), np.float64)
    used = 0
    for i in range(m):
        centre = (i + 0.5) * n / m
        low = int(np.floor(centre - reach * stretch + 0.5))
        high = int(np.floor(centre + reach * stretch + 0.5))
        if antialias:
            low, high = max(low, 0), min(high, n)
        first = min(max(low, 0), n - 1)
        total = 0.0
        for k in range(low, high):
            weight = _kernel(abs(k + 0.5 - centre) / stretch, reach, a)
            weight_NT[i, min(max(k, 0), n - 1) - first] += weight
            total += weight
        for t in range(weight_NT.shape[1]):
            weight_NT[i, t] /= total
        first_N[i] = first
        used = max(used, min(high, n) - first)
    return first_N, weight_NT[:, :used].astype(np.float32)


@njit(nogil=True, cache=True, fastmath=_FAST_MATH)
def _kernel(x: float, reach: float, a: float) -> float:
    if reach == 1.0:
        return max(1 - x, 0.0)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, a * (((x - 5) * x + 8) * x - 4)  # both: a branch costs more
    return near if x < 1 else (far if x < 2 else 0.0)


@njit(nogil=True, cache=True, fastmath=_FAST_MATH)
def render(
    pixel_HW: NDArray[np.uint32],
    out_3HW: F32,
    at: tuple[int, int],
    row_N: NDArray[np.uint32],
    row_weight_NT: F32,
    col_N: NDArray[np.uint32],
    col_weight_NT: F32,
    scale_3: F32,
    bias_3: F32,
    cut: float,
) -> None:
    """Filter an image, scale and shift its channels, write them into `out_3HW` from corner `at`, 0 around.

    A pixel is red + 2^8 green + 2^16 blue + 2^24 anything. Only the outputs of the given rows and columns exist;
    reversed columns mirror them. Values are limited to 0..255 before the scaling, and between the passes to
    -cut..255+cut (Pillow: 0; OpenCV: no limit). Values are not rounded, and weights of columns to 1/4096, so the
    result is within about one grey level of the library's. (Pillow shrinks images twice as tall as wide in the
    other order of passes, and so cuts overshoots at extreme contrasts differently.)
    """
    height, width, row_taps = len(row_N), len(col_N), row_weight_NT.shape[1]
    top, left = at
    bottom, right = top + height, left + width
    out_3HW[:, :top] = 0
    out_3HW[:, bottom:] = 0
    packed_W = np.zeros(max(pixel_HW.shape[1], int(col_N.max()) + col_weight_NT.shape[1]), np.int64)
    sum_W, col_share_NT = np.empty(width, np.int64), _fixed_point(col_weight_NT)
    row_share_NT = np.zeros((height, (row_taps + FOUR - 1) // FOUR * FOUR), np.float32)
    row_share_NT[:, :row_taps] = row_weight_NT
    ring_T3W = np.zeros((row_taps, 3, width), np.float32)
    ready, last = int(row_N[0]), pixel_HW.shape[0]
    for y in range(height):
        first = int(row_N[y])
        ready = max(ready, first)
        while ready < min(first + row_taps, last):
            _pack(pixel_HW[ready], packed_W)
            _filter_row(packed_W, sum_W, col_N, col_share_NT)
            _unpack(sum_W, ring_T3W[ready % row_taps], np.float32(-cut), np.float32(255 + cut))
            ready += 1
        for c in range(3):
            out_W = out_3HW[c, top + y]
            out_W[:left] = 0
            out_W[right:] = 0
            out_W = out_W[left:right]
            _filter_column(ring_T3W, c, first, row_share_NT[y], out_W)
            scale, bias = scale_3[c], bias_3[c]
            for x in range(width):
                out_W[x] = min(max(out_W[x], np.float32(0)), np.float32(255)) * scale + bias


@njit(nogil=True, cache=True)
def _pack(pixel_W: NDArray[np.uint32], packed_W: I64) -> None:
    """The channels of every pixel in three fields, red + 2^21 green + 2^42 blue."""
    for x in range(len(pixel_W)):
        pixel = np.int64(pixel_W[x])
        packed_W[x] = pixel & 0xFF | (pixel & 0xFF00) << FIELD - 8 | (pixel & 0xFF0000) << 2 * FIELD - 16


@njit(nogil=True, cache=True)
def _filter_row(packed_W: I64, sum_W: I64, first_N: NDArray[np.uint32], share_NT: I64) -> None:
    """One row through the horizontal filter, the three channels of a pixel in one multiplication.

    BIAS is added in each field, so that overshoots stay positive and borrow nothing from the next field.
    """
    for x in range(len(first_N)):
        total = np.int64(BIAS | BIAS << FIELD | BIAS << 2 * FIELD)
        first = np.uint64(first_N[x])
        for t in range(share_NT.shape[1]):
            total += share_NT[x, t] * packed_W[first + np.uint64(t)]
        sum_W[x] = total


@njit(nogil=True, cache=True, fastmath=_FAST_MATH)
def _unpack(sum_W: I64, out_3W: F32, low: np.float32, high: np.float32) -> None:
    """The sums of `_filter_row` as planes, limited to low..high."""
    middle, unit = np.float32(BIAS / ONE), np.float32(1 / ONE)
    for c in range(3):
        out_W = out_3W[c]
        for x in range(len(sum_W)):
            value = np.float32(np.int32(sum_W[x] >> FIELD * c & MASK)) * unit - middle
            out_W[x] = min(max(value, low), high)


@njit(nogil=True, cache=True, fastmath=_FAST_MATH)
def _filter_column(ring_T3W: F32, c: int, first: int, share_T: F32, out_W: F32) -> None:
    """One row of a channel through the vertical filter; `ring_T3W` holds row i at i modulo its length."""
    size = len(ring_T3W)
    out_W[:] = 0
    for t in range(0, len(share_T), FOUR):
        w0, w1, w2, w3 = share_T[t], share_T[t + 1], share_T[t + 2], share_T[t + 3]
        r0, r1 = ring_T3W[(first + t) % size, c], ring_T3W[(first + t + 1) % size, c]
        r2, r3 = ring_T3W[(first + t + 2) % size, c], ring_T3W[(first + t + 3) % size, c]
        for x in range(len(out_W)):
            out_W[x] += w0 * r0[x] + w1 * r1[x] + w2 * r2[x] + w3 * r3[x]


@njit(nogil=True, cache=True)
def _fixed_point(weight_NT: F32) -> I64:
    """Weights as multiples of 1 / ONE; the largest of an output takes what rounding left, so that each sum is 1."""
    share_NT = np.empty(weight_NT.shape, np.int64)
    for i in range(len(weight_NT)):
        largest, rest = 0, ONE
        for t in range(weight_NT.shape[1]):
            share_NT[i, t] = np.int64(np.rint(weight_NT[i, t] * ONE))
            rest -= share_NT[i, t]
            largest = t if weight_NT[i, t] > weight_NT[i, largest] else largest
        share_NT[i, largest] += rest
    return share_NT


@njit(nogil=True, cache=True)
def place_label(label_HW: U8, out_HW: I64, at: tuple[int, int], row_N: I64, col_N: I64, fill: int) -> None:
    """Write label_HW[row_N, col_N] into `out_HW` from the corner `at`, `fill` around."""
    out_HW[:] = fill
    for y in range(len(row_N)):
        for x in range(len(col_N)):
            out_HW[at[0] + y, at[1] + x] = label_HW[row_N[y], col_N[x]]
