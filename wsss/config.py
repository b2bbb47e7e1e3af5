"""Resolves the configuration: config.yaml, the tables and the figures, then a preset, then the user's overlay.

Nothing here imports torch: every cluster job parses the settings again.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wsss.errors import UserError
from wsss.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`base` with `overlay` on top, key by key; another network or source of data replaces the whole entry."""
    return _merge(base, overlay, ())


def _merge(base: dict[str, Any], overlay: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    deciding = "source" if path == ("data",) else "network" if len(path) == 2 and path[0] == "backbones" else None
    if deciding in overlay and overlay[deciding] != base.get(deciding):
        return dict(overlay)
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value, (*path, key)) if both else value
    return merged


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping from a file; UserError with the line when it is not one."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values, not {type(content).__name__}")
    return content


def presets() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(path.stem for path in (ROOT / "config" / "presets").glob("*.yaml"))


def resolve(overlay: dict[str, Any]) -> Settings:
    """Settings from config.yaml, its tables and figures, then the overlay's preset, then the overlay itself.

    Raises UserError that names the key, and the nearest valid one where a key is unknown.
    """
    base = read_yaml(ROOT / "config.yaml")
    for part in ("tables", "figures"):
        base = merge(read_yaml(ROOT / "config" / f"{part}.yaml"), base)
    preset = overlay.get("preset")
    if preset is not None:
        if preset not in presets():
            raise UserError(f"preset: there is no '{preset}'; known: {', '.join(presets())}")
        base = merge(base, read_yaml(ROOT / "config" / "presets" / f"{preset}.yaml"))
    try:
        return Settings.model_validate(merge(base, overlay))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise UserError("; ".join(fault.removeprefix(": ") for fault in faults)) from None


def schema() -> str:
    """JSON schema of the settings, for editors; `python -m wsss.config > config/schema.json` renews the file."""
    return json.dumps(Settings.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
