"""Data sources through the workflow: VOC from a web server, own images without masks."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.unit import voc_fixture as voc
from tests.workflow.conftest import CHAIN, SETTINGS, Project, copy_project
from wsss.data.ground_truth import read_ground_truth
from wsss.data.manifest import read_manifest

pytestmark = pytest.mark.slow


def test_voc_and_sbd_from_mirrors_and_the_test_tar(tmp_path):
    """The first mirror is dead, the second truncates; the third delivers. SBD is imported from a folder of the user."""
    archives = tmp_path / "archives"
    archives.mkdir()
    voc.write_devkit(tmp_path / "a")
    voc.write_sbd(tmp_path / "b")
    voc.write_test(tmp_path / "c")
    trainval = voc.pack(tmp_path / "a" / "VOCdevkit", archives / "VOCtrainval_11-May-2012.tar")
    sbd = voc.pack(tmp_path / "b" / "benchmark_RELEASE", archives / "benchmark.tgz")
    test = voc.pack(tmp_path / "c" / "VOCdevkit", tmp_path / "VOC2012test.tar")
    settings = {"data": {"source": "voc", "train": "train_aug", "verify_counts": False, "test": str(test)}}
    project = copy_project(tmp_path / "project", settings)
    addresses = project.folder / "config" / "downloads.yaml"
    entries = yaml.safe_load(addresses.read_text())
    with voc.serve(trainval.read_bytes()) as server, voc.serve(sbd.read_bytes()) as other:
        urls = ["http://127.0.0.1:9/dead", f"{server.url}/truncated", f"{server.url}/good"]
        for name, path, mirrors in (("voc_trainval", trainval, urls), ("sbd", sbd, [f"{other.url}/plain"])):
            content = path.read_bytes()
            sums = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
            entries[name] |= sums | {"bytes": len(content), "mirrors": mirrors}
        addresses.write_text(yaml.safe_dump(entries))
        project.snakemake("--", "results/voc2012/data/manifest.csv")
    folder = project.folder / "results" / "voc2012" / "data"
    manifest = read_manifest(folder)
    assert manifest.splits["train_aug"] == voc.TRAIN_AUG
    assert manifest.splits["test"] == voc.TEST
    truth = read_ground_truth(folder)
    assert {key: truth[key].source for key in voc.TRAIN_AUG} == {
        key: "VOC" if key in voc.TRAIN else "SBD" for key in voc.TRAIN_AUG
    }
    assert project.planned("--", "results/voc2012/data/manifest.csv") == {}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """One folder per class, names with spaces and unicode, no masks."""
    root, rng = tmp_path_factory.mktemp("own") / "my photos", np.random.default_rng(0)
    for name, colour in (("Käfer", 200), ("blatt", 90), ("stein", 20)):
        (root / name).mkdir(parents=True)
        for number in range(9):
            size = (int(rng.integers(50, 70)), int(rng.integers(50, 70)), 3)
            pixels = rng.normal(colour, 30, size).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"bild {number} ü.jpg")
    return root


def test_own_images_without_masks_run_and_say_why_scores_are_empty(tmp_path, photographs):
    project = copy_project(tmp_path, {})
    command = [sys.executable, "-m", "wsss.cli", "init", str(photographs), "--name", "beetles", "--preset", "tiny"]
    answer = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "snakemake --cores 2 --configfile config/beetles.yaml" in answer.stdout
    written = yaml.safe_load((tmp_path / "config" / "beetles.yaml").read_text())
    few = {key: SETTINGS[key] for key in ("recipes", "cam", "tables", "build", "figures")}
    project = Project(tmp_path, "config/few.yaml")
    project.settings(written | few)
    project.snakemake()
    with open(tmp_path / "results" / "beetles" / "tables" / "few" / "table1.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "miou"]
    assert rows
    assert all(
        row["ours"] == "" and row["status"] == "not run" and "no ground truth masks" in row["reason"] for row in rows
    )
    predictions = tmp_path / "results" / "beetles" / "predict" / "/".join(CHAIN) / "seed-0" / "val" / "1-of-1"
    assert len(list(predictions.glob("*.png"))) == len(
        read_manifest(tmp_path / "results" / "beetles" / "data").splits["val"]
    )
    assert (tmp_path / "results" / "beetles" / "report.html").stat().st_size > 10_000
