"""`wsss init`: the configuration that it writes is valid, complete and explained."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.unit.own_fixture import csv_set, folder_set, mask, voc_set
from wsss.config import ROOT, read_yaml, resolve
from wsss.data.check import check
from wsss.data.init import command, init, summary
from wsss.errors import UserError
from wsss.settings import OwnData


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    OwnData.model_validate(content["data"])
    return content


def test_csv_without_masks(here):
    csv_set(here / "meine Bilder", ["été 1.jpg,Käse", "b.jpg,on", "c.jpg,on Käse"])
    path = init("meine Bilder", "cheese-1", "tiny")
    content = written(path)
    assert path == Path("config/cheese-1.yaml")
    assert (content["dataset"], content["preset"], content["build"]) == ("cheese-1", "tiny", ["baseline/*"])
    data = content["data"]
    assert data["root"] == "meine Bilder"
    assert data["classes"] == ["Käse", "on"]
    assert (data["layout"], data["csv"], data["train"]) == ("csv", "labels.csv", "train")
    assert data["evaluate"] == {"train": "train", "val": "val"}
    assert data["shards"] == {"train": 1, "val": 1}
    assert "scores stay empty" in path.read_text()
    assert command(path) in path.read_text()
    assert check(data, None) == []


def test_voc_layout_with_all_its_splits(here):
    names = dict.fromkeys("abcde", "cat")
    lists = {
        "train": ["a"],
        "train_aug": ["a", "b"],
        "val": ["c"],
        "trainval": ["a", "c"],
        "test": ["d", "e"],
    }
    root = voc_set(here / "voc", names, lists)
    mask(root / "SegmentationClass/a.png", [8])
    data = written(init(root, "voc"))["data"]
    assert data["train"] == "train_aug"
    assert data["evaluate"] == {"train": "train_aug", "val": "val"}
    assert data["masks"] == "SegmentationClass"
    assert data["shards"] == {"train_aug": 1, "val": 1}
    mask(root / "SegmentationClass/d.png", [8])
    data = written(init(root, "voc", force=True))["data"]
    assert data["evaluate"] == {"train": "train_aug", "val": "val", "test": "test"}


def test_only_a_train_split(here):
    root = csv_set(here / "own", ["a.jpg,x,train", "b.jpg,y,train"], header="image,labels,split")
    data = written(init(root, "own"))["data"]
    assert data["evaluate"] == {"train": "train"}
    assert "val_fraction" not in data


def test_outside_the_working_directory_the_root_is_absolute(here, tmp_path_factory):
    root = folder_set(tmp_path_factory.mktemp("else") / "where", ["a/1.jpg", "b/2.jpg", "b/3.jpg"])
    data = written(init(root, "elsewhere"))["data"]
    assert data["root"] == str(root)
    assert data["layout"] == "folders"
    assert data["val_fraction"] == 0.2


def test_shards_grow_with_the_images(here):
    root = folder_set(here / "own", ["a/0.jpg", "b/0.jpg"])
    photo = (root / "a/0.jpg").read_bytes()
    for number in range(1, 1200):
        (root / "a" / f"{number}.jpg").write_bytes(photo)
    data = written(init(root, "many"))["data"]
    assert data["shards"] == {"train": 2, "val": 1}


def test_existing_configuration_is_kept(here):
    root = folder_set(here / "own", ["a/1.jpg", "b/2.jpg"])
    path = init(root, "mine")
    path.write_text("precious")
    with pytest.raises(UserError, match=r"config/mine\.yaml: exists already"):
        init(root, "mine")
    assert path.read_text() == "precious"
    assert written(init(root, "mine", force=True))["dataset"] == "mine"


@pytest.mark.parametrize("name", ["", "a b", "../x", ".hidden", "a/b", "ä", "voc2012", "shapes"])
def test_unsafe_names_are_refused(here, name):
    root = folder_set(here / "own", ["a/1.jpg", "b/2.jpg"])
    with pytest.raises(UserError, match=re.escape(f"--name {name}")):
        init(root, name)
    assert not (here / "config").exists()


def test_faults_are_refused_early(here):
    root = csv_set(here / "own", ["a.jpg,x", "no.jpg,y", "gone.jpg,y"], images=("a.jpg",))
    with pytest.raises(UserError, match=r"2 faults\n.*row 3.*\n.*row 4"):
        init(root, "own")
    with pytest.raises(UserError, match="--preset huge: there is none; known: "):
        init(root, "own", "huge")
    other = csv_set(here / "two", ["a.jpg,x,learn"], header="image,labels,split")
    with pytest.raises(UserError, match="no split 'train' among: learn"):
        init(other, "two")
    assert not (here / "config").exists()


def test_weights_from_a_file_fill_every_role(here, tmp_path_factory):
    root = folder_set(here / "own", ["a/1.jpg", "b/2.jpg"])
    outside = tmp_path_factory.mktemp("weights") / "mobile net.pth"
    (here / "net.pth").touch()
    outside.touch()
    for weights, text in [(Path("net.pth"), "net.pth"), (outside, str(outside))]:
        content = written(init(root, "own", "small", weights=weights, force=True))
        assert content["backbones"] == {role: {"weights": text} for role in ("r50", "r101", "vgg16", "r38", "vgg")}
    with pytest.raises(UserError, match=r"--weights gone\.pth: there is no such file"):
        init(root, "two", weights=Path("gone.pth"))
    with pytest.raises(UserError, match="preset paper has several networks"):
        init(root, "two", "paper", weights=outside)


@pytest.mark.skipif(not (ROOT / "config.yaml").is_file(), reason="config.yaml is not there")
@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_resolves_to_whole_settings(here, preset):
    root = folder_set(here / "own", [f"{name}/{number}.jpg" for name in "ab" for number in range(5)])
    settings = resolve(read_yaml(init(root, "own", preset)))
    assert isinstance(settings.data, OwnData)
    assert check(settings.data.model_dump(mode="json"), None) == []


def test_summary_counts(here):
    root = csv_set(here / "own", ["a.jpg,x,train", "b.jpg,x y,val", "c.jpg,y,"], header="image,labels,split")
    text = summary(root)
    assert "a CSV with images, 2 images, 0 masks" in text
    assert "train: 1 images, 0 masks" in text
    assert "2 classes: x 2, y 1" in text
    assert "1 labelled images stand in no split" in text
    assert "scores stay empty" in text


def test_any_class_name_survives_the_yaml(here):
    names = ["no", "1", "a: b", "# c", "it's", 'say "hi"', "日本", "null"]
    root = folder_set(here / "own", [f"{name}/{n}.jpg" for name in names for n in range(8)])
    data = written(init(root, "odd"))["data"]
    assert data["classes"] == sorted(names)
    assert json.dumps(data["classes"])
    assert check(data, None) == []
