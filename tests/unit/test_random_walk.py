import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.ops.neighbours import offsets, paths
from wsss.ops.random_walk import (
    TRUNCATION,
    _chebyshev,
    edge_affinity,
    edge_affinity_torch,
    scattered,
    walk,
    walk_torch,
)
from wsss.ops.scores import enlarge, labels_at

GRID = (94, 125)  # a 500 x 375 image at stride 4


def affinity_matrix(affinity_nhw, radius, beta):
    """A in float64, entry by entry of the definition."""
    _, height, width = affinity_nhw.shape
    place_hw = np.arange(height * width).reshape(height, width)
    rows, columns, values = [place_hw.ravel()], [place_hw.ravel()], [np.ones(height * width)]
    for (dy, dx), affinity_hw in zip(offsets(radius), affinity_nhw.astype(np.float64) ** beta, strict=True):
        y, x = np.nonzero((np.arange(height) + dy < height)[:, None] & np.isin(np.arange(width) + dx, range(width)))
        first, second = place_hw[y, x], place_hw[y + dy, x + dx]
        rows += [first, second]
        columns += [second, first]
        values += [affinity_hw[y, x]] * 2
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_array(entries, shape=(height * width, height * width))


def reference(values_Khw, affinity_nhw, radius, *, beta, steps):
    matrix = affinity_matrix(affinity_nhw, radius, beta)
    transition = matrix @ scipy.sparse.diags_array(1 / matrix.sum(0))
    rows = values_Khw.reshape(len(values_Khw), -1).astype(np.float64)
    for _ in range(steps):
        rows = rows @ transition
    return rows.reshape(values_Khw.shape)


def smooth(shape, seed, sigma):
    """Smooth noise, each map from 0 to 1."""
    noise = np.random.default_rng(seed).random(shape)
    noise = scipy.ndimage.gaussian_filter(noise, [0] * (len(shape) - 2) + [sigma] * 2)
    low, high = noise.min((-2, -1), keepdims=True), noise.max((-2, -1), keepdims=True)
    return ((noise - low) / (high - low)).astype(np.float32)


def realistic(seed, classes=2):
    edge_hw = smooth(GRID, seed, 2) ** 2
    return smooth((classes, *GRID), seed + 100, 8) * (1 - edge_hw), edge_hw


def random_affinity(shape, radius, seed):
    return edge_affinity(np.random.default_rng(seed).random(shape, np.float32), radius)


def test_edge_affinity_by_hand():
    # radius 3 on one row: offsets (0, 1) and (0, 2), then three rows of neighbours below, all outside
    affinity_nhw = edge_affinity(np.array([[0, 0.25, 1, 0.5, 0]]), 3)
    assert affinity_nhw.shape == (len(offsets(3)), 1, 5)
    assert affinity_nhw.dtype == np.float32
    np.testing.assert_array_equal(affinity_nhw[0, 0], [0.75, 0, 0, 0.5, 0])
    np.testing.assert_array_equal(affinity_nhw[1, 0], [0, 0, 0, 0, 0])
    assert not affinity_nhw[2:].any()


@pytest.mark.parametrize(("shape", "radius"), [((1, 1), 5), ((2, 3), 5), ((7, 12), 4), ((9, 11), 5)])
def test_edge_affinity_is_that_of_every_single_path(shape, radius):
    edge_hw = np.random.default_rng(0).random(shape, np.float32)
    own_nhw = edge_affinity(edge_hw, radius)
    for n, (offset, points) in enumerate(zip(offsets(radius), paths(radius), strict=True)):
        for pixel in np.ndindex(shape):
            end = pixel + offset
            inside = (end >= 0).all() and (end < shape).all()
            expected = 1 - max(edge_hw[tuple(pixel + point)] for point in points) if inside else 0
            assert own_nhw[n, *pixel] == expected


def test_walk_by_hand():
    # 0.5^2 = 1/4 between two pixels: column sums 5/4, T = [[.8, .2], [.2, .8]]
    affinity_nhw = np.zeros((len(offsets(2)), 1, 2), np.float32)
    affinity_nhw[0, 0, 0] = 0.5
    start = np.array([[[1, 0]]], np.float32)
    for steps, expected in [(0, [1, 0]), (1, [0.8, 0.2]), (2, [0.68, 0.32]), (3, [0.608, 0.392])]:
        end = walk(start, affinity_nhw, 2, beta=2, steps=steps)
        assert end.dtype == np.float32
        np.testing.assert_allclose(end[0, 0], expected, atol=1e-6)


