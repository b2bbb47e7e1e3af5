"""Pseudo labels: thresholds, labels with a background channel, and the guard against empty ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.images import read_mask
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.errors import UserError
from wsss.pseudo import label_map, write
from wsss.stores import Record, Writer
from wsss.thresholds import chosen

SCORE = np.array([[[0.1, 0.6]], [[0.3, 0.5]]], np.float16)


def record(score: np.ndarray, classes: list[int]) -> Record:
    return Record(score, {"classes": classes, "size": list(score.shape[1:])})


def test_labels_of_scores_at_a_threshold():
    assert label_map(record(SCORE, [4, 7]), 0.4).tolist() == [[0, 4]]
    assert label_map(record(SCORE, [4, 7]), 0.2).tolist() == [[7, 4]]


def test_maps_with_their_own_background_need_no_threshold():
    assert label_map(record(SCORE, [0, 7]), None).tolist() == [[7, 0]]


def test_label_maps_pass_through():
    stored = np.array([[0, 255, 3]], np.uint8)
    assert label_map(Record(stored, {"size": [1, 3]}), None) is stored


@pytest.fixture
def data(tmp_path) -> Path:
    samples = {}
    for key in ("a", "b ü"):
        Image.new("RGB", (2, 1)).save(tmp_path / f"{key}.png")
        samples[key] = Sample(key, tmp_path / f"{key}.png", 2, 1, (1, 2))
    write_manifest(tmp_path / "data", Manifest(samples, ("x", "y"), {"train": tuple(samples)}))
    return tmp_path


def store(folder: Path, score: np.ndarray) -> list[str]:
    with Writer(folder / "s.store") as out:
        for key in ("a", "b ü"):
            out.add(key, score, classes=[1, 2], size=[1, 2])
    return [str(folder / "s.store")]


def test_pngs_are_written_for_every_image(data):
    options = {"split": "train", "evaluation": None, "out": str(data / "out"), "background": 0.4}
    write(data=data / "data", stores=store(data, SCORE), **options)
    assert sorted(path.name for path in (data / "out").iterdir()) == ["a.png", "b ü.png"]
    assert read_mask(data / "out" / "b ü.png").tolist() == [[0, 1]]


def test_a_threshold_is_a_number_or_comes_from_an_evaluation(tmp_path):
    path = tmp_path / "train.json"
    rules = {"best": {"threshold": 0.25}, "holdout": {"threshold": None}}
    path.write_text(json.dumps({"split": "train", "classes": [], "contract": {}, "rules": rules, "why_empty": None}))
    assert chosen(0.15, None) == 0.15
    assert chosen("best", str(path)) == 0.25
    with pytest.raises(UserError, match="background: holdout cannot be chosen"):
        chosen("holdout", str(path))
