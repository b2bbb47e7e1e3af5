"""Unpacking of tar, tgz and zip files from elsewhere: plain files and folders only, none outside a folder."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from wsss.errors import UserError
from wsss.files import atomic_folder

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


Kind = Literal["file", "folder", "link", "special file"]


@dataclass(frozen=True)
class _Member:
    name: str
    kind: Kind
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, folder: str | Path, *, keep: Sequence[str] = ()) -> None:
    """Unpack into `folder`, which appears whole or not at all and replaces an older one.

    `keep` limits what is written to these paths inside the archive and what lies below them. Owners, modes
    and times are not restored. UserError that names the archive when it is truncated or damaged, or holds
    nothing of `keep`; and the member when it has an absolute path, a `..`, or is a link or special file.
    """
    archive = Path(archive)
    try:
        with atomic_folder(folder) as temporary:
            if _unpack(archive, temporary, [PurePosixPath(path).parts for path in keep]) == 0:
                wanted = f"nothing of {', '.join(keep)}" if keep else "no file"
                raise UserError(f"{archive}: holds {wanted}; is it the right archive?")
    except _DAMAGE as error:
        raise UserError(f"{archive}: truncated, damaged or no archive ({error}); download it again") from None
    except OSError as error:
        if error.errno is None:
            raise UserError(f"{archive}: damaged ({error}); download it again") from None
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        raise UserError(f"{archive}: cannot be unpacked into {folder} ({reason})") from None


def _unpack(archive: Path, folder: Path, keep: list[tuple[str, ...]]) -> int:
    """Write the wanted members; returns the number of files."""
    count = 0
    for member in _members(archive):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise UserError(f"{archive}: member '{member.name}' points outside its folder; do not use this file")
        if keep and not any(path.parts[: len(prefix)] == prefix for prefix in keep):
            continue
        target = folder / path
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif member.kind == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink)
            count += 1
        else:
            raise UserError(f"{archive}: member '{member.name}' is a {member.kind}; do not use this file")
    return count


def _members(archive: Path) -> Iterator[_Member]:
    with open(archive, "rb") as stream:
        magic = stream.read(4)
    return _zip_members(archive) if magic in (b"PK\x03\x04", b"PK\x05\x06") else _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[_Member]:
    """Members in the order of the file, plain or compressed; after the last one only padding may follow."""
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            yield _Member(member.name, _tar_kind(member), partial(_open_tar, tar, member))
        # tarfile takes a damaged or cut header for the end. Some writers leave out the zeros that end a tar,
        # so that a plain tar cut exactly between two members passes here: checksums are for that.
        stream = tar.fileobj
        assert stream is not None
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) not in (b"", bytes(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError("a header is damaged")
        while stream.read(tarfile.RECORDSIZE):  # up to the checksum that ends a compressed file
            pass


def _tar_kind(member: tarfile.TarInfo) -> Kind:
    if member.isreg():
        return "file"
    if member.isdir():
        return "folder"
    return "link" if member.islnk() or member.issym() else "special file"


def _open_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None, "only regular files are opened"
    return stream


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            mode = stat.S_IFMT(member.external_attr >> 16)
            kind: Kind = "folder" if member.is_dir() else "file"
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "link" if mode == stat.S_IFLNK else "special file"
            yield _Member(member.filename, kind, partial(file.open, member))