def test_columns_not_rows_are_normalised():
    # a chain of three: the middle has column sum 3, the ends 2; what starts in the middle is divided by the receiver
    affinity_nhw = edge_affinity(np.zeros((1, 3)), 2)
    end = walk(np.array([[[0, 1, 0]]], np.float32), affinity_nhw, 2, beta=1, steps=1)
    np.testing.assert_allclose(end[0, 0], [1 / 2, 1 / 3, 1 / 2], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    radius=st.integers(2, 6),
    classes=st.integers(0, 3),
    beta=st.sampled_from([1, 2.5, 8, 10]),
    steps=st.sampled_from([0, 1, 2, 3, 7, 64, 255, 256, 1000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_walk_is_the_power_of_the_dense_matrix(height, width, radius, classes, beta, steps, seed):
    affinity_nhw = random_affinity((height, width), radius, seed)
    start_Khw = np.random.default_rng(seed).random((classes, height, width), np.float32)
    own_Khw = walk(start_Khw, affinity_nhw, radius, beta=beta, steps=steps)
    on_torch = walk_torch(
        torch.from_numpy(start_Khw), torch.from_numpy(affinity_nhw), radius, beta=beta, steps=steps
    ).numpy()
    assert own_Khw.shape == on_torch.shape == start_Khw.shape
    matrix = affinity_matrix(affinity_nhw, radius, beta).toarray()
    assert (matrix == matrix.T).all()
    power = np.linalg.matrix_power(matrix / matrix.sum(0), steps)
    exact_Khw = (start_Khw.reshape(classes, height * width).astype(np.float64) @ power).reshape(start_Khw.shape)
    # maps are 0..1 and most keep a large part of it
    np.testing.assert_allclose(own_Khw, exact_Khw, atol=1e-5, rtol=0)
    np.testing.assert_allclose(on_torch, own_Khw, atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 256])
def test_columns_of_the_transition_sum_to_one(steps):
    shape = (7, 9)
    unit_Phw = np.eye(63, dtype=np.float32).reshape(63, *shape)
    power = walk(unit_Phw, random_affinity(shape, 5, 0), 5, beta=10, steps=steps)
    np.testing.assert_allclose(power.sum(0), 1, atol=1e-5)
    assert (power >= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 30), (31, 17)])
@pytest.mark.parametrize("value", [0, 0.3, 1])
def test_constant_maps_stay(shape, value):
    start_Khw = np.full((2, *shape), value, np.float32)
    affinity_nhw = random_affinity(shape, 5, 1)
    np.testing.assert_array_equal(walk(start_Khw, affinity_nhw, 5, beta=10, steps=256), start_Khw)
    on_torch = walk_torch(torch.from_numpy(start_Khw), torch.from_numpy(affinity_nhw), 5, beta=10, steps=256)
    np.testing.assert_array_equal(on_torch.numpy(), start_Khw)


def test_walk_keeps_the_sum_weighted_by_degree_and_the_range():
    values_Khw, edge_hw = realistic(0)
    affinity_nhw = edge_affinity(edge_hw, 5)
    degree_hw = affinity_matrix(affinity_nhw, 5, 10).sum(0).reshape(GRID)
    end_Khw = walk(values_Khw, affinity_nhw, 5, beta=10, steps=256)
    np.testing.assert_allclose((end_Khw * degree_hw).sum((1, 2)), (values_Khw * degree_hw).sum((1, 2)), rtol=1e-5)
    assert (end_Khw.min((1, 2)) >= values_Khw.min((1, 2))).all()
    assert (end_Khw.max((1, 2)) <= values_Khw.max((1, 2))).all()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("walls", [False, True])
def test_walk_of_a_whole_image(seed, walls):
    values_Khw, edge_hw = realistic(seed)
    if walls:
        # saturated boundaries: some pixels hardly exchange anything, which takes float32 below its normal range
        edge_hw = np.where(edge_hw > 0.2, np.float32(0.99), edge_hw)
        values_Khw = values_Khw * (values_Khw > 0.7)
    affinity_nhw = edge_affinity(edge_hw, 5)
    own_Khw = walk(values_Khw, affinity_nhw, 5, beta=10, steps=256)
    exact_Khw = reference(values_Khw, affinity_nhw, 5, beta=10, steps=256)
    np.testing.assert_allclose(own_Khw, exact_Khw, atol=1e-5 * exact_Khw.max(), rtol=0)

    def label(walked_Khw):
        return labels_at(enlarge(walked_Khw / walked_Khw.max(), (375, 500), grid=(376, 500)), [3, 8], 0.25)

    assert len(np.unique(label(own_Khw))) > 1
    assert np.mean(label(own_Khw) != label(exact_Khw)) < 1e-4
    on_torch = walk_torch(
        torch.from_numpy(values_Khw), edge_affinity_torch(torch.from_numpy(edge_hw), 5), 5, beta=10, steps=256
    ).numpy()
    np.testing.assert_allclose(on_torch, own_Khw, atol=1e-5, rtol=0)


