"""One run for each data set at a time; what a killed one left is ended, and its jobs may write no more."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsss import fence, runs
from wsss.errors import UserError
from wsss.files import write_text
from wsss.job import record_of

ROOT = Path(__file__).resolve().parents[2]
MAIN = """
import subprocess, sys, time
from wsss import runs
runs.begin("few", ["run.log"])
job = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"])
print("job", job.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A main process with one job, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(fence.RUN, raising=False)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    job = 0
    for line in process.stdout:
        job = int(line.split()[1]) if line.startswith("job") else job
        if job and "up" in line:
            break
    yield process, job
    process.kill()
    process.wait()
    monkeypatch.undo()


@pytest.fixture(autouse=True)
def released():
    yield
    while runs._alive:
        runs._alive.pop().close()
    os.environ.pop(fence.RUN, None)


def alive(pid: int) -> bool:
    stat = Path("/proc", str(pid), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_second_run_is_refused_while_the_first_lives(first):
    process, job = first
    with pytest.raises(UserError, match=f'results/few: a run is at work on it .*"process": {process.pid}.*wait for it'):
        runs.begin("few", [])
    assert alive(job)


def test_another_data_set_has_a_run_of_its_own(first):
    runs.begin("many", [])
    assert alive(first[1])


def test_what_a_killed_run_left_is_ended(first):
    process, job = first
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert alive(job)
    old = Path(".snakemake/runs/few").read_text().split()[0]
    runs.begin("few", [])
    assert not alive(job)
    assert fence.of_run().token != old
    with fence.of_run().shared():
        pass


def test_a_job_that_could_not_be_ended_is_refused(first, monkeypatch):
    process, _ = first
    process.send_signal(signal.SIGKILL)
    process.wait()
    file = Path(".snakemake/runs/few").absolute()
    orphan = f"{file.read_text().split()[0]} {file}"
    runs.begin("few", [])
    monkeypatch.setenv(fence.RUN, orphan)
    with pytest.raises(UserError, match="a newer job or run has taken over"):
        runs.refuse_orphans()


def test_an_output_that_nobody_noted_is_known_by_its_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = Path("results/few/cam/x.store")
    assert not runs.foreign(output, {"config": {}})
    write_text(record_of(output), json.dumps({"config": {"scales": [1, 0.5]}, "source": {"a.py:f": "12"}}))
    assert not runs.foreign(output, {"config": {"scales": (1, 0.5)}, "source": {"a.py:f": "12"}})
    assert runs.foreign(output, {"config": {"scales": [1]}, "source": {"a.py:f": "12"}})
    assert runs.foreign(output, {"config": {"scales": [1, 0.5]}, "source": {"a.py:f": "13"}})
