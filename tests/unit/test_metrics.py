import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsss.errors import UserError
from wsss.ops import metrics

# 3 classes, of which 2 is in neither map:
#   truth      0 0 0 1 1 255        hits: 2 of class 0, 1 of class 1
#   prediction 0 0 1 1 0 2          (the last pixel is dropped)
TRUTH = np.array([[0, 0, 0], [1, 1, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 1], [1, 0, 2]], np.uint8)
CONFUSION = [[2, 1, 0], [1, 1, 0], [0, 0, 0]]


def naive(truth_HW: np.ndarray, prediction_HW: np.ndarray, classes: int) -> np.ndarray:
    confusion_CC = np.zeros((classes, classes), np.int64)
    for t, p in zip(truth_HW.ravel(), prediction_HW.ravel(), strict=True):
        if t != 255:
            confusion_CC[t, p] += 1
    return confusion_CC


def test_confusion_by_hand():
    assert metrics.confusion(TRUTH, PREDICTION, 3).tolist() == CONFUSION


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
        lambda size: st.tuples(
            hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 6, 255])),
            hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 5, 6])),
        )
    )
)
def test_confusion_counts_every_pixel(maps):
    truth_HW, prediction_HW = maps
    assert (metrics.confusion(truth_HW, prediction_HW, 7) == naive(truth_HW, prediction_HW, 7)).all()


def test_confusion_counts_runs():
    truth_HW = np.repeat(np.array([0, 3, 255, 2, 2], np.uint8), [17, 64, 9, 31, 100]).reshape(13, 17)
    prediction_HW = np.roll(np.where(truth_HW == 255, 1, truth_HW), 3)
    assert (metrics.confusion(truth_HW, prediction_HW, 4) == naive(truth_HW, prediction_HW, 4)).all()


def test_any_layout_and_integer_dtype():
    for dtype in (np.int64, np.uint16, np.int16):
        assert metrics.confusion(TRUTH.astype(dtype), PREDICTION.astype(dtype), 3).tolist() == CONFUSION
    wide = np.repeat(TRUTH, 2, axis=1)[:, ::2]
    assert metrics.confusion(wide, np.asfortranarray(PREDICTION), 3).tolist() == CONFUSION


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (TRUTH, PREDICTION[:1], "sizes? "),
        (np.full((2, 3), 3, np.uint8), PREDICTION, "truth holds the value 3 in 6 pixels"),
        (TRUTH, np.full((2, 3), 255, np.uint8), "prediction holds the value 255 in 5 pixels.*truth only"),
        (TRUTH, np.full((2, 3), -1), "outside 0..255"),
        (TRUTH, np.full((2, 3), 0.5), "dtype float64"),
    ],
)
def test_values_that_are_no_classes_are_refused(truth, prediction, message):
    with pytest.raises(UserError, match=message):
        metrics.confusion(truth, prediction, 3)


def test_scores_by_hand():
    counts = metrics.tally(np.array(CONFUSION))
    np.testing.assert_allclose(metrics.iou(counts), [2 / 4, 1 / 3, np.nan])
    np.testing.assert_allclose(metrics.precision(counts), [2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(metrics.recall(counts), [2 / 3, 1 / 2, np.nan])
    assert metrics.pixel_accuracy(np.array(CONFUSION)) == 3 / 5
    assert metrics.mean_accuracy(np.array(CONFUSION)) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.frequency_weighted_iou(np.array(CONFUSION)) == pytest.approx(3 / 5 / 2 + 2 / 5 / 3)


def test_conventions_by_hand():
    # class 0 right, class 1 in the truth but never predicted, class 2 predicted only, class 3 nowhere
    counts = metrics.Tally(np.array([4, 0, 0, 0]), np.array([4, 2, 0, 0]), np.array([4, 0, 2, 0]))
    found = {name: metrics.means(counts, name) for name in ("present", "truth", "all")}
    assert {name: float(mean.miou) for name, mean in found.items()} == {
        "present": pytest.approx(1 / 3),
        "truth": 1 / 2,
        "all": 1 / 4,
    }
    assert float(found["present"].precision) == pytest.approx(1 / 3)
    assert float(found["truth"].recall) == 1 / 2
    with pytest.raises(ValueError, match="none of present"):
        metrics.means(counts, "voc")


def test_no_pixels_have_no_scores():
    counts = metrics.tally(np.zeros((3, 3), np.int64))
    assert np.isnan(metrics.means(counts).miou)
    assert np.isnan(metrics.pixel_accuracy(np.zeros((3, 3))))


def test_tallies_add_up():
    counts = metrics.tally(np.array(CONFUSION))
    both = counts + counts - counts
    assert (both.hit == counts.hit).all()
    assert (both.truth == [3, 2, 0]).all()
    assert (both.predicted == [3, 2, 0]).all()


def test_columns_give_the_bits_of_single_tallies():
    rng = np.random.default_rng(0)
    hit_CT = rng.integers(0, 50, (21, 40))
    many = metrics.Tally(hit_CT, hit_CT + rng.integers(0, 9, (21, 40)), hit_CT + rng.integers(0, 9, (21, 40)))
    miou_T = metrics.means(many).miou
    for t in range(40):
        one = metrics.Tally(many.hit[:, t], many.truth[:, t], many.predicted[:, t])
        assert metrics.means(one).miou == miou_T[t]
