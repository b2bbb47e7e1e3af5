import json
import os
import pickle
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsss.errors import UserError
from wsss.stores import ALIGN, FOOTER, Store, Writer

DTYPES = ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "float64"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
META = st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(-5, 300)) | st.text() | st.none(), max_size=3)


def small_store(path: Path) -> Path:
    with Writer(path) as store:
        store.add("2007_000032", np.arange(12, dtype=np.float16).reshape(3, 2, 2), classes=[1, 5, 20], size=[8, 5])
        store.add("a label map", np.eye(7, dtype=np.uint8), compress=True, size=[7, 7])
        store.add("no classes", np.zeros((0, 2, 2), np.float16), classes=[], size=[5, 5])
    return path


def read_all(path: Path) -> dict[str, np.ndarray]:
    store = Store(path)
    return {id: store[id].array for id in store.ids}


@settings(max_examples=60, deadline=None)
@given(records=st.dictionaries(st.text(), st.tuples(ARRAYS, META, st.booleans()), max_size=6))
def test_what_is_written_is_read_again(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("stores") / "x.store"
    with Writer(path) as writer:
        for id, (array, meta, compress) in records.items():
            writer.add(id, array, compress=compress, **meta)
    store = Store(str(path))
    assert store.ids == list(records)
    assert len(store) == len(records)
    for id, (array, meta, _) in records.items():
        record = store[id]
        assert record.array.dtype == array.dtype
        assert record.array.shape == array.shape
        assert record.array.tobytes() == array.tobytes()
        assert record.meta == meta


def test_every_flipped_byte_is_noticed(tmp_path):
    good = small_store(tmp_path / "good.store").read_bytes()
    bad = tmp_path / "bad.store"
    for position in range(len(good)):
        bad.write_bytes(good[:position] + bytes([good[position] ^ 0x40]) + good[position + 1 :])
        with pytest.raises(UserError, match=r"bad\.store"):
            read_all(bad)


def test_every_truncation_is_noticed(tmp_path):
    good = small_store(tmp_path / "good.store").read_bytes()
    bad = tmp_path / "bad.store"
    for length in range(len(good)):
        bad.write_bytes(good[:length])
        with pytest.raises(UserError, match=r"bad\.store"):
            Store(bad)
    bad.write_bytes(good + b"\0")
    with pytest.raises(UserError, match=r"bad\.store"):
        Store(bad)


def test_a_damaged_record_is_named_and_the_others_stay_readable(tmp_path):
    path = small_store(tmp_path / "x.store")
    content = bytearray(path.read_bytes())
    content[ALIGN + 2 * ALIGN] ^= 1
    path.write_bytes(content)
    store = Store(path)
    with pytest.raises(UserError, match=r"x\.store.*2007_000032.*delete"):
        store["2007_000032"]
    assert (store["a label map"].array == np.eye(7)).all()


@pytest.mark.parametrize(
    "index",
    [
        [],
        {"ids": ["a"], "lengths": [64]},
        {"ids": ["a"], "lengths": [-64], "checksums": [0]},
        {"ids": ["a"], "lengths": [2**70], "checksums": [0]},
        {"ids": ["a"], "lengths": [2**62], "checksums": [0]},
        {"ids": ["a", "b"], "lengths": [2**62, -(2**62) + 128], "checksums": [0, 0]},
        {"ids": ["a"], "lengths": ["x"], "checksums": [0]},
        {"ids": ["a"], "lengths": [None], "checksums": [0]},
        {"ids": [["a"]], "lengths": [128], "checksums": [0]},
        {"ids": "a", "lengths": [128], "checksums": [-1]},
        {"ids": ["a", "a"], "lengths": [64, 64], "checksums": [0, 0]},
        {"ids": ["a"], "lengths": [128], "checksums": [0]},
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, index):
    path = tmp_path / "x.store"
    with Writer(path) as writer:
        writer.add("a", np.zeros(3, np.uint8))
    text = json.dumps(index).encode()
    records = path.read_bytes()[: ALIGN + 128]
    path.write_bytes(records + text + FOOTER.pack(len(records), len(text), zlib.crc32(text), b"wsss end"))
    with pytest.raises(UserError, match=r"x\.store"):
        read_all(path)


def test_equal_content_gives_equal_bytes(tmp_path):
    first, second = (small_store(tmp_path / name).read_bytes() for name in ("a.store", "b.store"))
    assert first == second


def test_layout_of_memory_does_not_matter(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    forms = [array, np.asfortranarray(array), array.astype(">f4"), np.repeat(array, 2, axis=2)[..., ::2]]
    for name, form in zip("abcd", forms, strict=True):
        with Writer(tmp_path / name) as writer:
            writer.add("x", form)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
    assert (Store(tmp_path / "c")["x"].array == array).all()


def test_raw_arrays_are_aligned_views_and_read_only(tmp_path):
    store = Store(small_store(tmp_path / "x.store"))
    array = store["2007_000032"].array
    assert array.ctypes.data % ALIGN == 0
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_compressed_labels_are_small(tmp_path):
    with Writer(tmp_path / "x.store", compress=True) as writer:
        writer.add("x", np.zeros((375, 500), np.uint8))
    assert (tmp_path / "x.store").stat().st_size < 2000
    assert Store(tmp_path / "x.store")["x"].array.shape == (375, 500)


def test_shards_keep_their_order(tmp_path):
    for name, ids in (("a", "xy"), ("b", ""), ("c", "z")):
        with Writer(tmp_path / name) as writer:
            for id in ids:
                writer.add(id, np.full(2, ord(id)))
    store = Store([tmp_path / name for name in "abc"])
    assert store.ids == ["x", "y", "z"]
    assert [int(store[id].array[0]) for id in "zyx"] == [ord(id) for id in "zyx"]
    assert "x" in store
    assert "q" not in store
    with pytest.raises(UserError, match="'q'"):
        store["q"]


def test_an_id_in_two_shards_is_refused(tmp_path):
    for name in "ab":
        with Writer(tmp_path / name) as writer:
            writer.add(f"only {name}", np.zeros(1))
            writer.add("both", np.zeros(1))
    with pytest.raises(UserError, match=r"/b: id 'both' is also in .*/a"):
        Store([tmp_path / "a", tmp_path / "b"])


def test_an_id_written_twice_is_refused(tmp_path):
    def write() -> None:
        with Writer(tmp_path / "x.store") as writer:
            writer.add("x", np.zeros(1))
            writer.add("x", np.zeros(1))

    with pytest.raises(UserError, match="'x' is added twice"):
        write()
    assert not any(tmp_path.iterdir())


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path):
    old = small_store(tmp_path / "x.store").read_bytes()

    def write() -> None:
        with Writer(tmp_path / "x.store") as writer:
            writer.add("new", np.zeros(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["x.store"]
    assert (tmp_path / "x.store").read_bytes() == old


def test_arrays_of_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="dtype"), Writer(tmp_path / "x.store") as writer:
        writer.add("x", np.array([{}]))


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.store: no such store"):
        Store(tmp_path / "none.store")
    (tmp_path / "empty.store").touch()
    with pytest.raises(UserError, match=r"empty\.store"):
        Store(tmp_path / "empty.store")


def test_no_shards_make_an_empty_store():
    assert len(Store([])) == 0
    with pytest.raises(UserError, match="empty store"):
        Store([])["x"]


def test_full_disk_is_one_line(tmp_path):
    code = (
        "import numpy as np, resource, sys\n"
        "from wsss.stores import Writer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, 1 << 21))\n"
        "with Writer(sys.argv[1]) as writer:\n"
        "    for i in range(100): writer.add(str(i), np.zeros(1 << 16))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.store")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "UserError" in result.stderr
    assert "x.store: cannot write" in result.stderr
    assert not any(tmp_path.iterdir())


def test_stores_travel_to_other_processes_and_threads(tmp_path):
    store = pickle.loads(pickle.dumps(Store(small_store(tmp_path / "x.store"))))
    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(lambda _: store["2007_000032"].array.sum(), range(50)))
    assert set(sums) == {66}


def test_odd_ids_survive(tmp_path):
    ids = ["Überraschung 1", "a/b c", "", "日本", os.fsdecode(b"\xff"), 'quote"\n']
    with Writer(tmp_path / "x.store") as writer:
        for id in ids:
            writer.add(id, np.zeros(1), name=id)
    store = Store(tmp_path / "x.store")
    assert store.ids == ids
    assert [store[id].meta["name"] for id in ids] == ids
