"""The reader of MXNet's .params files, on files written here after the format's description."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsss.backbones.mxnet_params import DTYPES, V1, V2, V3, read_params, torch_name
from wsss.errors import UserError

VERSIONS = {"V0": None, "V1": V1, "V2": V2, "V3": V3}
CODES = {np.dtype(form): code for code, form in DTYPES.items()}


def array_bytes(array: np.ndarray, version: str) -> bytes:
    magic = VERSIONS[version]
    head = b"" if magic is None else struct.pack("<I", magic)
    if version in ("V2", "V3"):
        head += struct.pack("<i", 0)
    shape = struct.pack(f"<I{array.ndim}{'I' if magic is None else 'q'}", array.ndim, *array.shape)
    if array.ndim == 0:
        return head + shape
    return head + shape + struct.pack("<iii", 1, 0, CODES[array.dtype]) + array.tobytes()


def params_bytes(arrays: list[np.ndarray], names: list[str], version: str = "V1") -> bytes:
    body = struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(array_bytes(a, version) for a in arrays)
    texts = [name.encode() for name in names]
    return body + struct.pack("<Q", len(texts)) + b"".join(struct.pack("<Q", len(t)) + t for t in texts)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "x.params"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_of_every_dtype_come_back(tmp_path, version):
    rng = np.random.default_rng(0)
    arrays = [(rng.standard_normal((2, 3, 1, 4)) * 50).astype(form) for form in DTYPES.values()]
    arrays += [np.zeros((0, 3), np.float32), np.arange(5, dtype=np.float32)]
    names = [f"arg:größe_{number}" for number in range(len(arrays))]
    found = read_params(written(tmp_path, params_bytes(arrays, names, version)))
    assert list(found) == names
    for ours, original in zip(found.values(), arrays, strict=True):
        assert ours.dtype == original.dtype
        np.testing.assert_array_equal(ours, original)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_array_without_dimensions_is_empty_and_nothing_follows_it(tmp_path, version):
    arrays = [np.float32(0), np.ones(3, np.float32)]
    found = read_params(written(tmp_path, params_bytes(arrays, ["none", "ones"], version)))
    assert found["none"].size == 0
    np.testing.assert_array_equal(found["ones"], np.ones(3))


def test_files_without_names_count_their_arrays(tmp_path):
    found = read_params(written(tmp_path, params_bytes([np.ones(2, np.float32), np.zeros(1, np.int64)], [])))
    assert list(found) == ["0", "1"]


def test_a_file_cut_at_any_byte_is_refused(tmp_path):
    content = params_bytes([np.ones((2, 2), np.float32), np.ones(1, np.uint8)], ["a", "b"], "V2")
    for length in range(len(content)):
        with pytest.raises(UserError, match=r"x\.params"):
            read_params(written(tmp_path, content[:length]))


def header(count: int) -> bytes:
    return struct.pack("<QQQ", 0x112, 0, count)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (params_bytes([np.ones(1, np.float32)], ["a"]) + b"\0", "1 bytes are left over"),
        (b"PK\3\4" + bytes(100), "does not begin like"),
        (header(2**62), "ends inside a list"),
        (header(1) + struct.pack("<I", 33) + bytes(200), "claims 33 dimensions"),
        (header(1) + struct.pack("<I2I", 2, 2**31, 2**31) + bytes(200), "impossible shape"),
        (header(1) + struct.pack("<II2q", V1, 2, 0, 2**62) + bytes(200), "impossible shape"),
        (header(1) + struct.pack("<II1q", V1, 1, -1) + bytes(200), "impossible shape"),
        (header(1) + struct.pack("<I1Iiii", 1, 10**9, 1, 0, 0) + bytes(200), "4000000000 bytes needed"),
        (header(1) + struct.pack("<Ii", V2, 1) + bytes(200), "is sparse"),
        (header(1) + struct.pack("<I1Iiii", 1, 1, 1, 0, 12) + bytes(200), "unknown dtype code 12"),
        (params_bytes([np.ones(1, np.float32)] * 2, ["a"]), "1 names for 2 arrays"),
        (params_bytes([np.ones(1, np.float32)] * 2, ["a", "a"]), "a name stands twice"),
        (params_bytes([np.ones(1, np.float32)], ["a"])[:-1] + b"\xff", "not UTF-8"),
    ],
)
def test_faulty_files_are_refused_before_anything_large_is_allocated(tmp_path, content, fault):
    path = written(tmp_path, content)
    tracemalloc.start()
    with pytest.raises(UserError, match=fault):
        read_params(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.params: cannot be read"):
        read_params(tmp_path / "none.params")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 200), value=st.integers(0, 255), version=st.sampled_from(sorted(VERSIONS)))
def test_a_changed_byte_gives_arrays_or_a_user_error(tmp_path, position, value, version):
    content = bytearray(params_bytes([np.ones((2, 3), np.float32), np.ones(2, np.float16)], ["a", "b"], version))
    content[position % len(content)] = value
    try:
        found = read_params(written(tmp_path, bytes(content)))
    except UserError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)


@pytest.mark.parametrize(
    ("mxnet", "torch"),
    [
        ("arg:conv1a_weight", "conv1a.weight"),
        ("arg:res2a_branch1_weight", "b2.conv_branch1.weight"),
        ("arg:res4b5_branch2b1_weight", "b4_5.conv_branch2b1.weight"),
        ("arg:bn6a_branch2b2_gamma", "b6.bn_branch2b2.weight"),
        ("aux:bn3b2_branch2a_moving_var", "b3_2.bn_branch2a.running_var"),
        ("bn7_moving_mean", "bn7.running_mean"),
        ("arg:bn7_beta", "bn7.bias"),
        ("arg:linear1000_bias", "linear1000.bias"),
        ("arg:stage1_unit1_weight", "arg:stage1_unit1_weight"),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
    ],
)
def test_names_of_resnet38(mxnet, torch):
    assert torch_name(mxnet) == torch
