"""Interleaved timing: all candidates of a step take turns in one process, and their medians are compared.

Times are processor times of this process, which other jobs on the machine disturb less than the clock; with one thread
on an idle machine the two are equal.
"""

import ctypes
import gc
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "voc_mini"
HEIGHT, WIDTH = 375, 500


@dataclass(frozen=True)
class Row:
    """One comparison: median milliseconds, the ratio that is wanted, and how far the results are apart."""

    step: str
    anchor: str
    ours_ms: float
    anchor_ms: float
    goal: float
    max_difference: str

    @property
    def ratio(self) -> float:
        """How many times faster (or smaller) than the anchor."""
        return self.anchor_ms / self.ours_ms


def interleaved(*candidates: Callable[[], object], rounds: int = 7) -> list[float]:
    """Median processor time of every candidate in milliseconds, after one call of each that is not counted."""
    times: list[list[float]] = [[] for _ in candidates]
    for number in range(rounds + 1):
        for kept, candidate in zip(times, candidates, strict=True):
            start = time.process_time()
            candidate()
            if number:
                kept.append(1000 * (time.process_time() - start))
    return [median(kept) for kept in times]


def peak_extra_mb(action: Callable[[], object]) -> float:
    """Largest growth of this process's resident memory during a call, in MB (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    action()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def photographs(count: int) -> list[np.ndarray]:
    """Photographs uint8 [375, 500, 3]: those of the folder beside the project, else scikit-image's own."""
    files = sorted((PHOTOGRAPHS / "JPEGImages").glob("*.jpg"))
    if not files:
        return [_resized(image) for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())][:count]
    return [_resized(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)) for file in files[:count]]


def _resized(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def block_labels(labels: int, block: int = 60) -> np.ndarray:
    """A label map int64 [375, 500] of blocks of random labels."""
    coarse = np.random.default_rng(0).integers(0, labels, (HEIGHT // block + 1, WIDTH // block + 1))
    return np.kron(coarse, np.ones((block, block), np.int64))[:HEIGHT, :WIDTH]


def smooth_scores(maps: int) -> np.ndarray:
    """Score maps float32 [K, 375, 500] in 0..1, as smooth as class activation maps."""
    coarse = np.random.default_rng(1).random((maps, 12, 16), np.float32)
    return np.stack([cv2.resize(one, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for one in coarse]).clip(0, 1)
