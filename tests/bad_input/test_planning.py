"""The few bad inputs that the workflow itself meets, while it plans and in a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.bad_input.case import snapshot
from tests.unit.own_fixture import folder_set, photo

ROOT = Path(__file__).resolve().parents[2]
OWN = {"dataset": "own", "preset": "tiny", "build": ["baseline/stages"], "figures": {}, "seeds": [0]}


def planned(folder: Path, settings: dict, *arguments: str) -> subprocess.CompletedProcess:
    """A dry run of the whole workflow in an empty folder, or what other arguments say."""
    for part in ("published", "wsss"):
        (folder / part).symlink_to(ROOT / part)
    (folder / "c.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--nocolor", "--snakefile", str(ROOT / "Snakefile")]
    return subprocess.run(
        [*command, "--configfile", "c.yaml", *(arguments or ["--dry-run"])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipes": {"irn_cam": {"lr": "fast"}}}, "recipes.irn_cam.lr: "),
        ({"data": {"source": "own", "root": "gone"}}, "data.root: gone is not a folder; correct it"),
        ({"data": {"source": "own", "root": "."}}, "./{x}: Snakemake takes braces for a wildcard; rename this folder"),
    ],
)
def test_the_plan_ends_in_one_line_that_names_the_key(tmp_path, change, says):
    (tmp_path / "{x}").mkdir()
    answer = planned(tmp_path, OWN | change)
    assert answer.returncode == 1
    lines = [line for line in (answer.stderr + answer.stdout).splitlines() if says in line]
    assert len(lines) == 1
    assert "Traceback" not in answer.stderr
    assert not [name for name in snapshot(tmp_path) if "/results" in name]


def test_a_job_ends_in_one_line_and_leaves_nothing(tmp_path):
    folder_set(tmp_path / "own", [f"{name}/{number}.jpg" for name in "ab" for number in range(3)])
    (tmp_path / "own/a/1.jpg").write_bytes(b"\xff\xd8")
    before = snapshot(tmp_path / "own")
    target = "results/own/data/manifest.csv"
    answer = planned(tmp_path, OWN | {"data": {"source": "own", "root": "own"}}, "--cores", "1", target)
    assert answer.returncode == 1
    log = (tmp_path / "logs/own/data/own.log").read_text()
    assert log == f"error: {tmp_path}/own/a/1.jpg: JPEG is truncated or damaged; copy the file again or remove it\n"
    assert snapshot(tmp_path / "own") == before
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert not (tmp_path / "provenance").exists()


def test_folders_of_any_name_are_planned(tmp_path):
    for name in ("two words", "{", "it's", "图像 é", "$(touch made)", "a;b", "%s"):
        photo(tmp_path / "own" / name / "1.jpg")
    answer = planned(tmp_path, OWN | {"data": {"source": "own", "root": "own"}})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "own/图像 é" in answer.stdout + answer.stderr
    assert not (tmp_path / "made").exists()
