import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.voc_fixture import (
    LABELS,
    SBD_VAL,
    TEST,
    TRAIN,
    TRAIN_AUG,
    VAL,
    entry_of,
    label_of,
    pack,
    serve,
    size_of,
    write_devkit,
    write_sbd,
    write_test,
)
from wsss.data.archives import unpack
from wsss.data.download import fetch, import_archive, read_downloads
from wsss.data.ground_truth import read_ground_truth
from wsss.data.manifest import read_manifest
from wsss.data.sbd import build_masks
from wsss.data.voc import build, check_splits, list_digest, locate, read_labels
from wsss.data.voc_constants import CLASSES, SPLITS
from wsss.errors import UserError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
VECTORS = pytest.mark.skipif(not SHARED.is_dir(), reason="conformance vectors are not beside the checkout")


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def expected_row(key: str, root: str) -> list[str]:
    ids = sorted({CLASSES.index(name) + 1 for name in LABELS.get(key, ())})
    width, height = size_of(key)
    image = f"{root}/VOCdevkit/VOC2012/JPEGImages/{key}.jpg"
    return [key, image, str(width), str(height), " ".join(map(str, ids))]


def test_from_archives_on_a_server_to_the_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "made"
    pack(write_devkit(made).parent, made / "VOCtrainval_11-May-2012.tar")
    pack(write_sbd(made), made / "benchmark.tgz")
    pack(write_test(made / "test").parent, made / "VOC2012test.tar")
    known = read_downloads()
    for name, folder in (("voc_trainval", "voc"), ("sbd", "sbd")):
        content = (made / known[name].file).read_bytes()
        with serve(content) as server:
            mirrors = f"{server.url}/gone", f"{server.url}/truncated", f"{server.url}/good"
            fetch(entry_of(content, *mirrors, keep=known[name].keep), Path("archives", known[name].file))
        unpack(Path("archives", known[name].file), folder, keep=known[name].keep)
    import_archive(made / "VOC2012test.tar", "archives/VOC2012test.tar", known["voc_test"])
    unpack("archives/VOC2012test.tar", "test", keep=known["voc_test"].keep)
    build_masks("sbd", "masks")

    build("voc", "data", sbd="sbd", sbd_masks="masks", test="test", verify_counts=False)

    learned = [(key, "voc") for key in (*TRAIN_AUG, *VAL)]
    expected = sorted(learned + [(key, "test") for key in TEST])
    assert rows(tmp_path / "data" / "manifest.csv") == [
        ["id", "image", "width", "height", "labels"],
        *(expected_row(key, root) for key, root in expected),
    ]
    splits = {"train_aug": TRAIN_AUG, "train": TRAIN, "val": VAL, "test": TEST}
    assert rows(tmp_path / "data" / "splits.csv") == [
        ["split", "id"],
        *([name, key] for name, ids in splits.items() for key in ids),
    ]
    assert (tmp_path / "data" / "classes.txt").read_text() == "".join(f"{name}\n" for name in CLASSES)
    official = {*TRAIN, *VAL}
    assert rows(tmp_path / "data" / "ground_truth.csv") == [
        ["id", "mask", "source"],
        *(
            [key, f"voc/VOCdevkit/VOC2012/SegmentationClass/{key}.png", "VOC"]
            if key in official
            else [key, f"masks/{key}.png", "SBD"]
            for key in sorted({*TRAIN_AUG, *VAL})
        ),
    ]
    for key, truth in read_ground_truth("data").items():
        with Image.open(truth.mask) as mask:
            np.testing.assert_array_equal(np.array(mask), label_of(key, border=truth.source == "VOC"))
    assert not (tmp_path / "voc" / "VOCdevkit" / "VOC2012" / "SegmentationObject").exists()


