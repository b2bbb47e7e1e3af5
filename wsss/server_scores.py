"""What VOC's evaluation server answered for the test split, in a CSV that the user writes: nobody else can score it.

Columns: chain (its folder below results/<dataset>/archive), seed, miou; a column per class where it is wanted. Percent.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from wsss.data.csv_table import Row, header, read_table
from wsss.errors import UserError

Run = tuple[tuple[str, ...], int]
"""Chain and seed."""


def read_server_scores(path: str | Path, classes: Sequence[str]) -> dict[Run, dict[str, float]]:
    """Scores in 0..1 by run: `miou`, and `iou/<class>` for the classes (background too) that have a column.

    UserError, naming the row, for unknown columns, numbers outside 0..100 and runs that stand twice.
    """
    path = Path(path)
    metrics = {"miou": "miou"} | {name: f"iou/{name}" for name in ("background", *classes)}
    rows, faults = read_table(path, {"chain", "seed", "miou"})
    if unknown := [name for name in header(path) if name not in {"chain", "seed", *metrics}]:
        raise UserError(f"{path}: column '{unknown[0]}' is no class; columns: chain, seed, miou, and names of classes")
    if faults:
        raise UserError(faults[0])
    found: dict[Run, dict[str, float]] = {}
    for row in rows:
        run = (tuple(row.cells["chain"].strip("/").split("/")), _seed(row))
        if run in found:
            raise UserError(f"{row.where}: {row.cells['chain']}, seed {run[1]} stands twice; keep one")
        found[run] = {metrics[name]: _share(row, name) for name in metrics if name == "miou" or row.cells.get(name)}
    return found


def refuse_unknown(scores: Mapping[Run, object], runs: Collection[Run], path: str) -> None:
    """UserError when a score belongs to none of the runs: it would be left out of every table without a word."""
    for chain, seed in scores:
        if (chain, seed) not in runs:
            raise UserError(
                f"{path}: no table waits for the test split of {'/'.join(chain)}, seed {seed}; "
                "chains are written as the folders below archive/"
            )


def _seed(row: Row) -> int:
    if not row.cells["seed"].isdecimal():
        raise UserError(f"{row.where}: seed '{row.cells['seed']}' is not a whole number")
    return int(row.cells["seed"])


def _share(row: Row, name: str) -> float:
    try:
        value = float(row.cells[name])
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise UserError(f"{row.where}: {name} '{row.cells[name]}' is not a number of percent from 0 to 100")
    return value / 100
