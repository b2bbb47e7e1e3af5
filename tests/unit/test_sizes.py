"""Size arithmetic against its formulae in exact integers."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss.ops.sizes import resized_long, resized_long_psa, rounded_up, scaled, strided

SIDE = st.integers(1, 3000)


def test_rounding_is_half_to_even():
    assert scaled((5, 7), 0.5) == (2, 4)
    assert scaled((375, 333), 1.5) == (562, 500)


def test_no_side_vanishes():
    assert scaled((1, 3), 0.25) == (1, 1)


def test_long_side():
    assert resized_long((375, 500), 640) == resized_long_psa((375, 500), 640) == (480, 640)
    assert resized_long((500, 333), 320) == resized_long_psa((500, 333), 320) == (320, 213)


@pytest.mark.parametrize(("side", "stride4", "up16"), [(1, 1, 16), (4, 1, 16), (5, 2, 16), (17, 5, 32)])
def test_grids(side, stride4, up16):
    assert strided((side, side)) == (stride4, stride4)
    assert rounded_up((side, side)) == (up16, up16)


@given(SIDE, SIDE, st.integers(1, 64))
def test_grids_obey_their_definitions(height, width, stride):
    size = (height, width)
    for n, count, up in zip(size, strided(size, stride), rounded_up(size, stride), strict=True):
        assert count == len(range(0, n, stride))
        assert up % stride == 0
        assert 0 <= up - n < stride


@given(SIDE, SIDE, st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0]))
def test_scaled_is_exact_for_binary_factors(height, width, factor):
    expected = tuple(max(1, round(Fraction(n) * Fraction(factor))) for n in (height, width))
    assert scaled((height, width), factor) == expected


@given(SIDE, SIDE, st.integers(1, 2000))
def test_the_long_side_becomes_the_target(height, width, target):
    for rule in (resized_long, resized_long_psa):
        found = rule((height, width), target)
        assert max(found) == target
        assert abs(min(found) - max(1, floor(min(height, width) * target / max(height, width) + 0.5))) <= 1
