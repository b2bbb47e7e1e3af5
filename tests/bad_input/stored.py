"""Damaged, stale and unlike results of earlier stages: manifests, stores, label maps, evaluations, records."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.bad_input.case import Case, Meeting, command, function
from tests.bad_input.image_files import sound
from tests.unit.own_fixture import mask
from wsss.archive import pack
from wsss.data.manifest import read_manifest
from wsss.data.own import build
from wsss.evaluate import evaluate
from wsss.pseudo import write as write_pseudo
from wsss.refine import apply
from wsss.stores import Writer
from wsss.supervised import write as write_supervised
from wsss.thresholds import chosen

DATA, STORE, LABELS = Path("data"), Path("s.store"), Path("labels")
AGAIN = "run the data stage again"
Damage = Callable[[Path], object]


def made(root: Path) -> None:
    """What the stages up to the maps leave: data, a store of scores for every image, and label maps."""
    build(DATA, root=sound(root))
    samples = read_manifest(DATA).samples.values()
    with Writer(STORE) as store:
        for sample in samples:
            half_Khw = np.full((len(sample.labels), 4, 5), 0.6, np.float16)
            store.add(sample.id, half_Khw, classes=list(sample.labels), size=[sample.height, sample.width])
    for sample in samples:
        mask(LABELS / f"{sample.id}.png", list(sample.labels))


def pseudo(background: float | str = 0.5, evaluation: str | None = None) -> Meeting:
    """The stage that reads the store and writes pseudo labels."""
    arguments = {"split": "train", "stores": [str(STORE)], "out": "pseudo", "background": background}
    return function(write_pseudo, data=str(DATA), evaluation=evaluation, **arguments)


def scores(maps: str | Path | list[Path] = STORE, **change: Any) -> Meeting:
    """The stage that scores maps against the masks."""
    given = {"data": DATA, "maps": maps, "split": "train", "fixed": 0.5, "chooses": True, "train_evaluation": None}
    given |= {"holdout": 0, "convention": "present", "contract": {}, "out": "e.json", "out_images": "e.csv"}
    return function(evaluate, **given | change)


def case(name: str, damage: Damage, meet: Callable[[], Meeting], *says: str) -> Case:
    """Results of earlier stages that `damage` spoils, and the stage that reads them."""

    def given(root: Path) -> Meeting:
        made(root)
        damage(root)
        return meet()

    return Case(name, given, says)


def listed(name: str, file: str, old: str, new: str, *says: str) -> Case:
    """A file of the data stage in which a text was changed."""
    path = DATA / file
    return case(name, lambda _: path.write_text(path.read_text().replace(old, new, 1)), pseudo, *says)


def evaluation(content: object) -> Damage:
    """An evaluation file of the train split with this content."""
    return lambda _: Path("train.json").write_text(content if isinstance(content, str) else json.dumps(content))


def own_mask(root: Path) -> None:
    """A prediction that is a link to the mask."""
    (LABELS / "a.png").unlink()
    os.link(root / "masks/a.png", LABELS / "a.png")


def record(path: str) -> None:
    """A damaged provenance record of the store."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('{"rule": "cam"')


