"""No part of the project runs what a file from elsewhere holds, and no name from data reaches a shell."""

import re
from pathlib import Path

import pytest
import yaml

from tests.security.scan import dangers
from wsss import config

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    ("bench/__main__.py", "importlib.import_module"): "the suite's own modules, by the names of its arguments",
    ("bench/files.py", "np.load(allow_pickle)"): "what others do, measured on files that the suite wrote itself",
    ("wsss/config.py", "yaml.load"): "with a loader of plain values, see below",
    ("wsss/report.py", "Markup"): "the project's own style, and tables that table_formats escaped",
    ("wsss/warm.py", "runpy.run_path"): "the workflow's own script, over a socket in a private folder",
}
SOURCES = sorted(path for folder in ("wsss", "workflow_scripts", "bench") for path in (ROOT / folder).rglob("*.py"))


def test_no_dangerous_call_stands_anywhere():
    found = {
        (path.relative_to(ROOT).as_posix(), name): line
        for path in SOURCES
        for line, name in dangers(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 100
    assert {key: line for key, line in found.items() if key not in ALLOWED} == {}
    assert set(found) >= set(ALLOWED), "an exception that nothing needs"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "os.system(name)",
        "subprocess.run(f'ls {name}')",
        "subprocess.run([name], shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "tar.extractall(folder)",
        "tar.extractall(folder, filter='fully_trusted')",
        "zipfile.ZipFile(path).extract(name)",
        "yaml.load(text, yaml.Loader)",
        "jinja2.Environment(loader=loader)",
        "importlib.import_module(name)",
        "markupsafe.Markup(text)",
        "loadmat(path)",
    ],
)
def test_the_scan_finds(code):
    assert dangers(code)


def test_the_scan_lets_pass_what_is_safe():
    safe = [
        "torch.load(p, weights_only=True)",
        "np.load(p)",
        "subprocess.run(['git', name])",
        "import_module(f'wsss.{n}')",
    ]
    assert dangers("\n".join(safe)) == []


def test_settings_are_read_as_plain_values():
    assert issubclass(config._Loader, yaml.SafeLoader)
    assert not issubclass(config._Loader, yaml.UnsafeLoader | yaml.FullLoader)


def test_no_rule_calls_a_shell():
    rules = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in rules)
    assert len(re.findall(r"^\s+script:", text, re.MULTILINE)) > 15
    assert not re.findall(r"^\s+(?:shell|run|wrapper|notebook|cwl)\s*:", text, re.MULTILINE)
    assert not re.findall(r"\bshell\s*\(", text)
