"""Mean-field updates of the dense CRF on two lattices (Krähenbühl and Koltun 2011, algorithm 1), by one thread.

Probabilities sum to one, so what all labels together send to a pixel is known beforehand (`total_P`), and the last
label is never filtered. A pass over the pixels gathers messages, takes the softmax, and spreads its result for the next
one.

Letters: n labels, C = n - 1 of them filtered (and what fills the last lanes), P pixels, B pixels of a block, V vertices
of a simplex, M vertices of a lattice.
"""

import numba
import numpy as np

from wsss.ops.permutohedral import F32, U32, Lattice, Points, blur, gather, spread

_BLOCK = 256
_FAST_MATH = {"contract", "nnan", "nsz"}
_SMALLEST = np.float32(-87)  # e^x of smaller x is no normal number: slow, and 0 beside 1


def mean_field(unary_nP: F32, near: Lattice, far: Lattice, total_P: F32, iterations: int) -> F32:
    """Label probabilities float32 [n, P], n >= 2, after the updates.

    The weights of both lattices hold their normalisation and compatibility; total_P is what both make of ones.
    """
    q_nP = np.empty_like(unary_nP)
    filtered = len(unary_nP) - 1
    _update(unary_nP, _side(near, filtered), _side(far, filtered), total_P, iterations, q_nP)
    return q_nP


_Side = tuple[Points, U32, F32, F32]


def _side(lattice: Lattice, values: int) -> _Side:
    """What the kernel reads of a lattice, and two buffers."""
    return lattice.points, lattice.neighbour_VM2, lattice.buffer(values), lattice.buffer(values)


@numba.njit(cache=True, nogil=True)
def _update(unary_nP: F32, near: _Side, far: _Side, total_P: F32, iterations: int, q_nP: F32) -> None:
    near_points, near_neighbour_VM2, near_MC, near_spare_MC = near
    far_points, far_neighbour_VM2, far_MC, far_spare_MC = far
    pixels = unary_nP.shape[1]
    logit_nB = np.zeros((len(unary_nP), _BLOCK), np.float32)
    value_BC = np.zeros((_BLOCK, near_MC.shape[1]), np.float32)
    for iteration in range(iterations + 1):
        if iteration > 0:
            near_MC, near_spare_MC = blur(near_MC, near_spare_MC, near_neighbour_VM2)
            far_MC, far_spare_MC = blur(far_MC, far_spare_MC, far_neighbour_VM2)
        near_spare_MC[:] = 0
        far_spare_MC[:] = 0
        for first in range(0, pixels, _BLOCK):
            size = min(_BLOCK, pixels - first)
            _start(unary_nP, first, size, logit_nB)
            if iteration > 0:
                value_BC[:] = 0
                gather(near_MC, first, size, near_points, value_BC)
                gather(far_MC, first, size, far_points, value_BC)
                _add_messages(value_BC, total_P[first : first + size], logit_nB)
            _softmax(logit_nB, size)
            if iteration == iterations:
                _finish(logit_nB, first, size, q_nP)
            else:
                _transpose(logit_nB, value_BC)
                spread(value_BC, first, size, near_points, near_spare_MC)
                spread(value_BC, first, size, far_points, far_spare_MC)
        near_MC, near_spare_MC = near_spare_MC, near_MC
        far_MC, far_spare_MC = far_spare_MC, far_MC


# Loops in place of assignments of slices: those take seconds to compile.
@numba.njit(cache=True, nogil=True)
def _start(unary_nP: F32, first: int, size: int, logit_nB: F32) -> None:
    for n in range(len(unary_nP)):
        for b in range(size):
            logit_nB[n, b] = -unary_nP[n, first + b]


@numba.njit(cache=True, nogil=True)
def _finish(logit_nB: F32, first: int, size: int, q_nP: F32) -> None:
    for n in range(len(q_nP)):
        for b in range(size):
            q_nP[n, first + b] = logit_nB[n, b]


@numba.njit(cache=True, nogil=True)
def _transpose(logit_nB: F32, value_BC: F32) -> None:
    for b in range(len(value_BC)):
        for n in range(len(logit_nB) - 1):
            value_BC[b, n] = logit_nB[n, b]


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def _add_messages(message_BC: F32, total_B: F32, logit_nB: F32) -> None:
    last = len(logit_nB) - 1
    for b in range(len(total_B)):
        rest = total_B[b]
        for n in range(last):
            logit_nB[n, b] += message_BC[b, n]
            rest -= message_BC[b, n]
        logit_nB[last, b] += rest


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH, error_model="numpy")
def _softmax(logit_nB: F32, size: int) -> None:
    """e^(x - max) / sum over n, in place."""
    largest_B = np.full(size, -np.inf, np.float32)
    sum_B = np.zeros(size, np.float32)
    for logit_B in logit_nB:
        for b in range(size):
            largest_B[b] = max(largest_B[b], logit_B[b])
    for logit_B in logit_nB:
        for b in range(size):
            logit_B[b] = _exp(logit_B[b] - largest_B[b])
            sum_B[b] += logit_B[b]
    for logit_B in logit_nB:
        for b in range(size):
            logit_B[b] /= sum_B[b]


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def _exp(x: np.float32) -> np.float32:
    """e^x for x <= 0 as 2^whole e^rest, |rest| <= ln(2) / 2, by the series of e^rest; exact but for the last bit."""
    x = max(x, _SMALLEST)
    whole = np.rint(x * np.float32(1.44269504))
    rest = x - whole * np.float32(0.693359375)  # ln 2 = 0.693359375 - 2.12194440e-4; the first product is exact
    rest += whole * np.float32(2.12194440e-4)
    total = np.float32(1 / 5040)
    for share in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        total = total * rest + np.float32(share)
    return total * np.int32((np.int32(whole) + 127) << 23).view(np.float32)
