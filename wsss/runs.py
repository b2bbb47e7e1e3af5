"""Runs of the workflow: one at a time for each data set, and what a killed one left behind is ended before the next.

A main process that dies by SIGKILL leaves its jobs running, on this machine or in SLURM's queue, where the executor
cannot find them again. The next run ends them (trainings save their state on SIGTERM) and takes over the data set's
claim, so that what it could not reach may write no more (wsss/fence.py).
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from wsss import fence
from wsss.errors import UserError
from wsss.job import record_of

FOLDER = Path(".snakemake", "runs")
PATIENCE_S = 60.0
"""How long jobs of an earlier run may take to end: a training saves its state after the step that it is in."""

_alive: list[IO[str]] = []
"""Locked files; the kernel frees them when this process ends, in whatever way."""


def begin(dataset: str, logs: Sequence[str]) -> None:
    """Take over a data set for this process and its jobs; UserError while another run is at it.

    `logs` are Snakemake's logs of this run, which name the run's jobs in SLURM.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    note = {"host": os.uname().nodename, "process": os.getpid(), "began": time.strftime("%F %T"), "logs": list(logs)}
    _alive.append(_lock(FOLDER / f"{dataset}.alive", dataset, json.dumps(note)))
    file = FOLDER / dataset
    if file.is_file():
        _end_jobs_of(file)
    taken = fence.claim(file, json.dumps(note))
    os.environ[fence.RUN] = f"{taken.token} {taken.file}"


def foreign(output: Path, params: dict[str, Any]) -> bool:
    """Whether an output that Snakemake has no record of was made with other settings or code, as its own record says.

    So it is when a job ended after its main process had died, and the settings were changed before the next run.
    """
    record = record_of(output)
    if not record.is_file():
        return False
    made = json.loads(record.read_text(encoding="utf-8"))
    return any(made.get(name) != json.loads(json.dumps(value, default=str)) for name, value in params.items())


def refuse_orphans() -> None:
    """In a job's own Snakemake process: UserError when a newer run has taken over, before anything is deleted."""
    if (run := fence.of_run()) is not None:
        with run.shared():
            pass


def _lock(file: Path, dataset: str, note: str) -> IO[str]:
    """The file, locked for as long as this process lives; unlocked where the file system knows no locks."""
    stream = open(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")  # noqa: SIM115
    last = stream.read()
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        busy = False
    except BlockingIOError:
        busy = True
    except OSError:
        print(f"warning: {file}: no locks on this file system; start only one run at a time", flush=True)
        busy = _runs_here(last)
    if busy:
        raise UserError(f"results/{dataset}: a run is at work on it {last.strip()}; wait for it, or end it")
    stream.seek(0)
    stream.truncate()
    stream.write(note)
    stream.flush()
    return stream


def _runs_here(note: str) -> bool:
    """Whether the process that a note names exists on this machine."""
    try:
        known = json.loads(note)
        return known["host"] == os.uname().nodename and psutil.pid_exists(known["process"])
    except (ValueError, KeyError):
        return False


def _end_jobs_of(file: Path) -> None:
    """End what the run that claimed `file` left: its processes on this machine and its jobs in SLURM."""
    token, _, note = file.read_text(encoding="utf-8").partition("\n")
    if len(token) != fence.TOKEN_BYTES:
        return
    _end_processes(token)
    try:
        texts = [Path(log).read_text(encoding="utf-8", errors="replace") for log in json.loads(note)["logs"]]
    except (ValueError, KeyError, OSError):
        return
    for name in re.findall(r"SLURM run ID: (\S+)", "\n".join(texts)):
        if shutil.which("scancel"):
            _end_slurm_jobs(name)


def _end_processes(token: str) -> None:
    """SIGTERM (to stopped ones, too), and SIGKILL for what outlives the patience."""
    orphans = [process for process in psutil.process_iter() if _belongs(process, token)]
    if orphans:
        print(f"ending {len(orphans)} processes that an earlier run left", flush=True)
    for number, seconds in ((signal.SIGTERM, PATIENCE_S), (signal.SIGKILL, 5.0)):
        for process in orphans:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                process.resume()
        orphans = psutil.wait_procs(orphans, timeout=seconds)[1]


def _belongs(process: psutil.Process, token: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(fence.RUN, "").startswith(token)
    except psutil.Error:
        return False


def _end_slurm_jobs(name: str) -> None:
    """Cancel the SLURM jobs of this name and wait until they are gone."""

    def queued() -> str:
        command = ["squeue", "--noheader", "--name", name, "--format", "%i"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    if not queued():
        return
    print(f"cancelling the SLURM jobs that an earlier run left ({name})", flush=True)
    subprocess.run(["scancel", "--name", name], check=False)
    if not _wait(lambda: not queued()):
        print("warning: they have not ended yet; they can no longer write", flush=True)


def _wait(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True