def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    write_sbd(tmp_path)
    for name in ("one", "two"):
        build(root, tmp_path / name, sbd=tmp_path, verify_counts=False)
    for file in ("manifest.csv", "splits.csv", "classes.txt", "ground_truth.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("given", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_existing_devkit_without_sbd(tmp_path: Path, given: str) -> None:
    write_devkit(tmp_path)
    build(tmp_path / given, tmp_path / "data", verify_counts=False)
    manifest = read_manifest(tmp_path / "data")
    assert manifest.splits == {"train": TRAIN, "val": VAL}
    assert manifest.classes == CLASSES
    assert manifest.samples["2007_000032"].labels == (1, 15)
    assert set(manifest.samples) == {*TRAIN, *VAL}
    assert {truth.source for truth in read_ground_truth(tmp_path / "data").values()} == {"VOC"}


def test_train_aug_without_masks_of_sbd_has_official_ground_truth_only(tmp_path: Path) -> None:
    build(write_devkit(tmp_path), tmp_path / "data", sbd=write_sbd(tmp_path), verify_counts=False)
    assert read_manifest(tmp_path / "data").splits["train_aug"] == TRAIN_AUG
    assert set(read_ground_truth(tmp_path / "data")) == {*TRAIN, *VAL}


def test_test_images_unpacked_over_the_same_devkit(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    assert write_test(tmp_path) == root
    build(root, tmp_path / "data", test=root, verify_counts=False)
    samples = read_manifest(tmp_path / "data").split("test")
    assert [sample.id for sample in samples] == list(TEST)
    assert {sample.labels for sample in samples} == {()}


def test_counts_are_verified_by_default(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train_aug has 6 images instead of 10582; train has 3 .* 1464; val has"):
        build(write_devkit(tmp_path), tmp_path / "data", sbd=write_sbd(tmp_path))
    assert not (tmp_path / "data").exists()


def test_right_number_of_wrong_ids_is_refused() -> None:
    with pytest.raises(UserError, match="val has 1449 images but not the published ones"):
        check_splits({"val": [f"{number:06d}" for number in range(1449)]})


def test_folder_without_devkit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no VOCdevkit/VOC2012 with ImageSets/Segmentation and JPEGImages"):
        locate(tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("JPEGImages/2008_000043.jpg", r"2008_000043\.jpg: .*No such file"),
        ("Annotations/2008_000043.xml", r"2008_000043\.xml: cannot be read"),
        ("SegmentationClass/2008_000043.png", r"2008_000043\.png: .*No such file"),
        ("ImageSets/Segmentation/val.txt", r"val\.txt: cannot be read"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, file: str, message: str) -> None:
    root = write_devkit(tmp_path)
    (root / file).unlink()
    with pytest.raises(UserError, match=message):
        build(root, tmp_path / "data", verify_counts=False)
    assert not (tmp_path / "data").exists()


def test_missing_mask_of_sbd_is_named(tmp_path: Path) -> None:
    build_masks(write_sbd(tmp_path), tmp_path / "masks")
    (tmp_path / "masks" / f"{SBD_VAL[1]}.png").unlink()
    with pytest.raises(UserError, match=rf"masks/{SBD_VAL[1]}\.png"):
        build(
            write_devkit(tmp_path),
            tmp_path / "data",
            sbd=tmp_path,
            sbd_masks=tmp_path / "masks",
            verify_counts=False,
        )


def test_mask_of_another_size_is_named(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    (root / "SegmentationClass" / f"{VAL[0]}.png").write_bytes(
        (root / "SegmentationClass" / f"{VAL[1]}.png").read_bytes()
    )
    with pytest.raises(UserError, match=rf"{VAL[0]}\.png: is \d+x\d+, its image \d+x\d+"):
        build(root, tmp_path / "data", verify_counts=False)


def test_image_in_two_lists_is_named(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(f"{VAL[0]}\n{TRAIN[1]}\n")
    with pytest.raises(UserError, match=rf"image {TRAIN[1]} stands in both train and val"):
        build(root, tmp_path / "data", verify_counts=False)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("<annotation><object><name>cat</name></object></annotation>", (8,)),
        ("<a><object><name> dog\n</name><part><name>head</name></part></object></a>", (12,)),
        ("<a><object><name>train</name></object><object><name>bus</name></object></a>", (6, 19)),
        ("<a><object><name>c&#97;r</name></object><folder>cat</folder></a>", (7,)),
    ],
)
def test_labels_of_an_annotation(tmp_path: Path, text: str, labels: tuple[int, ...]) -> None:
    (tmp_path / "a.xml").write_text(text)
    assert read_labels(tmp_path / "a.xml") == labels


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "cat"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><object><name>&b;</name></object></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation><object><name>&a;</name></object></annotation>'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "document type declaration"),
        (OUTSIDE, "document type declaration"),
        ('<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><a><name>cat</name></a>', "document type declaration"),
        ("<a><object><name>cat</name></object>", "is not valid XML"),
        ("<a><object><name>&unknown;</name></object></a>", "is not valid XML"),
        ("", "is not valid XML"),
        ("<a><object><name>unicorn</name></object></a>", "names none of VOC's 20 classes"),
    ],
)
def test_unfit_annotations_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UserError, match=rf"a\.xml: .*{message}"):
        read_labels(tmp_path / "a.xml")


def test_digest_is_that_of_sorted_lines() -> None:
    # printf 'a\nb\n' | sha256sum
    assert list_digest(["b", "a"]) == "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"


@VECTORS
def test_constants_agree_with_the_conformance_lists() -> None:
    with open(SHARED / "12_voc_lists.tsv", encoding="utf-8") as stream:
        lists = {row["list"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert {name: (int(row["count"]), row["sha256_of_sorted_ids"]) for name, row in lists.items()} == SPLITS
    names = (SHARED / "12_class_names.txt").read_text().split()
    assert tuple(names) == ("background", *CLASSES)
