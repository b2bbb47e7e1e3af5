"""Reader of MXNet's `.params` files, and the names of ResNet38 in them. Needs neither MXNet nor torch.

The format (little endian): a list header, arrays (three generations of array header), names. Every length is
checked against the bytes that are left before anything is allocated, so a damaged or hostile file costs no
more than its size.
"""

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wsss.errors import UserError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0
MAX_DIMS, MAX_VALUES = 32, 2**40
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}

_BLOCK = re.compile(r"(?P<kind>res|bn)(?P<level>\d+)(?:a|b(?P<number>\d+))_branch(?P<branch>\w+?)_(?P<what>\w+)")
_OTHER = re.compile(r"(?P<module>conv1a|bn7|linear1000)_(?P<what>\w+)")
_WHAT = {
    "weight": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}


@dataclass
class _Reader:
    """A file with the number of bytes that are left in it."""

    path: Path
    stream: BinaryIO
    left: int

    def fault(self, text: str) -> UserError:
        return UserError(f"{self.path}: {text}; damaged or no MXNet .params file; get the file again")

    def claim(self, size: int, what: str) -> None:
        """Account for `size` bytes about to be read."""
        if size > self.left:
            raise self.fault(f"ends inside {what} ({size} bytes needed, {self.left} left)")
        self.left -= size

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        size = struct.calcsize(f"<{form}")
        self.claim(size, what)
        return struct.unpack(f"<{form}", self.stream.read(size))

    def number(self, form: str, what: str) -> int:
        return self.numbers(form, what)[0]


def read_params(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a `.params` file by their names ("arg:conv1a_weight"), or by "0", "1", ... when it holds
    none.

    Dense arrays of the array formats V0 to V3 and the dtypes float16/32/64, uint8, int8/32/64. Raises
    UserError for anything else, for a file that ends too early, and for bytes left over.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            reader = _Reader(path, stream, path.stat().st_size)
            if reader.number("Q", "the list header") != LIST_MAGIC:
                raise reader.fault("does not begin like an MXNet array list")
            reader.number("Q", "the list header")
            count = reader.number("Q", "the number of arrays")
            reader.claim(0 if count <= reader.left // 4 else 4 * count, f"a list of {count} arrays")
            arrays = [_array(reader, f"array {number + 1} of {count}") for number in range(count)]
            names = _names(reader, count)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if reader.left:
        raise reader.fault(f"{reader.left} bytes are left over after the last name")
    return dict(zip(names, arrays, strict=True))


def _array(reader: _Reader, what: str) -> np.ndarray:
    shape = _shape(reader, what)
    if not shape:
        return np.empty(0, np.float32)
    reader.numbers("ii", f"{what} (device)")
    code = reader.number("i", f"{what} (dtype)")
    if code not in DTYPES:
        raise reader.fault(f"{what} has the unknown dtype code {code}")
    dtype = np.dtype(DTYPES[code])
    length = math.prod(shape)
    reader.claim(length * dtype.itemsize, what)
    array = np.fromfile(reader.stream, dtype, length)
    if array.size != length:
        raise reader.fault(f"ends inside {what}")
    return array.reshape(shape)


def _shape(reader: _Reader, what: str) -> tuple[int, ...]:
    """Dimensions of an array; empty when nothing follows."""
    mark = reader.number("I", what)
    if mark in (V2, V3) and (storage := reader.number("i", what)) != DENSE:
        raise reader.fault(f"{what} is sparse (storage type {storage}), which weights never are")
    dims, form = (reader.number("I", what), "q") if mark in (V1, V2, V3) else (mark, "I")
    if dims > MAX_DIMS:
        raise reader.fault(f"{what} claims {dims} dimensions")
    shape = reader.numbers(f"{dims}{form}", f"{what} (shape)") if dims else ()
    if any(size < 0 for size in shape) or math.prod(max(size, 1) for size in shape) > MAX_VALUES:
        raise reader.fault(f"{what} claims the impossible shape {shape}")
    return shape


def _names(reader: _Reader, count: int) -> list[str]:
    length = reader.number("Q", "the number of names")
    if length not in (0, count):
        raise reader.fault(f"{length} names for {count} arrays")
    names = []
    for _ in range(length):
        size = reader.number("Q", "a name")
        reader.claim(size, "a name")
        try:
            names.append(reader.stream.read(size).decode("utf-8"))
        except UnicodeDecodeError:
            raise reader.fault("a name is not UTF-8 text") from None
    if len(set(names)) < len(names):
        raise reader.fault("a name stands twice")
    return names or [str(number) for number in range(count)]


def torch_name(name: str) -> str:
    """State-dict name of a ResNet38 array (arg:res2b1_branch2a_weight -> b2_1.conv_branch2a.weight).

    Names that do not follow the scheme come back unchanged.
    """
    plain = name.removeprefix("arg:").removeprefix("aux:")
    if (found := _BLOCK.fullmatch(plain)) and found["what"] in _WHAT:
        block = f"b{found['level']}" + (f"_{found['number']}" if found["number"] else "")
        layer = "conv" if found["kind"] == "res" else "bn"
        return f"{block}.{layer}_branch{found['branch']}.{_WHAT[found['what']]}"
    if (found := _OTHER.fullmatch(plain)) and found["what"] in _WHAT:
        return f"{found['module']}.{_WHAT[found['what']]}"
    return name
