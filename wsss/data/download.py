"""Downloads: mirrors in order, checksums, resumed transfers, nothing half-written under the final name."""

import hashlib
import http.client
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pydantic import Field, ValidationError
from rich import progress as bars
from rich.console import Console

from wsss.config import ROOT, read_yaml
from wsss.errors import UserError
from wsss.files import atomic_write
from wsss.settings_base import Model

ADDRESSES = ROOT / "config" / "downloads.yaml"
ARCHIVES = Path("resources", "archives")
_BLOCK = 1 << 20
_ATTEMPTS = 5
"""Transfers from one mirror, as long as each brings new bytes."""


class Archive(Model):
    """A file to download: name, mirrors in order, size, checksums in hexadecimal, parts to unpack, terms."""

    file: Annotated[str, Field(pattern=r"^[^/]+$")]
    mirrors: tuple[Annotated[str, Field(pattern=r"^https?://")], ...]
    bytes: int | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    keep: tuple[str, ...] = ()
    terms: str


class _Unusable(Exception):
    """This mirror cannot give the file; the text says why."""


class _Interrupted(_Unusable):
    """The transfer broke off; what has arrived is kept."""


def read_downloads(path: str | Path = ADDRESSES) -> dict[str, Archive]:
    """Archives by name (voc_trainval, voc_test, sbd); UserError names the key that is wrong."""
    archives = {}
    for name, entry in read_yaml(path).items():
        try:
            archives[str(name)] = Archive.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, (name, *first["loc"])))
            raise UserError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    return archives


def fetch(entry: Archive, target: str | Path, *, progress: bool = True, timeout: float = 30.0) -> None:
    """Bring a file to `target` from the first mirror that delivers it whole, unless it is there already.

    Bytes collect in `.<name>.part` beside the target, survive an interruption, and are continued where the
    server allows. `timeout` in seconds holds for connecting and for every read. UserError when no mirror
    delivers (each with its reason) or the disk is full.
    """
    target = Path(target)
    if target.is_file():
        wrong = checksum_fault(target, entry)
        if wrong is None:
            return
        _say(f"{target}: {wrong}; it is downloaded again")
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.open("ab").close()
    except OSError as error:
        raise _unwritable(part, error) from None
    _say(f"{entry.file}: {entry.terms}")
    reasons = []
    for mirror in entry.mirrors:
        try:
            _from_mirror(mirror, entry, part, progress=progress, timeout=timeout)
        except _Unusable as failure:
            reasons.append(f"{mirror} ({failure})")
            _say(f"{entry.file}: {mirror}: {failure}")
        else:
            os.replace(part, target)
            return
    if not _size(part):
        part.unlink(missing_ok=True)
    tried = "no mirror delivers it: " + ", ".join(reasons) if reasons else f"no public address ({entry.terms})"
    raise UserError(
        f"{entry.file}: {tried}; place the file by hand at {target}, "
        "or set data.archives in the configuration to the folder that holds it"
    )


def obtain(*, archive: str, given: str | None, target: str | Path) -> None:
    """Bring an archive of downloads.yaml to `target`: the user's file `given`, or the first mirror's.

    What is downloaded stays in resources/archives, which no rule declares, so that a rerun never downloads again.
    """
    entry = read_downloads()[archive]
    source = Path(given) if given else ARCHIVES / entry.file
    if not given:
        fetch(entry, source)
    import_archive(source, target, entry)


def import_archive(path: str | Path, target: str | Path, entry: Archive) -> None:
    """Take a file that the user already has: check it, then hard-link it (or copy it) to `target`.

    UserError when it is missing, a folder, or its checksum differs (expected and found are named).
    """
    path, target = Path(path).resolve(), Path(target)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not {entry.file}; set data.devkit for an unpacked VOCdevkit")
    if not path.is_file():
        raise UserError(f"{path}: does not exist; copy {entry.file} there or correct the path")
    wrong = checksum_fault(path, entry)
    if wrong is not None:
        raise UserError(f"{path}: {wrong}; it is damaged or not {entry.file}")
    if target.exists() and target.samefile(path):
        return
    with atomic_write(target) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def checksum_fault(path: Path, entry: Archive) -> str | None:
    """What is wrong with a file's size or checksums, in words; None when all that are known agree."""
    size = path.stat().st_size
    if entry.bytes is not None and size != entry.bytes:
        return f"wrong size: expected {entry.bytes} bytes, found {size}"
    expected = {name: value for name in ("md5", "sha256") if (value := getattr(entry, name))}
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in expected}
    with open(path, "rb") as stream:
        while digests and (block := stream.read(_BLOCK)):
            for digest in digests.values():
                digest.update(block)
    for name, digest in digests.items():
        if digest.hexdigest() != expected[name]:
            return f"wrong checksum: expected {name} {expected[name]}, found {digest.hexdigest()}"
    return None


