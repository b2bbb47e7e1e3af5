"""Digests of reached definitions: what changes them and what does not."""

import textwrap

import pytest

from wsss import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    files = {
        "pkg/__init__.py": "",
        "pkg/a.py": """
            '''Doc.'''
            from pkg import b
            from pkg.c import used as renamed
            SCALE = 2
            UNUSED = 3
            def entry(x):
                '''Doc.'''
                return b.helper(x) * SCALE + renamed(x)
            def idle(x):
                return UNUSED
        """,
        "pkg/b.py": """
            def helper(x):
                return _inner(x)
            def _inner(x):
                return x
            def other(x):
                return x
        """,
        "pkg/c.py": """
            def used(x):
                import pkg.d
                return pkg.d.deep(x)
        """,
        "pkg/d.py": "def deep(x):\n    return x\n",
        "script.py": "from pkg.a import entry\n\nentry(1)\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def digests():
        provenance._File.read.cache_clear()
        provenance._file_of.cache_clear()
        return provenance.source("script.py")

    return tmp_path, digests


def test_reaches_used_definitions_only(project):
    _, digests = project
    assert set(digests()) == {
        "script.py:<module>",
        "pkg/a.py:entry",
        "pkg/a.py:SCALE",
        "pkg/b.py:helper",
        "pkg/b.py:_inner",
        "pkg/c.py:used",
        "pkg/d.py:deep",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("pkg/b.py", "return x\ndef other", "return x + 1\ndef other", {"pkg/b.py:_inner"}),
        ("pkg/b.py", "def other(x):\n    return x", "def other(x):\n    return 9", set()),
        ("pkg/a.py", "SCALE = 2", "SCALE = 4", {"pkg/a.py:SCALE"}),
        ("pkg/a.py", "UNUSED = 3", "UNUSED = 4", set()),
        ("pkg/a.py", "'''Doc.'''", "'''Other words.'''", set()),
        ("pkg/a.py", "SCALE = 2", "# why\nSCALE  =  2", set()),
        ("pkg/d.py", "return x", "return -x", {"pkg/d.py:deep"}),
        ("script.py", "entry(1)", "entry(2)", {"script.py:<module>"}),
    ],
)
def test_a_change_shows_in_its_definition_alone(project, file, old, new, changed):
    root, digests = project
    before = digests()
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    after = digests()
    assert {key for key in before if before[key] != after.get(key)} == changed
    assert set(after) == set(before)


def test_real_scripts_reach_their_stage_but_not_the_planner():
    found = provenance.source("workflow_scripts/pseudo.py")
    assert "wsss/pseudo.py:write" in found
    assert not any(key.startswith(("wsss/config.py", "wsss/job.py", "wsss/chains.py")) for key in found)


def test_an_entry_may_name_the_definitions_that_count():
    labels = provenance.source("wsss/methods/irnet.py:labels")
    walk = provenance.source("wsss/methods/irnet.py:build,refine")
    assert "wsss/methods/irnet.py:labels" in labels
    assert not any(key.startswith("wsss/ops/random_walk.py") for key in labels)
    assert any(key.startswith("wsss/ops/random_walk.py") for key in walk)
    assert "wsss/methods/irnet.py:labels" not in walk
