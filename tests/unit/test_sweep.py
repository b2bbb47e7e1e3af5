import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.errors import UserError
from wsss.ops.metrics import confusion, iou, means, tally
from wsss.ops.scores import background_alpha, half_below, labels_at
from wsss.ops.sweep import HALF_THRESHOLDS, Sweep, threshold_of_alpha

CLASSES = 6
Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def images(seed: int, count: int = 3) -> list[Image]:
    """Scores with many ties, zeros and ones; truth with ignored pixels and classes without a map."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        number = rng.integers(0, 4)
        size = tuple(rng.integers(1, 12, 2))
        score_KHW = np.clip(rng.choice([rng.random(), 0, 1], (number, *size)) * rng.random((number, *size)) * 1.1, 0, 1)
        score_KHW = np.where(rng.random(score_KHW.shape) < 0.3, np.round(score_KHW, 1), score_KHW).astype(np.float16)
        ids = rng.permutation(np.arange(1, CLASSES))[:number]
        found.append((score_KHW, ids, rng.choice([0, 1, 2, 3, 4, 5, 255], size).astype(np.uint8)))
    return found


def swept(data: list[Image], thresholds: list[float] | None = None, *, full: bool = False) -> Sweep:
    sweep = Sweep(CLASSES, thresholds, full=full)
    for score_KHW, ids, truth_HW in data:
        sweep.add(sweep.count(score_KHW, ids, truth_HW))
    return sweep


def naive(data: list[Image], threshold: float) -> np.ndarray:
    """The matrix from label maps made by an argmax over [threshold, scores]."""
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    for score_KHW, ids, truth_HW in data:
        background = np.full((1, *truth_HW.shape), threshold, np.float32)
        index_HW = np.concatenate([background, score_KHW.astype(np.float32)]).argmax(0)
        matrix += confusion(truth_HW, np.array([0, *ids])[index_HW], CLASSES)
    return matrix


def same(first: object, second: object) -> bool:
    return all((getattr(first, name) == getattr(second, name)).all() for name in ("hit", "truth", "predicted"))


def test_by_hand():
    score_KHW = np.array([[[0.25, 0.5, 0.0, 1.0]]], np.float16)
    sweep = Sweep(3)
    sweep.add(sweep.count(score_KHW, [2], np.array([[2, 0, 0, 2]], np.uint8)))
    assert sweep.at(0.25).hit.tolist() == [1, 0, 1]  # 0.25 does not exceed 0.25: background
    assert sweep.at(0.25).predicted.tolist() == [2, 0, 2]
    assert sweep.at(0.2).hit.tolist() == [1, 0, 2]
    assert sweep.at(0.2).predicted.tolist() == [1, 0, 3]
    assert sweep.at(1).predicted.tolist() == [4, 0, 0]
    # best from 0.5 on: background 2 / 3, class 1 / 2, while 0.2 gives 1 / 2 and 2 / 3: a tie, the lowest wins
    assert sweep.best() == 0


def test_there_are_15361_half_thresholds():
    assert len(HALF_THRESHOLDS) == 15361
    assert HALF_THRESHOLDS[0] == 0
    assert HALF_THRESHOLDS[-1] == 1
    assert (np.diff(HALF_THRESHOLDS) > 0).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 1) | st.floats(0, 1, width=16))
def test_every_threshold_is_a_new_argmax(seed, threshold):
    data = images(seed)
    assert same(swept(data).at(threshold), tally(naive(data, threshold)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), thresholds=st.sets(st.floats(0, 1, width=32), min_size=1, max_size=6))
def test_listed_thresholds_give_whole_matrices(seed, thresholds):
    data = [(score.astype(np.float32), ids, truth) for score, ids, truth in images(seed)]
    sweep = swept(data, sorted(thresholds), full=True)
    for threshold in thresholds:
        assert (sweep.confusion(threshold) == naive(data, threshold)).all()
        assert same(sweep.at(threshold), tally(naive(data, threshold)))


def test_thresholds_at_scores_themselves():
    data = images(7, count=6)
    sweep = swept(data)
    for threshold in {float(score) for scores, _, _ in data for score in scores.ravel()}:
        assert same(sweep.at(threshold), tally(naive(data, threshold)))


def test_all_columns_are_the_single_thresholds():
    sweep = swept(images(3, count=5))
    counts_CT = sweep.at_all()
    for index in (0, 1, 5000, 12345, 14000, 15359, 15360):
        one = sweep.at(float(HALF_THRESHOLDS[index]))
        assert (counts_CT.hit[:, index] == one.hit).all()
        assert (counts_CT.predicted[:, index] == one.predicted).all()
        np.testing.assert_array_equal(iou(counts_CT)[:, index], iou(one))


@pytest.mark.parametrize("convention", ["present", "truth", "all"])
def test_best_is_the_lowest_of_the_highest(convention):
    data = images(11, count=8)
    sweep = swept(data)
    scores = sorted({0.0, *(float(score) for maps, _, _ in data for score in maps.ravel())})
    miou = [float(means(tally(naive(data, threshold)), convention).miou) for threshold in scores]
    # counts change only where the threshold passes a score, so the lowest best threshold is a score (or 0)
    assert sweep.best(convention) == scores[int(np.argmax(miou))]


def test_one_image_alone():
    data = images(5, count=4)
    sweep = Sweep(CLASSES)
    for score_KHW, ids, truth_HW in data:
        counts = sweep.count(score_KHW, ids, truth_HW).at(sweep.index(0.3))
        label_HW = labels_at(score_KHW, ids, 0.3)
        assert same(counts, tally(confusion(truth_HW, label_HW, CLASSES)))


def test_order_does_not_matter():
    data = images(9, count=6)
    first, second = swept(data).at_all(), swept(data[::-1]).at_all()
    assert same(first, second)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0.5, 40))
def test_alpha_is_a_threshold_on_the_maximum(seed, alpha):
    data = images(seed)
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for score_KHW, ids, truth_HW in data:
        planes = np.concatenate([background_alpha(score_KHW, alpha)[None], score_KHW.astype(np.float32)])
        expected += confusion(truth_HW, np.array([0, *ids])[planes.argmax(0)], CLASSES)
    assert same(swept(data).at(threshold_of_alpha(alpha)), tally(expected))


def test_alpha_by_hand():
    # s = 1 - s at 1/2; s = (1 - s)^2 at (3 - sqrt 5) / 2
    assert threshold_of_alpha(1) == 0.5
    assert threshold_of_alpha(2) == pytest.approx((3 - 5**0.5) / 2, abs=1e-7)


def test_scores_outside_0_to_1_are_kept_in_the_end_bins():
    score_KHW = np.array([[[-1, 1.5, 65504]]], np.float16)
    sweep = Sweep(2)
    sweep.add(sweep.count(score_KHW, [1], np.zeros((1, 3), np.uint8)))
    assert sweep.at(0).predicted.tolist() == [1, 2]
    assert sweep.at(1).predicted.tolist() == [1, 2]


def test_float16_between_listed_thresholds():
    assert half_below(0.15) < 0.15
    sweep = Sweep(2, [0.1, 0.15])
    with pytest.raises(UserError, match=r"0\.12 is not among the 2"):
        sweep.at(0.12)


@pytest.mark.parametrize(
    ("ids", "truth", "message"),
    [
        ([1], np.zeros((2, 3), np.uint8), "size"),
        ([0], np.zeros((2, 2), np.uint8), "ids must be 1..5"),
        ([6], np.zeros((2, 2), np.uint8), "ids must be 1..5"),
        ([1, 2], np.zeros((2, 2), np.uint8), "class ids"),
        ([1], np.full((2, 2), 9, np.uint8), "truth holds the value 9"),
    ],
)
def test_maps_that_do_not_fit_are_refused(ids, truth, message):
    with pytest.raises(UserError, match=message):
        Sweep(CLASSES).count(np.zeros((1, 2, 2), np.float16), ids, truth)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="float16"):
        Sweep(2).count(np.zeros((1, 2, 2), np.float32), [1], np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="full=True"):
        Sweep(2, [0.5]).confusion(0.5)
    with pytest.raises(ValueError, match="ascend"):
        Sweep(2, [0.5, 0.5])


@pytest.mark.parametrize("thresholds", [[0.0, 0.1, 0.5, 0.9], [-0.5, 0.0, 0.3], [0.25, 1.0]])
def test_half_scores_at_chosen_thresholds_count_as_float_scores(thresholds):
    for score_KHW, ids, truth_HW in images(5, 12):
        signed_KHW = (score_KHW - np.float16(0.2)).astype(np.float16)
        halves, floats = Sweep(CLASSES, thresholds, full=True), Sweep(CLASSES, thresholds, full=True)
        halves.add(halves.count(signed_KHW, ids, truth_HW))
        floats.add(floats.count(signed_KHW.astype(np.float32), ids, truth_HW))
        for threshold in thresholds:
            assert (halves.confusion(threshold) == floats.confusion(threshold)).all()
            assert (halves.at(threshold).hit == floats.at(threshold).hit).all()
            assert (halves.at(threshold).predicted == floats.at(threshold).predicted).all()
