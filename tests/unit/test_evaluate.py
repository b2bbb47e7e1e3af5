import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.images import write_mask
from wsss.data.manifest import Manifest, Sample, read_manifest, write_manifest
from wsss.errors import UserError
from wsss.evaluate import evaluate, held_out
from wsss.ops.metrics import confusion, iou, means, tally
from wsss.ops.scores import enlarge, labels_at
from wsss.ops.sweep import HALF_THRESHOLDS
from wsss.stores import Writer

CLASSES = ("cat", "dog", "tree")
TRAIN = [f"t{i}" for i in range(12)]
VAL = [f"v {i}" for i in range(5)]
TRUTH: dict[str, np.ndarray] = {}
SCORES: dict[str, np.ndarray] = {}


def make(folder: Path, *, masks: Callable[[str], bool] = lambda id: id != "u0") -> Path:
    """A data folder with splits train, val and bare, masks for some images, and two stores of scores."""
    rng = np.random.default_rng(0)
    samples, truths = {}, {}
    for id in [*TRAIN, *VAL, "u0"]:
        height, width = int(rng.integers(9, 40)), int(rng.integers(9, 40))
        labels = tuple(sorted(int(label) for label in rng.permutation([1, 2, 3])[: rng.integers(1, 3)]))
        samples[id] = Sample(id, folder / f"{id}.jpg", width, height, labels)
        truth_HW = rng.choice([0, 255, *labels], (height, width), p=[0.6, 0.1, *[0.3 / len(labels)] * len(labels)])
        TRUTH[id] = truth_HW.astype(np.uint8)
        size = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
        SCORES[id] = rng.random((len(labels), *size)).astype(np.float16)
        if masks(id):
            write_mask(folder / "masks" / f"{id}.png", TRUTH[id])
            truths[id] = GroundTruth(folder / "masks" / f"{id}.png", "SBD" if id in ("t1", "t2") else "VOC")
    splits = {"train": tuple(TRAIN), "val": tuple(VAL), "bare": ("u0",)}
    write_manifest(folder / "data", Manifest(samples, CLASSES, splits))
    write_ground_truth(folder / "data", truths)
    for shard in range(2):
        with Writer(folder / f"{shard}.store") as store:
            for id in list(samples)[shard::2]:
                size = [samples[id].height, samples[id].width]
                store.add(id, SCORES[id], classes=list(samples[id].labels), size=size)
    return folder


def run(folder: Path, split: str = "train", **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "data": folder / "data",
        "maps": [folder / "0.store", folder / "1.store"],
        "split": split,
        "fixed": 0.15,
        "train_evaluation": None,
        "chooses": split == "train",
        "holdout": 3,
        "convention": "present",
        "contract": {"crf": "none"},
        "out": folder / "out" / f"{split}.json",
        "out_images": folder / "out" / f"{split}.images.csv",
    }
    evaluate(**(options | changes))
    return json.loads((folder / "out" / f"{split}.json").read_text(encoding="utf-8"))


def predicted(id: str, labels: tuple[int, ...], threshold: float) -> np.ndarray:
    return labels_at(enlarge(SCORES[id], TRUTH[id].shape), labels, threshold)


def matrix(folder: Path, ids: list[str], threshold: float) -> np.ndarray:
    samples = read_manifest(folder / "data").samples
    return sum(confusion(TRUTH[id], predicted(id, samples[id].labels, threshold), 4) for id in ids)


def miou(folder: Path, ids: list[str], threshold: float) -> float:
    return float(means(tally(matrix(folder, ids, threshold))).miou)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path)


def test_scores_at_the_fixed_threshold(folder):
    result = run(folder)
    assert (result["split"], result["kind"], result["why_empty"]) == ("train", "scores", None)
    assert result["classes"] == ["background", "cat", "dog", "tree"]
    assert result["contract"] == {"crf": "none"}
    assert list(result["rules"]) == ["fixed", "best", "holdout", "oracle"]
    rule = result["rules"]["fixed"]
    counts = tally(matrix(folder, TRAIN, 0.15))
    assert (rule["threshold"], rule["images"], rule["ground_truth"]) == (0.15, 12, {"SBD": 2, "VOC": 10})
    assert rule["iou"] == iou(counts).tolist()
    assert rule["miou"] == float(means(counts).miou)
    assert rule["precision_per_class"] == (counts.hit / counts.predicted).tolist()
    assert rule["recall"] == pytest.approx((counts.hit / counts.truth).mean())


