"""The user's own data: three layouts, any file names, masks optional, all faults at once."""

import csv
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.own_fixture import csv_set, folder_set, mask, photo, voc_set
from wsss.data.ground_truth import read_ground_truth
from wsss.data.layouts import image_id
from wsss.data.manifest import read_manifest
from wsss.data.own import build, make_splits, recognise
from wsss.data.voc_constants import CLASSES as VOC_CLASSES
from wsss.errors import UserError

VOC_MINI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "voc_mini"


def built(out, root, **options):
    build(out, root=root, **options)
    return read_manifest(out)


def faults(root, tmp_path, **options):
    with pytest.raises(UserError) as caught:
        build(tmp_path / "refused", root=root, **options)
    assert not (tmp_path / "refused").exists()
    return str(caught.value)


def test_csv_with_any_names_and_made_splits(tmp_path):
    names = ["my photo 1.jpg", "été/图像.png", "a,b.jpg", "x.v2.JPEG", "images/inside.webp"]
    rows = [f'"{name}",Katze {"Hund" if number % 2 else ""}' for number, name in enumerate(names)]
    manifest = built(tmp_path / "out", csv_set(tmp_path / "own", rows, images=tuple(names)))
    assert manifest.classes == ("Hund", "Katze")
    assert list(manifest.samples) == ["my_photo_1", "été__图像", "a_b", "x.v2", "inside"]
    assert [s.labels for s in manifest.samples.values()] == [(2,), (1, 2), (2,), (1, 2), (2,)]
    assert set(manifest.splits) == {"train", "val"}
    assert sorted(manifest.splits["train"] + manifest.splits["val"]) == sorted(manifest.samples)
    assert all(s.image.is_file() and (s.width, s.height) == (20, 16) for s in manifest.samples.values())
    assert read_ground_truth(tmp_path / "out") == {}


