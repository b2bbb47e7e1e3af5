"""A user's CSVs and lists: any usual delimiter, with or without byte order mark, rows numbered as in an editor."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from wsss.errors import UserError

_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: its place for messages (`labels.csv row 7`) and its cells by column, stripped."""

    where: str
    cells: dict[str, str]


def header(path: Path) -> list[str]:
    """Column names of a CSV, in lower case; empty when the file is no readable text."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            return _names(stream.readline())[0]
    except (OSError, UnicodeDecodeError):
        return []


def read_table(path: Path, required: set[str]) -> tuple[list[Row], list[str]]:
    """All rows, and faults of rows that do not fit the header; UserError for a file that is no such table."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            names, delimiter = _names(stream.readline())
            if not required <= set(names):
                wanted, found = ",".join(sorted(required)), ",".join(names)
                raise UserError(f"{path}: the first row must name the columns {wanted}; it says: {found}")
            return _rows(path, stream, delimiter, names)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is the path right?") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as CSV UTF-8") from None


def read_list(path: Path) -> list[str]:
    """Lines of a user's list, stripped, without byte order mark; UserError when it is no readable text."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is the path right?") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


def _names(line: str) -> tuple[list[str], str]:
    delimiter = max(_DELIMITERS, key=line.count)
    return [name.strip().strip('"').lower() for name in line.split(delimiter)], delimiter


def _rows(path: Path, stream: TextIO, delimiter: str, names: list[str]) -> tuple[list[Row], list[str]]:
    rows, faults = [], []
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    for cells in _whole(reader, path):
        where = f"{path.name} row {reader.line_num + 1}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            faults.append(
                f"{where}: has {len(cells)} fields where the header has {len(names)}; "
                "separate labels by spaces and quote names that hold a delimiter"
            )
            continue
        rows.append(Row(where, {name: cell.strip() for name, cell in zip(names, cells, strict=True)}))
    return rows, faults


def _whole(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        row = f"{path.name} row {reader.line_num + 1}"
        raise UserError(f"{row}: is no CSV ({error}); close every quote, write a quote inside quotes twice") from None
