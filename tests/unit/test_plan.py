"""The plan in words, from a dry run's text and the records of earlier runs."""

from wsss.plan import describe, differences, parse

TEXT = """
[Sat Nov 21 06:30:05 2026]
rule classify:
    input: results/x/data/manifest.csv
    output: results/x/classify/a/seed-0/weights.safetensors, results/x/classify/a/seed-0/history.csv
    jobid: 2
    reason: Params have changed since last execution: Union of exclusive params before and now across all output: before: {'recipe': {'lr': 1, 'batch': 2}} now: {'recipe': {'lr': 2, 'batch': 2}} 
    resources: tmpdir=/tmp
[Sat Nov 21 06:30:05 2026]
rule cam:
    input: results/x/classify/a/seed-0/weights.safetensors
    output: results/x/cam/a/b/seed-0/train/1-of-1.store
    jobid: 1
    reason: Input files updated by another job: results/x/classify/a/seed-0/weights.safetensors
    resources: tmpdir=/tmp
[Sat Nov 21 06:30:05 2026]
rule refine:
    input: results/x/cam/a/b/seed-0/train/1-of-1.store
    output: results/x/refine/a/b/c/seed-0/train/1-of-1.store
    jobid: 7
    reason: Input files updated by another job: y; Params have changed since last execution: before: {'wsss/ops/crf.py:crf': 'a1'} now: {'wsss/ops/crf.py:crf': 'b2'}
    resources: tmpdir=/tmp
rule all:
    input: results/x/report.html
    jobid: 0
    reason: Input files updated by another job: b.txt
"""  # noqa: E501, W291


def record(path, seconds):
    return {path: {"outputs": [path], "wall_s": seconds}}


def test_settings_and_code_are_named_with_what_hangs_on_them():
    made = record("results/x/data/manifest.csv", 100) | record("results/x/cam/a/b/seed-0/train/1-of-1.store", 61)
    text = describe(parse(TEXT), made)
    assert "3 jobs: classify 1, cam 1, refine 1" in text
    assert "setting recipe.lr: 1 -> 2: 1 x classify, and 2 jobs below" in text
    assert "code wsss/ops/crf.py:crf: 1 x refine" in text
    assert "batch" not in text
    assert "They took 1 min 1 s last time (1 of them ran before)." in text
    assert "Kept: 1 results that took 1 min 40 s." in text


def test_nothing_to_do():
    assert describe([], {}).startswith("Nothing to do")


def test_differences_are_leaves():
    old, new = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "e": 3}
    assert list(differences(old, new)) == ["a.c: [1] -> [2]", "d: 2 -> None", "e: None -> 3"]
