"""What the next run will do and why, in words: which setting or function causes which jobs, and what is kept."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import UserError
from wsss.why import read_record

_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)
_FIELD = re.compile(r"^    (\w+): (.*)$", re.MULTILINE)
_CHANGE = re.compile(r"before: (.*?) now: (.*)$")
_DOWNSTREAM = "Input files updated by another job"
_TARGETS = {"all"}


@dataclass(frozen=True)
class PlannedJob:
    """A job of the dry run: its rule, files, and Snakemake's reason."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reason: str


def plan(arguments: Sequence[str]) -> str:
    """The plan of `snakemake <arguments>` as text; UserError with Snakemake's words when it cannot be made."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        words = [line for line in (answer.stderr + answer.stdout).splitlines() if line.strip()]
        raise UserError(f"snakemake cannot plan this: {' '.join(words[-4:])}")
    return describe(parse(answer.stdout + answer.stderr), records())


def parse(text: str) -> list[PlannedJob]:
    """The jobs of a dry run's output, without the pure target rules."""
    jobs = []
    for rule, body in _JOB.findall(text):
        fields = dict(_FIELD.findall(body))
        files = {key: tuple(filter(None, fields.get(key, "").split(", "))) for key in ("input", "output")}
        if rule not in _TARGETS:
            jobs.append(PlannedJob(rule, files["input"], files["output"], fields.get("reason", "")))
    return jobs


def records(folder: Path = Path("provenance")) -> dict[str, dict[str, Any]]:
    """Provenance records by result path."""
    found = {}
    for path in folder.rglob("*.json"):
        result = path.relative_to(folder).with_suffix("")
        if result.exists():
            found[str(result)] = read_record(path)
    return found


def describe(jobs: Sequence[PlannedJob], made: dict[str, dict[str, Any]]) -> str:
    """The plan in words: jobs per rule, the causes with how much hangs on each, and what is kept."""
    if not jobs:
        return f"Nothing to do; {_kept(jobs, made)}."
    counts = ", ".join(f"{rule} {count}" for rule, count in Counter(job.rule for job in jobs).items())
    lines = [f"{len(jobs)} jobs: {counts}", f"{_estimate(jobs, made)}", "", "Because of"]
    hanging = _downstream(jobs)
    causes: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        for cause in _causes(job):
            causes.setdefault(cause, []).append(job)
    for cause, roots in causes.items():
        below = set().union(*(hanging[id(job)] for job in roots)) - {id(job) for job in roots}
        rules = ", ".join(dict.fromkeys(job.rule for job in roots))
        lines.append(f"  {cause}: {len(roots)} x {rules}" + (f", and {len(below)} jobs below" if below else ""))
    return "\n".join([*lines, "", f"{_kept(jobs, made).capitalize()}."])


def differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Every leaf in which two nested settings differ, as `key: old -> new`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    elif before != now:
        yield f"{where}: {before} -> {now}"


def _causes(job: PlannedJob) -> list[str]:
    change = _CHANGE.search(job.reason)
    if change is None and job.reason.startswith(_DOWNSTREAM):
        return []
    if change is None:
        return [job.reason.split(":")[0].lower() or "asked for"]
    before, now = (ast.literal_eval(f"[{side.strip()}]") for side in change.groups())
    causes = []
    for old, new in _pairs(before, now):
        if _is_source(old) or _is_source(new):
            causes += [f"code {line.split(': ')[0]}" for line in differences(old, new)]
        else:
            causes += [f"setting {line}" for line in differences(old, new)]
    return causes


def _pairs(before: list[Any], now: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Old and new values of the params `config` and `source`, told apart by their form."""
    for is_source in (True, False):
        old = next((value for value in before if _is_source(value) == is_source), None)
        new = next((value for value in now if _is_source(value) == is_source), None)
        if old is not None or new is not None:
            yield old or {}, new or {}


def _is_source(value: Any) -> bool:
    return isinstance(value, dict) and any(":" in str(key) for key in value)


def _downstream(jobs: Sequence[PlannedJob]) -> dict[int, set[int]]:
    """For every job, the planned jobs that wait for it, directly or through others."""
    readers: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        for path in job.inputs:
            readers.setdefault(path, []).append(job)
    below: dict[int, set[int]] = {}

    def visit(job: PlannedJob) -> set[int]:
        if id(job) not in below:
            below[id(job)] = set()
            for path in job.outputs:
                for reader in readers.get(path, []):
                    below[id(job)] |= {id(reader)} | visit(reader)
        return below[id(job)]

    for job in jobs:
        visit(job)
    return below


def _estimate(jobs: Sequence[PlannedJob], made: dict[str, dict[str, Any]]) -> str:
    known = [made[job.outputs[0]]["wall_s"] for job in jobs if job.outputs and job.outputs[0] in made]
    return f"They took {_duration(sum(known))} last time ({len(known)} of them ran before)."


def _kept(jobs: Sequence[PlannedJob], made: dict[str, dict[str, Any]]) -> str:
    planned = {path for job in jobs for path in job.outputs}
    kept = {record["outputs"][0]: record["wall_s"] for path, record in made.items() if path not in planned}
    return f"kept: {len(kept)} results that took {_duration(sum(kept.values()))}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
