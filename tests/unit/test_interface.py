"""Options of method files, read without importing them."""

import sys

import pytest

from wsss import interface
from wsss.errors import UserError


def test_defaults_are_filled_in():
    assert interface.options("methods", "cam", {"pooling": "gmp"}, "classify.x.options") == {
        "pooling": "gmp",
        "dropout": 0.0,
        "head_lr": 10.0,
        "init": "default",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"poolin": "gap"}, "classify.x.options.poolin"),
        ({"pooling": "mean"}, "classify.x.options.pooling"),
        ({"dropout": "a lot"}, "classify.x.options.dropout"),
    ],
)
def test_faults_name_the_key_and_what_is_valid(given, message):
    with pytest.raises(UserError) as caught:
        interface.options("methods", "cam", given, "classify.x.options")
    assert message in str(caught.value)
    assert "pooling" in str(caught.value)


def test_an_unknown_method_names_the_known():
    with pytest.raises(UserError, match=r"there is no method 'camm'; known: .*cam"):
        interface.options("methods", "camm", {}, "classify.x")


def test_constants_are_read_from_the_file():
    assert interface.constant("methods", "crf", "OUTPUT") == "labels"
    assert interface.constant("methods", "cam", "OUTPUT", "scores") == "scores"


def test_planning_imports_no_torch():
    import subprocess

    code = "import sys; from wsss import targets, config; config.resolve({}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
