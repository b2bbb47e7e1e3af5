"""A job that is killed while it writes, or whose disk is full: no half file, one clear line, the same bytes later."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.store_program import OUT

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, pause: float = 0.0) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.reliability.store_program", str(pause)]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )


def write(folder: Path) -> bytes:
    process = start(folder)
    assert process.wait(timeout=60) == 0, (folder / "logs/cam.log").read_text()
    return (folder / OUT).read_bytes()


def wait_for_record(folder: Path, number: int) -> None:
    log = folder / "logs/cam.log"
    while not log.exists() or f"\n{number}\n" not in log.read_text():
        time.sleep(0.02)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"cam.log"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    return write(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_of_a_store(tmp_path, undisturbed, number):
    process = start(tmp_path, 0.2)
    wait_for_record(tmp_path, 5)
    process.send_signal(number)
    assert process.wait(timeout=30) == -number
    assert not (tmp_path / OUT).exists()
    assert any(path.stat().st_size > 30_000 for path in tmp_path.rglob(".*.tmp"))
    assert write(tmp_path) == undisturbed
    assert files(tmp_path) == {"1-of-1.store", "1-of-1.store.json"}


def test_an_output_has_its_record_as_soon_as_it_appears(tmp_path, undisturbed):
    process = start(tmp_path)
    while not (tmp_path / OUT).exists():
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert (tmp_path / OUT).read_bytes() == undisturbed
    record = json.loads((tmp_path / "provenance" / f"{OUT}.json").read_text())
    assert record["rule"] == "cam"
    assert len(record["digest"]) == 64


def test_a_superseded_job_says_so_where_it_was_started_and_leaves_the_output(tmp_path, undisturbed):
    older, log = start(tmp_path, 0.2), tmp_path / "logs/cam.log"
    wait_for_record(tmp_path, 5)
    older.send_signal(signal.SIGSTOP)  # so that it cannot finish first, however busy the machine is
    log.unlink()  # as Snakemake does before the newer job starts
    assert write(tmp_path) == undisturbed
    older.send_signal(signal.SIGCONT)
    before = (tmp_path / OUT).stat()
    said = older.communicate(timeout=60)[1]
    assert older.returncode == 1
    assert said.count("\n") == 1
    assert "1-of-1.store: a newer job or run has taken over this output" in said
    assert (tmp_path / OUT).stat().st_ino == before.st_ino
    assert "error" not in log.read_text()
    assert files(tmp_path) == {"1-of-1.store", "1-of-1.store.json"}


def test_a_disk_that_fills(tmp_path, undisturbed):
    disk = tmp_path / "results"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        process = start(tmp_path)
        assert process.wait(timeout=60) == 1
        last = (tmp_path / "logs/cam.log").read_text().splitlines()[-1]
        assert last.startswith(f"error: {OUT}: ")
        assert "No space left on device" in last
        assert "make room" in last
        assert files(disk) == set()
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        assert write(tmp_path) == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)
