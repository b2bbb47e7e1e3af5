"""Every step beside what is commonly used: `make bench`, or `python -m bench STEP ...` for some of the steps.

Writes bench/latest.csv and bench/latest.md; rows of steps that did not run stay as they were.
"""

import argparse
import csv
import importlib
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch

from bench.measure import Row
from wsss.process import keep_freed_memory

STEPS = ("superpixels", "walks", "crf", "scores", "files", "training")
COLUMNS = ("step", "anchor", "ours_ms", "anchor_ms", "ratio", "goal", "max_difference")
LATEST = Path(__file__).with_name("latest.csv")


def main() -> None:
    """Run the steps, one after the other, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], default=[], metavar="STEP")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    table = _read()
    for step in parser.parse_args().steps or STEPS:
        for row in importlib.import_module(f"bench.{step}").rows():
            line = _line(row)
            print("  ".join(line.values()), flush=True)
            table[row.step, row.anchor] = line
            _write(list(table.values()))


def _line(row: Row) -> dict[str, str]:
    numbers = {name: f"{getattr(row, name):.4g}" for name in ("ours_ms", "anchor_ms", "ratio", "goal")}
    return {"step": row.step, "anchor": row.anchor, **numbers, "max_difference": row.max_difference}


def _read() -> dict[tuple[str, str], dict[str, str]]:
    if not LATEST.exists():
        return {}
    with LATEST.open(newline="") as stream:
        return {(line["step"], line["anchor"]): line for line in csv.DictReader(stream)}


def _write(lines: list[dict[str, str]]) -> None:
    with LATEST.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    cells = [COLUMNS, ("---", "---", *["---:"] * 4, "---"), *(line.values() for line in lines)]
    LATEST.with_suffix(".md").write_text("".join(f"| {' | '.join(row)} |\n" for row in cells))


if __name__ == "__main__":
    main()
