"""The data stage's own CSVs: read row by row, and values that are made only when they are asked for.

A million images cost a few hundred bytes each this way, in every job.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from wsss.errors import UserError

AGAIN = "run the data stage again"
Value = TypeVar("Value")


class Rows(Mapping[str, Value]):
    """Values by id in the order of `ids`; `make(position)` makes one, anew whenever it is asked for."""

    def __init__(self, ids: Iterable[str], make: Callable[[int], Value]) -> None:
        self._positions = {id: position for position, id in enumerate(ids)}
        self._make = make

    def __getitem__(self, id: str) -> Value:
        return self._make(self._positions[id])

    def __contains__(self, id: object) -> bool:
        return id in self._positions

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Every row with its line, once the header has exactly these columns; UserError otherwise."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            if next(reader, None) != list(columns):
                raise UserError(f"{path}: the first line is not {','.join(columns)}; {AGAIN}")
            for row in reader:
                if len(row) != len(columns):
                    fault = f"has {len(row)} fields instead of {len(columns)}"
                    raise damaged(path, reader.line_num, fault)
                yield reader.line_num, row
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {AGAIN}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {AGAIN}") from None


def damaged(path: Path, line: int, fault: str) -> UserError:
    """The error for a row that the data stage cannot have written."""
    return UserError(f"{path} line {line}: {fault}; {AGAIN}")


def numbers(texts: Iterable[str]) -> tuple[int, ...] | None:
    """Whole numbers of a row's cells; None when one is none."""
    try:
        return tuple(map(int, texts))
    except ValueError:
        return None
