"""Gaussian filters over points with several features, by the permutohedral lattice (Adams, Baek and Davis 2010).

Points are laid on the plane of F + 1 coordinates that sum to 0 and tiled by simplices. A filter spreads the value of a
point over the F + 1 vertices of its simplex by its barycentric weights, blurs along each of the F + 1 axes with
(1/2, 1, 1/2), and gathers in the same way. The numbers and the order of axes are those of Krähenbühl's dense CRF.

A vertex is one integer: its first F coordinates as the digits of a number whose base is wide enough for each of them.
So a step to a neighbour, or to the next vertex of a simplex, is one addition.

Letters: P points, F features, V = F + 1 vertices of a simplex, M vertices of the lattice, B points of a block, C values
per point.
"""

import math
from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
Steps = tuple[int, ...]
Scales = tuple[np.float32, ...]
Points = tuple[U32, F32, Steps]
"""Vertices and weights of all points, [P, V], and V zeros: the compiler knows the length of a tuple."""

LANES = 2
"""Values that are handled at once; C is a multiple of it."""


_BLOCK = 256
_EMPTY = -1
_FAST_MATH = {"contract", "nnan", "nsz"}


@dataclass(frozen=True, slots=True)
class Lattice:
    """Vertices and barycentric weights of every point, [P, V], and both neighbours of vertices along axes, [V, M, 2].

    The neighbour M stands where there is none; vertices that no point touches do not exist.
    """

    vertex_PV: U32
    weight_PV: F32
    neighbour_VM2: U32

    @property
    def points(self) -> Points:
        """What `spread` and `gather` take."""
        return self.vertex_PV, self.weight_PV, (0,) * self.vertex_PV.shape[1]

    def buffer(self, values: int) -> F32:
        """Zeros float32 [M + 1, C] for so many values and what fills the last lanes; the last row is no vertex's."""
        padded = -(-values // LANES) * LANES
        return np.zeros((self.neighbour_VM2.shape[1] + 1, padded), np.float32)

    def of_ones(self) -> F32:
        """The filter's result float32 [P] where every point has the value 1."""
        start_MC, one_PC = self.buffer(1), np.ones((len(self.vertex_PV), LANES), np.float32)
        spread(one_PC, 0, len(one_PC), self.points, start_MC)
        blurred_MC, _ = blur(start_MC, self.buffer(1), self.neighbour_VM2)
        one_PC[:] = 0
        gather(blurred_MC, 0, len(one_PC), self.points, one_PC)
        return one_PC[:, 0].copy()

    def normalised(self, weight: float) -> "Lattice":
        """The lattice whose filter is weight D^-1/2 K D^-1/2, where K is this one's and D its sums of rows."""
        share_P = np.sqrt(weight / self.of_ones()).astype(np.float32)
        return replace(self, weight_PV=self.weight_PV * share_P[:, None])


def lattice(feature_FP: F32) -> Lattice:
    """The lattice of points whose features float32 [F, P] are in units of the Gaussian's standard deviation.

    ValueError where features span so much that a vertex does not fit into 63 bits.
    """
    features = len(feature_FP)
    unit = math.sqrt(2 / 3) * (features + 1)
    scales = tuple(np.float32(unit / math.sqrt((i + 1) * (i + 2))) for i in range(features))
    digits = _digits(feature_FP.min(1), feature_FP.max(1), scales)
    one = sum(digits)
    steps = tuple(one - (features + 1) * digit for digit in (*digits, 0))
    vertex_PV, weight_PV, key_M, table = _embed(np.ascontiguousarray(feature_FP), scales, (*digits, 0), steps)
    return Lattice(vertex_PV, weight_PV, _neighbours(key_M, table, steps))


def _digits(low_F: F32, high_F: F32, scales: Scales) -> Steps:
    """Worth of each of the first F coordinates: the product of the spans of those before it."""
    spread_F = np.maximum(np.abs(low_F), np.abs(high_F)) * scales
    digits = [1]
    for j in range(len(scales)):
        reach = spread_F[j:].sum() + j * spread_F[j - 1] if j else spread_F.sum()
        digits.append(digits[-1] * (2 * int(reach) + 4 * len(scales) + 8))
    if digits[-1] >= 2**62:
        raise ValueError("the points span too much for their kernel: make its widths larger, or the image smaller")
    return tuple(digits[:-1])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _embed(feature_FP: F32, scales: Scales, digits: Steps, steps: Steps) -> tuple[U32, F32, I64, I32]:
    """Vertices and weights [P, V], the keys of the vertices [M], and the hash table of their numbers."""
    points = feature_FP.shape[1]
    vertex_PV = np.empty((points, len(steps)), np.uint32)
    weight_PV = np.empty((points, len(steps)), np.float32)
    key_M = np.empty(points * len(steps), np.int64)
    table = np.full(1 << 12, _EMPTY, np.int32)
    place_VB = np.empty((len(steps), _BLOCK), np.float32)
    rank_VB = np.empty((len(steps), _BLOCK), np.int32)
    key_B = np.empty(_BLOCK, np.int64)
    gap_V = np.empty(len(steps), np.float32)
    step_V = np.empty(len(steps), np.int64)
    last_V = np.full(len(steps), np.iinfo(np.int64).min)
    number_V = np.zeros(len(steps), np.int32)
    found = 0
    for start in range(0, points, _BLOCK):
        size = min(_BLOCK, points - start)
        _simplices(feature_FP[:, start : start + size], scales, digits, place_VB, rank_VB, key_B)
        for b in range(size):
            for j in range(len(steps)):
                gap_V[rank_VB[j, b]] = place_VB[j, b]
                step_V[rank_VB[j, b]] = steps[j]
            key = key_B[b]
            weight = 1 + (gap_V[len(scales)] - gap_V[0]) / len(steps)
            for k in range(len(steps)):
                if k > 0:
                    key += step_V[len(steps) - k]
                    weight = (gap_V[len(scales) - k] - gap_V[len(steps) - k]) / len(steps)
                if key != last_V[k]:
                    slot = _slot(key, key_M, table)
                    if table[slot] == _EMPTY:
                        table[slot] = found
                        key_M[found] = key
                        found += 1
                    last_V[k], number_V[k] = key, table[slot]
                vertex_PV[start + b, k] = number_V[k]
                weight_PV[start + b, k] = weight
            if 2 * (found + len(steps)) > len(table):
                table = _grown(key_M[:found], 4 * len(table))
    return vertex_PV, weight_PV, key_M[:found].copy(), table


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def _simplices(feature_FB: F32, scales: Scales, digits: Steps, place_VB: F32, rank_VB: I32, key_B: I64) -> None:
    """Of every point: the key of its simplex's vertex 0, and its coordinates relative to that with their ranks."""
    size, sides = feature_FB.shape[1], len(digits)
    place_VB[0] = 0
    for j in range(len(scales), 0, -1):
        scale = scales[j - 1]
        for b in range(size):
            step = feature_FB[j - 1, b] * scale
            place_VB[j, b] = place_VB[0, b] - np.float32(j) * step
            place_VB[0, b] += step
    whole_B = np.zeros(_BLOCK, np.int32)
    key_B[:] = 0
    rank_VB[:] = 0
    inverse = np.float32(1) / np.float32(sides)
    for j in range(sides):
        for b in range(size):
            nearest = np.rint(place_VB[j, b] * inverse)
            whole_B[b] += np.int32(nearest)
            key_B[b] += np.int64(nearest) * (sides * digits[j])
            place_VB[j, b] -= nearest * np.float32(sides)
    for i in range(sides):
        for j in range(i + 1, sides):
            for b in range(size):
                lower = np.int32(place_VB[i, b] < place_VB[j, b])
                rank_VB[i, b] += lower
                rank_VB[j, b] += 1 - lower
    for j in range(sides):  # a sum other than 0: the coordinates that were rounded furthest move by one whole side
        for b in range(size):
            rank = rank_VB[j, b] + whole_B[b]
            move = np.int32(rank < 0) - np.int32(rank >= sides)
            rank_VB[j, b] = rank + move * sides
            key_B[b] += move * (sides * digits[j])
            place_VB[j, b] -= np.float32(move * sides)


@numba.njit(cache=True, nogil=True)
def _slot(key: np.int64, key_M: I64, table: I32) -> np.int64:
    """Where in the table the key's number stands, or belongs."""
    mask = len(table) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while table[slot] != _EMPTY and key_M[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _grown(key_M: I64, size: int) -> I32:
    table = np.full(size, _EMPTY, np.int32)
    for m in range(len(key_M)):
        table[_slot(key_M[m], key_M, table)] = m
    return table


@numba.njit(cache=True, nogil=True)
def _neighbours(key_M: I64, table: I32, steps: Steps) -> U32:
    neighbour_VM2 = np.full((len(steps), len(key_M), 2), len(key_M), np.uint32)
    for j in range(len(steps)):
        for m in range(len(key_M)):
            after = table[_slot(key_M[m] + steps[j], key_M, table)]
            if after != _EMPTY:
                neighbour_VM2[j, m, 1] = after
                neighbour_VM2[j, after, 0] = m
    return neighbour_VM2


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def spread(value_BC: F32, first: int, size: int, points: Points, value_MC: F32) -> None:
    """Add the values of the points from `first` on to the vertices of their simplices."""
    vertex_PV, weight_PV, corners = points
    for b in range(size):
        p = np.uint64(first + b)
        for c in range(0, value_BC.shape[1], LANES):
            for v in range(len(corners)):
                m, weight = vertex_PV[p, v], weight_PV[p, v]
                for lane in range(LANES):
                    value_MC[m, np.uint64(c + lane)] += weight * value_BC[b, c + lane]


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def gather(value_MC: F32, first: int, size: int, points: Points, value_BC: F32) -> None:
    """Add to the values of the points from `first` on those of their vertices."""
    vertex_PV, weight_PV, corners = points
    for b in range(size):
        p = np.uint64(first + b)
        for c in range(0, value_BC.shape[1], LANES):
            for v in range(len(corners)):
                m, weight = vertex_PV[p, v], weight_PV[p, v]
                for lane in range(LANES):
                    value_BC[b, c + lane] += weight * value_MC[m, np.uint64(c + lane)]


@numba.njit(cache=True, nogil=True, fastmath=_FAST_MATH)
def blur(value_MC: F32, spare_MC: F32, neighbour_VM2: U32) -> tuple[F32, F32]:
    """Blur along all axes; returns the two buffers [M + 1, C], that with the result first. Their last rows are 0."""
    for j in range(len(neighbour_VM2)):
        for m in range(neighbour_VM2.shape[1]):
            before, after = neighbour_VM2[j, m, 0], neighbour_VM2[j, m, 1]
            for c in range(0, value_MC.shape[1], LANES):
                for lane in range(LANES):
                    i = np.uint64(c + lane)
                    sides = value_MC[before, i] + value_MC[after, i]
                    spare_MC[m, i] = value_MC[m, i] + np.float32(0.5) * sides
        value_MC, spare_MC = spare_MC, value_MC
    return value_MC, spare_MC
