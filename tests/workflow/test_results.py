"""What a run leaves: identical tables, shards that change nothing, provenance, ground truth kept apart."""

import copy
import csv
import resource
import subprocess
import sys

import numpy as np
import pytest

from tests.workflow.conftest import CHAIN, ROOT, SETTINGS
from wsss import provenance
from wsss.config import merge
from wsss.stores import Store

pytestmark = pytest.mark.slow


def test_tables_and_evaluations_are_byte_identical_when_made_again(finished):
    patterns = ("few/tables/**/*", "few/evaluate/**/*")
    before = [finished.results(pattern) for pattern in patterns]
    finished.snakemake("--forcerun", "tables", "evaluate", "--", *before_files(finished))
    assert [finished.results(pattern) for pattern in patterns] == before


def before_files(project) -> list[str]:
    return ["results/few/tables/few/table1.csv"]


def test_the_report_shows_tables_curves_losses_and_pictures(finished):
    page = (finished.folder / "results" / "few" / "report.html").read_text()
    for part in ("A few images", "A few maps", "A few scores", "Training", "Thresholds", "peak memory"):
        assert part in page
    assert page.count("data:image/png") == 2
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_tables_after_a_partial_run_say_failed(finished):
    name = "/".join(CHAIN)
    scores = finished.folder / "results" / "few" / "evaluate" / name / "seed-0" / "val.json"
    table = finished.folder / "results" / "few" / "tables" / "few" / "table1.csv"
    whole, kept = table.read_bytes(), scores.read_bytes()
    scores.unlink()
    try:
        command = [sys.executable, "-m", "wsss.cli", "tables", "-c", finished.config]
        subprocess.run(command, cwd=finished.folder, env={"PYTHONPATH": str(finished.folder)}, check=True)
        rows = [row for row in csv.DictReader(table.read_text().splitlines()) if row["metric"] == "miou"]
        assert {row["row"]: row["status"] for row in rows} == {"CAM": "run", "CRF": "run", "DeepLab": "failed"}
    finally:
        scores.write_bytes(kept)
        table.write_bytes(whole)


def test_shards_change_no_map_and_no_score(finished, tmp_path):
    name = "/".join(CHAIN[:2])
    folder = finished.folder / "results" / "few"
    whole = Store(sorted((folder / "cam" / name / "seed-0" / "train").glob("*.store")))
    maps = {key: whole[key].array.copy() for key in whole.ids}
    score = (folder / "evaluate" / name / "seed-0" / "train.json").read_bytes()
    finished.settings(merge(copy.deepcopy(SETTINGS), {"data": {"shards": {"train": 3, "val": 1}}}))
    try:
        finished.snakemake("--", f"results/few/evaluate/{name}/seed-0/train.json")
        other = Store(sorted((folder / "cam" / name / "seed-0" / "train").glob("*-of-3.store")))
        assert set(other.ids) == set(maps)
        assert all(np.array_equal(other[key].array, maps[key]) for key in maps)
        assert (folder / "evaluate" / name / "seed-0" / "train.json").read_bytes() == score
    finally:
        finished.settings(SETTINGS)
        finished.snakemake()


STAGE_OF = {"affinity_labels": "affinity", "walk": "affinity"}


@pytest.mark.parametrize(
    "stage",
    ["classify", "cam", "words", "affinity", "affinity_labels", "walk", "refine", "pseudo", "segment", "predict"],
)
def test_no_training_or_inference_code_reaches_ground_truth(stage):
    methods = [f"wsss/methods/{path.name}" for path in (ROOT / "wsss" / "methods").glob("[a-z]*.py")]
    reached = provenance.source(f"workflow_scripts/{stage}.py", *methods)
    files = {key.split(":")[0] for key in reached}
    assert f"wsss/{STAGE_OF.get(stage, stage)}.py" in files
    assert not files & {"wsss/data/ground_truth.py", "wsss/evaluate.py", "wsss/sources.py", "wsss/supervised.py"}
    assert not any(file.startswith("wsss/paper_figures/") for file in files)
    assert "ground_truth" not in (ROOT / "rules" / f"{STAGE_OF.get(stage, stage)}.smk").read_text()


def test_training_runs_where_no_mask_can_be_read(finished):
    data = finished.folder / "results" / "few" / "data"
    hidden = [data / "ground_truth.csv", data / "voc" / "SegmentationClass"]
    for path in hidden:
        path.rename(path.with_name(path.name + ".hidden"))
    try:
        weights = f"results/few/classify/{CHAIN[0]}/seed-7/weights.safetensors"
        finished.snakemake("--allowed-rules", "classify", "--", weights)
        assert (finished.folder / weights).is_file()
    finally:
        for path in hidden:
            path.with_name(path.name + ".hidden").rename(path)


def test_why_tells_settings_code_data_and_parents(finished):
    path = f"results/few/evaluate/{CHAIN[0]}/{CHAIN[1]}/seed-0/val.json"
    command = [sys.executable, "-m", "wsss.cli", "why", path]
    answer = subprocess.run(
        command,
        cwd=finished.folder,
        env={"PYTHONPATH": str(finished.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    for word in (
        "rule      evaluate",
        "rule      cam",
        "rule      classify",
        "rule      data",
        '"lr": 0',
        "torch ",
        "sha256",
    ):
        assert word in answer.stdout
    assert "CHANGED SINCE" not in answer.stdout


def test_every_rule_has_log_benchmark_resources_and_the_two_params():
    for path in (ROOT / "rules").glob("*.smk"):
        rules = path.read_text().split("\nrule ")[1:]
        for rule in rules:
            for part in (
                "log:",
                "benchmark:",
                "params:",
                "config=",
                "source=",
                "threads:",
                "resources:",
                "conda:",
                "script:",
            ):
                assert f"    {part}" in rule, f"{path.name}, rule {rule.split(':')[0]} lacks {part}"


def test_the_plan_of_voc_takes_seconds(tmp_path, finished):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    finished.settings({})
    try:
        planned = finished.planned()
    finally:
        finished.settings(SETTINGS)
    assert planned["data_fetch"] == 2
    assert planned["weights"] == 4
    assert planned["classify"] == 28  # of three papers with all their ablations, and the references
    assert planned["segment"] == 15
    assert planned["tables"] > 10
    # Processor time, as the other core may be busy with other tests.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
