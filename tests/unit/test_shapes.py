"""The built-in data set: reproducible, in VOC layout, and with the difficulties that it is there for."""

import csv
from pathlib import Path

import numpy as np
import pytest

from wsss.data import own
from wsss.data.check import check
from wsss.data.drawing import Pose, coverage, ellipse, turn
from wsss.data.ground_truth import read_ground_truth
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import read_manifest
from wsss.data.shapes import CLASSES, generate, paint
from wsss.data.shapes_parts import MARKS, body, glyph
from wsss.errors import UserError

SIZE = (64, 112)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("shapes")
    generate(out, train=24, val=8, size=SIZE, seed=3)
    return out


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    generate(folder / "one", train=3, val=2, size=SIZE, seed=3)
    generate(folder / "two", train=3, val=2, size=SIZE, seed=3)
    generate(folder / "other", train=3, val=2, size=SIZE, seed=4)
    first, second, other = (content(folder / name / "voc") for name in ("one", "two", "other"))
    assert first == second
    assert first != other


def test_an_image_depends_on_its_number_only(folder):
    again = paint((3, 1, 5), SIZE)
    sample = read_manifest(folder).samples["val_00006"]
    assert np.array_equal(read_mask(read_ground_truth(folder)[sample.id].mask), again.label_HW)
    assert sample.labels == again.labels
    assert (sample.height, sample.width) == again.label_HW.shape


def test_data_files_agree_with_the_files_on_disk(folder):
    manifest, masks = read_manifest(folder), read_ground_truth(folder)
    assert manifest.classes == MARKS
    assert [len(manifest.splits[name]) for name in ("train", "val")] == [24, 8]
    assert set(masks) == set(manifest.samples)
    for key, sample in manifest.samples.items():
        label_HW = read_mask(masks[key].mask)
        assert masks[key].source == "shapes"
        assert read_rgb(sample.image).shape == (sample.height, sample.width, 3)
        assert label_HW.shape == (sample.height, sample.width)
        assert set(np.unique(label_HW)) - {0, 255} <= set(sample.labels)
    assert check({"source": "shapes"}, folder) == []


def test_is_read_as_voc_layout_with_equal_labels(folder, tmp_path):
    own.build(tmp_path, root=folder / "voc")
    ours, generated = read_manifest(tmp_path), read_manifest(folder)
    assert own.recognise(folder / "voc").kind == "voc"
    assert ours.classes == generated.classes
    assert ours.splits == generated.splits
    assert {key: s.labels for key, s in ours.samples.items()} == {key: s.labels for key, s in generated.samples.items()}
    with open(folder / "voc" / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 32
    assert rows[1]["image"] == "JPEGImages/train_00002.jpg"
    assert MARKS[1] in rows[1]["labels"].split()


def test_has_its_difficulties():
    pictures = [paint((0, 0, number), SIZE) for number in range(120)]
    sides = {side for picture in pictures for side in picture.label_HW.shape}
    counts = np.bincount([label for picture in pictures for label in picture.labels], minlength=CLASSES + 1)
    shares = np.array([np.isin(picture.label_HW, picture.labels).mean() for picture in pictures])
    several = np.mean([len(picture.labels) > 1 for picture in pictures])
    border = np.mean([(picture.label_HW == 255).mean() for picture in pictures])
    assert not any(side % 4 == 0 for side in sides)
    assert min(sides) >= SIZE[0]
    assert max(sides) <= SIZE[1]
    assert counts[0] == 0
    assert counts[1:].min() >= 120 // CLASSES
    assert counts[1] > 1.5 * counts[2:].mean()
    assert 0.3 < several < 0.7
    assert shares.max() > 4 * shares.min()
    assert 0.03 < border < 0.12


@pytest.mark.parametrize("kind", ["beast", "cart", "plant"])
def test_the_mark_is_a_small_part_of_the_body(kind):
    rng = np.random.default_rng(0)
    pose = Pose(100, 100, 120)
    for _ in range(10):
        figure = body(rng, kind)
        x, y, radius = figure.mark
        whole = coverage([pose(p) for p in (*figure.coat, *figure.limbs, *figure.dark)], (200, 200)).sum()
        mark = coverage([pose(ellipse(x, y, radius, radius))], (200, 200)).sum()
        assert 0.1 < mark / whole < 0.4


def test_marks_differ_and_stay_inside_the_unit_disc():
    pictures = []
    for name in MARKS:
        filled, cut = glyph(name)
        assert max(np.hypot(*points_N2.T).max() for points_N2 in filled) < 0.95
        pose = Pose(20, 20, 20)
        inside_HW = coverage([pose(p) for p in filled], (40, 40)) * (1 - coverage([pose(p) for p in cut], (40, 40)))
        pictures.append(inside_HW > 0.5)
    for one in range(CLASSES):
        for two in range(one):
            union = (pictures[one] | pictures[two]).sum()
            assert (pictures[one] & pictures[two]).sum() / union < 0.75


def test_coverage_counts_shares_of_pixels():
    square = np.array([(1.0, 1.0), (4.0, 1.0), (4.0, 3.0), (1.0, 3.0)])
    covered_HW = coverage([square], (5, 6))
    assert covered_HW[1:3, 1:4].min() == pytest.approx(1)
    assert 6 <= covered_HW.sum() < 9
    assert covered_HW[4].max() == covered_HW[:, 5].max() == 0
    assert np.allclose(turn(np.array([(1.0, 0.0)]), np.pi / 2), [(0.0, 1.0)])


def test_fewer_classes_and_one_size(tmp_path):
    generate(tmp_path, train=6, val=2, size=(64, 64), seed=0, classes=3)
    manifest = read_manifest(tmp_path)
    assert manifest.classes == MARKS[:3]
    assert {(s.width, s.height) for s in manifest.samples.values()} == {(64, 64)}
    assert max(label for s in manifest.samples.values() for label in s.labels) == 3


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"classes": 9}, {"size": (112, 64)}, {"size": (8, 64)}])
def test_impossible_settings_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match=f"shapes: {next(iter(wrong))}"):
        generate(tmp_path / "out", **{"train": 1, "val": 1, "size": SIZE, "seed": 0, **wrong})
    assert not (tmp_path / "out").exists()


def test_paths_below_the_working_directory_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate(Path("results/shapes/data"), train=2, val=1, size=SIZE, seed=0)
    sample = read_manifest("results/shapes/data").samples["train_00001"]
    assert str(sample.image) == "results/shapes/data/voc/JPEGImages/train_00001.jpg"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
