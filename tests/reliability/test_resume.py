"""Training that is killed continues, and ends in the bits of an undisturbed run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsss.files import write_text

ROOT = Path(__file__).resolve().parents[2]
STEPS = 50


def start(folder: Path, workers: int = 1, lr: float = 0.05) -> subprocess.Popen:
    command = [
        sys.executable,
        "-u",
        "-m",
        "tests.reliability.train_program",
        str(folder),
        str(workers),
        str(lr),
    ]
    environment = os.environ | {"WSSS_CHECKPOINT_SECONDS": "0"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(folder: Path, **options) -> str:
    process = start(folder, **options)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return output


def stop_at(folder: Path, step: int, number: int) -> int:
    """Send a signal after the checkpoint of a step; returns its exit status."""
    process = start(folder)
    for line in process.stdout:
        if line.startswith(f"checkpoint at step {step}\n"):
            process.send_signal(number)
            break
    process.stdout.read()
    return process.wait(timeout=60)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder)
    return folder


def same(one: Path, other: Path) -> bool:
    names = ("weights.safetensors", "history.csv")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("step", [1, 13, 37, STEPS - 1])
def test_sigkill(tmp_path, undisturbed, step):
    assert stop_at(tmp_path, step, signal.SIGKILL) == -signal.SIGKILL
    assert not (tmp_path / "weights.safetensors").exists()
    assert "continuing from step" in finish(tmp_path)
    assert same(tmp_path, undisturbed)
    assert not any((tmp_path / "checkpoint").iterdir())


def test_sigterm_saves_at_once(tmp_path, undisturbed):
    assert stop_at(tmp_path, 20, signal.SIGTERM) == 143
    assert "continuing from step" in finish(tmp_path)
    assert same(tmp_path, undisturbed)


def test_killed_again_and_again(tmp_path, undisturbed):
    for step in (5, 11, 23, 44):
        stop_at(tmp_path, step, signal.SIGKILL)
    finish(tmp_path)
    assert same(tmp_path, undisturbed)


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_change_nothing(tmp_path, undisturbed, workers):
    finish(tmp_path, workers=workers)
    assert same(tmp_path, undisturbed)


def test_another_setting_starts_afresh_and_says_so(tmp_path, undisturbed):
    stop_at(tmp_path, 30, signal.SIGKILL)
    assert "belongs to other settings, code or inputs: starting afresh" in finish(tmp_path, lr=0.06)
    finish_clean = tmp_path / "clean"
    finish(finish_clean, lr=0.06)
    assert same(tmp_path, finish_clean)
    assert not same(tmp_path, undisturbed)


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_damaged_checkpoint_starts_afresh_and_says_so(tmp_path, undisturbed, keep):
    stop_at(tmp_path, 30, signal.SIGKILL)
    checkpoint = tmp_path / "checkpoint" / "run.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    assert "cannot be read" in finish(tmp_path)
    assert same(tmp_path, undisturbed)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename.partition(".")[0]
    (tmp_path / f".result.{host}-{dead.pid}.tmp").write_text("half")
    (tmp_path / f".result.else-{host}-{os.getppid()}.tmp").write_text("of another machine, which this one superseded")
    (tmp_path / f".other.{host}-{dead.pid}.tmp").write_text("of another target")
    (tmp_path / f".result.{host}-{os.getppid()}.tmp").write_text("of a living process")
    write_text(tmp_path / "result", "whole")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"result", f".other.{host}-{dead.pid}.tmp", f".result.{host}-{os.getppid()}.tmp"}
