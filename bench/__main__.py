"""Run all races and write bench/latest.csv and bench/latest.md: python -m bench [--photos FOLDER] [STEP ...]."""

import argparse
import csv
import datetime
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch, numpy and OpenCV are imported

import cv2
import torch

from bench import crf, evaluation, files, superpixels, walks
from bench.race import Row

HERE = Path(__file__).resolve().parent
COLUMNS = ("step", "anchor", "ours_ms", "anchor_ms", "ratio", "goal", "max_difference")


def main() -> None:
    """Print every line as it is measured; write both files when all are."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--photos", type=Path, default=HERE.parents[1] / "shared/data/voc_mini", help="VOC folder")
    parser.add_argument("steps", nargs="*", help="superpixels, walks, crf, evaluation, files; all of them if none")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    known: dict[str, Callable[[], Iterator[Row]]] = {
        "evaluation": evaluation.rows,
        "files": files.rows,
        "superpixels": lambda: superpixels.rows(given.photos),
        "crf": crf.rows,
        "walks": walks.rows,
    }
    lines = []
    for name in given.steps or known:
        for row in known[name]():
            lines.append(cells(row))
            print(" | ".join(lines[-1]), flush=True)
    write(lines)


def cells(row: Row) -> list[str]:
    """The columns of a row as text."""
    values = row.ours_ms, row.anchor_ms, row.ratio, row.goal
    return [row.step, row.anchor, *(f"{value:.4g}" for value in values), row.max_difference]


def write(lines: list[list[str]]) -> None:
    """Both forms of the table."""
    with open(HERE / "latest.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *lines])
    table = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    head = f"{platform.machine()}, {os.cpu_count()} cores, one used; {datetime.date.today()}.\n\n"
    (HERE / "latest.md").write_text(head + "".join(f"| {' | '.join(line)} |\n" for line in table))


if __name__ == "__main__":
    main()
