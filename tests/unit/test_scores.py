import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsss.errors import UserError
from wsss.ops.scores import _round_to_half, background_alpha, enlarge, half_below, labels_at

SIDES = st.integers(1, 40)
HALVES = st.floats(0, 1, width=16)


def test_enlarge_by_hand():
    # sample centres of the target at 0.5 (i + 0.5) - 0.5 = -0.25, 0.25, 0.75, 1.25 on the source axis
    row = np.array([[[0.0, 1.0]]], np.float16)
    np.testing.assert_array_equal(enlarge(row, (1, 4)), [[[0, 0.25, 0.75, 1]]])
    np.testing.assert_array_equal(enlarge(row.transpose(0, 2, 1), (4, 1))[..., 0], [[0, 0.25, 0.75, 1]])


@settings(max_examples=40, deadline=None)
@given(h=SIDES, w=SIDES, height=SIDES, width=SIDES, seed=st.integers(0, 2**32 - 1))
def test_enlarge_is_the_bilinear_of_torch(h, w, height, width, seed):
    score_Khw = np.random.default_rng(seed).random((2, h, w)).astype(np.float16)
    own = enlarge(score_Khw, (height, width))
    wide = torch.from_numpy(score_Khw.astype(np.float64))[None]
    exact = F.interpolate(wide, (height, width), mode="bilinear", align_corners=False)[0].numpy()
    assert own.dtype == np.float16
    # within 1e-6 before the rounding to half, whose step at 1 is 2^-11
    step = np.spacing(np.maximum(exact, 2**-14).astype(np.float16)).astype(np.float64)
    assert (np.abs(own.astype(np.float64) - exact) <= step / 2 + 1e-6).all()
    low, high = score_Khw.min((1, 2)), score_Khw.max((1, 2))
    assert (own.min((1, 2)) >= low).all()
    assert (own.max((1, 2)) <= high).all()


def test_enlarge_to_the_same_size_changes_nothing():
    score_Khw = np.random.default_rng(0).random((3, 7, 9)).astype(np.float16)
    assert (enlarge(score_Khw, (7, 9)) == score_Khw).all()
    assert (enlarge(np.asfortranarray(score_Khw), (7, 9)) == score_Khw).all()


@pytest.mark.parametrize("size", [(16, 20), (13, 18), (1, 1)])
def test_enlarge_on_a_padded_grid_is_cut_at_the_top_left(size):
    score_Khw = np.random.default_rng(3).random((2, 4, 5), np.float32)
    whole_KHW = enlarge(score_Khw, (16, 20))
    np.testing.assert_array_equal(enlarge(score_Khw, size, (16, 20)), whole_KHW[:, : size[0], : size[1]])


def test_enlarge_refuses_a_grid_below_the_image():
    with pytest.raises(ValueError, match="15 x 20 cannot be enlarged to 16 x 20"):
        enlarge(np.zeros((1, 4, 5), np.float16), (16, 20), (15, 20))


def test_enlarge_without_classes():
    assert enlarge(np.zeros((0, 3, 4), np.float16), (9, 13)).shape == (0, 9, 13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_enlarge_refuses_diverged_maps(bad):
    with pytest.raises(UserError, match="NaN or infinite"):
        enlarge(np.full((1, 2, 2), bad, np.float16), (4, 4))


def test_rounding_to_half_is_that_of_numpy():
    bits = np.arange(0, 2**32, 1999, dtype=np.uint64).astype(np.uint32)
    edges = np.array([0, 1, 0x33000000, 0x33000001, 0x38800000, 0x387FE000, 0x387FFFFF, 0x477FEFFF, 0x477FF000])
    row = np.concatenate([bits, edges.astype(np.uint32), edges.astype(np.uint32) | 0x80000000]).view(np.float32)
    half = np.empty(len(row), np.uint16)
    _round_to_half(row, half)
    with np.errstate(over="ignore"):
        expected = row.astype(np.float16)
    equal = half == expected.view(np.uint16)
    assert (equal | (np.isnan(half.view(np.float16)) & np.isnan(expected))).all()


def test_labels_by_hand():
    score_KHW = np.array([[[0.1, 0.3, 0.5, 0.6]], [[0.2, 0.3, 0.4, 0.7]]], np.float32)
    # 0.3 does not exceed the threshold 0.3: background wins the tie; at 0.25 the first class wins its tie
    assert labels_at(score_KHW, (7, 3), 0.3).tolist() == [[0, 0, 7, 3]]
    assert labels_at(score_KHW, (7, 3), 0.25).tolist() == [[0, 7, 7, 3]]
    assert labels_at(score_KHW, (0, 3), None).tolist() == [[3, 0, 0, 3]]


@settings(max_examples=60, deadline=None)
@given(
    score_KHW=hnp.arrays(
        np.float16, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)), elements=HALVES
    ),
    threshold=st.floats(0, 1) | HALVES,
)
def test_labels_are_the_argmax_with_background_first(score_KHW, threshold):
    ids = np.array([0, 9, 4, 20, 1][: len(score_KHW) + 1], np.uint8)
    background = np.full((1, *score_KHW.shape[1:]), threshold, np.float32)
    naive = ids[np.concatenate([background, score_KHW.astype(np.float32)]).argmax(0)]
    assert (labels_at(score_KHW, ids[1:], threshold) == naive).all()
    assert (labels_at(score_KHW.astype(np.float32), ids[1:], threshold) == naive).all()


def test_negative_scores_never_win():
    score_KHW = np.array([[[-0.5, -0.0]], [[-1.0, 0.0]]], np.float16)
    assert labels_at(score_KHW, (1, 2), 0.0).tolist() == [[0, 0]]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_thresholds_outside_are_refused(threshold):
    with pytest.raises(UserError, match="outside"):
        labels_at(np.zeros((1, 2, 2), np.float16), (1,), threshold)


def test_number_of_classes_must_fit():
    with pytest.raises(ValueError, match="2 score maps but 1 classes"):
        labels_at(np.zeros((2, 2, 2), np.float16), (1,), 0.5)


@given(st.floats(0, 1))
def test_half_below_is_the_nearest_half_from_below(threshold):
    half = half_below(threshold)
    assert np.float32(half) <= np.float32(threshold)
    assert half == 1 or np.float32(np.nextafter(half, np.float16(2))) > np.float32(threshold)


def test_background_alpha_by_hand():
    score_KHW = np.array([[[0.5, 0.0, 1.0]], [[0.25, 0.0, 0.5]]], np.float16)
    np.testing.assert_array_equal(background_alpha(score_KHW, 2), [[0.25, 1, 0]])
    np.testing.assert_array_equal(background_alpha(score_KHW[:0], 4), [[1, 1, 1]])
    assert background_alpha(score_KHW, 4.0).dtype == np.float32
