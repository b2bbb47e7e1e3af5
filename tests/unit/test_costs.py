"""What jobs took, read from provenance records."""

import json

import pytest

from wsss.costs import Cost, read_all
from wsss.errors import UserError

TIMES = {"wall_s": 5.0, "cpu_s": 4.0, "peak_memory_mb": 100}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path.relative_to(tmp_path) / "results" / "few.1"


def record(results, outputs, made=True, **content):
    outputs = [str(results / output) for output in outputs]
    for output in outputs:
        path = results.__class__("provenance", f"{output}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"fingerprint": outputs[0], "outputs": outputs} | content))
        if made:
            results.__class__(output).parent.mkdir(parents=True, exist_ok=True)
            results.__class__(output).touch()


def test_a_job_counts_once_and_is_named_by_what_its_outputs_share(results):
    record(results, ["classify/gap/seed-0/weights.safetensors", "classify/gap/seed-0/history.csv"], **TIMES)
    record(results, ["evaluate/gap/ms/seed-0/val.json", "evaluate/gap/ms/seed-0/val.images.csv"], **TIMES)
    record(results, ["cam/gap/ms/seed-0/val/1-of-2.store"], wall_s=0.1)
    record(results, ["report.html"], **TIMES)
    assert read_all(results) == [
        Cost("cam", "gap/ms/seed-0/val/1-of-2", 0.1, None, None),
        Cost("classify", "gap/seed-0", 5.0, 4.0, 100),
        Cost("evaluate", "gap/ms/seed-0/val", 5.0, 4.0, 100),
        Cost("report", "report", 5.0, 4.0, 100),
    ]


def test_results_that_are_gone_do_not_count(results):
    record(results, ["cam/gap/ms/seed-0/val/1-of-2.store"], made=False, **TIMES)
    assert read_all(results) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_record_is_named(results, text):
    record(results, ["report.html"])
    broken = results.__class__("provenance", f"{results}/report.html.json")
    broken.write_text(text)
    with pytest.raises(UserError, match=r"report\.html\.json: is not a provenance record"):
        read_all(results)
