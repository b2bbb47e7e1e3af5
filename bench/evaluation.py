"""Counting: one pair of label maps, and all thresholds of one image's scores."""

from collections.abc import Iterator

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from bench.pictures import photographs, scores
from bench.race import Row, race
from wsss.ops.metrics import confusion
from wsss.ops.scores import labels_at
from wsss.ops.sweep import Sweep

CLASSES, IDS = 21, (3, 15)
THRESHOLDS = np.linspace(0, 1, 60, endpoint=False, dtype=np.float32)


def rows() -> Iterator[Row]:
    """Sweep, half-precision sweep and confusion matrix."""
    score_KHW = scores(photographs(1)[0], 2).astype(np.float16)
    truth_HW = labels_at(scores(photographs(2)[1], 2), IDS, 0.4).astype(np.uint8)
    truth_HW[:, ::40] = 255
    yield from _sweeps(score_KHW, truth_HW)
    yield from _pair(truth_HW, labels_at(score_KHW.astype(np.float32), IDS, 0.4).astype(np.uint8))


def _sweeps(score_KHW: np.ndarray, truth_HW: np.ndarray) -> Iterator[Row]:
    def swept(thresholds: np.ndarray | None, full: bool = False) -> Sweep:
        sweep = Sweep(CLASSES, thresholds, full=full)
        sweep.add(sweep.count(score_KHW, IDS, truth_HW))
        return sweep

    def plain() -> list[np.ndarray]:
        ids = np.array([0, *IDS])
        margin_KHW = np.pad(score_KHW.astype(np.float32), ((1, 0), (0, 0), (0, 0)))
        found = []
        for threshold in THRESHOLDS:
            margin_KHW[0] = threshold
            found.append(by_bincount(truth_HW, ids[margin_KHW.argmax(0)]))
        return found

    sweep = swept(THRESHOLDS, full=True)
    equal = all((sweep.confusion(t) == c).all() for t, c in zip(THRESHOLDS.tolist(), plain(), strict=True))
    text = "0" if equal else "counts differ"
    mine, half, anchor = race(lambda: swept(THRESHOLDS), lambda: swept(None), plain, rounds=5)
    yield Row("sweep over 60 thresholds", "argmax for each", mine, anchor, 80, text)
    yield Row("sweep over all 15,361 half thresholds", "2 ms an image (a limit)", half, 2, 1, "")


def _pair(truth_HW: np.ndarray, prediction_HW: np.ndarray) -> Iterator[Row]:
    tensors = torch.from_numpy(prediction_HW).long(), torch.from_numpy(truth_HW).long()

    def by_torchmetrics() -> torch.Tensor:
        return multiclass_confusion_matrix(*tensors, CLASSES, ignore_index=255)

    mine_CC = confusion(truth_HW, prediction_HW, CLASSES)
    others = by_torchmetrics().numpy(), by_bincount(truth_HW, prediction_HW)
    apart = str(max(int(np.abs(mine_CC - other_CC).max()) for other_CC in others))
    mine, metrics, bincount = race(
        lambda: confusion(truth_HW, prediction_HW, CLASSES),
        by_torchmetrics,
        lambda: by_bincount(truth_HW, prediction_HW),
        rounds=31,
    )
    yield Row("confusion matrix of a pair", "torchmetrics", mine, metrics, 50, apart)
    yield Row("confusion matrix of a pair", "numpy bincount", mine, bincount, 4, apart)


def by_bincount(truth_HW: np.ndarray, prediction_HW: np.ndarray) -> np.ndarray:
    """Confusion counts [C, C]."""
    known_HW = truth_HW < CLASSES
    pair_P = CLASSES * truth_HW[known_HW].astype(np.int64) + prediction_HW[known_HW]
    return np.bincount(pair_P, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
