"""The methods' chains through the real workflow on a few images: affinity networks, walks, self-supervision, rounds."""

import copy
import json
from collections import Counter

import numpy as np
import pytest

from tests.workflow.conftest import Project, copy_project
from wsss.config import merge
from wsss.data.images import read_mask
from wsss.data.manifest import read_manifest

pytestmark = pytest.mark.slow

WORDS = ["vwe_hspp_r50", "ms_vwe_max_norm", "irn_r50", "irn_walk"]
SELF = ["rcm_mam_r38", "ms_psa", "psa_r38", "psa_walk", "hard", "largefov_r38", "msf"]
FULL = ["supervised", "deeplabv2_r101", "plain"]
PARTS = ["spn_vgg16", "sp_cam", "sp_half"]
ROUND = ["decoupled_select_vgg16", "dn_masks"]
RECIPES = ("vwe_cam", "rcm_cam", "irn", "psa_affinity", "deeplabv2", "largefov_r38", "spn", "image_classifier")
SETTINGS = {
    "dataset": "few",
    "preset": "tiny",
    "data": {"source": "shapes", "images": {"train": 16, "val": 6}, "shards": {"train": 2, "val": 1}},
    "recipes": {name: {"epochs": 1} for name in RECIPES} | {"decouplednet": {"steps": 2}},
    "rounds": 2,
    "cam": {"ms_vwe_max_norm": {"scales": [1.0]}, "ms_psa": {"scales": [1.0]}},
    "classify": {"rcm_mam_r38": {"options": {"mam_epoch": 0}}},
    "affinity": {"irn_r50": {"background": 0.3}},
    "pseudo": {"irn_hard": {"background": 0.3}},
    "predict": {"msf": {"scales": [1.0], "flip": False}},
    "evaluate": {"holdout": 5},
    "build": ["few/*"],
    "tables": {
        "few/methods": {
            "title": "A few images",
            "rows": [
                {"row": "Words + IRNet", "chain": WORDS},
                {"row": "DeepLabv2", "chain": [*WORDS, "irn_hard", "deeplabv2_r101", "plain"], "splits": ["val"]},
                {"row": "Full supervision", "chain": FULL, "splits": ["val"]},
                {"row": "Self-supervision + AffinityNet", "chain": SELF[:4]},
                {"row": "LargeFOV", "chain": SELF, "splits": ["val"]},
                {"row": "SP-CAM", "chain": PARTS},
                {"row": "Round {round}", "chain": PARTS, "rounds": {"each": ROUND, "last": ROUND, "every": True}},
            ],
        }
    },
}
WALKED = {"walk": 3, "evaluate": 3, "pseudo": 1, "segment": 1, "predict": 1, "tables": 1, "report": 1}


@pytest.fixture(scope="module")
def methods(tmp_path_factory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("methods"), SETTINGS)
    project.snakemake()
    return project


def planned(project: Project, change: dict) -> Counter:
    project.settings(merge(copy.deepcopy(SETTINGS), change))
    try:
        return project.planned()
    finally:
        project.settings(SETTINGS)


def test_a_further_round_runs_alone(methods):
    third = {"segment": 1, "predict": 3, "evaluate": 2, "tables": 1, "report": 1}
    assert planned(methods, {"rounds": 3}) == Counter(third)


def test_masks_of_a_round_hold_only_the_classes_of_the_image(methods):
    labels = {
        key: set(sample.labels) for key, sample in read_manifest(methods.folder / "results/few/data").samples.items()
    }
    folder = methods.folder / "results/few/predict" / "/".join([*PARTS, *ROUND, *ROUND]) / "seed-0/train"
    files = list(folder.rglob("*.png"))
    assert len(files) == 16
    assert all(set(np.unique(read_mask(path))) <= labels[path.stem] | {0} for path in files)


def evaluation(project: Project, chain: list[str], split: str) -> dict:
    path = project.folder / "results/few/evaluate" / "/".join(chain) / f"seed-0/{split}.json"
    return json.loads(path.read_text())


def test_every_row_has_a_number(methods):
    for chain, split in [(WORDS, "train"), (WORDS, "val"), (FULL, "val"), (SELF[:4], "train"), (SELF, "val")]:
        content = evaluation(methods, chain, split)
        assert all(0 <= rule["miou"] <= 1 for rule in content["rules"].values())
    assert methods.planned() == Counter()


def test_irnet_leaves_a_threshold_open_and_affinitynet_does_not(methods):
    assert evaluation(methods, WORDS, "train")["kind"] == "scores"
    assert evaluation(methods, WORDS, "train")["rules"]["fixed"]["threshold"] == 0.25
    assert evaluation(methods, SELF[:4], "train")["kind"] == "labels"


def test_full_supervision_is_flagged_in_the_table(methods):
    table = (methods.folder / "results/few/tables/few/methods.md").read_text()
    assert "full supervision: trained on ground truth masks" in table
    assert evaluation(methods, FULL, "val")["contract"]["supervision"] == "masks"


def test_a_changed_walk_keeps_its_network(methods):
    change = {"refine": {"irn_walk": {"options": {"beta": 8}}}}
    assert planned(methods, change) == Counter(WALKED)


def test_an_edit_of_the_walk_retrains_nothing(methods):
    path = methods.folder / "wsss/ops/random_walk.py"
    text = path.read_text()
    assert "SMALLEST_WEIGHT = 1e-18" in text
    path.write_text(text.replace("SMALLEST_WEIGHT = 1e-18", "SMALLEST_WEIGHT = 1e-17"))
    try:
        jobs = methods.planned()
    finally:
        path.write_text(text)
    assert jobs["walk"] == 6
    assert not jobs.keys() & {"classify", "cam", "affinity", "affinity_labels"}


def test_a_changed_affinity_recipe_keeps_its_labels(methods):
    change = {"recipes": {"irn": {"lr": 0.02}}}
    assert planned(methods, change) == Counter(WALKED | {"affinity": 1})


def test_changed_label_thresholds_begin_at_the_labels(methods):
    change = {"affinity": {"irn_r50": {"labels": {"fg_threshold": 0.4}}}}
    assert planned(methods, change) == Counter(WALKED | {"affinity_labels": 2, "affinity": 1})


def test_another_branch_of_maps_keeps_the_classifier(methods):
    change = {"cam": {"ms_vwe_max_norm": {"branch": "word"}}}
    jobs = planned(methods, change)
    assert jobs["cam"] == 3
    assert "classify" not in jobs
