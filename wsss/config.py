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
from wsss.settings_base import in_words

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


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: YAML would silently keep the last."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        _check_keys(node, ())
        return node


def _check_keys(node: yaml.Node | None, above: tuple[yaml.Node, ...]) -> None:
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if any(node is each for each in above):
        raise yaml.MarkedYAMLError(None, None, "an anchor holds itself", node.start_mark)
    below, seen = node.value, set()
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add((key.tag, str(key.value)))
        below = [value for _, value in node.value]
    for each in below:
        _check_keys(each, (*above, node))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping from a file, no key twice; UserError with the line when it is not one."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is the path right?") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {' '.join(str(error).split())}; correct it") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: is not valid YAML ({error}); correct it") from None
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
        if str(preset) not in presets():
            raise UserError(f"preset: there is no '{preset}'; known: {', '.join(presets())}")
        base = merge(base, read_yaml(ROOT / "config" / "presets" / f"{preset}.yaml"))
    merged = merge(base, overlay)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise UserError(_in_words(error, merged)) from None


def _in_words(error: ValidationError, given: Any) -> str:
    """All faults as `key: what is wrong`; what pydantic says of each branch of a choice stands in one."""
    faults: dict[str, list[str]] = {}
    for each in error.errors():
        faults.setdefault(_key(each["loc"], given, each["type"] == "missing"), []).append(in_words(each))
    joined = {key: " or ".join(dict.fromkeys(texts)) for key, texts in faults.items()}
    return "; ".join(f"{key}: {text}".removeprefix(": ") for key, text in joined.items())


def _key(location: tuple[int | str, ...], given: Any, missing: bool) -> str:
    """The key as the user wrote it: without the names that pydantic gives to the branches of a choice."""
    parts = []
    for number, part in enumerate(location, 1):
        try:
            given = given[part]
        except (KeyError, IndexError, TypeError):
            if not (missing and number == len(location)):
                continue
        parts.append(str(part))
    return ".".join(parts)


def schema() -> str:
    """JSON schema of the settings, for editors; `python -m wsss.config > config/schema.json` renews the file."""
    return json.dumps(Settings.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
