"""Fences: of several processes that could write one output, only the newest does.

A killed run can leave jobs behind, a requeued job can run beside its first copy on a node that was thought dead. So a
job claims its output by writing its token into a small file, and whoever comes later overwrites it. Before a finished
file takes its place the claim is read again; an older writer stops there, and neither replaces a result nor a
checkpoint. Runs claim their data set in the same way (wsss/runs.py), and a job of an older run stops, too.

Where the file system has locks, reading the claim and moving the file are one step for everybody; elsewhere a gap of
microseconds is left.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wsss.errors import UserError

RUN = "WSSS_RUN"
"""Environment variable by which a job knows its run: <token> <file of the run's claim>."""

TOKEN_BYTES = 32
PATIENCE_S = 30.0
"""How long a new claim waits for a writer in the middle of a move; one that is stopped must not hold up everything."""

_held: list["Claim"] = []


class SupersededError(UserError):
    """A newer job or run has taken over; this process may write no more."""


@dataclass(frozen=True)
class Claim:
    """The right to write, good as long as `file` begins with `token`."""

    file: Path
    token: str

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep others from claiming during the block; SupersededError when somebody has."""
        try:
            stream = open(self.file, "rb")  # noqa: SIM115 - closed by the block below
        except FileNotFoundError:
            raise self._superseded() from None
        with stream:
            _lock(stream, fcntl.LOCK_SH, PATIENCE_S)
            if stream.read(TOKEN_BYTES).decode(errors="replace") != self.token:
                raise self._superseded()
            yield

    def _superseded(self) -> SupersededError:
        return SupersededError(
            f"{self.file}: a newer job or run has taken over this output; this one stops and leaves everything as it is"
        )


def claim(file: Path, note: str = "") -> Claim:
    """Claim `file`, in the place of whoever held it; `note` (one line or more) is kept for people to read."""
    file = file.absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    taken = Claim(file, uuid.uuid4().hex)
    content = f"{taken.token}\n{note}\n".encode()
    while True:
        with open(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as stream:
            _lock(stream, fcntl.LOCK_EX, PATIENCE_S)
            stream.write(content)  # one write, of a token of constant length: readers without locks see old or new
            stream.truncate(len(content))
            os.fsync(stream.fileno())
            with suppress(FileNotFoundError):  # the former holder may have finished and removed it just now
                if os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                    return taken


def of_run() -> Claim | None:
    """The claim of the run that this process belongs to, if it belongs to one."""
    token, _, file = os.environ.get(RUN, "").partition(" ")
    return Claim(Path(file), token) if file else None


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Claim `file` for the block; every move inside is fenced. Refused when this process belongs to an older run."""
    run = of_run()
    with ExitStack() as stack:
        if run is not None:
            stack.enter_context(run.shared())
        own = claim(file, f"process {os.getpid()} on {os.uname().nodename}")
    _held[:] = [own] if run is None else [run, own]
    try:
        yield
        with guarded():
            own.file.unlink()
    finally:
        _held.clear()


@contextmanager
def guarded() -> Iterator[None]:
    """Around every move of a finished file: SupersededError unless all claims of this process still hold."""
    with ExitStack() as stack:
        for each in _held:
            stack.enter_context(each.shared())
        yield


def _lock(stream: IO[bytes], kind: int, seconds: float) -> None:
    """Lock an open file, waiting at most `seconds`; goes on without where that is over or the system has no locks."""
    end = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < end:
            with suppress(BlockingIOError):
                return fcntl.flock(stream, kind | fcntl.LOCK_NB)
            time.sleep(0.02)
