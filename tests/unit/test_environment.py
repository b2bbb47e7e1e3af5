"""Files that must stay in step: requirements, the conda environment, profiles, the root's symlink."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_requirements_are_pinned_versions_and_cover_the_project():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    assert all(re.match(r"^[A-Za-z0-9_.-]+==\S+( ;.*)?$", line) for line in lines)
    pinned = {re.split(r"==", line)[0].lower() for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'^    "([A-Za-z0-9_.-]+)', project.split("[project.optional-dependencies]")[0], re.MULTILINE)
    assert {name.lower() for name in wanted} <= pinned


def test_the_conda_environment_installs_the_same_pins():
    content = yaml.safe_load((ROOT / "envs" / "wsss.yaml").read_text())
    pins = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    assert content["dependencies"][-1] == {"pip": pins}


def test_the_profiles_share_no_key_and_slurm_is_found_from_the_root():
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text()) for name in ("default", "slurm")
    )
    assert not set(default) & set(slurm)
    assert "code" not in default["rerun-triggers"]
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm").resolve() == (ROOT / "profiles" / "slurm").resolve()


def test_scripts_are_thin():
    for path in (ROOT / "workflow_scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 30, path.name
