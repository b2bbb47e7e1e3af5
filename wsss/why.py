"""What produced a result: its provenance record and, recursively, those of everything it was made from."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.errors import UserError
from wsss.job import digest_of, record_of


def why(path: Path) -> str:
    """The provenance of a result as text: settings, code, versions, costs, then its parents, each once.

    Raises UserError when the path was not made by the workflow. Says so where a file has changed since.
    """
    if not record_of(path).is_file():
        known = "is not a result of this workflow" if path.exists() else "does not exist"
        raise UserError(f"{path}: {known} (no record {record_of(path)}); give a path below results/")
    return "\n".join(_lines(path, 0, set()))


def _lines(path: Path, depth: int, seen: set[str]) -> Iterator[str]:
    margin = "    " * depth
    record = record_of(path)
    if str(path) in seen:
        yield f"{margin}{path} (see above)"
        return
    seen.add(str(path))
    if not record.is_file():
        yield (
            f"{margin}{path}  sha256 {digest_of(path)[:12]}  (given, not made)"
            if path.exists()
            else f"{margin}{path} (gone)"
        )
        return
    content = json.loads(record.read_text(encoding="utf-8"))
    yield f"{margin}{path}"
    for line in _describe(path, content):
        yield f"{margin}  {line}"
    shown = {content["outputs"][0]}
    for parent in content["inputs"]:
        if parent not in shown:
            yield from _lines(Path(parent), depth + 1, seen)


def _describe(path: Path, record: dict[str, Any]) -> Iterator[str]:
    changed = (
        ""
        if path.exists() and digest_of(path) == record["digest"]
        else "  CHANGED SINCE"
        if path.exists()
        else "  GONE"
    )
    yield f"sha256    {record['digest'][:12]}{changed}"
    yield f"rule      {record['rule']}"
    yield f"settings  {json.dumps(record['config'], sort_keys=True)}"
    yield f"code      {len(record['source'])} definitions, digest {_digest(record['source'])}"
    yield f"git       {record['git'] or 'no repository'}{' with uncommitted changes' if record['dirty'] else ''}"
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    yield f"packages  {packages}; Python {record['python']}"
    yield f"device    {record['device']}"
    yield f"cost      {record['wall_s']:.1f} s, {record['peak_memory_mb']} MB"


def _digest(source: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
