"""What all workflow scripts share: log, device, fence, fingerprint, and the record of what was done.

Nothing here changes a result.
"""

import errno
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, TextIO

from wsss import devices, fence, files, warm
from wsss.errors import UserError
from wsss.files import sha256, write_text

PACKAGES = ("torch", "torchvision", "numpy", "scikit-image", "pydensecrf2", "numba", "opencv-python-headless")


OUTSIDE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""Faults of the machine that a user can mend."""

CLAIMS = Path(".snakemake", "claims")
"""Which job writes an output: a file per running job, named after its first output."""


@dataclass(frozen=True)
class Job:
    """A running rule: where its checkpoint lives, what identifies its work, how many threads it may use."""

    checkpoint: Path
    fingerprint: str
    threads: int


@contextmanager
def run(snakemake: Any) -> Iterator[Job]:
    """Run a script's body: output goes to the rule's log; a UserError ends it in one line and exit status 1.

    The body has its GPU to itself, is the only writer of its outputs, and every output that appears has its record.
    """
    terminal = _redirect(Path(snakemake.log[0]))
    outputs = [Path(path) for path in snakemake.output]
    try:
        with devices.held(snakemake.resources.get("gpu", 0)), fence.held(Path(CLAIMS, str(outputs[0]).lstrip("/"))):
            yield from _recorded(snakemake, outputs)
    except fence.SupersededError as error:
        _stop(str(error), terminal)  # the log belongs to the newer job
    except UserError as error:
        _stop(str(error), sys.stderr, terminal)
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise
        text = f"{error.filename or outputs[0]}: {error.strerror}; make room or correct the permissions, and run again"
        _stop(text, sys.stderr, terminal)


def _recorded(snakemake: Any, outputs: list[Path]) -> Iterator[Job]:
    """The script's body; a record of each output is written just before the output takes its place."""
    inputs = [Path(path) for path in snakemake.input]
    for path in inputs:  # they are finished for good: Snakemake has noted it
        checkpoint_of(path).unlink(missing_ok=True)
    work = {
        "rule": snakemake.rule,
        **dict(snakemake.params),
        "inputs": {str(path): digest_of(path) for path in _outermost(inputs)},
        "outputs": list(map(str, outputs)),
    }
    fingerprint = hashlib.sha256(json.dumps(work, sort_keys=True, default=str).encode()).hexdigest()
    started = time.time()
    missing = {path.absolute(): path for path in outputs}

    def record(content: Path, target: Path) -> None:
        if (path := missing.pop(target.absolute(), None)) is not None:
            times = {"started": started, "wall_s": time.time() - started, "cpu_s": _processor_time()}
            found = work | {"fingerprint": fingerprint} | times | _surroundings() | {"digest": digest_of(content)}
            write_text(record_of(path), json.dumps(found, indent=1, default=str))

    files.on_move.append(record)
    try:
        yield Job(checkpoint_of(outputs[0]), fingerprint, snakemake.threads)
        for path in list(missing.values()):
            record(path, path)
    finally:
        files.on_move.remove(record)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Paths that lie below none of the others: the digest of a folder covers its folders."""
    given = set(paths)
    return [path for path in paths if given.isdisjoint(path.parents)]


def _stop(message: str, *streams: TextIO) -> NoReturn:
    """End the job with a line in the first stream that takes it: the log may lie on the disk that is full."""
    for stream in streams:
        with suppress(OSError):
            print(f"error: {message}", file=stream, flush=True)
            break
    sys.exit(1)


def checkpoint_of(output: Path) -> Path:
    """Where the training that makes `output` keeps its state: checkpoints/<same tail>, never a declared output.

    It outlives its job, as the main process may die before it has noted the output; it goes when a job reads that.
    """
    return Path("checkpoints", *output.parts[1:]).with_suffix(".ckpt")


def record_of(output: Path) -> Path:
    """Where the provenance record of a result lies: provenance/<its path>.json."""
    inside = output.is_absolute() and output.is_relative_to(Path.cwd())
    return Path("provenance", f"{output.relative_to(Path.cwd()) if inside else str(output).lstrip('/')}.json")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if not path.is_dir():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith(".")):
        total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return total.hexdigest()


def _redirect(log: Path) -> TextIO:
    """Send everything, C libraries and tracebacks included, to the log; returns the former standard error."""
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8")
    log.parent.mkdir(parents=True, exist_ok=True)
    stream = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - lives as long as the process
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    return terminal


def _processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _surroundings() -> dict[str, Any]:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "peak_memory_mb": round(peak / 1024),
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "packages": packages(),
        "python": platform.python_version(),
        "device": device_name(),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: found for name in PACKAGES if (found := _version(name))}


def device_name() -> str:
    """The accelerator when this process used one, else the processor."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


warm.hand_over()