def test_best_threshold_is_the_best_of_all_halves(folder):
    rule = run(folder)["rules"]["best"]
    assert rule["miou"] == miou(folder, TRAIN, rule["threshold"])
    others = [miou(folder, TRAIN, float(threshold)) for threshold in HALF_THRESHOLDS[::401]]
    assert rule["miou"] >= max(others)
    assert rule == run(folder)["rules"]["oracle"]


def test_held_out_images_choose_and_are_left_out(folder):
    rule = run(folder)["rules"]["holdout"]
    held = sorted(TRAIN, key=lambda id: hashlib.sha256(id.encode()).hexdigest())[:3]
    assert held_out(TRAIN, 3) == set(held)
    rest = [id for id in TRAIN if id not in held]
    assert rule["images"] == 9
    assert rule["miou"] == miou(folder, rest, rule["threshold"])
    others = [miou(folder, held, float(threshold)) for threshold in HALF_THRESHOLDS[::401]]
    assert miou(folder, held, rule["threshold"]) >= max(others)


@pytest.mark.parametrize("holdout", [0, 12, 100])
def test_too_few_images_to_hold_out(folder, holdout):
    result = run(folder, holdout=holdout)
    rule = result["rules"]["holdout"]
    assert (rule["threshold"], rule["miou"], rule["images"]) == (None, None, 0)
    assert "no threshold" in rule["why_empty"]
    assert result["rules"]["best"]["images"] == 12


def test_other_splits_take_the_thresholds_of_train(folder):
    train = run(folder)["rules"]
    rules = run(folder, "val", train_evaluation=folder / "out" / "train.json")["rules"]
    for name in ("best", "holdout"):
        assert rules[name]["threshold"] == train[name]["threshold"]
        assert rules[name]["miou"] == miou(folder, VAL, train[name]["threshold"])
        assert rules[name]["images"] == 5
    assert rules["oracle"]["miou"] >= rules["best"]["miou"]


def test_without_a_train_evaluation_those_rules_are_empty(folder):
    rules = run(folder, "val")["rules"]
    assert rules["best"]["threshold"] is None
    assert rules["holdout"]["miou"] is None
    assert rules["fixed"]["miou"] == miou(folder, VAL, 0.15)


def test_curve(folder):
    curve = run(folder)["curve"]
    assert curve["threshold"] == [i / 100 for i in range(100)]
    for i in (0, 15, 37, 99):
        assert curve["miou"][i] == miou(folder, TRAIN, i / 100)
    assert set(map(len, curve.values())) == {100}


def test_scores_of_single_images(folder):
    run(folder)
    with open(folder / "out" / "train.images.csv", encoding="utf-8") as stream:
        rows = {row["id"]: float(row["miou"]) for row in csv.DictReader(stream)}
    assert list(rows) == TRAIN
    assert rows["t4"] == miou(folder, ["t4"], 0.15)


@pytest.mark.parametrize("threads", [2, 5])
def test_files_are_equal_for_any_number_of_threads_and_shards(folder, threads):
    run(folder)
    expected = [(folder / "out" / name).read_bytes() for name in ("train.json", "train.images.csv")]
    run(folder, threads=threads, maps=[folder / "1.store", folder / "0.store"])
    assert [(folder / "out" / name).read_bytes() for name in ("train.json", "train.images.csv")] == expected


def write_predictions(folder: Path, threshold: float = 0.4) -> Path:
    for sample in read_manifest(folder / "data").samples.values():
        label_HW = predicted(sample.id, sample.labels, threshold)
        write_mask(folder / "predictions" / f"{sample.id}.png", label_HW)
    return folder / "predictions"


def test_predicted_label_maps(folder):
    predictions = write_predictions(folder)
    result = run(folder, "val", maps=predictions, fixed=None)
    assert (result["kind"], result["curve"], list(result["rules"])) == ("labels", None, ["labels"])
    rule = result["rules"]["labels"]
    assert (rule["threshold"], rule["images"]) == (None, 5)
    assert rule["iou"] == iou(tally(matrix(folder, VAL, 0.4))).tolist()
    other = folder / "more"
    other.mkdir()
    shutil.move(predictions / "v 1.png", other)
    assert run(folder, "val", maps=[predictions, other], fixed=None)["rules"]["labels"] == rule


