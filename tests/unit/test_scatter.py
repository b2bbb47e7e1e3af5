"""Degree of scatter: hand-computed masks, and that neither size, place nor orientation matters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsss import interface
from wsss.methods import decouplednet
from wsss.ops.scatter import scatter

MEASURES = ("components", "spread", "largest")
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)


def mask(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


ONE = mask("..##", "..##")
SEVERAL = mask("##..#", "##...", "#..#.", ".....", ".###.")  # areas 5, 1, 1 and 3


def test_components_are_weighted_by_area():
    assert scatter(ONE) == 1
    assert scatter(mask("#.#.#")) == pytest.approx(3)
    assert scatter(mask("###.#")) == pytest.approx(16 / 10)
    assert scatter(SEVERAL) == pytest.approx(100 / (25 + 1 + 1 + 9))


def test_largest_component():
    assert scatter(ONE, "largest") == 0
    assert scatter(SEVERAL, "largest") == pytest.approx(0.5)


def test_diagonal_neighbours_belong_together():
    assert scatter(mask("#.", ".#")) == 1


def test_spread_of_squares_pairs_and_a_disc():
    assert scatter(mask("#"), "spread") == pytest.approx(np.sqrt(1 / 6))
    assert scatter(ONE, "spread") == pytest.approx(np.sqrt(1 / 6))
    # two pixels at distance d: variance d^2 / 4 + 1 / 6
    assert scatter(mask("#...#"), "spread") == pytest.approx(np.sqrt((4 + 1 / 6) / 2))
    y, x = np.mgrid[-60:61, -60:61]
    assert scatter(y**2 + x**2 <= 55**2, "spread") == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-3)


@pytest.mark.parametrize("measure", MEASURES)
@given(mask_HW=masks, factor=st.integers(1, 3), turns=st.integers(0, 3), border=st.integers(0, 3))
def test_size_place_and_orientation_do_not_matter(measure, mask_HW, factor, turns, border):
    changed = np.pad(np.rot90(mask_HW, turns).repeat(factor, 0).repeat(factor, 1), ((border, 0), (0, border)))
    assert scatter(changed, measure) == pytest.approx(scatter(mask_HW, measure))


@given(masks)
def test_bounds(mask_HW):
    assert 1 <= scatter(mask_HW) <= mask_HW.sum()
    assert 0 <= scatter(mask_HW, "largest") < 1
    assert scatter(mask_HW, "spread") > 0.3989
    assert 1 / scatter(mask_HW) <= 1 - scatter(mask_HW, "largest") + 1e-9


def test_an_empty_mask_has_none():
    with pytest.raises(ValueError, match="empty"):
        scatter(np.zeros((3, 3), bool))


def test_the_measures_are_those_that_settings_offer():
    for measure in MEASURES:
        found = interface.options("methods", "decouplednet", {"measure": measure}, "data", function="examples")
        assert found["measure"] == measure
    assert decouplednet.examples.__kwdefaults__["measure"] in MEASURES
