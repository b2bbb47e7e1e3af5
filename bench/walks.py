"""Random walks of IRNet and AffinityNet against sparse and dense matrices."""

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F

from bench.measure import Row, interleaved, peak_extra_mb
from wsss.methods.affinitynet import affinity
from wsss.ops.neighbours import offsets, sources
from wsss.ops.random_walk import edge_affinity, scattered, walk

RADIUS, STEPS = 5, 2**8


def rows() -> list[Row]:
    """IRNet on 94 x 125 cells, AffinityNet on 47 x 63."""
    return [*_irnet(), _affinitynet()]


def _matrix(affinity_nhw: np.ndarray, beta: float) -> scipy.sparse.csr_array:
    """The symmetric affinities of all pixels with unit diagonal, columns divided by their sums."""
    _, height, width = affinity_nhw.shape
    number_hw = np.arange(height * width).reshape(height, width)
    firsts, seconds, values = [], [], []
    for affinity_hw, (dy, dx) in zip(affinity_nhw, offsets(RADIUS), strict=True):
        here = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        there = slice(dy, height), slice(max(0, dx), width - max(0, -dx))
        firsts.append(number_hw[here].ravel())
        seconds.append(number_hw[there].ravel())
        values.append(affinity_hw[here].ravel().astype(np.float64) ** beta)
    first, second, value = map(np.concatenate, (firsts, seconds, values))
    half = scipy.sparse.coo_array((value, (first, second)), shape=(number_hw.size, number_hw.size)).tocsr()
    whole = half + half.T + scipy.sparse.eye_array(number_hw.size)
    return (whole @ scipy.sparse.diags_array(1 / whole.sum(0))).tocsr()


def _labels(value_Khw: np.ndarray) -> np.ndarray:
    large_KHW = F.interpolate(torch.from_numpy(np.ascontiguousarray(value_Khw))[None], scale_factor=4, mode="bilinear")
    scaled_KHW = large_KHW[0] / large_KHW.max()
    return torch.cat([torch.full_like(scaled_KHW[:1], 0.25), scaled_KHW]).argmax(0).numpy()


def _irnet() -> list[Row]:
    rng = np.random.default_rng(0)
    height, width = 94, 125
    edge_hw = F.interpolate(torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(0)), (height, width))
    affinity_nhw = edge_affinity(edge_hw[0, 0].numpy() ** 3, RADIUS)
    value_Khw = rng.random((2, height, width), np.float32) ** 4
    exact = _matrix(affinity_nhw, 10)
    single = exact.T.astype(np.float32).tocsr()

    def ours() -> np.ndarray:
        return walk(value_Khw, affinity_nhw, RADIUS, beta=10, steps=STEPS)

    def sparse(matrix: scipy.sparse.csr_array = single) -> np.ndarray:
        now_PK = value_Khw.reshape(2, -1).T.astype(matrix.dtype)
        for _ in range(STEPS):
            now_PK = matrix @ now_PK
        return now_PK.T.reshape(value_Khw.shape)

    expected = sparse(exact.T.tocsr())
    error = np.abs(ours() - expected).max() / expected.max()
    differing = int((_labels(ours()) != _labels(expected.astype(np.float32))).sum())
    found = f"{error:.1e} of the largest value; {differing} labels differ; {peak_extra_mb(ours):.0f} MB more memory"
    ours_ms, sparse_ms = interleaved(ours, sparse, rounds=5)
    share = 32
    dense_PP = torch.from_numpy(exact.astype(np.float32).toarray())
    part = dense_PP[: len(dense_PP) // share]
    (part_ms,) = interleaved(lambda: part @ dense_PP, rounds=1)
    name = "IRNet walk, 94x125, 256 steps"
    return [
        Row(name, "scipy CSR, 256 products", ours_ms, sparse_ms, 20, found),
        Row(
            name, f"8 dense squarings (1/{share} of one timed, extrapolated)", ours_ms, 8 * share * part_ms, 3000, found
        ),
    ]


def _affinitynet() -> Row:
    height, width, channels = 47, 63, 448
    small = torch.randn(1, channels, 8, 10, generator=torch.Generator().manual_seed(0))
    feature_BDhw = F.interpolate(small, (height, width), mode="bilinear")
    value_Khw = np.random.default_rng(0).random((2, height, width), np.float32)
    rows, columns = sources((height, width), RADIUS)
    number_hw = np.arange(height * width).reshape(height, width)
    first_P = torch.from_numpy(number_hw[rows, columns].ravel())

    def ours() -> np.ndarray:
        affinity_nst = affinity(feature_BDhw, RADIUS)[0].numpy()
        affinity_nhw = scattered(affinity_nst, (height, width), RADIUS)
        return walk(value_Khw, affinity_nhw, RADIUS, beta=8, steps=STEPS)

    def plain() -> np.ndarray:
        flat_DP = feature_BDhw[0].flatten(1)
        dense_PP = torch.eye(height * width)
        start_DP = flat_DP.index_select(1, first_P)
        for dy, dx in offsets(RADIUS).tolist():
            second_P = first_P + dy * width + dx
            distance_P = (start_DP - flat_DP.index_select(1, second_P)).abs().mean(0)
            dense_PP[first_P, second_P] = dense_PP[second_P, first_P] = torch.exp(-distance_P)
        dense_PP = dense_PP**8
        dense_PP = dense_PP / dense_PP.sum(0, keepdim=True)
        for _ in range(8):
            dense_PP = dense_PP @ dense_PP
        return (torch.from_numpy(value_Khw).flatten(1) @ dense_PP).numpy().reshape(value_Khw.shape)

    expected = plain()
    error = np.abs(ours() - expected).max() / expected.max()
    ours_ms, anchor_ms = interleaved(ours, plain, rounds=2)
    anchor = "gather per offset + dense power"
    return Row(
        "AffinityNet affinities + walk, 47x63", anchor, ours_ms, anchor_ms, 15, f"{error:.1e} of the largest value"
    )
