"""Random walks of IRNet and AffinityNet: 2^8 steps."""

from collections.abc import Iterator

import cv2
import numpy as np
import scipy.sparse
import torch

from bench.pictures import photographs, scores
from bench.race import Row, extra_megabytes, once, race
from wsss.methods.affinitynet import affinity
from wsss.ops.neighbours import offsets, sources
from wsss.ops.random_walk import edge_affinity, scattered, walk

RADIUS, STEPS = 5, 256
SHARE = 16
"""One dense squaring is timed on this part of its rows."""


def rows() -> Iterator[Row]:
    """IRNet against sparse and dense matrices, AffinityNet with its affinities."""
    yield from _irnet()
    yield _affinitynet()


def matrix(affinity_nhw: np.ndarray, beta: float, dtype: type) -> scipy.sparse.csr_matrix:
    """Transition matrix whose columns sum to one, of affinities to later neighbours and 1 on the diagonal."""
    _, height, width = affinity_nhw.shape
    number_hw = np.arange(height * width).reshape(height, width)
    first, second, value = [], [], []
    for (dy, dx), affinity_hw in zip(offsets(RADIUS), affinity_nhw, strict=True):
        here = np.s_[: height - dy, max(0, -dx) : width - max(0, dx)]
        there = np.s_[dy:, max(0, dx) : width - max(0, -dx)]
        first.append(number_hw[here].ravel())
        second.append(number_hw[there].ravel())
        value.append(affinity_hw[here].ravel().astype(dtype) ** beta)
    i, j, a = map(np.concatenate, (first, second, value))
    cells = height * width
    half = scipy.sparse.coo_matrix((a, (i, j)), (cells, cells))
    full = (half + half.T + scipy.sparse.identity(cells, dtype)).tocsr()
    return (full @ scipy.sparse.diags(1 / np.asarray(full.sum(0)).ravel())).T.tocsr().astype(dtype)


def by_products(values_Khw: np.ndarray, affinity_nhw: np.ndarray, beta: float, dtype: type = np.float32) -> np.ndarray:
    """Maps after the steps by one sparse product for each."""
    transition_PP = matrix(affinity_nhw, beta, dtype)
    now_PK = values_Khw.reshape(len(values_Khw), -1).T.astype(dtype)
    for _ in range(STEPS):
        now_PK = transition_PP @ now_PK
    return now_PK.T.reshape(values_Khw.shape)


def labels(maps_Khw: np.ndarray) -> np.ndarray:
    """Enlarged by 4, divided by the maximum, and the largest of them and a background of 0.25."""
    large_KHW = np.stack([cv2.resize(m.astype(np.float32), None, fx=4, fy=4) for m in maps_Khw])
    large_KHW /= large_KHW.max((1, 2), keepdims=True)
    return np.concatenate([np.full((1, *large_KHW.shape[1:]), 0.25, np.float32), large_KHW]).argmax(0)


def _irnet() -> Iterator[Row]:
    rgb_HW3 = photographs(1)[0]
    grey_hw = cv2.resize(cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2GRAY), (125, 94), interpolation=cv2.INTER_AREA)
    edge_hw = np.hypot(*(cv2.Sobel(grey_hw, cv2.CV_32F, *axes) for axes in ((1, 0), (0, 1))))
    affinity_nhw = edge_affinity((edge_hw / edge_hw.max()).astype(np.float32), RADIUS)
    values_Khw = np.stack([cv2.resize(m, (125, 94)) for m in scores(rgb_HW3, 2)])

    def ours() -> np.ndarray:
        return walk(values_Khw, affinity_nhw, RADIUS, beta=10, steps=STEPS)

    exact_Khw = by_products(values_Khw, affinity_nhw, 10, np.float64)
    unequal = int((labels(ours()) != labels(exact_Khw)).sum())
    text = f"{unequal} labels of {16 * grey_hw.size} differ from float64; {extra_megabytes(ours):.0f} MB more memory"
    mine, sparse = race(ours, lambda: by_products(values_Khw, affinity_nhw, 10), rounds=5)
    yield Row("IRNet walk, 94 x 125", "scipy CSR, 256 products", mine, sparse, 20, text)
    dense_PP = matrix(affinity_nhw, 10, np.float32).toarray()
    part = len(dense_PP) // SHARE
    dense = once(lambda: dense_PP[:part] @ dense_PP) * len(dense_PP) / part * 8
    yield Row("IRNet walk, 94 x 125", "8 dense squarings (extrapolated)", mine, dense, 3000, text)


def _affinitynet(channels: int = 448, size: tuple[int, int] = (47, 63)) -> Row:
    feature_1Dhw = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    values_Khw = np.stack([cv2.resize(m, size[::-1]) for m in scores(photographs(1)[0], 3)])
    number_hw = torch.arange(size[0] * size[1]).reshape(size)
    from_P = number_hw[sources(size, RADIUS)].flatten()

    def ours() -> np.ndarray:
        affinity_nst = affinity(feature_1Dhw, RADIUS)[0].numpy()
        return walk(values_Khw, scattered(affinity_nst, size, RADIUS), RADIUS, beta=8, steps=STEPS)

    def plain() -> np.ndarray:
        feature_DP = feature_1Dhw[0].flatten(1)
        dense_PP = torch.eye(feature_DP.shape[1])
        here_DP = feature_DP.index_select(1, from_P)
        for dy, dx in offsets(RADIUS).tolist():
            to_P = from_P + dy * size[1] + dx
            alike_P = torch.exp(-(feature_DP.index_select(1, to_P) - here_DP).abs().mean(0)) ** 8
            dense_PP[from_P, to_P] = alike_P
            dense_PP[to_P, from_P] = alike_P
        dense_PP /= dense_PP.sum(0)
        for _ in range(8):
            dense_PP = dense_PP @ dense_PP
        return (torch.from_numpy(values_Khw).flatten(1) @ dense_PP).reshape(values_Khw.shape).numpy()

    apart = float(np.abs(ours() - plain()).max() / values_Khw.max())
    return Row(
        "AffinityNet affinities and walk, 47 x 63",
        "gather, dense power",
        *race(ours, plain, rounds=3),
        15,
        f"{apart:.1e}",
    )
