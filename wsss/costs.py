"""What jobs took, by their provenance records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.job import record_of
from wsss.why import read_record


@dataclass(frozen=True)
class Cost:
    """What a job took: wall and processor time in seconds, peak resident memory in MB; None if not measured."""

    stage: str
    job: str
    wall_s: float | None
    cpu_s: float | None
    peak_mb: float | None


def read_all(results: Path) -> list[Cost]:
    """Costs of all jobs with results below a folder (results/<data set>), once each; the folder below names the stage.

    UserError for a record that cannot be read.
    """
    folder = record_of(results).with_suffix("")
    jobs: dict[str, Cost] = {}
    for path in sorted(folder.rglob("*.json")):
        if (results / path.relative_to(folder).with_suffix("")).exists():
            record = read_record(path, {"fingerprint", "outputs"})
            jobs.setdefault(record["fingerprint"], _cost(record, results))
    return list(jobs.values())


def _cost(record: dict[str, Any], results: Path) -> Cost:
    """Named by what the paths of the job's outputs have in common."""
    outputs = [Path(output) for output in record["outputs"]]
    names = {output.name.split(".")[0] for output in outputs}
    shared = outputs[0].with_name(names.pop()) if len(names) == 1 else outputs[0].parent
    stage, *tail = shared.relative_to(results).parts
    times = (record.get("wall_s"), record.get("cpu_s"), record.get("peak_memory_mb"))
    return Cost(stage, "/".join(tail) or stage, *times)
