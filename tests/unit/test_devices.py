"""Jobs on one machine get a GPU each; locks go with their process."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from wsss import devices
from wsss.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from wsss import devices
with devices.held(int(sys.argv[1])) as taken:
    print("has", *taken, devices.os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("gave", time.monotonic(), flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds devices of a machine with the given ones for some seconds."""
    started = []

    def start(shown, count, seconds):
        environment = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(count), str(seconds)],
            cwd=ROOT,
            env=environment | {devices.VISIBLE: shown, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_jobs_side_by_side_never_share_a_device(holder):
    processes = [holder("4,GPU-b", 1, 0.4) for _ in range(6)]
    spans = []
    for process in processes:
        lines = [line.split() for line in process.communicate(timeout=60)[0].splitlines()]
        has, gave = (next(line for line in lines if line[0] == word) for word in ("has", "gave"))
        assert has[1] == has[2]
        spans.append((has[1], float(has[3]), float(gave[1])))
    assert {name for name, _, _ in spans} == {"4", "GPU-b"}
    for name in ("4", "GPU-b"):
        ordered = sorted((began, ended) for each, began, ended in spans if each == name)
        assert all(ended <= began for (_, ended), (began, _) in pairwise(ordered))


def test_a_killed_job_frees_its_devices(holder):
    first = holder("0,1", 2, 600)
    while not first.stdout.readline().startswith("has"):
        pass
    second = holder("0,1", 1, 0)
    assert second.stdout.readline().startswith("waiting for 1 of 2 GPUs")
    first.send_signal(signal.SIGKILL)
    assert "has 0 0" in second.communicate(timeout=30)[0]


@pytest.mark.parametrize(("shown", "job"), [("3", None), ("0,1", "17")], ids=["one chosen by the user", "SLURM"])
def test_a_choice_that_was_made_is_kept(monkeypatch, shown, job):
    monkeypatch.setenv(devices.VISIBLE, shown)
    monkeypatch.setenv("SLURM_JOB_ID", job) if job else monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with devices.held(1) as taken:
        assert taken == []
        assert os.environ[devices.VISIBLE] == shown


def test_more_than_there_are_is_refused(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv(devices.VISIBLE, "0,1")
    with pytest.raises(UserError, match="2 GPUs here, but the rule asks for 3"), devices.held(3):
        pass


def test_without_nvidia_smi_there_are_none(monkeypatch, tmp_path):
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.available() == []
