"""The papers' numbers: three CSV files in, one look-up by method, stage, split and metric out."""

import csv
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsss.errors import UserError

VOC_SHORT = {
    "bkg": "background",
    "aero": "aeroplane",
    "bike": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "cow": "cow",
    "table": "diningtable",
    "dog": "dog",
    "horse": "horse",
    "mbk": "motorbike",
    "person": "person",
    "plant": "pottedplant",
    "sheep": "sheep",
    "sofa": "sofa",
    "train": "train",
    "tv": "tvmonitor",
}
"""Column of a printed per-class table -> class name of VOC 2012, in class id order (background first)."""

VOC_CLASSES = tuple(VOC_SHORT.values())[1:]
KEYS = ("method", "stage", "split", "source")


@dataclass(frozen=True)
class Number:
    """A printed number in percent (None where the paper is known to have one that could not be obtained).

    `sd` is the printed standard deviation in percentage points, `note` a caveat about the number.
    """

    value: float | None
    sd: float | None = None
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Published:
    """All printed numbers: (method, stage, split, source, metric, number)."""

    folder: Path
    entries: tuple[tuple[dict[str, str], str, Number], ...]

    def find(self, reference: dict[str, str], split: str, metric: str) -> Number | None:
        """The number for `reference` (method and stage, at need also source), or None.

        `metric` is miou, precision, recall or iou/<VOC class>. Raises UserError when unlike numbers match.
        """
        wanted = {**reference, "split": split}
        found = [number for keys, kind, number in self.entries if kind == metric and _fits(keys, wanted)]
        if len({number.value for number in found}) > 1:
            sources = ", ".join(repr(number.source) for number in found)
            where = f"{self.folder}: {_name(reference)}"
            raise UserError(f"{where} has several {metric} for {split}; add source: {sources}")
        return found[0] if found else None

    def check(self, reference: dict[str, str], where: str) -> None:
        """Raise UserError, naming `where` and the nearest entry, unless `reference` leads to an entry."""
        if not {"method", "stage"} <= set(reference) <= {"method", "stage", "source"}:
            raise UserError(f"{where}: give the keys method and stage (and source at need), not {sorted(reference)}")
        if any(_fits(keys, reference) for keys, _, _ in self.entries):
            return
        known = sorted({_name(keys) for keys, _, _ in self.entries})
        near = difflib.get_close_matches(_name(reference), known, n=1, cutoff=0.0)
        hint = f"; nearest: {near[0]}" if near else ""
        raise UserError(f"{where}: {self.folder} has no {_name(reference)}{hint}")


def read_published(folder: str | Path) -> Published:
    """Read results.csv, per_class.csv and precision_recall.csv of a folder; values in percent.

    Raises UserError that names the file and line of a missing column or of a value that is no number.
    """
    folder = Path(folder)
    entries = [*_results(folder / "results.csv"), *_per_class(folder / "per_class.csv")]
    entries += _precision_recall(folder / "precision_recall.csv")
    return Published(folder, tuple(entries))


def _results(path: Path) -> Iterator[tuple[dict[str, str], str, Number]]:
    for where, row in _rows(path, ("mIoU", "sd", "note")):
        sd = _number(row["sd"], where, "sd")
        yield row, "miou", Number(_number(row["mIoU"], where, "mIoU"), sd, row["source"], row["note"])


def _per_class(path: Path) -> Iterator[tuple[dict[str, str], str, Number]]:
    for where, row in _rows(path, (*VOC_SHORT, "mIoU")):
        yield row, "miou", Number(_number(row["mIoU"], where, "mIoU"), source=row["source"])
        for short, name in VOC_SHORT.items():
            yield row, f"iou/{name}", Number(_number(row[short], where, short), source=row["source"])


def _precision_recall(path: Path) -> Iterator[tuple[dict[str, str], str, Number]]:
    for where, row in _rows(path, ("metric", "value")):
        yield row, row["metric"], Number(_number(row["value"], where, "value"), source=row["source"])


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row with its place (file and line), once all needed columns are there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read; restore it from the repository") from None
    reader = csv.DictReader(text.splitlines(), restval="")
    missing = [column for column in (*KEYS, *columns) if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}: column '{missing[0]}' is missing; restore the file from the repository")
    for row in reader:
        yield f"{path}, line {reader.line_num}", row


def _number(text: str, where: str, column: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where}: {column} '{text}' is not a number") from None


def _fits(keys: dict[str, str], wanted: dict[str, str]) -> bool:
    return all(keys[key] == value for key, value in wanted.items())


def _name(reference: dict[str, str]) -> str:
    return f"'{reference['method']} / {reference['stage']}'"
