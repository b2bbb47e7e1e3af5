"""The wide form of a table that people read: cells arranged in grids, independent of the output format."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsss.published import VOC_SHORT, Number

METRICS = {"miou": "mIoU", "precision": "precision", "recall": "recall"}
RULES = {"fixed": "Fixed", "best": "Best on train", "holdout": "Held out", "oracle": "Oracle"}
SHORT = {full: short for short, full in VOC_SHORT.items()}
NOT_COMPARABLE, WITHIN = "†", "‡"


@dataclass(frozen=True)
class Cell:
    """One number of a table in percent: what the paper prints, what was measured, what that number is.

    `metric` is miou, precision, recall, iou/<class>, or one of the first three with @<threshold rule>.
    `status` is run, quoted, not run, failed or needs server; `seeds` counts those behind `ours`;
    `over_seeds` is False where `std` is over chains.
    """

    row: str
    split: str
    metric: str
    status: str
    published: Number | None = None
    ours: float | None = None
    std: float | None = None
    seeds: int = 0
    difference: float | None = None
    reason: str = ""
    contract: Mapping[str, str] = field(default_factory=dict)
    over_seeds: bool = True


@dataclass(frozen=True)
class Table:
    """All cells of a table by (row, split, metric), with their footnote marks: (at published, at ours)."""

    name: str
    title: str
    metrics: tuple[str, ...]
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    classes: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Cell]
    marks: Mapping[tuple[str, str, str], tuple[str, str]]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """Text of one grid position, its footnote marks, its role (ours, status, failed, none), and a hint."""

    text: str
    marks: str = ""
    role: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Grid:
    """A rectangular part of a table: groups of columns (label, width), columns, and rows of entries."""

    kind: str
    caption: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]


def contract_text(contract: Mapping[str, str]) -> str:
    """A contract as one line: key=value pairs in alphabetical order, separated by semicolons."""
    return "; ".join(f"{key}={contract[key]}" for key in sorted(contract))


def grids(table: Table) -> list[Grid]:
    """The table in the wide form that people read: main numbers, threshold rules, and classes by split."""
    found = [_main(table)]
    if any("@" in metric for _, _, metric in table.cells):
        found.append(_rules(table))
    for split in table.splits if table.classes else ():
        grid = _classes(table, split)
        found += [grid] if grid.rows else []
    return found


def _main(table: Table) -> Grid:
    pairs = [(split, metric) for split in table.splits for metric in table.metrics]
    groups = [("", 1)] + [(f"{split}, {METRICS[metric]} (%)", 3) for split, metric in pairs]
    mark = "".join(mark for mark, _ in table.notes if mark == NOT_COMPARABLE)
    columns = [Entry("")] + [Entry("Published", mark), Entry("Ours"), Entry("Difference")] * len(pairs)
    rows = [[Entry(row), *(e for pair in pairs for e in _three(table, (row, *pair)))] for row in table.rows]
    return Grid("main", "", tuple(groups), tuple(columns), tuple(map(tuple, rows)))


def _three(table: Table, key: tuple[str, str, str]) -> tuple[Entry, Entry, Entry]:
    cell = table.cells.get(key)
    if cell is None:
        return Entry("", role="none"), Entry("", role="none"), Entry("", role="none")
    paper, (above, beside) = cell.published or Number(None), table.marks.get(key, ("", ""))
    published = Entry(_spread(paper.value, paper.sd), above, hint=paper.source)
    if cell.ours is None:
        role = "failed" if cell.status == "failed" else "status"
        bare = cell.status == "quoted" and paper.value is None
        text = "undefined" if cell.status == "run" else "–" if bare else cell.status
        return published, Entry(text, beside, role, cell.reason), Entry("–", role="none")
    count = f" (n={cell.seeds})" if cell.over_seeds and cell.std is not None else ""
    ours = Entry(_spread(cell.ours, cell.std) + count, beside, "ours", contract_text(cell.contract))
    return published, ours, Entry(_signed(cell.difference), WITHIN if within(cell) else "")


def within(cell: Cell) -> bool:
    """Whether the published number lies within two standard deviations (over at least two seeds) of ours."""
    several = cell.over_seeds and cell.std is not None and cell.difference is not None
    return several and abs(cell.difference or 0.0) <= 2 * (cell.std or 0.0)


def _rules(table: Table) -> Grid:
    metric = "miou" if "miou" in table.metrics else table.metrics[0]
    groups = [("", 1)] + [(f"{split}, {METRICS[metric]} (%)", len(RULES)) for split in table.splits]
    rows = []
    for row in table.rows:
        keys = [(row, split, f"{metric}@{rule}") for split in table.splits for rule in RULES]
        cells = [table.cells.get(key) for key in keys]
        if any(cells):
            rows.append((Entry(row), *(_plain(cell) for cell in cells)))
    columns = [Entry("")] + [Entry(label) for label in RULES.values()] * len(table.splits)
    caption = "Ours by background threshold (best and oracle use ground truth)"
    return Grid("rules", caption, tuple(groups), tuple(columns), tuple(rows))


def _plain(cell: Cell | None, *, spread: bool = True) -> Entry:
    if cell is None or cell.ours is None:
        return Entry("–", role="none")
    return Entry(_spread(cell.ours, cell.std if spread else None), hint=contract_text(cell.contract))


def _classes(table: Table, split: str) -> Grid:
    metrics = [*(f"iou/{name}" for name in table.classes), *(["miou"] if "miou" in table.metrics else [])]
    rows = []
    for row in table.rows:
        cells = [table.cells.get((row, split, metric)) for metric in metrics]
        papers = [cell.published.value if cell and cell.published else None for cell in cells]
        if any(value is not None for value in papers[: len(table.classes)]):
            rows.append((Entry(f"{row} (published)"), *(Entry(_percent(value) or "–") for value in papers)))
        if any(cell and cell.ours is not None for cell in cells):
            rows.append((Entry(f"{row} (ours)"), *(_plain(cell, spread=False) for cell in cells)))
    names = [METRICS.get(metric, metric.removeprefix("iou/")) for metric in metrics]
    columns = [Entry("")] + [Entry(SHORT.get(name, name), hint=name) for name in names]
    groups = (("", len(columns)),)
    return Grid("classes", f"IoU per class (%), {split}", groups, tuple(columns), tuple(rows))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}".replace("-0.0", "0.0")


def _spread(value: float | None, sd: float | None) -> str:
    if value is None:
        return "–"
    return _percent(value) + (f" ± {_percent(sd)}" if sd is not None else "")


def _signed(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
