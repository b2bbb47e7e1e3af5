"""Scores of chains over a number, such as an option of their method (RCM+MAM Figure 7)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss.curves import NAMES, Series, value_curve
from wsss.data.manifest import read_manifest
from wsss.paper_figures.inputs import Inputs
from wsss.table_runs import Runs


def draw(
    inputs: Inputs, out: str | Path, *, split: str, metric: str, threshold: str, x: str, lines: Sequence[dict[str, Any]]
) -> None:
    """Write the figure as a PNG: means over seeds in percent, with their standard deviation where there are several.

    See wsss.figure_settings.Curve; a chain without a score is left out.
    """
    runs = Runs(inputs.evaluations, inputs.seeds, read_manifest(inputs.data).classes)

    def series(line: dict[str, Any]) -> Series:
        found = Series(line["caption"], level=len(line["points"]) == 1)
        for point in sorted(line["points"], key=lambda each: each["x"]):
            measure = runs.measure(point["chain"], split, metric, threshold)
            print(f"{line['caption']}, {x} {point['x']:g}: {measure.value} {measure.reason}".rstrip(), flush=True)
            if measure.value is not None:
                found.points.append((point["x"], measure.value, measure.std or 0.0))
        return found

    value_curve([series(line) for line in lines], out, x=x, y=f"{NAMES[metric]} on {split} (%)")
