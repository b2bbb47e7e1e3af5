"""Random walk by affinities of pixels (AffinityNet, Ahn and Kwak 2018, section 3.4; IRNet, Ahn et al. 2019, 4.2).

The n later neighbours of every pixel define a symmetric matrix A with unit diagonal; T = A D^-1 with its column sums D.
As A is symmetric, one step `values T` replaces every pixel by the mean of its neighbours, weighted by A. No matrix is
built. T has a spectrum in [-1, 1], where x^m is a short sum of Chebyshev polynomials: about sqrt(m) steps replace m.

Letters: K maps, n later neighbours (wsss.ops.neighbours.offsets), h x w the grid, s x t its regular sources; H x W the
grid with a margin, P = H x W; k = 2 radius - 1, the side of the window of all neighbours.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.ops.neighbours import offsets, sources
from wsss.ops.pairs import path_maximum

TRUNCATION = 1e-6  # largest error on [-1, 1] of the sum that stands for x^m
SMALLEST = 1e-12  # smaller values, as a share of the largest, are 0: numbers too small to be normal are slow
SMALLEST_WEIGHT = 1e-18  # and so are smaller affinities^beta

Array = TypeVar("Array", np.ndarray, Tensor)


def edge_affinity(edge_hw: np.ndarray, radius: int) -> np.ndarray:
    """1 - maximum of the boundary map (0..1) over the path to each later neighbour, as float32 [n, h, w] (IRNet eq. 3).

    All pixels are sources; 0 where the neighbour lies outside.
    """
    return edge_affinity_torch(torch.from_numpy(np.array(edge_hw, np.float32, order="C")), radius).numpy()


def edge_affinity_torch(edge_hw: Tensor, radius: int) -> Tensor:
    """`edge_affinity` of a tensor, on its device."""
    # a wall around the map makes every pixel a regular source
    margin = radius - 1
    wall_HW = F.pad(edge_hw.float(), (margin, margin, 0, margin), value=1)
    return 1 - path_maximum(wall_HW[None], radius)[0]


def scattered(affinity_nst: np.ndarray, shape_hw: tuple[int, int], radius: int) -> np.ndarray:
    """Affinities known at regular sources only, on the whole grid: float32 [n, h, w], 0 elsewhere (AffinityNet).

    Pixels at the border may be left without neighbours; they keep their values in a walk.
    """
    affinity_nhw = np.zeros((len(affinity_nst), *shape_hw), np.float32)
    affinity_nhw[:, *sources(shape_hw, radius)] = affinity_nst
    return affinity_nhw


def walk(values_Khw: np.ndarray, affinity_nhw: np.ndarray, radius: int, *, beta: float, steps: int) -> np.ndarray:
    """Maps after `steps` steps, values T^steps with A = affinity^beta: float32 [K, h, w].

    affinity_nhw: 0..1, of every pixel to its later neighbours, 0 where these lie outside. Columns of T sum to one, so
    no value leaves the range of its map. steps >= 0 (the papers: 2^8). One thread; about 1e-6 of the largest value
    off. ValueError for shapes that do not fit.
    """
    _check(values_Khw.shape, affinity_nhw.shape, radius, steps)
    margins = ((0, 0), (radius - 1, radius - 1), (radius - 1, radius - 1))
    weight_nhw = np.power(affinity_nhw, beta, dtype=np.float32)
    weight_nHW = np.pad(np.where(weight_nhw < SMALLEST_WEIGHT, 0, weight_nhw), margins)
    values_Khw = np.asarray(values_Khw, np.float32)
    start_KHW = np.pad(values_Khw, margins)
    pixels = weight_nHW[0].size
    weight_nP, start_KP = weight_nHW.reshape(-1, pixels), start_KHW.reshape(len(start_KHW), pixels)
    step_n = offsets(radius) @ [weight_nHW.shape[2], 1]
    share_P = (1 / _degrees(weight_nP, step_n)).astype(np.float32)
    smallest = np.float32(SMALLEST * np.abs(start_KP).max(initial=0))
    end_KP = _power(start_KP, lambda now_KP: _change(now_KP, weight_nP, share_P, step_n, smallest), steps)
    inner = slice(radius - 1, 1 - radius)
    end_Khw = end_KP.reshape(start_KHW.shape)[:, inner, inner]
    return end_Khw.clip(values_Khw.min((1, 2), keepdims=True), values_Khw.max((1, 2), keepdims=True))


@torch.no_grad()
def walk_torch(values_Khw: Tensor, affinity_nhw: Tensor, radius: int, *, beta: float, steps: int) -> Tensor:
    """`walk` of tensors, on their device."""
    _check(values_Khw.shape, affinity_nhw.shape, radius, steps)
    weight_kkhw = _window(affinity_nhw.float() ** beta, radius)
    weight_kkhw = (weight_kkhw / (1 + weight_kkhw.sum((0, 1), dtype=torch.float64))).float()

    def change(now_Khw: Tensor) -> Tensor:
        return (weight_kkhw * (_around(now_Khw, radius) - now_Khw[:, None, None])).sum((1, 2))

    values_Khw = values_Khw.float()
    return _power(values_Khw, change, steps).clamp(values_Khw.amin((1, 2), True), values_Khw.amax((1, 2), True))


def _check(values: tuple[int, ...], affinity: tuple[int, ...], radius: int, steps: int) -> None:
    neighbours = len(offsets(radius))
    if len(values) != 3 or affinity != (neighbours, *values[1:]):
        raise ValueError(
            f"maps of shape {tuple(values)} and affinities of {tuple(affinity)} do not fit: "
            f"at radius {radius} a pixel has {neighbours} later neighbours"
        )
    if steps < 0:
        raise ValueError(f"{steps} steps: a walk has 0 or more")


def _power(start: Array, change: Callable[[Array], Array], steps: int) -> Array:
    """Values after `steps` steps, given the change of values in one.

    T_k+1 - T_k = (T_k - T_k-1) + 2 (x - 1) T_k: summing changes keeps rounding errors far smaller than the usual
    recurrence, which is unstable where neighbours have like values.
    """
    shares = _chebyshev(steps)
    now, last_change, total = start, 0 * start, shares[0] * start
    for degree, share in enumerate(shares[1:], 1):
        last_change = last_change + (1 if degree == 1 else 2) * change(now)
        now = now + last_change
        total += share * now
    return total


def _chebyshev(steps: int) -> list[float]:
    """Shares of T_0, T_1, ... in x^steps: the chances that as many fair steps of +-1 end so far from 0.

    Cut where the rest sums to less than TRUNCATION / 2 (Hoeffding's bound) and scaled to sum to one, so 1^steps is 1.
    """
    last = min(steps, math.ceil(math.sqrt(2 * steps * math.log(4 / TRUNCATION))))
    shares = [0.0] * (last + 1)
    chance = 1.0
    for distance in range(steps % 2, last + 1, 2):
        shares[distance] = chance if distance else chance / 2
        chance *= (steps - distance) / (steps + distance + 2)
    total = sum(shares)
    return [share / total for share in shares]


def _degrees(weight_nP: np.ndarray, step_n: np.ndarray) -> np.ndarray:
    """Row sums of A, float64 [P]."""
    first, last = step_n[-1], weight_nP.shape[1] - step_n[-1]
    degree_P = np.ones(weight_nP.shape[1])
    for weight_P, step in zip(weight_nP, step_n, strict=True):
        degree_P[first:last] += weight_P[first:last]
        degree_P[first:last] += weight_P[first - step : last - step]
    return degree_P


@numba.njit(cache=True, nogil=True)
def _change(
    now_KP: np.ndarray, weight_nP: np.ndarray, share_P: np.ndarray, step_n: np.ndarray, smallest: np.float32
) -> np.ndarray:
    now_KP = np.where(np.abs(now_KP) < smallest, np.float32(0), now_KP)
    change_KP = np.zeros_like(now_KP)
    first = step_n[-1]  # the longest step, and the length of the margin before the first and after the last pixel
    last = len(share_P) - first
    for n in range(len(step_n)):
        step = step_n[n]
        ahead, behind = weight_nP[n, first:last], weight_nP[n, first - step : last - step]
        for k in range(len(now_KP)):
            here, change = now_KP[k, first:last], change_KP[k, first:last]
            later, earlier = now_KP[k, first + step : last + step], now_KP[k, first - step : last - step]
            for p in range(last - first):
                change[p] += ahead[p] * (later[p] - here[p]) + behind[p] * (earlier[p] - here[p])
    return change_KP * share_P


def _window(affinity_nhw: Tensor, radius: int) -> Tensor:
    """Affinities by the place of the neighbour in the window around a pixel: (k,k,h,w), 0 in the centre."""
    centre, (height, width) = radius - 1, affinity_nhw.shape[1:]
    padded_nHW = F.pad(affinity_nhw, (centre,) * 4)
    window_kkhw = affinity_nhw.new_zeros(2 * radius - 1, 2 * radius - 1, height, width)
    for affinity_hw, padded_HW, (dy, dx) in zip(affinity_nhw, padded_nHW, offsets(radius).tolist(), strict=True):
        window_kkhw[centre + dy, centre + dx] = affinity_hw
        top, left = centre - dy, centre - dx
        window_kkhw[top, left] = padded_HW[top : top + height, left : left + width]
    return window_kkhw


def _around(x_hw: Tensor, radius: int) -> Tensor:
    """Values (...,k,k,h,w) in the window around each pixel of maps (...,h,w), 0 outside; a view of the padded maps."""
    height, width = x_hw.shape[-2:]
    return F.pad(x_hw, (radius - 1,) * 4).unfold(-2, height, 1).unfold(-2, width, 1)
