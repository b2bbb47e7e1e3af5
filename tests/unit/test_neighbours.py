import numpy as np
import pytest

from wsss.ops.neighbours import offsets, paths, sources

RADII = [2, 3, 4, 5, 7, 10]


def test_offsets_by_hand():
    # (1, -1) and (1, 1) are at distance sqrt(2) < 2, (0, 2) is not
    np.testing.assert_array_equal(offsets(2), [[0, 1], [1, -1], [1, 0], [1, 1]])
    assert offsets(2).dtype == np.int64


@pytest.mark.parametrize(("radius", "count"), [(5, 34), (10, 152)])
def test_number_of_offsets(radius, count):
    assert offsets(radius).shape == (count, 2)


@pytest.mark.parametrize("radius", RADII)
def test_offsets_and_their_mirror_points_fill_the_disc_once(radius):
    half = list(map(tuple, offsets(radius).tolist()))
    assert half == sorted(half)
    both = half + [(-dy, -dx) for dy, dx in half]
    span = range(-radius, radius + 1)
    disc = {(y, x) for y in span for x in span if 0 < y * y + x * x < radius * radius}
    assert len(both) == len(disc)
    assert set(both) == disc


def test_paths_by_hand():
    path = {tuple(offset): points.tolist() for offset, points in zip(offsets(5).tolist(), paths(5), strict=True)}
    assert path[0, 3] == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert path[1, -1] == [[0, -1], [0, 0], [1, -1], [1, 0]]
    # |4x - 2y| < sqrt(20)
    assert path[4, 2] == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2], [3, 1], [3, 2], [4, 1], [4, 2]]


@pytest.mark.parametrize("radius", RADII)
def test_paths_hold_both_ends_and_are_the_same_from_either(radius):
    for offset, points in zip(offsets(radius), paths(radius), strict=True):
        assert points.dtype == np.int64
        here = set(map(tuple, points.tolist()))
        assert len(here) == len(points)
        assert {(0, 0), tuple(offset.tolist())} <= here
        assert set(map(tuple, (offset - points).tolist())) == here


@pytest.mark.parametrize("radius", RADII)
def test_paths_of_mirrored_offsets_are_mirrored(radius):
    path = {
        tuple(offset): set(map(tuple, points.tolist()))
        for offset, points in zip(offsets(radius).tolist(), paths(radius), strict=True)
    }
    for dy, dx in path:
        if (dy, -dx) in path:
            assert path[dy, -dx] == {(y, -x) for y, x in path[dy, dx]}


def test_sources_by_hand():
    assert sources((6, 9), 3) == (slice(0, 4), slice(2, 7))


@pytest.mark.parametrize("radius", [2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 9), (5, 9), (5, 8), (13, 15)])
def test_sources_are_the_pixels_whose_neighbours_are_all_on_the_grid(shape, radius):
    place = np.moveaxis(np.indices(shape), 0, -1)[:, :, None] + offsets(radius)
    complete = ((place >= 0) & (place < shape)).all((2, 3))
    regular = np.zeros(shape, bool)
    regular[sources(shape, radius)] = True
    np.testing.assert_array_equal(regular, complete)
