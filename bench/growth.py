"""Cost of every step as its work grows: `python -m bench.growth` draws docs/figures/growth.png on logarithmic axes.

Each curve is processor time over that of its smallest work. Beside them stands what is proportional to the work: no
step may rise more steeply.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

from bench.measure import ROOT, interleaved, photographs
from wsss.ops.crf import PRESETS, crf, unary_from_labels
from wsss.ops.metrics import confusion
from wsss.ops.random_walk import walk
from wsss.ops.slic import slic
from wsss.ops.superpixel_pooling import pool
from wsss.ops.sweep import Sweep
from wsss.stores import Store, Writer

Actions = dict[str, Callable[[], object]]
PIXELS = [0.25, 0.5, 1, 2, 4]
COUNTS = [1, 2, 4, 8, 16]
RNG = np.random.default_rng(0)


def over_pixels(share: float) -> Actions:
    """Steps on an image of `share` x 500 x 375 pixels."""
    side = share**0.5
    image_HW3 = cv2.resize(photographs(1)[0], None, fx=side, fy=side, interpolation=cv2.INTER_CUBIC)
    height, width = image_HW3.shape[:2]
    label_HW = np.kron(RNG.integers(0, 3, (height // 50 + 1, width // 50 + 1)), np.ones((50, 50), np.uint8))
    label_HW = np.ascontiguousarray(label_HW[:height, :width].astype(np.uint8))
    unary_nHW = unary_from_labels(label_HW, 3, 0.7)
    return {
        "SLIC": lambda: slic(image_HW3),
        "dense CRF": lambda: crf(image_HW3, unary_nHW, PRESETS["irn_labels"]),
        "walk at stride 4": _walk(height // 4, width // 4, 2),
        "sweep": _sweep(height, width, 2),
        "confusion": lambda: confusion(label_HW, label_HW[::-1].copy(), 21),
    }


def over_counts(count: int, folder: Path) -> Actions:
    """Steps on one image with `count` classes, 75 x `count` segments, or `count` x 20 images."""
    image_HW3 = photographs(1)[0]
    coarse = RNG.integers(0, count + 1, (8, 10))
    unary_nHW = unary_from_labels(np.kron(coarse, np.ones((50, 50), int))[:375, :500], count + 1, 0.7)
    feature = torch.rand(1, 512, 32, 32)
    label_HW = slic(image_HW3, segments=75 * count)
    path = folder / f"{count}.store"
    with Writer(path) as writer:
        for number in range(20 * count):
            writer.add(str(number), np.zeros((2, 94, 125), np.float16))
    return {
        "SLIC (segments)": lambda: slic(image_HW3, segments=75 * count),
        "pooling (segments)": lambda: pool(feature, [label_HW]),
        "dense CRF (classes)": lambda: crf(image_HW3, unary_nHW, PRESETS["irn_labels"]),
        "walk (classes)": _walk(94, 125, count),
        "sweep (classes)": _sweep(375, 500, count),
        "store (images)": lambda: [record.array.sum() for record in map(Store(path).__getitem__, Store(path).ids)],
    }


def _walk(height: int, width: int, maps: int) -> Callable[[], object]:
    affinity_nhw, value_Khw = RNG.random((34, height, width), np.float32), RNG.random((maps, height, width), np.float32)
    return lambda: walk(value_Khw, affinity_nhw, 5, beta=10, steps=256)


def _sweep(height: int, width: int, maps: int) -> Callable[[], object]:
    score_KHW = RNG.random((maps, height, width)).astype(np.float16)
    truth_HW = RNG.integers(0, 21, (height // 25 + 1, width // 25 + 1)).repeat(25, 0).repeat(25, 1)
    truth_HW = truth_HW[:height, :width].astype(np.uint8)
    return lambda: Sweep(21).count(score_KHW, range(1, maps + 1), truth_HW)


def _draw(axes: plt.Axes, work: list[float], steps: list[Actions], title: str) -> None:
    for name in steps[0]:
        times = interleaved(*(actions[name] for actions in steps), rounds=5)
        axes.plot(np.divide(work, work[0]), np.divide(times, times[0]), marker="o", markersize=3, label=name)
        print(f"| {name} | {' | '.join(f'{time:.2f}' for time in times)} |", flush=True)
    scale = np.divide(work, work[0])
    axes.plot(scale, scale, "k--", linewidth=0.8, label="proportional")
    axes.set(xscale="log", yscale="log", xlabel=title)
    axes.legend(fontsize=6)


def main() -> None:
    """Measure and draw."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
    _draw(left, PIXELS, [over_pixels(share) for share in PIXELS], "pixels, times the smallest")
    left.set_ylabel("time, times the smallest")
    with tempfile.TemporaryDirectory() as folder:
        _draw(right, COUNTS, [over_counts(count, Path(folder)) for count in COUNTS], "count, times the smallest")
    path = ROOT / "docs" / "figures" / "growth.png"
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
