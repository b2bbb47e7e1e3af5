"""Files that must stay in step: requirements, the conda environment, profiles, the root's symlink."""

import re
from pathlib import Path

import yaml
import yte

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


def rules_with_needs() -> dict[str, tuple[int, int, bool]]:
    """Memory in MB, minutes and whether it needs a GPU, of every rule that SLURM may run; the largest of namesakes."""
    unit = {"m": 1, "h": 60}
    found: dict[str, tuple[int, int, bool]] = {}
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            if "localrule: True" not in rule:
                name, memory = rule.split(":")[0], int(re.search(r"mem_mb=(\d+)", rule)[1])
                time = re.search(r'runtime="(\d+)([mh])"', rule)
                needs = (memory, int(time[1]) * unit[time[2]], "gpu=1" in rule)
                found[name] = max(needs, found.get(name, needs))
    return found


def test_the_slurm_profile_asks_for_what_the_rules_say_and_for_more_at_each_attempt():
    with open(ROOT / "profiles" / "slurm" / "profile.yaml") as stream:
        profile = yte.process_yaml(stream, require_use_yte=True)
    asked = profile["set-resources"]
    assert asked.keys() == rules_with_needs().keys()
    for name, (memory, minutes, gpu) in rules_with_needs().items():
        first, third = (
            {key: eval(str(asked[name][key]), {"attempt": n, "min": min}) for key in ("mem_mb", "runtime")}
            for n in (1, 3)
        )
        assert first == {"mem_mb": memory, "runtime": minutes}, name
        assert third == {"mem_mb": 3 * memory, "runtime": min(3 * minutes, 1440)}
        assert asked[name].get("gpu") == (1 if gpu else None), name
        assert (asked[name].get("slurm_partition") == "gpu") == gpu
