"""Of several writers of one output, the newest wins; the others stop and leave everything as it is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsss import fence
from wsss.files import atomic_folder, atomic_write, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_an_older_writer_stops_before_its_move(tmp_path):
    target, claim = tmp_path / "result", tmp_path / "claim"

    def job():
        with fence.held(claim):
            write_text(target, "mine")
            fence.claim(claim)
            write_text(target, "too late")

    with pytest.raises(fence.SupersededError, match="a newer job or run has taken over"):
        job()
    assert target.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"result", "claim"}


def test_a_writer_whose_successor_has_finished_stops_too(tmp_path):
    def job():
        with fence.held(tmp_path / "claim"):
            (tmp_path / "claim").unlink()
            with atomic_folder(tmp_path / "folder") as folder:
                (folder / "file").write_text("too late")

    with pytest.raises(fence.SupersededError):
        job()
    assert not (tmp_path / "folder").exists()


def test_a_job_of_an_older_run_is_refused(tmp_path, monkeypatch):
    old = fence.claim(tmp_path / "run")
    monkeypatch.setenv(fence.RUN, f"{old.token} {old.file}")
    with fence.held(tmp_path / "job"):
        write_text(tmp_path / "result", "of the run")
    new = fence.claim(tmp_path / "run")
    with pytest.raises(fence.SupersededError), fence.held(tmp_path / "job"):
        pass
    assert not (tmp_path / "job").exists()
    monkeypatch.setenv(fence.RUN, f"{new.token} {new.file}")
    with fence.held(tmp_path / "job"):
        write_text(tmp_path / "result", "of the next")
    assert (tmp_path / "result").read_text() == "of the next"


WRITER = """
import os, sys
from pathlib import Path
from wsss import fence
from wsss.files import write_text
folder = Path(sys.argv[1])
try:
    with fence.held(folder / "claim"):
        own = fence._held[-1].token
        (folder / "begun" / str(os.getpid())).touch()
        while not (folder / "stop").exists():
            write_text(folder / "result", own)
        print("last", own)
except fence.SupersededError:
    print("superseded")
"""


def test_of_many_writers_at_once_the_newest_wins(tmp_path):
    command, begun = [sys.executable, "-c", WRITER, str(tmp_path)], tmp_path / "begun"
    begun.mkdir()
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    while not all(writer.poll() is not None or (begun / str(writer.pid)).exists() for writer in writers):
        time.sleep(0.02)
    time.sleep(0.5)
    (tmp_path / "stop").touch()
    said = [writer.communicate(timeout=60)[0].split() for writer in writers]
    newest = [words for words in said if words[0] == "last"]
    assert len(newest) == 1, said
    assert (tmp_path / "result").read_text() == newest[0][1]
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "stop", "result"}


def test_a_writer_that_is_stopped_in_the_middle_holds_nobody_up_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(fence, "PATIENCE_S", 0.5)
    body = "import os,sys,signal\nfrom pathlib import Path\nfrom wsss import fence\n"
    body += "with fence.claim(Path(sys.argv[1])).shared():\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
    process = subprocess.Popen([sys.executable, "-c", body, str(tmp_path / "claim")], cwd=ROOT)
    try:
        while Path("/proc", str(process.pid), "stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.05)
        began = time.monotonic()
        fence.claim(tmp_path / "claim")
        assert 0.4 < time.monotonic() - began < 5
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_temporaries_of_other_machines_go_with_their_claim(tmp_path):
    (tmp_path / ".result.elsewhere-12.tmp").write_text("half")
    with atomic_write(tmp_path / "result") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
