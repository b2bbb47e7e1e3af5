"""Atomic outputs: a reader sees the whole file or none, and a process that was superseded writes nothing."""

import csv
import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wsss import fence

on_move: list[Callable[[Path, Path], None]] = []
"""Called with a finished temporary and its target before the one takes the other's place: a job records its outputs."""


def _temporary(target: Path) -> Path:
    """A name beside `target` for this process; what killed writers of the same target left behind is removed.

    Processes on other machines cannot be looked at; but they are dead or superseded, else this one would be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    host = os.uname().nodename.partition(".")[0]
    own = target.with_name(f".{target.name}.{host}-{os.getpid()}.tmp")
    with fence.guarded():
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
            writer, _, pid = left.name.split(".")[-2].rpartition("-")
            if left != own and not (writer == host and Path("/proc", pid).exists()):
                _remove(left)
    return own


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it there when the block ends, remove it when it fails.

    An OSError, as of a full disk, names the target.
    """
    target = Path(target)
    temporary = _temporary(target)
    try:
        yield temporary
        _move(temporary, target)
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `target`; it replaces `target` when the block ends without error."""
    target = Path(target)
    temporary = _temporary(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, target: Path) -> None:
    """Put a finished file or folder in the place of `target`; SupersededError when a newer process writes it."""
    with fence.guarded():
        for record in on_move:
            record(temporary, target)
        if temporary.is_file():
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(temporary, target)


def write_text(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(target: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header row as UTF-8, atomically."""
    with atomic_write(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns])
        csv.writer(stream, lineterminator="\n").writerows(rows)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