def _from_mirror(url: str, entry: Archive, part: Path, *, progress: bool, timeout: float) -> None:
    """Fill `part` from one mirror and check it; a fault of bytes that were there before starts it afresh."""
    continued = _size(part) > 0
    _transfer_all(url, entry, part, progress=progress, timeout=timeout)
    wrong = checksum_fault(part, entry)
    if wrong is not None:
        part.unlink()
        if continued:
            _say(f"{entry.file}: {url}: {wrong}; the earlier part was of no use, start afresh")
            return _from_mirror(url, entry, part, progress=progress, timeout=timeout)
        raise _Unusable(wrong)
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())


def _transfer_all(url: str, entry: Archive, part: Path, *, progress: bool, timeout: float) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(part)
        if entry.bytes is not None and before >= entry.bytes:
            return
        try:
            return _transfer(url, entry, part, progress=progress, timeout=timeout)
        except _Interrupted as failure:
            if _size(part) <= before or attempt == _ATTEMPTS:
                raise
            _say(f"{entry.file}: {url}: {failure}; continue")


def _transfer(url: str, entry: Archive, part: Path, *, progress: bool, timeout: float) -> None:
    """One request. Appends to `part` when the server honours the range, else begins anew."""
    start = _size(part)
    headers = {"User-Agent": "wsss"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as answer:
            start, total = _span(answer, entry, start)
            meter = _meter(entry.file, start, total, shown=progress)
            with meter as advance, open(part, "ab", buffering=0) as stream:
                stream.truncate(start)
                while block := answer.read1(_BLOCK):
                    _append(stream, block, part)
                    advance(len(block))
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            part.unlink()
            return _transfer(url, entry, part, progress=progress, timeout=timeout)
        raise _Unusable(f"answers {error.code} {error.reason}") from None
    except URLError as error:
        raise _Unusable(f"cannot be reached: {_words(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"broke off after {_size(part)} bytes: {_words(error)}") from None
    if total is not None and _size(part) < total:
        raise _Interrupted(f"truncated: {_size(part)} of {total} bytes arrived")


def _span(answer: http.client.HTTPResponse, entry: Archive, asked: int) -> tuple[int, int | None]:
    """First byte of the answer (0 or the one asked for), and the whole file's size if the server says it."""
    if answer.headers.get_content_type() == "text/html":
        raise _Unusable("answers with a web page instead of the file")
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    length = answer.headers.get("Content-Length", "")
    if answer.status == http.client.PARTIAL_CONTENT and span:
        start, total = int(span[1]), None if span[2] == "*" else int(span[2])
    else:
        start, total = 0, int(length) if length.isdecimal() else None
    if start not in (0, asked):
        raise _Unusable(f"answers from byte {start} instead of {asked}")
    if None not in (total, entry.bytes) and total != entry.bytes:
        raise _Unusable(f"offers {total} bytes, expected {entry.bytes}")
    return start, total


def _append(stream: FileIO, block: bytes, part: Path) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[stream.write(rest) :]
    except OSError as error:
        raise _unwritable(part, error) from None


def _unwritable(part: Path, error: OSError) -> UserError:
    return UserError(f"{part.parent}: cannot be written ({error.strerror}); make room or choose another folder")


@contextmanager
def _meter(file: str, start: int, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, else a line every tenth of the file; yields what counts bytes."""
    if shown and sys.stderr.isatty():
        columns = bars.DownloadColumn(), bars.TransferSpeedColumn(), bars.TimeRemainingColumn()
        with bars.Progress("{task.description}", bars.BarColumn(), *columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(file, total=total, completed=start)
            yield lambda count: bar.advance(task, count)
    else:
        yield _lines(file, start, total) if shown else lambda count: None


def _lines(file: str, start: int, total: int | None) -> Callable[[int], None]:
    step = max((total or 0) // 10, 10 * _BLOCK)
    done, began = start, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done // step > (done - count) // step or done == total:
            speed = (done - start) / max(time.monotonic() - began, 1e-9)
            left = f" of {total / 1e6:.0f} MB, {(total - done) / speed:.0f} s left" if total else " MB"
            _say(f"{file}: {done / 1e6:.0f}{left}, {speed / 1e6:.1f} MB/s")

    return advance


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _words(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
