"""Scores of label maps: confusion counts, IoU, precision, recall and their means under named conventions.

Letters: C classes including background, H W pixels, T thresholds. Rows of a confusion matrix are the truth,
columns the prediction.
"""

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import ArrayLike

from wsss.errors import UserError

IGNORE = 255

Convention = Literal["present", "truth", "all"]
"""Which classes count in a mean: those in truth or prediction (chainercv, irn); those in the truth
(kazuto1011, vwe); all, where an absent class scores 0 (SEAM, OC-CSE). They agree when the truth holds all."""


@dataclass(frozen=True)
class Tally:
    """Pixels per class, int64 [C]: predicted rightly, in the truth, predicted; truth 255 is left out."""

    hit: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.hit + other.hit, self.truth + other.truth, self.predicted + other.predicted)

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(self.hit - other.hit, self.truth - other.truth, self.predicted - other.predicted)


@dataclass(frozen=True)
class Means:
    """Mean IoU, precision and recall, 0..1, each over the same classes; NaN when no class counts.

    Where a class that counts has no precision (never predicted) or no recall (not in the truth), it adds 0,
    as it does to the mean IoU. 0-d arrays, or [T] when the tally has a second axis.
    """

    miou: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def confusion(truth_HW: np.ndarray, prediction_HW: np.ndarray, classes: int) -> np.ndarray:
    """Confusion counts int64 [C, C] of one image; pixels with truth 255 are dropped, whatever is predicted.

    Any integer dtype with values in 0..255. UserError for unequal sizes and for values outside the classes.
    """
    truth, prediction = _bytes(truth_HW, "truth"), _bytes(prediction_HW, "prediction")
    if truth_HW.shape != prediction_HW.shape:
        raise UserError(f"prediction has size {prediction_HW.shape}, truth {truth_HW.shape}; they must agree")
    row_of = np.where(np.arange(256) < classes, np.arange(256), classes)
    column_of = row_of.copy()
    row_of[IGNORE] = classes + 1
    pairs = np.zeros((classes + 2, classes + 1), np.int64)
    whole = len(truth) // 8 * 8
    _count_runs(truth[:whole].view(np.uint64), prediction[:whole].view(np.uint64), row_of, column_of, pairs)
    _count(truth[whole:], prediction[whole:], row_of, column_of, pairs)
    if pairs[classes].any():
        _refuse("truth", truth[row_of[truth] == classes], classes)
    if pairs[:classes, classes].any():
        _refuse("prediction", prediction[(prediction >= classes) & (truth != IGNORE)], classes)
    return pairs[:classes, :classes].copy()


def tally(confusion_CC: np.ndarray) -> Tally:
    """The per-class counts that IoU, precision and recall need."""
    return Tally(np.diagonal(confusion_CC).copy(), confusion_CC.sum(1), confusion_CC.sum(0))


def iou(counts: Tally) -> np.ndarray:
    """Hits / (truth + predicted - hits) per class; NaN where the class is in neither (VOC devkit)."""
    return _ratio(counts.hit, counts.truth + counts.predicted - counts.hit)


def precision(counts: Tally) -> np.ndarray:
    """Hits / predicted per class; NaN where the class is never predicted."""
    return _ratio(counts.hit, counts.predicted)


def recall(counts: Tally) -> np.ndarray:
    """Hits / truth per class; NaN where the class is not in the truth."""
    return _ratio(counts.hit, counts.truth)


def means(counts: Tally, convention: Convention = "present") -> Means:
    """Means over the classes of the convention; the counts are [C] or [C, T], one column per threshold."""
    sums = np.zeros((3, *counts.hit.shape[1:]))
    number = np.zeros(counts.hit.shape[1:], np.int64)
    for row in range(len(counts.hit)):  # class after class, so that a column alone gives the same bits
        one = Tally(counts.hit[row], counts.truth[row], counts.predicted[row])
        counted = _counted(one, convention)
        number += counted
        for score, values in enumerate((iou(one), precision(one), recall(one))):
            sums[score] += np.where(counted, np.nan_to_num(values), 0)
    return Means(*(_ratio(total, number) for total in sums))


def pixel_accuracy(confusion_CC: np.ndarray) -> float:
    """Share of the pixels that are right; NaN without pixels."""
    return float(_ratio(np.trace(confusion_CC), confusion_CC.sum()))


def mean_accuracy(confusion_CC: np.ndarray) -> float:
    """Mean recall over the classes in the truth; NaN without pixels."""
    counts = tally(confusion_CC)
    return float(_ratio(np.nansum(recall(counts)), np.count_nonzero(counts.truth)))


def frequency_weighted_iou(confusion_CC: np.ndarray) -> float:
    """IoU of every class in the truth, weighted by its share of the truth; NaN without pixels."""
    counts = tally(confusion_CC)
    return float(_ratio(np.nansum(counts.truth * iou(counts)), counts.truth.sum()))


def _counted(counts: Tally, convention: Convention) -> np.ndarray:
    if convention == "present":
        return (counts.truth > 0) | (counts.predicted > 0)
    if convention == "truth":
        return counts.truth > 0
    if convention == "all":
        return np.ones(np.shape(counts.truth), bool)
    raise ValueError(f"convention '{convention}' is none of present, truth, all")


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)


def _bytes(label_HW: np.ndarray, name: str) -> np.ndarray:
    if label_HW.dtype != np.uint8:
        if label_HW.dtype.kind not in "bui":
            raise UserError(f"{name} has dtype {label_HW.dtype}; class ids must be integers")
        if label_HW.size and not 0 <= label_HW.min() <= label_HW.max() <= 255:
            raise UserError(f"{name} holds values outside 0..255; class ids must fit into 8 bits")
    return np.ascontiguousarray(label_HW, np.uint8).reshape(-1)


def _refuse(name: str, outside: np.ndarray, classes: int) -> None:
    raise UserError(
        f"{name} holds the value {outside[0]} in {len(outside)} pixels; class ids are 0..{classes - 1}"
        + (" (255 is allowed in the truth only)" if outside[0] == IGNORE else "")
    )


@numba.njit(cache=True, nogil=True)
def _count_runs(
    truth: np.ndarray,
    prediction: np.ndarray,
    row_of: np.ndarray,
    column_of: np.ndarray,
    pairs: np.ndarray,
) -> None:
    """Count eight pixels at once where all eight are equal in both maps, as most are, runs of them in a register."""
    ones, last = np.uint64(0x0101010101010101), np.uint64(0xFF)
    run_t = run_p = np.uint64(0)
    run = 0
    for i in range(len(truth)):
        t, p = truth[i], prediction[i]
        if t == run_t and p == run_p:
            run += 8
        elif t == (t & last) * ones and p == (p & last) * ones:
            pairs[row_of[run_t & last], column_of[run_p & last]] += run
            run_t, run_p, run = t, p, 8
        else:
            for shift in range(np.uint64(0), np.uint64(64), np.uint64(8)):
                pairs[row_of[(t >> shift) & last], column_of[(p >> shift) & last]] += 1
    pairs[row_of[run_t & last], column_of[run_p & last]] += run


@numba.njit(cache=True, nogil=True)
def _count(
    truth: np.ndarray, prediction: np.ndarray, row_of: np.ndarray, column_of: np.ndarray, pairs: np.ndarray
) -> None:
    for i in range(len(truth)):
        pairs[row_of[truth[i]], column_of[prediction[i]]] += 1
