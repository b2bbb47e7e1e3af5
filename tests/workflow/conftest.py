"""A copy of the project with a chain that has run once on a few small generated images."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from wsss.plan import parse

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "config.yaml",
    "config",
    "rules",
    "workflow_scripts",
    "wsss",
    "published",
    "report",
    "envs",
    "profiles",
)
CHAIN = ["gap_r50", "ms_irn", "crf_irn", "hard", "deeplabv2_r101", "plain_crf"]
SETTINGS = {
    "dataset": "few",
    "preset": "tiny",
    "data": {"source": "shapes", "images": {"train": 24, "val": 8}, "shards": {"train": 2, "val": 1}},
    "recipes": {"irn_cam": {"epochs": 1}, "deeplabv2": {"epochs": 1}},
    "pseudo": {"hard": {"background": 0.2}},
    "refine": {"crf_irn": {"background": 0.2}},
    "cam": {"ms_irn": {"scales": [1.0]}},
    "evaluate": {"holdout": 5},
    "build": ["few/*"],
    "tables": {
        "few/table1": {
            "title": "A few images",
            "rows": [
                {"row": "CAM", "chain": CHAIN[:2]},
                {"row": "CRF", "chain": CHAIN[:3]},
                {"row": "DeepLab", "chain": CHAIN, "splits": ["val"]},
            ],
        }
    },
    "figures": {
        "few/figure1": {
            "kind": "maps",
            "title": "A few maps",
            "split": "val",
            "images": 2,
            "choose": "worst",
            "columns": [
                {"caption": "CAM", "chain": CHAIN[:2]},
                {"caption": "CRF", "chain": CHAIN[:3]},
                {"caption": "DeepLab", "chain": CHAIN},
            ],
        },
        "few/figure2": {
            "kind": "curve",
            "title": "A few scores",
            "x": "iterations of the CRF",
            "lines": [{"caption": "CAM", "points": [{"x": 0, "chain": CHAIN[:2]}, {"x": 10, "chain": CHAIN[:3]}]}],
        },
    },
}


@dataclass
class Project:
    """A copy of the project in a folder of its own."""

    folder: Path
    config: str = "config/few.yaml"

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", self.config, *arguments]
        answer = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        output = answer.stdout + answer.stderr
        assert not check or answer.returncode == 0, output[-6000:]
        return output

    def planned(self, *arguments: str) -> Counter:
        """The multiset of rules that the next run would execute."""
        return Counter(job.rule for job in parse(self.snakemake("--dry-run", "--nocolor", *arguments)))

    def settings(self, change: dict) -> None:
        (self.folder / self.config).write_text(yaml.safe_dump(change))

    def results(self, pattern: str) -> dict[str, bytes]:
        root = self.folder / "results"
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob(pattern)) if p.is_file()}


def copy_project(folder: Path, settings: dict) -> Project:
    """Copy what a run needs, with new modification times, as a fresh clone has them."""
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, folder / part, copy_function=shutil.copyfile, ignore=skipped, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, folder / part)
    project = Project(folder)
    project.settings(settings)
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The project after one complete run of the chain."""
    project = copy_project(tmp_path_factory.mktemp("project"), SETTINGS)
    project.snakemake()
    return project
