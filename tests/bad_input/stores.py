"""Stores that are damaged, stale or of other images, met by the stages that read them."""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input.case import Case, Meeting
from tests.bad_input.stored import STORE, case, pseudo, scores
from wsss.stores import FOOTER, Writer

REMAKE = "delete the file and make it again"


def flipped(name: str, position: Callable[[bytes], int], *says: str) -> Case:
    """A store with one flipped bit."""

    def damage(_: Path) -> None:
        content = bytearray(STORE.read_bytes())
        content[position(content)] ^= 1
        STORE.write_bytes(content)

    return case(name, damage, pseudo, "s.store", REMAKE, *says)


def rewritten(name: str, write: Callable[[Writer], object], meet: Callable[[], Meeting], *says: str) -> Case:
    """A whole store with other records."""

    def damage(_: Path) -> None:
        with Writer(STORE) as store:
            write(store)

    return case(name, damage, meet, *says)


def records(value: float, size: tuple[int, int] = (16, 20), **meta: Any) -> Callable[[Writer], None]:
    """Score maps of one value for every image, for an image of `size` (height, width)."""

    def write(store: Writer) -> None:
        for id in "abcd":
            store.add(id, np.full((1, 4, 5), value, np.float16), **{"classes": [1], "size": list(size)} | meta)

    return write


def mixed(store: Writer) -> None:
    store.add("a", np.zeros((16, 20), np.uint8), size=[16, 20])
    store.add("b", np.zeros((1, 4, 5), np.float16), classes=[1], size=[16, 20])
    store.add("c", np.zeros((1, 4, 5), np.float16), classes=[1], size=[16, 20])


def lying_index(_: Path) -> None:
    """An index with a right checksum whose lengths are impossible."""
    text = json.dumps({"ids": ["a"], "lengths": [2**62], "checksums": [0]}).encode()
    body = STORE.read_bytes()[:1024]
    STORE.write_bytes(body + text + FOOTER.pack(len(body), len(text), zlib.crc32(text), b"wsss end"))


CASES = [
    flipped("store with a flipped bit in its first bytes", lambda data: 3, "wrong first bytes"),
    flipped("store with a flipped bit in a record's length", lambda data: 64, "record 'a' is damaged"),
    flipped("store with a flipped bit in a record's header", lambda data: 80, "record 'a' is damaged"),
    flipped("store with a flipped bit in a record's padding", lambda data: data.index(b"}", 64) + 4, "record 'a'"),
    flipped("store with a flipped bit in an array", lambda data: data.index(b"\xcd\x38"), "record 'a' is damaged"),
    flipped("store with a flipped bit in its index", lambda data: data.index(b'"checksums"'), "checksum of the index"),
    flipped("store with a flipped bit in the index's place", lambda data: len(data) - FOOTER.size, "wrong last bytes"),
    flipped("store with a flipped bit in the index's checksum", lambda data: len(data) - 12, "checksum of the index"),
    flipped("store with a flipped bit in its last byte", lambda data: len(data) - 1, "wrong last bytes"),
    case("store with an index that lies", lying_index, pseudo, "s.store: not a whole store", REMAKE),
    case(
        "store that is gone", lambda _: STORE.unlink(), pseudo, "s.store: no such store; run the stage that writes it"
    ),
    case("empty store", lambda _: STORE.write_bytes(b""), pseudo, "s.store: cannot read", REMAKE),
    case("store cut in half", lambda _: os.truncate(STORE, 700), pseudo, "s.store: not a whole store", REMAKE),
    case(
        "photograph in the place of a store",
        lambda root: STORE.write_bytes((root / "a.jpg").read_bytes()),
        pseudo,
        "s.store: not",
    ),
    case("folder in the place of a store", lambda _: (STORE.unlink(), STORE.mkdir()), pseudo, "s.store: cannot read"),
    case(
        "the same shard twice",
        lambda _: None,
        lambda: scores([STORE, STORE]),
        "s.store: id 'a' is also in s.store; give",
    ),
    rewritten("store of other images", lambda s: s.add("x", np.zeros(1)), pseudo, "s.store: no record with id 'a'"),
    rewritten(
        "store without an image of the split",
        lambda s: s.add("x", np.zeros(1)),
        scores,
        "s.store: 3 of 3 images of",
        "a, b, c",
    ),
    rewritten("maps that hold NaN", records(np.nan), scores, "image 'a': score maps hold NaN or infinite values"),
    rewritten(
        "maps of images of another size",
        records(0.6, (17, 20)),
        scores,
        "image 'a': the prediction is 20 x 17",
        "a.png is 20 x 16",
    ),
    rewritten(
        "labels and scores in one store", mixed, scores, "image 'b': the record holds scores, but the first one labels"
    ),
    rewritten(
        "pseudo labels of nothing but background",
        records(0.2),
        pseudo,
        "pseudo: every pseudo label is all background",
        "threshold is too high",
    ),
    case(
        "scores without a threshold",
        lambda _: None,
        lambda: scores(fixed=None),
        "score maps need a fixed threshold; set `background`",
    ),
    case("threshold beyond one", lambda _: None, lambda: scores(fixed=1.5), "background threshold 1.5 is outside 0..1"),
]
