"""One edit, and the exact multiset of jobs that it causes."""

import copy
import os
from collections import Counter

import pytest

from tests.workflow.conftest import SETTINGS, copy_project
from wsss.config import merge

pytestmark = pytest.mark.slow

AFTER_SEGMENT = {"segment": 1, "predict": 1, "evaluate": 1, "figure": 1, "tables": 1, "report": 1}
AFTER_PSEUDO = AFTER_SEGMENT | {"pseudo": 1}
AFTER_REFINE = AFTER_PSEUDO | {"refine": 3, "evaluate": 3, "figure": 2}
AFTER_CAM = AFTER_REFINE | {"cam": 3, "evaluate": 5}
AFTER_CLASSIFY = AFTER_CAM | {"classify": 1}

EDITS = [
    ("a comment", "wsss/training.py", "    sgd.step()\n", "    sgd.step()  # the update\n", {}),
    ("a docstring", "wsss/training.py", '"""One optimiser step', '"""A single optimiser step', {}),
    ("an idle function", "wsss/ops/metrics.py", "def pixel_accuracy(", "def pixel_share(", {}),
    ("the training loop", "wsss/training.py", "RECORDS = 200", "RECORDS = 199", AFTER_CLASSIFY),
    ("another backbone", "wsss/backbones/resnet38.py", "output_stride, (8,))", "output_stride, (8, 8))", {}),
    ("the CRF", "wsss/ops/crf.py", "np.float32), 1e-5, 1))", "np.float32), 1e-4, 1))", AFTER_REFINE),
    ("the pseudo labels", "wsss/pseudo.py", "empty > count / 2", "empty > count / 3", AFTER_PSEUDO),
    ("a segmentation loss", "wsss/ops/segmentation_loss.py", "IGNORE = 255", "IGNORE = 254 + 1", AFTER_SEGMENT),
    ("the maps", "wsss/figures.py", "strength: float = 0.75", "strength: float = 0.7", {"figure": 1, "report": 1}),
    ("the curves", "wsss/curves.py", "margins(y=0.15)", "margins(y=0.1)", {"figure": 1, "report": 1}),
]

CHANGES = [
    ("learning rate of the classifier", {"recipes": {"irn_cam": {"lr": 0.01}}}, AFTER_CLASSIFY),
    ("flip of the maps", {"cam": {"ms_irn": {"flip": "max"}}}, AFTER_CAM),
    ("CRF confidence", {"refine": {"crf_irn": {"options": {"gt_prob": 0.8}}}}, AFTER_REFINE),
    ("crop of the segmentation", {"recipes": {"deeplabv2": {"augment": {"crop": 80}}}}, AFTER_SEGMENT),
    ("CRF at test", {"predict": {"plain_crf": {"crf": "vwe_v2"}}}, AFTER_SEGMENT | {"segment": 0}),
    ("a recipe that no row uses", {"recipes": {"largefov_r38": {"lr": 0.5}}}, {}),
    ("a variant that no row uses", {"cam": {"s050": {"scales": [0.4]}}}, {}),
    ("the title of a table", {"tables": {"few/table1": {"title": "Other"}}}, {"tables": 1, "report": 1}),
    ("the title of a figure", {"figures": {"few/figure1": {"title": "Other"}}}, {"report": 1}),
    ("the images of a figure", {"figures": {"few/figure1": {"choose": "best"}}}, {"figure": 1, "report": 1}),
    ("one more seed", {"seeds": [0, 1]}, {
        "classify": 1, "cam": 3, "refine": 3, "pseudo": 1, "segment": 1, "predict": 1, "evaluate": 5, "tables": 1,
        "figure": 1, "report": 1,
    }),
]  # fmt: skip


def expected(counts: dict[str, int]) -> Counter:
    return +Counter(counts)


def test_a_second_run_does_nothing(finished):
    assert finished.planned() == Counter()


def test_touching_everything_reruns_nothing(finished):
    for path in finished.folder.rglob("*"):
        if path.is_file() and "results" not in path.parts and ".snakemake" not in path.parts:
            os.utime(path)
    assert finished.planned() == Counter()


def test_a_fresh_clone_reruns_nothing(finished):
    copy_project(finished.folder, SETTINGS)
    assert finished.planned() == Counter()


@pytest.mark.parametrize(("name", "file", "old", "new", "counts"), EDITS, ids=[edit[0] for edit in EDITS])
def test_an_edit_of_code(finished, name, file, old, new, counts):
    path = finished.folder / file
    text = path.read_text()
    assert old in text, f"{file} no longer holds {old!r}"
    path.write_text(text.replace(old, new, 1))
    try:
        assert finished.planned() == expected(counts)
    finally:
        path.write_text(text)


@pytest.mark.parametrize(("name", "change", "counts"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_change_of_settings(finished, name, change, counts):
    finished.settings(merge(copy.deepcopy(SETTINGS), change))
    try:
        assert finished.planned() == expected(counts)
    finally:
        finished.settings(SETTINGS)