def test_stored_label_maps_and_maps_with_background(folder):
    with Writer(folder / "labels.store", compress=True) as labels, Writer(folder / "own.store") as own:
        for id in VAL:
            score_KHW = enlarge(SCORES[id], TRUTH[id].shape)
            labels.add(id, labels_at(score_KHW, range(1, len(score_KHW) + 1), 0.4), size=TRUTH[id].shape)
            planes = np.concatenate([np.full((1, *SCORES[id].shape[1:]), 0.4, np.float16), SCORES[id]])
            own.add(id, planes, classes=list(range(len(planes))), size=TRUTH[id].shape)
    stored = run(folder, "val", maps=folder / "labels.store", fixed=None)
    with_background = run(folder, "val", maps=folder / "own.store", fixed=None)
    assert stored["kind"] == with_background["kind"] == "labels"
    assert stored["rules"]["labels"]["iou"] == with_background["rules"]["labels"]["iou"]


def test_conventions_differ(folder):
    predictions = write_predictions(folder)
    for path in predictions.iterdir():
        write_mask(path, np.zeros_like(TRUTH[path.stem]))
    results = [run(folder, maps=predictions, convention=name)["rules"]["labels"] for name in ("present", "all")]
    assert results[0]["miou"] == results[1]["miou"] == results[0]["iou"][0] / 4
    assert results[0]["precision_per_class"][1:] == [None, None, None]


def test_splits_without_masks_say_so(folder):
    result = run(folder, "bare")
    assert result["why_empty"] == "no ground truth masks for split bare"
    assert list(result["rules"]) == ["fixed", "best", "holdout", "oracle"]
    empty = {(rule["miou"], rule["threshold"], rule["images"]) for rule in result["rules"].values()}
    assert empty == {(None, None, 0)}
    assert result["curve"] == {"threshold": [], "miou": [], "precision": [], "recall": []}
    assert (folder / "out" / "bare.images.csv").read_text() == "id,miou\n"


def test_only_images_with_masks_are_scored(tmp_path):
    folder = make(tmp_path, masks=lambda id: id in ("t3", "t7", "v 0"))
    result = run(folder, holdout=1)
    assert result["rules"]["fixed"]["images"] == 2
    assert result["rules"]["holdout"]["images"] == 1
    assert result["rules"]["fixed"]["miou"] == miou(folder, ["t3", "t7"], 0.15)


def test_missing_records_are_listed(folder):
    with pytest.raises(UserError, match=r"0\.store: 6 of 12 images of split train are missing: t1, t3, t5, .*\.\.\."):
        run(folder, maps=folder / "0.store")
    predictions = write_predictions(folder)
    (predictions / "t5.png").unlink()
    with pytest.raises(UserError, match="predictions: 1 of 12 images of split train are missing: t5"):
        run(folder, maps=predictions)
    assert not (folder / "out").exists()


def test_masks_given_as_predictions_are_refused(folder):
    with pytest.raises(UserError, match="ground truth masks"):
        run(folder, maps=folder / "masks")
    (folder / "link").symlink_to(folder / "masks")
    with pytest.raises(UserError, match="ground truth masks"):
        run(folder, maps=folder / "link")
    (folder / "links").mkdir()
    for id in TRAIN:
        (folder / "links" / f"{id}.png").symlink_to(folder / "masks" / f"{id}.png")
    with pytest.raises(UserError, match=r"image 't0'.*ground truth mask itself"):
        run(folder, maps=folder / "links")


def test_sizes_that_differ_are_named(folder):
    predictions = write_predictions(folder)
    write_mask(predictions / "t3.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(UserError, match=r"image 't3': the prediction is 6 x 5 .*t3\.png is"):
        run(folder, maps=predictions)


def test_values_that_are_no_classes_are_named(folder):
    predictions = write_predictions(folder)
    write_mask(predictions / "t3.png", np.full_like(TRUTH["t3"], 255))
    with pytest.raises(UserError, match="image 't3': prediction holds the value 255"):
        run(folder, maps=predictions)
    write_mask(folder / "masks" / "t6.png", np.full_like(TRUTH["t6"], 77))
    with pytest.raises(UserError, match="image 't6': truth holds the value 77"):
        run(folder)


@pytest.mark.parametrize(("fixed", "message"), [(None, "need a fixed"), (1.2, r"outside 0\.\.1")])
def test_scores_need_a_threshold(folder, fixed, message):
    with pytest.raises(UserError, match=message):
        run(folder, fixed=fixed)


def test_mixed_records_are_refused(folder):
    with Writer(folder / "0.store") as store:
        for id in [*TRAIN[::2], *VAL[::2]]:
            store.add(id, np.zeros_like(TRUTH[id]), size=TRUTH[id].shape)
    with pytest.raises(UserError, match="image 't1': the record holds scores"):
        run(folder)


def test_torch_is_not_needed():
    code = "import sys, wsss.evaluate, wsss.ops.crf, wsss.stores; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
