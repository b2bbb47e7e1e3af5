"""The whole chain through `snakemake --profile slurm`: where its jobs run, and the same bytes as on one machine."""

import json
import re
from collections import Counter
from itertools import combinations

import pytest

from tests.slurm.conftest import GPU_RULES, Cluster, run_here
from tests.workflow.conftest import copy_project

CPU_RULES = {"data", "affinity_labels", "refine", "evaluate", "pseudo", "figure"}
WORDS = ["vwe_hspp_r50", "ms_vwe_max_norm", "irn_r50", "irn_walk"]
SETTINGS = {
    "dataset": "few",
    "preset": "tiny",
    "data": {"source": "shapes", "images": {"train": 16, "val": 6}, "shards": {"train": 1, "val": 1}},
    "recipes": {name: {"epochs": 1} for name in ("irn_cam", "vwe_cam", "irn", "deeplabv2")},
    "cam": {"ms_irn": {"scales": [1.0]}, "ms_vwe_max_norm": {"scales": [1.0]}},
    "affinity": {"irn_r50": {"background": 0.3}},
    "refine": {"crf_irn": {"background": 0.2}},
    "pseudo": {"irn_hard": {"background": 0.3}},
    "evaluate": {"holdout": 5},
    "build": ["few/*"],
    "tables": {
        "few/table1": {
            "title": "A few",
            "rows": [
                {"row": "CRF", "chain": ["gap_r50", "ms_irn", "crf_irn"], "splits": ["train"]},
                {"row": "DeepLab", "chain": [*WORDS, "irn_hard", "deeplabv2_r101", "plain"], "splits": ["val"]},
            ],
        }
    },
    "figures": {
        "few/figure1": {"kind": "words", "title": "Words", "chain": ["vwe_hspp_r50"], "split": "val", "images": 2}
    },
}


@pytest.fixture(scope="module")
def here(tmp_path_factory, slurm):
    return run_here(tmp_path_factory.mktemp("here"), SETTINGS)


def rule_of(job: dict[str, str]) -> str:
    return re.match(r"rule_(.*?)(_wildcards|$)", job["rule"])[1]


def test_the_whole_chain(tmp_path, slurm, here):
    project = copy_project(tmp_path / "project", SETTINGS)
    (project.folder / "slurm").symlink_to("profiles/slurm")
    cluster = Cluster(project, slurm)
    before = len(cluster.jobs())
    cluster.start()
    cluster.finish()
    jobs = cluster.jobs()[before:]
    partitions = {rule_of(job): (job["partition"], cluster.gpus(job["id"])) for job in jobs}
    assert {rule for rule, asked in partitions.items() if asked == ("gpu", "gpu:1")} == set(GPU_RULES), partitions
    assert {rule for rule, asked in partitions.items() if asked == ("cpu", "")} == CPU_RULES, partitions
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    print(dict(Counter(map(rule_of, jobs))))
    ours, theirs = project.results("**/*"), here.results("**/*")
    del ours["few/report.html"], theirs["few/report.html"]  # it shows times
    assert ours.keys() == theirs.keys()
    assert [path for path in theirs if ours[path] != theirs[path]] == []
    assert_own_devices(cluster)


def assert_own_devices(cluster: Cluster) -> None:
    """Jobs that ran side by side on one node had different devices, and some did."""
    spans = []
    logs, records = (cluster.project.folder / part for part in ("logs/few", "provenance/results/few"))
    for log in logs.rglob("*.log"):
        found = re.search(r"SLURM job (\d+) on (\w+), GPU (\S+)", log.read_text())
        result = records / log.relative_to(logs).with_suffix("")
        made = [*result.parent.glob(f"{log.stem}.*json"), *result.glob("*.json")]
        if found and found[3] != "none":
            record = json.loads(made[0].read_text())
            spans.append((record["started"], record["started"] + record["wall_s"], found[2], found[3]))
    together = [(a, b) for a, b in combinations(spans, 2) if a[2] == b[2] and max(a[0], b[0]) < min(a[1], b[1])]
    print("devices:", spans)
    assert together, "no two GPU jobs ran side by side"
    assert all(one[3] != other[3] for one, other in together)
