"""A GPU for every job that runs on this machine: Snakemake counts GPUs, but does not say which one a job gets.

Under SLURM nothing is done, as SLURM has chosen. Elsewhere each job locks one file per device for its whole life and
shows only these devices to CUDA; the kernel frees the locks of a process that dies, in whatever way.
"""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from wsss.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = Path(tempfile.gettempdir(), f"wsss-devices-{os.getuid()}")
PAUSE_S = 0.5


@contextmanager
def held(count: int) -> Iterator[list[str]]:
    """Hold `count` free devices for the block, waiting until there are as many; none where the machine has none.

    A single device that CUDA_VISIBLE_DEVICES names is the user's choice: jobs share it, and nothing is locked.
    """
    if job := os.environ.get("SLURM_JOB_ID"):
        node, shown = os.environ.get("SLURMD_NODENAME", "?"), os.environ.get(VISIBLE, "none")
        print(f"SLURM job {job} on {node}, GPU {shown}", flush=True)
    devices = [] if job or not count else available()
    if len(devices) < 2 and VISIBLE in os.environ:
        devices = []
    if devices and len(devices) < count:
        raise UserError(f"{len(devices)} GPUs here, but the rule asks for {count}; set {VISIBLE} or the rule's gpu")
    taken = _take(devices, count) if devices else {}
    before = os.environ.get(VISIBLE)
    try:
        if taken:
            os.environ[VISIBLE] = ",".join(taken)
            print(f"GPU {os.environ[VISIBLE]}", flush=True)
        yield list(taken)
    finally:
        for stream in taken.values():
            stream.close()
        if taken:
            os.environ.pop(VISIBLE)
            os.environ.update({} if before is None else {VISIBLE: before})


def available() -> list[str]:
    """Names of this machine's GPUs for CUDA: those of CUDA_VISIBLE_DEVICES where it is set, else all, by UUID."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    with suppress(OSError):
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.stdout.split() if answer.returncode == 0 else []
    return []


def _take(devices: Sequence[str], count: int) -> dict[str, TextIO]:
    """Lock the first `count` devices that are free; all or none, so that two jobs never wait for each other."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    said = False
    while True:
        taken: dict[str, TextIO] = {}
        for name in devices:
            stream: TextIO = open(LOCKS / name.replace("/", "_"), "w", encoding="utf-8")  # noqa: SIM115 - held, see above
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
                continue
            taken[name] = stream
            if len(taken) == count:
                return taken
        for held_one in taken.values():
            held_one.close()
        if not said:
            print(f"waiting for {count} of {len(devices)} GPUs", flush=True)
        said = True
        time.sleep(PAUSE_S)
