"""A case of the table: an input, the command or function that meets it, and what must come of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from wsss.cli import app
from wsss.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """Exit status, and the lines that the user reads."""

    status: int
    lines: list[str]


Meeting = Callable[[], Outcome]


@dataclass(frozen=True)
class Case:
    """`given` breaks an input in an empty folder and returns what meets it; the one line must hold all of `says`."""

    name: str
    given: Callable[[Path], Meeting]
    says: tuple[str, ...]


@dataclass(frozen=True)
class Legal:
    """An odd input that is legal: `right` says what comes of it, `proves` makes it in an empty folder and asserts."""

    name: str
    right: str
    proves: Callable[[Path], None]


def command(*arguments: str | Path) -> Meeting:
    """A command of `wsss`, in this process."""

    def meet() -> Outcome:
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        lines = [line for line in result.output.splitlines() if line]
        return Outcome(result.exit_code, lines[:-1] if arguments[0] == "check" and "error: " not in lines[0] else lines)

    return meet


def function(work: Callable[..., object], **arguments: Any) -> Meeting:
    """A stage's function on files, as a workflow script calls it (wsss.job.run gives its UserError exit status 1)."""

    def meet() -> Outcome:
        try:
            work(**arguments)
        except UserError as error:
            return Outcome(1, str(error).splitlines())
        return Outcome(0, [])

    return meet


def check(folder: Path, **data: Any) -> Meeting:
    """`wsss check` on the images in a folder, whose splits are train and val."""
    return settings({"dataset": "own", "preset": "tiny", "data": {"source": "own", "root": str(folder)} | data})(folder)


def settings(overlay: dict[str, Any] | str | bytes) -> Callable[[Path], Meeting]:
    """`wsss check` on a configuration file with this content."""

    def given(folder: Path) -> Meeting:
        path = folder.parent / "overlay.yaml"
        content = yaml.safe_dump(overlay, allow_unicode=True) if isinstance(overlay, dict) else overlay
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return command("check", "-c", path)

    return given


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, also hidden and temporary ones; folders and links by their kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = b"link" if path.is_symlink() else b"folder"
        found[os.fsdecode(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else kind
    return found
