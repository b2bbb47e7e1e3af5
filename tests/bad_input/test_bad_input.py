"""The table of inputs: a bad one ends in one clear line and nothing written or lost; a legal one comes out right."""

import pytest

from tests.bad_input import data_sets, image_files, legal, networks, setting_files, stored, stores
from tests.bad_input.case import Case, Legal, snapshot

CASES: list[Case | Legal] = [
    *image_files.CASES,
    *data_sets.CASES,
    *setting_files.CASES,
    *stored.CASES,
    *stores.CASES,
    *networks.CASES,
    *legal.CASES,
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    if isinstance(case, Legal):
        case.proves(folder)
        return
    meet = case.given(folder)
    before = snapshot(tmp_path)
    outcome = meet()
    assert outcome.status == 1
    assert len(outcome.lines) == 1, outcome.lines
    assert outcome.lines[0].isprintable()
    assert not [words for words in case.says if words not in outcome.lines[0]], outcome.lines[0]
    assert snapshot(tmp_path) == before


def test_the_table_is_large_and_its_cases_are_distinct():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 100
    broken = [case for case in CASES if isinstance(case, Case)]
    assert all(case.says for case in broken)
