"""Packed per-image arrays: many records in one file, memory-mapped, with a checksum over every byte.

File layout (little endian; magic and records start and end on multiples of 64 bytes)::

    magic | record | record | ... | index | footer

A record is the length of its JSON header, the header (dtype, shape, codec, bytes, meta), padding, the array,
padding. The index is one JSON object of columns: ids, and the length and CRC-32 of every record. Records
follow one another without gaps, so the lengths give the offsets. The footer holds offset, length and CRC-32
of the index.
"""

import json
import math
import mmap
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal.isal_zlib import crc32

from wsss.errors import UserError
from wsss.files import atomic_write

ALIGN = 64
MAGIC = b"wsss packed store 1\n".ljust(ALIGN, b"\0")
END_MAGIC = b"wsss end"
FOOTER = struct.Struct("<QQI8s")
LENGTH = struct.Struct("<I")
KINDS = (np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64)
DTYPES = {
    np.dtype(kind).name: np.dtype(kind).newbyteorder("<") for kind in (*KINDS, np.float16, np.float32, np.float64)
}


@dataclass(frozen=True, slots=True)
class Record:
    """One array (read-only) and what was stored with it."""

    array: np.ndarray
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Index:
    ids: list[str]
    ends: np.ndarray
    checksums: np.ndarray


class Writer:
    """Write one store file; it appears under its name only when the block ends without an error.

    Equal records in equal order give equal bytes. `compress` (here, or for one record in `add`) packs arrays
    with zlib level 1, which suits label maps; without it they are raw and aligned, which suits score maps.
    """

    def __init__(self, path: str | Path, *, compress: bool = False) -> None:
        self.path = Path(path)
        self.compress = compress
        self._stack = ExitStack()
        self._ids: dict[str, None] = {}
        self._lengths: list[int] = []
        self._checksums: list[int] = []

    def __enter__(self) -> Self:
        temporary = self._stack.enter_context(atomic_write(self.path))
        self._stream = self._stack.enter_context(open(temporary, "wb", buffering=1 << 20))
        self._stack.push(self._finish)
        self._guarded(self._stream.write, MAGIC)
        return self

    def add(self, id: str, array: np.ndarray, *, compress: bool | None = None, **meta: object) -> None:
        """Append one record: a boolean, integer or float array of any shape, and `meta` that JSON can hold.

        UserError when the id is already in this file or the disk is full; TypeError for other dtypes.
        """
        if id in self._ids:
            raise UserError(f"{self.path}: id '{id}' is added twice; ids must be unique")
        array = np.asarray(array)
        dtype = array.dtype.name
        if dtype not in DTYPES:
            raise TypeError(f"{self.path}: id '{id}': dtype {dtype} cannot be stored, only {', '.join(DTYPES)}")
        body = np.asarray(array, dtype=DTYPES[dtype], order="C").tobytes()
        codec = "zlib" if (self.compress if compress is None else compress) else "raw"
        body = zlib.compress(body, 1) if codec == "zlib" else body
        head = _dump({"dtype": dtype, "shape": array.shape, "codec": codec, "bytes": len(body), "meta": meta})
        record = _padded(LENGTH.pack(len(head)) + head) + _padded(body)
        self._guarded(self._stream.write, record)
        self._ids[id] = None
        self._lengths.append(len(record))
        self._checksums.append(crc32(record))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            index = _dump({"ids": list(self._ids), "lengths": self._lengths, "checksums": self._checksums})
            footer = FOOTER.pack(ALIGN + sum(self._lengths), len(index), crc32(index), END_MAGIC)
            self._guarded(self._stream.write, index + footer)
            self._guarded(self._stream.flush)

    def _guarded(self, action: Callable[..., object], *arguments: bytes) -> None:
        try:
            action(*arguments)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error.strerror}); make room, run again") from error


