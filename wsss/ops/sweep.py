"""Scores at every background threshold from one pass over the pixels.

A pixel is foreground at threshold t when its highest score exceeds t, and then has the class of that score.
So one histogram per class over "how many thresholds lie below the highest score" gives the counts at all
thresholds, by a running sum. Against float16 scores only 15,361 thresholds in [0, 1] differ, and the bit
pattern of the score is the bin: that sweep is exact for every threshold, not for a chosen few.

Letters: K classes of one image, C classes including background, H W pixels, T thresholds, B = T + 1 bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from wsss.errors import UserError
from wsss.ops.metrics import IGNORE, Convention, Tally, means
from wsss.ops.scores import ONE_BITS, background_alpha, half_below

POSITIVE_HALVES = np.arange(2**15, dtype=np.uint16).view(np.float16).astype(np.float32)
NO_TABLE, NO_THRESHOLDS = np.empty(0, np.uint16), np.empty(0, np.float32)
HALF_THRESHOLDS = np.arange(ONE_BITS + 1, dtype=np.uint16).view(np.float16).astype(np.float32)


@dataclass(frozen=True)
class ImageCounts:
    """Histograms of one image: row 0 all pixels (hits: truth is background), row k those of class ids[k]."""

    ids: np.ndarray
    predicted_RB: np.ndarray
    hit_RB: np.ndarray
    truth_C: np.ndarray
    pairs_CRB: np.ndarray | None

    def at(self, index: int) -> Tally:
        """Counts [C] of this image at threshold number `index`."""
        counts = np.zeros((2, len(self.truth_C)), np.int64)
        for total, histogram_RB in zip(counts, (self.hit_RB, self.predicted_RB), strict=True):
            total[self.ids] = histogram_RB[:, index + 1 :].sum(1)
            total[0] = histogram_RB[0, : index + 1].sum()
        return Tally(counts[0], self.truth_C, counts[1])


class Sweep:
    """Sums of image histograms, and the scores at every threshold.

    Without `thresholds`: all 15,361 half thresholds, for float16 scores. With `thresholds` (ascending, as
    float32): these, for float16 or float32 scores. Memory grows with classes times bins; `full` also keeps
    what whole confusion matrices need, classes squared times bins. The order of additions does not matter.
    """

    def __init__(self, classes: int, thresholds: Sequence[float] | None = None, *, full: bool = False) -> None:
        self.half = thresholds is None
        self.thresholds = HALF_THRESHOLDS if thresholds is None else np.asarray(thresholds, np.float32)
        if (np.diff(self.thresholds) <= 0).any():
            raise ValueError("thresholds of a sweep must ascend")
        # the bin of every half score, where none below 0 can be above a threshold
        by_table = not self.half and self.thresholds[:1] >= 0
        self._bin_of_half = (
            np.searchsorted(self.thresholds, POSITIVE_HALVES).astype(np.uint16) if by_table else NO_TABLE
        )
        self.classes = classes
        bins = len(self.thresholds) + 1
        self._predicted_CB = np.zeros((classes, bins), np.int64)
        self._hit_CB = np.zeros((classes, bins), np.int64)
        self._truth_C = np.zeros(classes, np.int64)
        self._pairs_CCB = np.zeros((classes, classes, bins), np.int64) if full else None

    def count(self, score_KHW: np.ndarray, ids: Sequence[int], truth_HW: np.ndarray) -> ImageCounts:
        """Histograms of one image; changes nothing here, so threads may call it side by side.

        score_KHW [K, H, W], ids: K class ids in 1..C-1, truth uint8 [H, W] with 255 = ignore. UserError for
        unequal sizes, ids or truth outside the classes; ValueError unless half thresholds meet float16.
        """
        self._check(score_KHW, ids, truth_HW)
        bins, rows = len(self.thresholds) + 1, len(ids) + 1
        ids_R = np.array([0, *ids], np.int64)
        predicted_RB, hit_RB = (np.zeros((rows, bins), np.uint32) for _ in range(2))
        truth_256 = np.zeros(256, np.int64)
        full = self._pairs_CCB is not None
        pairs_CRB = np.zeros((self.classes, rows, bins) if full else (0, 0, 0), np.uint32)
        truth_HW = np.ascontiguousarray(truth_HW, np.uint8)
        histograms = (predicted_RB, hit_RB, truth_256, pairs_CRB)
        if score_KHW.dtype == np.float16 and (self.half or len(self._bin_of_half)):
            # as int16, negative scores lie below every threshold, and those above 1 in the last bin
            half_KHW = np.ascontiguousarray(score_KHW).view(np.int16)
            _count(half_KHW, truth_HW, ids_R, NO_THRESHOLDS, self._bin_of_half, np.int16(0), *histograms)
        else:
            score_KHW = np.ascontiguousarray(score_KHW, np.float32)
            _count(score_KHW, truth_HW, ids_R, self.thresholds, NO_TABLE, np.float32(-np.inf), *histograms)
        truth_256[IGNORE] = 0
        if truth_256[self.classes :].any():
            value = self.classes + int(np.flatnonzero(truth_256[self.classes :])[0])
            raise UserError(f"truth holds the value {value}; class ids are 0..{self.classes - 1}, 255 is ignored")
        predicted_RB[0] += predicted_RB[1:].sum(0, dtype=np.uint32)
        return ImageCounts(ids_R, predicted_RB, hit_RB, truth_256[: self.classes].copy(), pairs_CRB if full else None)

    def add(self, counts: ImageCounts) -> None:
        """Add the histograms of one image."""
        for row, label in enumerate(counts.ids):
            self._predicted_CB[label] += counts.predicted_RB[row]
            self._hit_CB[label] += counts.hit_RB[row]
            if self._pairs_CCB is not None and counts.pairs_CRB is not None:
                self._pairs_CCB[:, label] += counts.pairs_CRB[:, row]
        self._truth_C += counts.truth_C

    def index(self, threshold: float) -> int:
        """Position of the threshold that decides as the given one; UserError when there is none."""
        wanted = half_below(threshold) if self.half else np.float32(threshold)
        index = int(np.searchsorted(self.thresholds, np.float32(wanted)))
        if index == len(self.thresholds) or self.thresholds[index] != wanted:
            raise UserError(f"threshold {threshold} is not among the {len(self.thresholds)} of this sweep")
        return index

    def at(self, threshold: float) -> Tally:
        """Counts [C] at one threshold, equal to those of the label maps at that threshold."""
        below = np.s_[:, : self.index(threshold) + 1]
        hit, predicted = (
            np.where(np.arange(self.classes) == 0, low, counts_CB.sum(1) - low)
            for counts_CB in (self._hit_CB, self._predicted_CB)
            for low in [counts_CB[below].sum(1)]
        )
        return Tally(hit, self._truth_C.copy(), predicted)

    def at_all(self) -> Tally:
        """Counts [C, T] at every threshold."""
        hit_CT, predicted_CT = (_running(counts_CB) for counts_CB in (self._hit_CB, self._predicted_CB))
        return Tally(hit_CT, np.broadcast_to(self._truth_C.copy()[:, None], hit_CT.shape), predicted_CT)

    def best(self, convention: Convention = "present") -> float:
        """The threshold with the highest mean IoU, the lowest of them on a tie."""
        miou_T = means(self.at_all(), convention).miou
        return float(self.thresholds[np.argmax(np.nan_to_num(miou_T, nan=-1))])

    def confusion(self, threshold: float) -> np.ndarray:
        """Confusion counts int64 [C, C] at one threshold; ValueError in a sweep made without `full`."""
        if self._pairs_CCB is None:
            raise ValueError("only a sweep made with full=True holds whole confusion matrices")
        split = self.index(threshold) + 1
        confusion_CC = self._pairs_CCB[:, :, split:].sum(2)
        confusion_CC[:, 0] = self._pairs_CCB[:, :, :split].sum((1, 2))
        return confusion_CC

    def _check(self, score_KHW: np.ndarray, ids: Sequence[int], truth_HW: np.ndarray) -> None:
        if score_KHW.shape[1:] != truth_HW.shape:
            raise UserError(f"score maps have size {score_KHW.shape[1:]}, truth {truth_HW.shape}; they must agree")
        if len(ids) != len(score_KHW) or len(set(ids)) != len(ids) or not all(0 < i < self.classes for i in ids):
            raise UserError(f"{len(score_KHW)} maps have class ids {list(ids)}; ids must be 1..{self.classes - 1}")
        if self.half and score_KHW.dtype != np.float16:
            raise ValueError(f"a sweep over all half thresholds needs float16 scores, not {score_KHW.dtype}")


def threshold_of_alpha(alpha: float) -> float:
    """The threshold that decides as the background score (1 - max)^alpha does (PSA, infer_cls.py).

    That score falls as the maximum rises, so the background wins up to one crossing: the largest float32 s in
    [0, 1] with s <= (1 - s)^alpha. For alpha > 0; found by bisection over the float32 patterns.
    """
    low, high = (int(np.float32(end).view(np.uint32)) for end in (0, 1))
    while high - low > 1:
        middle = (low + high) // 2
        score_1 = np.array([middle], np.uint32).view(np.float32)
        wins = score_1 <= background_alpha(score_1[:, None], alpha)
        low, high = (middle, high) if wins[0] else (low, middle)
    return float(np.uint32(low).view(np.float32))


def _running(counts_CB: np.ndarray) -> np.ndarray:
    counts_CT = np.cumsum(counts_CB, axis=1)
    counts_CT[1:] = counts_CT[1:, -1:] - counts_CT[1:]
    return counts_CT[:, :-1]


@numba.njit(cache=True, nogil=True)
def _count(
    score_KHW: np.ndarray,
    truth_HW: np.ndarray,
    ids_R: np.ndarray,
    thresholds: np.ndarray,
    bin_of_half: np.ndarray,
    lowest: np.number,
    predicted_RB: np.ndarray,
    hit_RB: np.ndarray,
    truth_256: np.ndarray,
    pairs_CRB: np.ndarray,
) -> None:
    """Histograms of one image; without thresholds a score, a half pattern as int16, is the bin or has it in a table."""
    best_W = np.empty(truth_HW.shape[1], score_KHW.dtype)
    row_W = np.empty(truth_HW.shape[1], np.uint8)
    for y in range(len(truth_HW)):
        best_W[:] = lowest
        row_W[:] = min(1, len(score_KHW))
        for k in range(len(score_KHW)):
            for x in range(len(best_W)):
                wins = score_KHW[k, y, x] > best_W[x]
                best_W[x] = score_KHW[k, y, x] if wins else best_W[x]
                row_W[x] = k + 1 if wins else row_W[x]
        for x in range(len(best_W)):
            label, row = truth_HW[y, x], row_W[x]
            truth_256[label] += 1
            if label == IGNORE:
                continue
            if len(thresholds):
                bin = np.searchsorted(thresholds, best_W[x])
            else:
                bin = int(bin_of_half[int(best_W[x])]) if len(bin_of_half) else int(best_W[x])
            bin = np.uint64(min(bin, predicted_RB.shape[1] - 1))
            predicted_RB[row, bin] += 1
            if label == 0:
                hit_RB[0, bin] += 1
            elif ids_R[row] == label:
                hit_RB[row, bin] += 1
            if label < len(pairs_CRB):
                pairs_CRB[label, row, bin] += 1
