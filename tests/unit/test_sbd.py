from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.unit.voc_fixture import SBD_TRAIN, SBD_VAL, label_of, pack, write_sbd
from wsss.data.archives import unpack
from wsss.data.download import read_downloads
from wsss.data.sbd import build_masks, locate, read_ids, read_mat
from wsss.errors import UserError
from wsss.ops.palette import voc_palette

IDS = sorted({*SBD_TRAIN, *SBD_VAL})


def test_masks_are_palette_files_with_the_class_ids(tmp_path: Path) -> None:
    build_masks(write_sbd(tmp_path), tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [f"{key}.png" for key in IDS]
    for key in IDS:
        with Image.open(tmp_path / "masks" / f"{key}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette() == voc_palette().ravel().tolist()
            np.testing.assert_array_equal(np.array(mask), label_of(key, border=False))


def test_masks_from_the_archive(tmp_path: Path) -> None:
    archive = pack(write_sbd(tmp_path / "made"), tmp_path / "benchmark.tgz")
    unpack(archive, tmp_path / "sbd", keep=read_downloads()["sbd"].keep)
    root = tmp_path / "sbd" / "benchmark_RELEASE"
    assert sorted(path.name for path in (root / "dataset").iterdir()) == ["cls", "train.txt", "val.txt"]
    assert [path.name for path in root.iterdir()] == ["dataset"]
    build_masks(tmp_path / "sbd", tmp_path / "masks")
    assert len(list((tmp_path / "masks").iterdir())) == len(IDS)


def test_ids_are_those_of_both_lists(tmp_path: Path) -> None:
    assert read_ids(write_sbd(tmp_path)) == tuple(IDS)


@pytest.mark.parametrize("given", [".", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_every_level_of_the_unpacked_folder_is_understood(tmp_path: Path, given: str) -> None:
    root = write_sbd(tmp_path)
    assert locate(tmp_path / given) == root / "dataset"


def test_folder_without_sbd(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no unpacked SBD \(benchmark_RELEASE/dataset/cls is missing\)"):
        locate(tmp_path)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"half"])
def test_broken_matlab_file_is_named_and_leaves_no_folder(tmp_path: Path, content: bytes) -> None:
    path = write_sbd(tmp_path) / "dataset" / "cls" / f"{IDS[1]}.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(UserError, match=rf"{IDS[1]}\.mat: broken"):
        build_masks(tmp_path, tmp_path / "masks")
    assert [item.name for item in tmp_path.iterdir()] == ["benchmark_RELEASE"]


def test_missing_matlab_file_is_named(tmp_path: Path) -> None:
    (write_sbd(tmp_path) / "dataset" / "cls" / f"{IDS[1]}.mat").unlink()
    with pytest.raises(UserError, match=rf"{IDS[1]}\.mat: is missing"):
        build_masks(tmp_path, tmp_path / "masks")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros(3)}, "broken"),
        ({"GTcls": {"Boundaries": np.zeros(3)}}, "broken"),
        ({"GTcls": {"Segmentation": np.full((4, 5), 21, np.uint8)}}, r"no map of class ids 0\.\.20"),
        ({"GTcls": {"Segmentation": np.zeros((4, 5))}}, r"no map of class ids 0\.\.20 \(float64 \[4, 5\]\)"),
        ({"GTcls": {"Segmentation": np.zeros((4, 5, 3), np.uint8)}}, "no map of class ids"),
    ],
)
def test_matlab_file_with_something_else(tmp_path: Path, content: dict[str, object], message: str) -> None:
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(UserError, match=rf"x\.mat: .*{message}"):
        read_mat(tmp_path / "x.mat")


def test_empty_list_is_named(tmp_path: Path) -> None:
    root = write_sbd(tmp_path)
    (root / "dataset" / "val.txt").write_text("\n")
    with pytest.raises(UserError, match=r"val\.txt: is empty"):
        read_ids(root)
    (root / "dataset" / "train.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt: cannot be read"):
        read_ids(root)