def test_time_and_memory_of_a_whole_image():
    values_Khw, edge_hw = realistic(2)

    def seconds():
        start = time.thread_time()
        walk(values_Khw, edge_affinity(edge_hw, 5), 5, beta=10, steps=256)
        return time.thread_time() - start

    seconds()
    assert min(seconds() for _ in range(5)) < 0.1
    tracemalloc.start()
    walk(values_Khw, edge_affinity(edge_hw, 5), 5, beta=10, steps=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_seeds_behind_walls_are_not_slower():
    # numbers below the normal range of float32 once made this four times slower
    values_Khw, edge_hw = realistic(3)
    seed_Khw = np.zeros_like(values_Khw)
    seed_Khw[:, 40, 60] = 1

    def seconds(start_Khw, boundary_hw):
        affinity_nhw = edge_affinity(boundary_hw, 5)
        times = []
        for _ in range(5):
            start = time.thread_time()
            walk(start_Khw, affinity_nhw, 5, beta=10, steps=256)
            times.append(time.thread_time() - start)
        return min(times)

    wall_hw = np.where(edge_hw > 0.2, np.float32(0.98), 0)
    assert seconds(seed_Khw, wall_hw) < 2 * seconds(values_Khw, edge_hw)


def test_threads_change_nothing():
    values_Khw, edge_hw = realistic(4)
    alone = walk(values_Khw, edge_affinity(edge_hw, 5), 5, beta=10, steps=256)
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(lambda: walk(values_Khw, edge_affinity(edge_hw, 5), 5, beta=10, steps=256)) for _ in range(3)
        ]
        assert all((job.result() == alone).all() for job in jobs)


def test_memory_layout_and_precision_of_the_maps_change_nothing():
    values_Khw, edge_hw = realistic(5)
    affinity_nhw = edge_affinity(edge_hw, 5)
    plain = walk(values_Khw, affinity_nhw, 5, beta=10, steps=16)
    np.testing.assert_array_equal(walk(np.asfortranarray(values_Khw), affinity_nhw, 5, beta=10, steps=16), plain)
    wide = walk(values_Khw.astype(np.float64), np.asfortranarray(affinity_nhw), 5, beta=10, steps=16)
    np.testing.assert_array_equal(wide, plain)


def test_scattered_by_hand():
    # radius 2 on 3 x 4: sources are rows 0..1, columns 1..2
    known_nst = np.arange(1, 17, dtype=np.float32).reshape(4, 2, 2) / 16
    affinity_nhw = scattered(known_nst, (3, 4), 2)
    assert affinity_nhw.dtype == np.float32
    np.testing.assert_array_equal(affinity_nhw[:, :2, 1:3], known_nst)
    assert affinity_nhw.sum() == known_nst.sum()


def test_pixels_without_regular_sources_keep_their_values():
    height, width = shape = (13, 15)
    affinity_nhw = scattered(np.ones((34, 9, 7), np.float32), shape, 5)
    start_Khw = np.random.default_rng(0).random((2, *shape), np.float32)
    end_Khw = walk(start_Khw, affinity_nhw, 5, beta=8, steps=256)
    kept = np.argwhere((np.abs(end_Khw - start_Khw) < 1e-6).all(0)).tolist()
    bottom = height - 1
    left = [[bottom - 1, 0], [bottom, 0], [bottom, 1]]
    right = [[y, width - 1 - x] for y, x in left]
    assert sorted(kept) == sorted([[0, 0], [0, 1], [0, 2], [0, 3], *left, *right])


def test_maps_without_any_regular_source_keep_all_values():
    start_Khw = np.random.default_rng(0).random((1, 2, 3), np.float32)
    affinity_nhw = scattered(np.zeros((34, 0, 0), np.float32), (2, 3), 5)
    np.testing.assert_allclose(walk(start_Khw, affinity_nhw, 5, beta=8, steps=256), start_Khw, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 64, 255, 256, 4096])
def test_the_polynomial_is_the_power(steps):
    shares = _chebyshev(steps)
    x = np.cos(np.linspace(0, np.pi, 5001))
    np.testing.assert_allclose(np.polynomial.chebyshev.chebval(x, shares), x**steps, atol=TRUNCATION, rtol=0)
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    assert len(shares) <= min(steps, 5.6 * steps**0.5) + 2


@pytest.mark.parametrize("function", [walk, walk_torch])
def test_walk_refuses_what_does_not_fit(function):
    arrays = np if function is walk else torch
    maps, affinity = arrays.zeros((2, 6, 7)), arrays.zeros((34, 6, 7))
    with pytest.raises(ValueError, match="do not fit"):
        function(maps, affinity, 4, beta=10, steps=2)
    with pytest.raises(ValueError, match="do not fit"):
        function(maps, affinity[:, :5], 5, beta=10, steps=2)
    with pytest.raises(ValueError, match="0 or more"):
        function(maps, affinity, 5, beta=10, steps=-1)
