"""Timing side by side: candidates take turns in one process, so that a busy machine slows all of them."""

import ctypes
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table: times in ms, the ratio that is wanted, and how far both results lie apart."""

    step: str
    anchor: str
    ours_ms: float
    anchor_ms: float
    goal: float
    max_difference: str

    @property
    def ratio(self) -> float:
        """How many times as fast as the anchor."""
        return self.anchor_ms / self.ours_ms


def race(*candidates: Work, rounds: int = 7) -> list[float]:
    """Median time of each in ms, after one call of each that does not count."""
    times: list[list[float]] = [[] for _ in candidates]
    for turn in range(rounds + 1):
        for work, taken in zip(candidates, times, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def once(work: Work) -> float:
    """Time of a single call in ms."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def extra_megabytes(work: Work) -> float:
    """By how much the resident memory of this process grows at most during the call (Linux)."""
    work()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if match is None:
        raise ValueError(f"/proc/self/status has no {key}")
    return int(match[1])
