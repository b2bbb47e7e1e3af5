"""What produced a result: its provenance record and, recursively, those of everything it was made from."""

import hashlib
import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from wsss.errors import UserError
from wsss.job import digest_of, record_of

KEYS = {"rule", "config", "source", "inputs", "outputs", "fingerprint", "digest", "wall_s"}


def why(path: Path) -> str:
    """The provenance of a result as text: settings, code, versions, costs, then its parents, each once.

    Raises UserError when the path was not made by the workflow. Says so where a file has changed since.
    """
    if not record_of(path).is_file():
        known = "is not a result of this workflow" if path.exists() else "does not exist"
        raise UserError(f"{path}: {known} (no record {record_of(path)}); give a path below results/")
    return "\n".join(_lines(path, 0, set()))


def read_record(path: Path, keys: Set[str] = KEYS) -> dict[str, Any]:
    """Content of a provenance record with at least these keys; UserError when the file was damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.keys() >= keys:
            return content
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(f"{path}: is not a provenance record; delete it, then run the rule of this result again")


def _lines(path: Path, depth: int, seen: set[str]) -> Iterator[str]:
    margin = "    " * depth
    record = record_of(path)
    if not record.is_file():
        yield f"{margin}{path}  sha256 {digest_of(path)[:12]}  (given)" if path.exists() else f"{margin}{path} (gone)"
        return
    content = read_record(record)
    if content["fingerprint"] in seen:
        yield f"{margin}{path}  sha256 {content['digest'][:12]}  (its job stands above)"
        return
    seen.add(content["fingerprint"])
    yield f"{margin}{path}"
    for line in _describe(path, content):
        yield f"{margin}  {line}"
    for parent in content["inputs"]:
        yield from _lines(Path(parent), depth + 1, seen)


def _describe(path: Path, record: dict[str, Any]) -> Iterator[str]:
    yield f"sha256    {record['digest'][:12]}{_state(path, record['digest'])}"
    yield f"rule      {record['rule']}"
    yield f"settings  {json.dumps(record['config'], sort_keys=True)}"
    yield f"code      {len(record['source'])} definitions, digest {_digest(record['source'])}"
    yield f"git       {record['git'] or 'no repository'}{' with uncommitted changes' if record['dirty'] else ''}"
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    yield f"packages  {packages}; Python {record['python']}"
    yield f"device    {record['device']}"
    yield f"cost      {record['wall_s']:.1f} s, {record['peak_memory_mb']} MB"


def _state(path: Path, digest: str) -> str:
    """Whether a result is still what was recorded."""
    if not path.exists():
        return "  GONE"
    return "" if digest_of(path) == digest else "  CHANGED SINCE"


def _digest(source: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