EVALUATION = {"split": "train", "classes": [], "contract": {}, "why_empty": "no ground truth masks for split train"}
NO_THRESHOLD = {"best": {"threshold": None, "why_empty": "no masks"}}
CASES = [
    case(
        "manifest that is gone", lambda _: (DATA / "manifest.csv").unlink(), pseudo, "manifest.csv: is missing", AGAIN
    ),
    case(
        "classes that are gone", lambda _: (DATA / "classes.txt").unlink(), pseudo, "classes.txt: cannot be read", AGAIN
    ),
    case(
        "manifest of bytes",
        lambda _: (DATA / "manifest.csv").write_bytes(b"\xff\xfe\0"),
        pseudo,
        "cannot be read",
        AGAIN,
    ),
    listed(
        "manifest with other columns", "manifest.csv", "id,image", "image,id", "manifest.csv: the first line is not"
    ),
    listed(
        "manifest row that was cut",
        "manifest.csv",
        ",20,16,2\n",
        "\n",
        "manifest.csv line 3: has 2 fields instead of 5",
    ),
    listed(
        "width that is no number", "manifest.csv", ",20,", ",wide,", "manifest.csv line 2: wide x 16 is no size", AGAIN
    ),
    listed("height of nothing", "manifest.csv", ",16,", ",0,", "manifest.csv line 2: 20 x 0 is no size", AGAIN),
    listed(
        "label that is no number", "manifest.csv", ",1\n", ",cat\n", "line 2: labels 'cat' are no class ids 1..2", AGAIN
    ),
    listed("label outside the classes", "classes.txt", "dog\n", "", "line 3: labels '2' are no class ids 1..1", AGAIN),
    listed("image twice in the manifest", "manifest.csv", "\nb,", "\na,", "line 3: id 'a' stands already above", AGAIN),
    listed(
        "split of an unknown image", "splits.csv", "train,b", "train,x", "splits.csv, train: 'x' is not in manifest.csv"
    ),
    case(
        "split that is unknown",
        lambda _: None,
        lambda: scores(split="test"),
        "split 'test' is empty or unknown; this data",
    ),
    case(
        "ground truth that is gone",
        lambda _: (DATA / "ground_truth.csv").unlink(),
        scores,
        "ground_truth.csv: is missing",
    ),
    case(
        "label maps without one image",
        lambda _: (LABELS / "b.png").unlink(),
        lambda: scores(LABELS),
        "labels: 1 of 3 images of",
        "missing: b",
    ),
    case(
        "label map of another size",
        lambda _: mask(LABELS / "b.png", [2], (20, 17)),
        lambda: scores(LABELS),
        "image 'b': the prediction is 20 x 17",
    ),
    case(
        "label map outside the classes",
        lambda _: mask(LABELS / "b.png", [9]),
        lambda: scores(LABELS),
        "image 'b': ",
        "9",
    ),
    case(
        "label map in colours",
        lambda _: Image.new("RGB", (20, 16)).save(LABELS / "b.png"),
        lambda: scores(LABELS),
        "b.png: mask has colour mode RGB",
    ),
    case(
        "ground truth given as predictions",
        lambda _: None,
        lambda: scores(Path("own/masks")),
        "own/masks: holds the ground truth masks",
    ),
    case(
        "prediction that is a link to its mask",
        own_mask,
        lambda: scores(LABELS),
        "labels/a.png is the ground truth mask itself",
    ),
    case(
        "mask outside the classes",
        lambda root: mask(root / "masks/b.png", [9]),
        scores,
        "image 'b': truth holds the value 9",
    ),
    case(
        "mask that is gone",
        lambda root: (root / "masks/b.png").unlink(),
        scores,
        "image 'b': ",
        "masks/b.png: cannot be read",
    ),
    case(
        "supervision by masks that are not there",
        lambda _: (DATA / "ground_truth.csv").write_text("id,mask,source\n"),
        lambda: function(write_supervised, data=DATA, split="train", out="out"),
        "data: 3 of 3 images of split train have no",
        "first 'a'",
    ),
    case(
        "archive without a prediction",
        lambda _: (LABELS / "c.png").unlink(),
        lambda: function(pack, data=DATA, split="train", folders=[LABELS], out="t.tgz"),
        "labels: 1 of 3 predictions are missing, first c.png",
    ),
    case(
        "evaluation that is gone",
        lambda _: None,
        lambda: pseudo("best", "train.json"),
        "train.json: cannot be read",
        "run the evaluation again",
    ),
    case(
        "evaluation that was cut",
        evaluation('{"rules": {'),
        lambda: pseudo("best", "train.json"),
        "train.json: is not an evaluation file; delete it",
    ),
    case(
        "evaluation that is a list",
        evaluation([1]),
        lambda: pseudo("best", "train.json"),
        "train.json: is not an evaluation file",
    ),
    case(
        "evaluation without a threshold",
        evaluation(EVALUATION | {"rules": NO_THRESHOLD}),
        lambda: pseudo("best", "train.json"),
        "background: best cannot be chosen (no masks); give a number",
    ),
    case(
        "evaluation without the rule",
        evaluation(EVALUATION | {"rules": {}}),
        lambda: function(chosen, background="best", evaluation="train.json"),
        "background: best cannot be chosen",
    ),
    case(
        "thresholds of an evaluation that was cut",
        evaluation("{"),
        lambda: scores(chooses=False, train_evaluation="train.json"),
        "train.json: is not an evaluation file",
    ),
    case(
        "photograph cut after the data stage",
        lambda root: os.truncate(root / "a.jpg", 300),
        lambda: function(
            apply,
            data=DATA,
            split="train",
            shard="1-of-1",
            scores=STORE,
            evaluation=None,
            out="r.store",
            method="crf",
            background=0.5,
            options={"preset": "irn_labels", "unary": "labels"},
        ),
        "own/a.jpg: JPEG is truncated",
    ),
    Case(
        "tables before any run",
        lambda root: command("tables"),
        ("results/voc2012/data", "classes.txt: cannot be read", AGAIN),
    ),
    Case("results before any run", lambda root: command("show"), (".md: is not there yet; run snakemake",)),
    Case(
        "origin of a file that is none of ours",
        lambda root: command("why", "own"),
        ("own: is not a result of this workflow",),
    ),
    Case(
        "origin of a file that is not there",
        lambda root: command("why", "x.json"),
        ("x.json: does not exist", "below results/"),
    ),
    Case(
        "record of origin that was cut",
        lambda root: (record("provenance/x.store.json"), command("why", "x.store"))[1],
        ("provenance/x.store.json: is not a provenance record; delete it",),
    ),
]
