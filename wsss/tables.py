"""Tables of the papers: evaluations and published numbers in, one file per format out.

A cell says what it is: run (a measured number with its contract), quoted (the paper's only), not run, failed,
or needs server (only the evaluation server of VOC can score it).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsss.errors import UserError
from wsss.files import write_text
from wsss.published import VOC_CLASSES, Published, read_published
from wsss.server_scores import read_server_scores
from wsss.table_formats import RENDERERS
from wsss.table_layout import METRICS, RULES, Cell, Table
from wsss.table_notes import annotate
from wsss.table_runs import Evaluations, Measure, Runs

KINDS = ("chain", "mean_of", "quoted", "pending")
Row = dict[str, Any]


def build(
    *,
    name: str,
    definition: dict[str, Any],
    classes: Sequence[str],
    evaluations: Evaluations,
    seeds: Sequence[int],
    published: Path,
    out_prefix: Path,
    voc: bool = True,
    allow_missing: bool = False,
    test_scores: str | None = None,
) -> None:
    """Write <out_prefix>.csv, .md, .html and .tex, each atomically; the same inputs give the same bytes.

    `name` is paper/table, `definition` an entry of config/tables.yaml, `classes` the foreground class names,
    `evaluations` maps (chain, seed, split) to an evaluation file, `published` is the folder of the papers'
    numbers, `voc` says whether the images are those of VOC 2012. An evaluation file that does not exist makes
    a cell failed with `allow_missing`, else a UserError. UserError also for a contradictory definition. `test_scores`:
    CSV of the evaluation server's answers.
    """
    server = read_server_scores(test_scores, classes) if test_scores else {}
    runs = Runs(evaluations, tuple(seeds), tuple(classes), voc, allow_missing, server)
    table = assemble(name=name, definition=definition, runs=runs, published=read_published(published))
    for suffix, render in RENDERERS.items():
        write_text(f"{out_prefix}{suffix}", render(table))


def assemble(*, name: str, definition: dict[str, Any], runs: Runs, published: Published) -> Table:
    """The table with all its cells, footnote marks and notes."""
    splits = tuple(definition.get("splits") or ("train", "val"))
    rows = [_complete(row, definition, splits) for row in definition["rows"]]
    _check(name, rows, published)
    shown = ("background", *runs.classes) if definition.get("per_class") else ()
    cells = {
        (cell.row, cell.split, cell.metric): cell
        for row in rows
        for split in splits
        if split in row["splits"]
        for cell in _cells(row, split, shown, runs, published)
    }
    marks, notes = annotate(cells, comparable=runs.voc and runs.classes == VOC_CLASSES)
    metrics = tuple(dict.fromkeys(metric for row in rows for metric in row["metric"]))
    names = tuple(row["row"] for row in rows)
    return Table(name, definition.get("title") or name, metrics, splits, names, shown, cells, marks, notes)


def _complete(row: Row, definition: dict[str, Any], splits: tuple[str, ...]) -> Row:
    """A row without empty keys; metrics, threshold rule and splits come from the table where it has none."""
    given = {key: value for key, value in row.items() if value is not None}
    metric = given.get("metric") or definition.get("metric") or "miou"
    threshold = given.get("threshold") or definition.get("threshold") or "fixed"
    own = given.get("splits") or splits
    return given | {
        "metric": [metric] if isinstance(metric, str) else metric,
        "threshold": threshold,
        "splits": own,
    }


def _check(name: str, rows: list[Row], published: Published) -> None:
    seen: set[str] = set()
    for row in rows:
        where = f"tables.{name}, row '{row['row']}'"
        if row["row"] in seen:
            raise UserError(f"{where}: stands twice; give every row its own name")
        seen.add(row["row"])
        kinds = [kind for kind in KINDS if kind in row]
        if len(kinds) != 1:
            raise UserError(f"{where}: needs exactly one of {', '.join(KINDS)}, not {' and '.join(kinds) or 'none'}")
        for key, known in (("metric", METRICS), ("threshold", RULES)):
            values = row[key] if key == "metric" else [row[key]]
            for value in values:
                if value not in known:
                    raise UserError(f"{where}: {key} '{value}' is unknown; known: {', '.join(known)}")
        for key in ("quoted", "published"):
            if key in row:
                published.check(row[key], f"{where}, {key}")


def _cells(row: Row, split: str, shown: Sequence[str], runs: Runs, published: Published) -> Iterator[Cell]:
    """Main cells of a row and split, our numbers by threshold rule, and the classes that have a number."""
    for metric in row["metric"]:
        yield _cell(row, split, metric, runs, published)
    for rule in _rules(row, split, runs):
        for metric in row["metric"]:
            yield _finish(row, split, f"{metric}@{rule}", _measure(row, split, metric, rule, runs))
    for name in shown:
        cell = _cell(row, split, f"iou/{name}", runs, published)
        if cell.status == "run" or (cell.published and cell.published.value is not None):
            yield cell


def _rules(row: Row, split: str, runs: Runs) -> list[str]:
    chains = row.get("mean_of") or ([row["chain"]] if "chain" in row else [])
    sets = [runs.rules(chain, split) for chain in chains]
    return [rule for rule in RULES if sets and all(rule in found for found in sets)]


def _cell(row: Row, split: str, metric: str, runs: Runs, published: Published) -> Cell:
    reference = row.get("quoted") or row.get("published")
    number = published.find(reference, split, metric) if reference else None
    cell = _finish(row, split, metric, _measure(row, split, metric, row["threshold"], runs))
    difference = None
    if runs.classes == VOC_CLASSES and cell.ours is not None and number and number.value is not None:
        difference = cell.ours - number.value
    reason = cell.reason or ("no number is published" if cell.status == "quoted" and number is None else "")
    return replace(cell, published=number, difference=difference, reason=reason)


def _finish(row: Row, split: str, metric: str, measure: Measure) -> Cell:
    return Cell(
        row=row["row"],
        split=split,
        metric=metric,
        status=measure.status,
        ours=measure.value,
        std=measure.std,
        seeds=measure.seeds,
        reason=measure.reason,
        contract=measure.contract,
        over_seeds=measure.over_seeds,
    )


def _measure(row: Row, split: str, metric: str, rule: str, runs: Runs) -> Measure:
    if "quoted" in row:
        return Measure("quoted")
    if "pending" in row:
        return runs.unscored(split, row["pending"], row["pending"])
    if "mean_of" in row:
        return runs.mean(row["mean_of"], split, metric, rule)
    return runs.measure(row["chain"], split, metric, rule)
