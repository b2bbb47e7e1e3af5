"""`wsss check`: every fault of a data set, each with its file or id, and contradictions as warnings."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.own_fixture import csv_set, mask, photo, voc_set
from wsss.data.check import check
from wsss.data.own import build

VOC_MINI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "voc_mini"


@pytest.fixture
def root(tmp_path):
    """A sound data set in VOC layout: six images with masks, two classes."""
    labels = {"a": "cat", "b": "dog", "c": "cat dog", "d": "cat", "e": "dog", "f": "dog"}
    root = voc_set(tmp_path / "own", labels, {"train": ["a", "b", "c", "d"], "val": ["e", "f"]})
    (root / "classes.txt").write_text("cat\ndog\n")
    for name, objects in labels.items():
        ids = [("cat", "dog").index(label) + 1 for label in objects.split()]
        mask(root / "SegmentationClass" / f"{name}.png", [*ids, 255])
    return root


def own(root, **options):
    return check({"source": "own", "root": str(root), **options}, None)


def test_a_sound_data_set_has_no_faults(root):
    assert own(root) == []


def test_every_fault_at_once(root):
    images, masks = root / "JPEGImages", root / "SegmentationClass"
    data = (images / "a.jpg").read_bytes()
    (images / "a.jpg").write_bytes(data[: len(data) // 2])
    (images / "b.jpg").write_bytes(b"")
    mask(masks / "c.png", [1, 2], size=(16, 20))
    Image.new("RGB", (20, 16)).save(masks / "d.png")
    mask(masks / "e.png", [2, 7, 9])
    mask(masks / "ghost.png", [1])
    (root / "Annotations/d.xml").unlink()
    lists = root / "ImageSets/Segmentation"
    (lists / "val.txt").write_text("e\nf\na\nnobody\n")
    (lists / "test.txt").write_text("")
    expected = [
        f"{images / 'a.jpg'}: JPEG is truncated",
        f"{images / 'b.jpg'}: is empty",
        f"{masks / 'c.png'}: is 16x20 but its image is 20x16",
        f"{masks / 'd.png'}: mask has colour mode RGB; save class ids",
        f"{masks / 'e.png'}: holds ids 7, 9, but the last class has 2",
        "SegmentationClass/ghost.png: is a mask without an image",
        "val.txt line 4: there is no image 'nobody'",
        "split 'test' is empty",
        "a: stands in train and val; remove it from one",
    ]
    found = own(root)
    for start in expected:
        assert sum(line.startswith(start) for line in found) == 1, start
    assert len([line for line in found if not line.startswith("warning: ")]) == len(expected)


def test_contradictions_are_warnings(root):
    mask(root / "SegmentationClass/a.png", [1, 2])
    mask(root / "SegmentationClass/c.png", [2])
    assert own(root) == [
        "warning: a: its mask shows 'dog', which its labels lack",
        "warning: c: its labels name 'cat', which its mask lacks",
    ]


def test_partly_labelled_sets_are_warnings(root):
    (root / "SegmentationClass/a.png").unlink()
    (root / "Annotations/e.xml").unlink()
    (root / "SegmentationClass/e.png").unlink()
    (root / "classes.txt").write_text("cat\ndog\ncow\n")
    assert own(root) == [
        "warning: split 'train': 1 of 4 images have no mask",
        "warning: split 'val': 1 of 2 images have no mask",
        "warning: split 'val': 1 of 2 images have no labels",
        "warning: split 'train' has no image of: cow",
    ]


def test_turned_photographs_match_their_masks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    csv_set(tmp_path / "own", ["a.jpg,x", "b.jpg,x y"])
    Image.new("RGB", (20, 16)).save(tmp_path / "own/a.jpg", exif=exif)
    mask(tmp_path / "own/masks/a.png", [1], size=(16, 20))
    (tmp_path / "own/classes.txt").write_text("x\ny\n")
    assert not [line for line in own(tmp_path / "own") if not line.startswith("warning: ")]


def test_data_stage_output_is_checked(root, tmp_path):
    out = tmp_path / "data"
    assert check({"source": "voc"}, out) == []
    assert check({"source": "voc"}, None) == []
    build(out, root=root)
    assert check({"source": "voc"}, out) == []
    photo(root / "JPEGImages/a.jpg", size=(30, 16))
    (root / "JPEGImages/b.jpg").unlink()
    with open(out / "splits.csv", "a") as stream:
        stream.write("val,ghost\n")
    found = check({"source": "voc"}, out)
    assert any("a.jpg: is 30x16, not as in manifest.csv" in line for line in found)
    assert any("a.png: is 20x16 but its image is 30x16" in line for line in found)
    assert any("b.jpg: cannot be read (No such file" in line for line in found)
    assert any("'ghost' is not in manifest.csv" in line for line in found)
    assert len(found) == 4
    (out / "classes.txt").unlink()
    assert check({"source": "voc"}, out) == [f"{out / 'classes.txt'}: is missing; run the data stage again"]


def test_needs_no_torch():
    code = "import sys, wsss.data.check, wsss.data.init, wsss.data.shapes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="the photographs of ../shared/data/voc_mini are not there")
def test_real_photographs_are_sound_and_checked_fast():
    start = time.perf_counter()
    found = own(VOC_MINI)
    assert time.perf_counter() - start < 30
    noisy = (VOC_MINI / "JPEGImages/2008_005245.jpg").is_file()
    assert not [line for line in found if not line.startswith("warning: 2008_005245: its mask shows")]
    assert len(found) == noisy


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="the photographs of ../shared/data/voc_mini are not there")
def test_a_flipped_label_of_real_photographs_is_a_warning(tmp_path):
    keys = (VOC_MINI / "ImageSets/Segmentation/train.txt").read_text().split()[:20]
    root = tmp_path / "voc"
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (root / folder).mkdir(parents=True)
        for key in keys:
            shutil.copy(VOC_MINI / folder / f"{key}.{suffix}", root / folder)
    lines = (VOC_MINI / "labels.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if any(f"/{key}.jpg" in line for key in keys)]
    assert kept[0] == "JPEGImages/2007_000032.jpg,aeroplane person"
    kept[0] = "JPEGImages/2007_000032.jpg,aeroplane"
    (root / "labels.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    found = own(root)
    assert "warning: 2007_000032: its mask shows 'person', which its labels lack" in found
    assert not [line for line in found if not line.startswith("warning: ")]
    assert np.mean(["split" in line for line in found[1:]]) == 1
