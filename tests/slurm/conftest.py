"""The project on a real SLURM: run by `make test-slurm`, which sets WSSS_TEST_SLURM; skipped elsewhere."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.slurm import sandbox
from tests.slurm.sandbox import PATIENCE_S, Sandbox, wait
from tests.workflow.conftest import ROOT, Project, copy_project

SETTINGS = {
    "dataset": "few",
    "preset": "tiny",
    "data": {"source": "shapes", "images": {"train": 16, "val": 6}, "shards": {"train": 1, "val": 1}},
    "recipes": {"irn_cam": {"epochs": 40, "batch": 2}},
    "cam": {"ms_irn": {"scales": [1.0]}},
    "evaluate": {"holdout": 5},
    "build": ["few/*"],
    "figures": {},
    "tables": {"few/table1": {"title": "A few", "rows": [{"row": "CAM", "chain": ["gap_r50", "ms_irn"]}]}},
}
"""One training of 320 steps, which outlasts all faults; its maps, their score and the table."""

# Bits depend on the number of threads, and that on the machine.
GPU_RULES = ("classify", "cam", "words", "affinity", "walk", "segment", "predict")
THREADS = ["--set-threads", *(f"{rule}=1" for rule in (*GPU_RULES, "evaluate"))]
# The shipped profile, with what a sandbox without accounting and a test without patience need.
QUICK = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
QUICK += ["--max-status-checks-per-second", "10", "--slurm-keep-successful-logs"]


@dataclass
class Cluster:
    """A copy of the project, and the SLURM that its jobs go to."""

    project: Project
    slurm: Sandbox
    runs: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """`snakemake --profile slurm` in the background; its output goes to run-<number>.txt."""
        command = [sys.executable, "-m", "tests.slurm.snakemake", "--profile", "slurm", "--configfile"]
        variables = {"PYTHONPATH": f"{self.project.folder}:{ROOT}", "WSSS_CHECKPOINT_SECONDS": "0"}
        with open(self.project.folder / f"run-{len(self.runs)}.txt", "wb") as output:
            run = subprocess.Popen(
                [*command, self.project.config, *THREADS, *QUICK, *arguments],
                cwd=self.project.folder,
                env=self.slurm.environment | variables | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.runs.append(run)
        return run

    def finish(self, seconds: float = PATIENCE_S) -> None:
        """Wait for the latest run; it must succeed."""
        assert self.runs[-1].wait(seconds) == 0, self.output()[-6000:]

    def output(self) -> str:
        return (self.project.folder / f"run-{len(self.runs) - 1}.txt").read_text()

    def steps(self) -> int:
        """The step of the latest checkpoint that the running training's log tells of; 0 when there is none."""
        found = re.findall(r"checkpoint at step (\d+)", self.log.read_text()) if self.log.exists() else []
        return int(found[-1]) if found else 0

    def jobs(self) -> list[dict[str, str]]:
        """All SLURM jobs so far, oldest first: id, state, partition, rule, node."""
        form = "%i|%T|%P|%k|%N"
        names = ("id", "state", "partition", "rule", "node")
        lines = self.slurm.client("squeue", "-h", "--states=all", "--sort=i", "-o", form).splitlines()
        return [dict(zip(names, line.split("|"), strict=True)) for line in lines]

    def gpus(self, job: str) -> str:
        """What a job asked for: `gpu:1`, or nothing."""
        found = re.search(r"TresPer(?:Job|Node)=gres:(\S+)", self.slurm.client("scontrol", "show", "job", job))
        return found[1] if found else ""

    def state(self, job: str) -> str:
        return self.slurm.client("squeue", "-h", "--states=all", "-j", job, "-o", "%T").strip()

    def running(self, rule: str) -> str | None:
        """The id of this rule's running job."""
        found = [job["id"] for job in self.jobs() if f"rule_{rule}" in job["rule"] and job["state"] == "RUNNING"]
        return found[-1] if found else None

    @property
    def log(self) -> Path:
        return self.project.folder / "logs/few/classify/gap_r50/seed-0.log"

    def process(self, script: str) -> psutil.Process | None:
        """The process of this project that runs a workflow script."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if len(line) == 2 and line[1].startswith(str(self.project.folder)) and line[1].endswith(script):
                    return process
        return None

    def went_on(self) -> int:
        """The step from which the training goes on that writes the log anew; waits for it."""
        wait("a training that goes on", PATIENCE_S, lambda: self.log.exists() and "continuing" in self.log.read_text())
        return int(re.findall(r"continuing from step (\d+)", self.log.read_text())[-1])

    @contextmanager
    def training(self) -> Iterator[tuple[str, int]]:
        """The id of the training's job and its step, once it has made a checkpoint; it stands still meanwhile.

        Its log is removed: whoever goes on with the training writes it anew.
        """
        wait("a training", PATIENCE_S, self.steps, pause=0.02)
        process = self.process("classify.py")
        process.suspend()
        step = self.steps()
        self.log.unlink()
        try:
            yield str(self.running("classify")), step
        finally:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.fixture(scope="session")
def slurm():
    if "WSSS_TEST_SLURM" not in os.environ:
        pytest.skip("run by `make test-slurm`")
    if reason := sandbox.missing():
        pytest.skip(f"no SLURM here: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge refuses its socket elsewhere
    started = Sandbox(folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, slurm) -> Project:
    """The project after an undisturbed run on this machine, without SLURM."""
    return run_here(tmp_path_factory.mktemp("undisturbed"), SETTINGS)


def run_here(folder: Path, settings: dict) -> Project:
    """A copy of the project after a run on this machine; from a warm process, which is quicker."""
    project = copy_project(folder, settings)
    command = [sys.executable, "-m", "wsss.cli", "warm", sys.executable, "-m", "snakemake", "--cores", "2", *THREADS]
    answer = subprocess.run(
        [*command, "--configfile", project.config],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    return project


@pytest.fixture
def cluster(tmp_path, slurm, undisturbed):
    """The project with its data, but nothing else yet."""
    folder = tmp_path / "project"
    shutil.copytree(undisturbed.folder, folder)
    for part in ("classify", "cam", "evaluate", "tables", "report.html"):
        path = folder / "results" / "few" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder / "logs")
    (folder / "slurm").symlink_to("profiles/slurm")
    found = Cluster(Project(folder), slurm)
    yield found
    for run in found.runs:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    slurm.client("scancel", "--full", "--signal=KILL", "--user=root")
    slurm.client("scancel", "--user=root")


def same_results(one: Project, other: Project) -> None:
    """Weights, maps, scores and tables agree in every byte."""
    for pattern in ("few/tables/**/*", "few/evaluate/**/*", "few/cam/**/*", "few/classify/**/*"):
        assert one.results(pattern) == other.results(pattern), pattern
        assert one.results(pattern), pattern
