"""Run every conformance vector of a folder: python -m tests.conformance FOLDER."""

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import tests.conformance

Adapter = Callable[[Path], tuple[float, float]]
INPUTS = ("*_params.tsv",)  # tables that other vectors are made of
SUFFIXES = (".npz", ".tsv", ".txt")


@dataclass(frozen=True)
class Outcome:
    """What became of one vector."""

    name: str
    status: Literal["pass", "FAIL", "missing", "input"]
    text: str


def adapters() -> dict[str, Adapter]:
    """All adapters by name prefix, from every module beside this one that has ADAPTERS."""
    found: dict[str, Adapter] = {}
    for module in pkgutil.iter_modules(tests.conformance.__path__):
        if module.name != "__main__":
            own = getattr(importlib.import_module(f"tests.conformance.{module.name}"), "ADAPTERS", {})
            twice = found.keys() & own.keys()
            if twice:
                raise ValueError(f"tests.conformance.{module.name}: {sorted(twice)} have an adapter elsewhere")
            found |= own
    return found


def adapter_of(stem: str, known: dict[str, Adapter]) -> Adapter | None:
    """The adapter with the longest prefix, cut at underscores: 09_crf_psa_a, then 09_crf_psa, then 09_crf."""
    parts = stem.split("_")
    prefixes = ["_".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((known[prefix] for prefix in prefixes if prefix in known), None)


def run(folder: Path) -> Iterator[Outcome]:
    """Outcomes of all vectors, in the order of their names."""
    known = adapters()
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        yield outcome_of(path, known)


def outcome_of(path: Path, known: dict[str, Adapter]) -> Outcome:
    """Run one vector; an error inside its adapter is a failure."""
    if any(fnmatch(path.name, pattern) for pattern in INPUTS):
        return Outcome(path.stem, "input", "")
    adapter = adapter_of(path.stem, known)
    if adapter is None:
        return Outcome(path.stem, "missing", "no adapter yet")
    try:
        difference, tolerance = adapter(path)
    except Exception as error:
        traceback.print_exc()
        return Outcome(path.stem, "FAIL", f"{type(error).__name__}: {error}")
    status: Literal["pass", "FAIL"] = "pass" if difference <= tolerance else "FAIL"
    return Outcome(path.stem, status, f"largest difference {difference:.3g}, tolerance {tolerance:.3g}")


def main(arguments: list[str]) -> int:
    """Print one line per vector and a summary; 0 when none failed, 1 on a failure, 2 without vectors."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m tests.conformance FOLDER", file=sys.stderr)
        return 2
    statuses = []
    for outcome in run(Path(arguments[0])):
        print(f"{outcome.status:8}{outcome.name:28}{outcome.text}", flush=True)
        statuses.append(outcome.status)
    print(", ".join(f"{statuses.count(status)} {status}" for status in ("pass", "FAIL", "missing", "input")))
    if not statuses:
        print(f"{arguments[0]}: no vectors (.npz, .tsv, .txt)", file=sys.stderr)
        return 2
    return 1 if "FAIL" in statuses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
