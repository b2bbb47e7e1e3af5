"""What jobs took: Snakemake's benchmark files."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss.errors import UserError


@dataclass(frozen=True)
class Cost:
    """What a job took: wall and CPU time in seconds, peak resident memory in MB; None if not measured."""

    stage: str
    job: str
    wall_s: float | None
    cpu_s: float | None
    peak_mb: float | None


def read_all(folder: Path) -> list[Cost]:
    """Costs of all jobs whose benchmark files lie below a folder; the first folder below it names the stage."""
    found = [(path.relative_to(folder).with_suffix("").parts, path) for path in sorted(folder.rglob("*.tsv"))]
    return read_benchmarks([(parts[0], "/".join(parts[1:]) or parts[0], path) for parts, path in found])


def read_benchmarks(files: Sequence[tuple[str, str, Path]]) -> list[Cost]:
    """Costs from Snakemake's benchmark files, given as (stage, job, path); repeats of a job are added up.

    Times in seconds, memory in MB (the highest of the repeats); None where Snakemake could not measure.
    """
    return [Cost(stage, job, *_benchmark(Path(path))) for stage, job, path in files]


def _benchmark(path: Path) -> tuple[float | None, float | None, float | None]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        columns = [[_measured(row[name]) for row in rows] for name in ("s", "cpu_time", "max_rss")]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: is not a benchmark file of Snakemake ({error}); delete it") from None
    wall, cpu, memory = ([value for value in column if value is not None] for column in columns)
    return sum(wall) if wall else None, sum(cpu) if cpu else None, max(memory, default=None)


def _measured(text: str | None) -> float | None:
    return None if text in (None, "", "-", "NA", "nan") else float(text or "nan")