def test_csv_with_masks_and_splits(tmp_path):
    rows = ["a.jpg,cat,m/a.png,train", "b.jpg,dog cat,m/b.png,val", "c.jpg,dog,,train"]
    root = csv_set(tmp_path / "own", rows, header="image,labels,mask,split")
    mask(root / "m/a.png", [1, 255])
    mask(root / "m/b.png", [1, 2])
    (root / "classes.txt").write_text("cat\ndog\n")
    manifest = built(tmp_path / "out", root)
    assert manifest.classes == ("cat", "dog")
    assert manifest.splits == {"train": ("a", "c"), "val": ("b",)}
    truth = read_ground_truth(tmp_path / "out")
    assert {key: (t.mask, t.source) for key, t in truth.items()} == {
        "a": (root / "m/a.png", "own"),
        "b": (root / "m/b.png", "own"),
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_as_spreadsheets_write_it(tmp_path, delimiter):
    photo(tmp_path / "own/a.jpg")
    photo(tmp_path / "own/b.jpg")
    text = f'Image{delimiter}"Labels"\r\na.jpg{delimiter}cat\r\n{delimiter}\r\nb.jpg{delimiter}"cat dog"\r\n'
    (tmp_path / "own/set.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    manifest = built(tmp_path / "out", tmp_path / "own")
    assert {key: s.labels for key, s in manifest.samples.items()} == {"a": (1,), "b": (1, 2)}
    assert recognise(tmp_path / "own/set.csv") == recognise(tmp_path / "own")


def test_decomposed_file_names_are_found(tmp_path):
    photo(tmp_path / "own" / unicodedata.normalize("NFD", "été.jpg"))
    csv_set(tmp_path / "own", ["été.jpg,a", "b.jpg,b"], images=("b.jpg",))
    assert list(built(tmp_path / "out", tmp_path / "own").samples) == ["été", "b"]


def test_voc_layout_with_annotations(tmp_path):
    labels = {"2007_000032": "person aeroplane person", "my 2nd": "cat", "üx": "dog", "unlisted": "cow"}
    root = voc_set(tmp_path / "own", labels, {"train": ["2007_000032", "my 2nd"], "val": ["üx"]})
    mask(root / "SegmentationClass/2007_000032.png", [1, 15, 255])
    mask(root / "SegmentationClass/my 2nd.png", [8])
    mask(root / "SegmentationClass/unlisted.png", [10])
    manifest = built(tmp_path / "out", root)
    assert manifest.classes == VOC_CLASSES
    assert manifest.splits == {"train": ("2007_000032", "my_2nd"), "val": ("üx",)}
    assert [manifest.samples[key].labels for key in ("2007_000032", "my_2nd", "üx")] == [(1, 15), (8,), (12,)]
    assert set(read_ground_truth(tmp_path / "out")) == {"2007_000032", "my_2nd"}
    assert recognise(tmp_path / "own") == recognise(root)


def test_voc_layout_inside_a_devkit_with_the_labels_csv_first(tmp_path):
    root = voc_set(tmp_path / "VOCdevkit/VOC2012", {"a": "cat", "b": "dog"}, {"train": ["a"], "val": ["b"]})
    (root / "labels.csv").write_text("image,labels\nJPEGImages/a.jpg,dog\nb.jpg,dog person\n")
    layout = recognise(tmp_path)
    assert (layout.kind, layout.root, layout.csv) == ("voc", root, root / "labels.csv")
    manifest = built(tmp_path / "out", tmp_path)
    assert {key: s.labels for key, s in manifest.samples.items()} == {"a": (12,), "b": (12, 15)}


def test_voc_layout_with_other_classes_needs_their_order_only_with_masks(tmp_path):
    root = voc_set(tmp_path / "own", {"a": "rust crack", "b": "crack"}, {"train": ["a"], "val": ["b"]})
    assert built(tmp_path / "out", root).classes == ("crack", "rust")
    mask(root / "SegmentationClass/a.png", [1, 2])
    assert "classes.txt: is missing; masks hold class ids" in faults(root, tmp_path)
    (root / "classes.txt").write_text("rust\ncrack\n")
    assert built(tmp_path / "out", root).samples["a"].labels == (1, 2)
    assert built(tmp_path / "out", root, classes=["crack", "rust", "hole"]).classes == (
        "crack",
        "rust",
        "hole",
    )


def test_one_folder_per_class(tmp_path):
    names = ["good one/1.jpg", "good one/deep/2.png", "bad/1.jpg", "bad/.hidden.jpg"]
    root = folder_set(tmp_path / "own", names)
    mask(root / "masks/bad/1.png", [1])
    (root / "classes.txt").write_text("bad\ngood one\n")
    manifest = built(tmp_path / "out", root)
    assert manifest.classes == ("bad", "good one")
    labels = {key: s.labels for key, s in manifest.samples.items()}
    assert labels == {"bad__1": (1,), "good_one__1": (2,), "good_one__deep__2": (2,)}
    assert list(read_ground_truth(tmp_path / "out")) == ["bad__1"]


def test_folders_named_as_splits(tmp_path):
    root = folder_set(tmp_path / "own", ["train/a/1.jpg", "train/b/2.jpg", "val/a/1.jpg"])
    manifest = built(tmp_path / "out", root)
    assert manifest.classes == ("a", "b")
    assert manifest.splits == {"train": ("train__a__1", "train__b__2"), "val": ("val__a__1",)}


def test_all_faults_at_once_with_rows_and_files(tmp_path):
    rows = [
        "a.jpg,cat",
        "gone.jpg,cat",
        "c.jpg,cat,dog",
        "a.jpg,dog",
        "e.jpg,catt",
        "f.jpg,cat;dog",
        "a.png,cat",
        "h.jpg,",
        "broken.jpg,dog",
    ]
    names = ("a.jpg", "c.jpg", "e.jpg", "f.jpg", "a.png", "h.jpg", "broken.jpg")
    root = csv_set(tmp_path / "own", rows, images=names)
    data = (root / "broken.jpg").read_bytes()
    (root / "broken.jpg").write_bytes(data[: len(data) // 2])
    (root / "classes.txt").write_text("cat\ndog\n")
    text = faults(root, tmp_path, val_fraction=0)
    assert text.startswith(f"{root}: 7 faults")
    for line in (
        "labels.csv row 3: image 'gone.jpg' does not exist",
        "labels.csv row 4: has 3 fields where the header has 2; separate labels by spaces",
        "labels.csv row 5: 'a.jpg' is in labels.csv row 2 too",
        "labels.csv row 6: unknown label 'catt'; did you mean 'cat'?",
        "labels.csv row 7: label 'cat;dog'; separate labels by spaces",
        "labels.csv row 8: ",
        "give the same id 'a'; rename one",
        "broken.jpg: JPEG is truncated",
    ):
        assert line in text


def test_split_lists_are_checked_line_by_line(tmp_path):
    lists = {"train": ["a", "", "b", "a", "ghost"], "val": ["b", "c"]}
    root = voc_set(tmp_path / "own", {"a": "cat", "b": "cat", "c": "dog"}, lists)
    text = faults(root, tmp_path)
    assert "train.txt line 4: 'a' stands already in line 1" in text
    assert "train.txt line 5: there is no image 'ghost' in JPEGImages" in text
    assert "b: stands in train and val; remove it from one" in text


def test_one_fault_is_one_line(tmp_path):
    root = csv_set(tmp_path / "own", ["a.jpg,cat", "b.jpg,dog", "no.jpg,dog"], images=("a.jpg", "b.jpg"))
    assert faults(root, tmp_path) == "labels.csv row 4: image 'no.jpg' does not exist"


def test_what_cannot_be_recognised_says_what_is_wanted(tmp_path):
    for path, message in [
        (tmp_path / "nothing", "does not exist"),
        (tmp_path, "no known layout; wanted: VOC layout"),
    ]:
        with pytest.raises(UserError, match=message):
            recognise(path)
    root = csv_set(tmp_path / "own", ["a.jpg,x"])
    (root / "labels.csv").rename(root / "one.csv")
    (root / "two.csv").write_text("image,labels\n")
    with pytest.raises(UserError, match=r"one CSV .* is needed, found: one\.csv, two\.csv"):
        recognise(root)
    assert recognise(root, csv="one.csv").csv == root / "one.csv"
    for options, message in [
        ({"csv": "three.csv"}, "data.csv"),
        ({"masks": "m", "csv": "one.csv"}, "data.masks"),
        ({"kind": "voc"}, "JPEGImages"),
    ]:
        with pytest.raises(UserError, match=message):
            recognise(root, **options)


NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=80)


@given(NAME, NAME)
def test_ids_are_safe_file_stems(folder, name):
    key = image_id(f"{folder}/{name}.jpg")
    assert key == image_id(f"{folder}/{name}.PNG")
    assert "/" not in key
    assert not key.startswith((".", "-"))
    assert not any(character.isspace() or character in '\\:*?"<>|,' for character in key)
    assert len(key.encode()) <= 120


@given(st.sets(st.text("abcdef0123456789", min_size=1), min_size=2, max_size=40), st.floats(0, 1))
def test_made_splits_part_the_ids_and_stay_when_images_come(ids, fraction):
    order = sorted(ids)
    splits = make_splits(order, fraction)
    assert sorted(key for keys in splits.values() for key in keys) == order
    assert make_splits(order[::-1], fraction).keys() == splits.keys()
    more = make_splits([*order, "another", "and more"], fraction)
    if len(splits.get("val", ())) > 1 and len(splits.get("train", ())) > 1:
        assert set(splits["train"]) <= set(more["train"])
        assert set(splits["val"]) <= set(more["val"])
    if 0 < fraction < 1:
        assert set(splits) == {"train", "val"}


def test_share_of_made_splits():
    splits = make_splits([f"image_{number}" for number in range(2000)], 0.2)
    assert len(splits["val"]) == pytest.approx(400, abs=50)


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="the photographs of ../shared/data/voc_mini are not there")
def test_real_photographs(tmp_path):
    manifest = built(tmp_path, VOC_MINI)
    assert manifest.classes == VOC_CLASSES
    assert (len(manifest.splits["train"]), len(manifest.splits["val"])) == (1000, 330)
    assert set(read_ground_truth(tmp_path)) == set(manifest.samples)
    with open(VOC_MINI / "labels.csv", newline="") as stream:
        rows = {Path(row["image"]).stem: row["labels"].split() for row in csv.DictReader(stream)}
    found = {key: [VOC_CLASSES[i - 1] for i in s.labels] for key, s in manifest.samples.items()}
    assert found == {key: sorted(names) for key, names in rows.items()}
