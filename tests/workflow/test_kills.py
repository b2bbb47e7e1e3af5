"""Fifty kills at random moments, of jobs and of the main process, and then the bytes of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.workflow.conftest import SETTINGS, Project, copy_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("WSSS_TEST_SLURM" not in os.environ, reason="takes minutes; `make test-slurm` runs it"),
]

KILLS = 50
SEED = 1
FOR_JOBS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
FOR_MAIN = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Run:
    """A main process with its jobs, which is started again whenever it has ended."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.process: subprocess.Popen | None = None
        self.log = project.folder / "kills.txt"

    def start(self) -> None:
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", self.project.config]
        variables = {"PYTHONPATH": str(self.project.folder), "WSSS_CHECKPOINT_SECONDS": "0"}
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wsss.cli", "warm", *snakemake, "--retries", "1000"],
                cwd=self.project.folder,
                env=os.environ | variables,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def members(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """The main process, and the processes of its jobs."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
            main = [each for each in below if "snakemake" in each.cmdline() and each.ppid() == self.process.pid]
            return main, [each for each in below if each not in main]
        except psutil.NoSuchProcess:
            return [], []

    def hit(self, chance: random.Random) -> str | None:
        """Send a signal to a job or to the main process; says what, or None while no job runs."""
        main, jobs = self.members()
        if not jobs:
            return None
        victims = jobs if chance.random() < 0.8 else main
        victim, number = chance.choice(victims), chance.choice(FOR_MAIN if victims is main else FOR_JOBS)
        try:
            victim.send_signal(number)
        except psutil.NoSuchProcess:
            return None
        return f"{number.name} to {'main' if victims is main else 'job'}"

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def test_fifty_kills_change_no_byte(tmp_path, finished):
    project, chance = copy_project(tmp_path, SETTINGS), random.Random(SEED)
    run, done = Run(project), []
    print(f"seed {SEED}")
    try:
        while len(done) < KILLS:
            if run.process is None or run.process.poll() is not None:
                run.start()
            time.sleep(chance.uniform(0.1, 2.0))
            if what := run.hit(chance):
                done.append(what)
                print(f"{time.monotonic():.1f} {what}", flush=True)
    finally:
        run.end()
    assert sum("main" in what for what in done) >= 3
    project.snakemake()
    ours, theirs = project.results("**/*"), finished.results("**/*")
    del ours["few/report.html"]  # it shows times
    assert "few/tables/few/table1.csv" in ours
    assert [path for path in ours if ours[path] != theirs.get(path)] == []
    assert not list(project.folder.rglob(".*.tmp"))
    assert project.planned() == {}