class Store:
    """Read records of one store or of several shards by id; ids keep the order of the shards.

    Opening verifies every index (UserError names the file); reading verifies the record (UserError names file
    and id). Arrays that were stored raw are views of the mapped file: read-only and never copied. Threads may
    share one Store, and it can be sent to other processes (they open the files again).
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        paths = [paths] if isinstance(paths, str | Path) else paths
        self.paths = tuple(Path(path) for path in paths)
        opened = [_open(path) for path in self.paths]
        indexes = [index for _, index in opened]
        self._maps = [data for data, _ in opened]
        self._position = {id: i for i, id in enumerate(id for index in indexes for id in index.ids)}
        if len(self._position) != sum(len(index.ids) for index in indexes):
            _refuse_duplicates(self.paths, indexes)
        self._first = np.cumsum([0, *(len(index.ids) for index in indexes)])
        self._ends = np.concatenate([np.empty(0, np.int64), *(index.ends for index in indexes)])
        self._checksums = np.concatenate([np.empty(0, np.uint32), *(index.checksums for index in indexes)])

    @property
    def ids(self) -> list[str]:
        """All ids, in the order in which they were written, shard after shard."""
        return list(self._position)

    def __len__(self) -> int:
        return len(self._position)

    def __contains__(self, id: str) -> bool:
        return id in self._position

    def __getitem__(self, id: str) -> Record:
        position = self._position.get(id)
        if position is None:
            raise UserError(f"{self._name()}: no record with id '{id}'; write it, or take it off the list")
        shard = int(np.searchsorted(self._first, position, side="right")) - 1
        start = ALIGN if position == self._first[shard] else int(self._ends[position - 1])
        view = memoryview(self._maps[shard])[start : int(self._ends[position])]
        try:
            if crc32(view) != self._checksums[position]:
                raise ValueError("checksum differs")
            return _decode(view)
        except (ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
            raise UserError(
                f"{self.paths[shard]}: record '{id}' is damaged ({error}); delete the file and make it again"
            ) from error

    def __reduce__(self) -> tuple[type["Store"], tuple[tuple[Path, ...]]]:
        return Store, (self.paths,)

    def _name(self) -> str:
        names = ", ".join(str(path) for path in self.paths[:3]) or "empty store"
        return names + (f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else "")


def _dump(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode("ascii")


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGN)


def _open(path: Path) -> tuple[mmap.mmap, _Index]:
    try:
        with open(path, "rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such store; run the stage that writes it") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read ({error}); delete the file and make it again") from error
    try:
        return data, _read_index(data)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise UserError(f"{path}: not a whole store ({error}); delete the file and make it again") from error


def _read_index(data: mmap.mmap) -> _Index:
    if data[:ALIGN] != MAGIC:
        raise ValueError("wrong first bytes")
    start, length, checksum, end_magic = FOOTER.unpack(data[-FOOTER.size :])
    if end_magic != END_MAGIC or start < ALIGN or start + length + FOOTER.size != len(data):
        raise ValueError("wrong last bytes")
    text = data[start : start + length]
    if crc32(text) != checksum:
        raise ValueError("checksum of the index differs")
    columns = json.loads(text)
    ids: list[str] = columns["ids"]
    lengths = np.array(columns["lengths"], np.int64)
    checksums = np.array(columns["checksums"], np.uint32)
    ends = ALIGN + np.cumsum(lengths)
    if not all(type(id) is str for id in ids) or not len(ids) == len(lengths) == len(checksums):
        raise ValueError("columns of the index disagree")
    if (lengths < ALIGN).any() or (lengths > len(data)).any() or (ends[-1] if len(ends) else ALIGN) != start:
        raise ValueError("lengths in the index are impossible")
    return _Index(ids, ends, checksums)


def _refuse_duplicates(paths: Sequence[Path], indexes: Sequence[_Index]) -> None:
    seen: dict[str, Path] = {}
    for path, index in zip(paths, indexes, strict=True):
        for id in index.ids:
            if id in seen:
                raise UserError(f"{path}: id '{id}' is also in {seen[id]}; give every id to one shard only")
            seen[id] = path


def _decode(view: memoryview) -> Record:
    (length,) = LENGTH.unpack(view[: LENGTH.size])
    begin = LENGTH.size + length
    header = json.loads(bytes(view[LENGTH.size : begin]))
    begin += -begin % ALIGN
    body: bytes | memoryview = view[begin : begin + header["bytes"]]
    dtype = DTYPES[header["dtype"]]
    shape = tuple(header["shape"])
    size = dtype.itemsize * math.prod(shape)
    if header["codec"] == "zlib":
        body = zlib.decompressobj().decompress(body, size + 1)
    if len(body) != size or min(shape, default=0) < 0:
        raise ValueError("size differs")
    return Record(np.frombuffer(body, dtype).reshape(shape), header["meta"])
