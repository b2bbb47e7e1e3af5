"""Threshold sweep and confusion matrix against an argmax per threshold, numpy and torchmetrics."""

import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from bench.measure import HEIGHT, WIDTH, Row, block_labels, interleaved, smooth_scores
from wsss.ops.metrics import confusion
from wsss.ops.sweep import Sweep

CLASSES = 21
THRESHOLDS = [round(0.01 * (i + 1), 2) for i in range(60)]
IDS = (3, 15)


def rows() -> list[Row]:
    """The sweep of 60 thresholds over two maps, and one pair of label maps."""
    return [*_sweeps(), *_confusions()]


def _bincount(truth_HW: np.ndarray, prediction_HW: np.ndarray) -> np.ndarray:
    known = truth_HW != 255
    pair_P = truth_HW[known].astype(np.int64) * CLASSES + prediction_HW[known]
    return np.bincount(pair_P, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def _truth() -> np.ndarray:
    truth_HW = np.array([0, *IDS, 255], np.uint8)[block_labels(4, 50)]
    return np.ascontiguousarray(truth_HW)


def _sweeps() -> list[Row]:
    half_KHW, truth_HW = smooth_scores(len(IDS)).astype(np.float16), _truth()
    score_KHW = half_KHW.astype(np.float32)
    keys = np.array([0, *IDS])

    def swept(thresholds: list[float] | None) -> Sweep:
        sweep = Sweep(CLASSES, thresholds)
        sweep.add(sweep.count(half_KHW, IDS, truth_HW))
        return sweep

    def argmax() -> list[np.ndarray]:
        planes = [np.full((1, HEIGHT, WIDTH), threshold, np.float32) for threshold in THRESHOLDS]
        return [_bincount(truth_HW, keys[np.concatenate([plane, score_KHW]).argmax(0)]) for plane in planes]

    tallies = [swept(THRESHOLDS).at(threshold) for threshold in THRESHOLDS]
    same = all(
        (tally.hit == np.diagonal(matrix)).all() and (tally.predicted == matrix.sum(0)).all()
        for tally, matrix in zip(tallies, argmax(), strict=True)
    )
    ours_ms, all_ms, anchor_ms = interleaved(lambda: swept(THRESHOLDS), lambda: swept(None), argmax, rounds=5)
    found = "bit-identical" if same else "DIFFERENT"
    return [
        Row("60 thresholds, one image", "argmax per threshold", ours_ms, anchor_ms, 80, found),
        Row("15,361 thresholds, one image", "goal: 2 ms", all_ms, 2.0, 1, found),
    ]


def _confusions() -> list[Row]:
    truth_HW = _truth()
    prediction_HW = np.ascontiguousarray(np.array([0, *IDS], np.uint8)[block_labels(3, 45)])
    metric = MulticlassConfusionMatrix(CLASSES, ignore_index=255)
    tensors = torch.from_numpy(prediction_HW.astype(np.int64)), torch.from_numpy(truth_HW.astype(np.int64))

    def torchmetrics() -> torch.Tensor:
        metric.reset()
        metric.update(*tensors)
        return metric.compute()

    def ours() -> np.ndarray:
        return confusion(truth_HW, prediction_HW, CLASSES)

    same = (ours() == _bincount(truth_HW, prediction_HW)).all() and (ours() == torchmetrics().numpy()).all()
    ours_ms, metric_ms, numpy_ms = interleaved(
        ours, torchmetrics, lambda: _bincount(truth_HW, prediction_HW), rounds=15
    )
    found = "equal" if same else "DIFFERENT"
    return [
        Row("confusion matrix of one pair", "torchmetrics", ours_ms, metric_ms, 50, found),
        Row("confusion matrix of one pair", "numpy bincount", ours_ms, numpy_ms, 4, found),
    ]
