"""`wsss init`: look at the user's folder and write a configuration that runs it."""

import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wsss.config import ROOT, presets, read_yaml
from wsss.data.layouts import Layout, recognise
from wsss.data.own import all_faults, collect
from wsss.data.own_readers import Collection
from wsss.errors import UserError
from wsss.files import write_text
from wsss.slices import WEIGHT_FILES

_RESERVED = ("voc2012", "shapes")
_FEW_PER_SHARD, _MOST_PER_SHARD = 500, 5000
_SHARDS = 16
_FIXED_THRESHOLDS = (
    "# Without masks no threshold can be chosen on ground truth; raise these numbers where labels spill over.",
    "refine: {crf_irn: {background: 0.3}, crf_psa: {background: 0.3}}",
    "pseudo: {hard: {background: 0.3}, irn_hard: {background: 0.25}}",
    "affinity: {irn_r50: {background: 0.3}}",
)
_KINDS = {"voc": "VOC layout", "csv": "a CSV with images", "folders": "one folder of images per class"}


def init(
    path: str | Path,
    name: str,
    preset: str = "small",
    *,
    weights: Path | None = None,
    out: Path = Path("config"),
    force: bool = False,
) -> Path:
    """Write `out`/NAME.yaml for the data set at `path` and return it.

    `weights` is a file of initial weights for a preset that puts one network in every role. Raises UserError
    for an unsafe name, an unknown preset, an existing file (unless `force`), a folder without a known layout,
    and all faults that show without opening images.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in _RESERVED:
        raise UserError(f"--name {name}: use letters, digits, _ . - (and not {' or '.join(_RESERVED)})")
    if preset not in presets():
        raise UserError(f"--preset {preset}: there is none; known: {', '.join(presets())}")
    target = out / f"{name}.yaml"
    if target.exists() and not force:
        raise UserError(f"{target}: exists already; choose another --name or overwrite it with --force")
    layout, found = _survey(path)
    if not {"train", "train_aug"} & set(found.splits):
        names = ", ".join(found.splits)
        raise UserError(f"{layout.root}: there is no split 'train' among: {names}; name the training split so")
    text = _configuration(layout, found, name, preset, target) + _initial_weights(preset, weights)
    write_text(target, text)
    return target


def summary(path: str | Path) -> str:
    """What a folder holds, in a few lines: layout, images and masks by split, classes, warnings."""
    layout, found = _survey(path)
    masks = {key for key, entry in found.entries.items() if entry.mask}
    made = " (made by hash of the file name)" if found.splits_made else ""
    lines = [f"{layout.root}: {_KINDS[layout.kind]}, {len(found.entries)} images, {len(masks)} masks"]
    for split, keys in found.splits.items():
        lines.append(f"  {split}{made}: {len(keys)} images, {sum(key in masks for key in keys)} masks")
    count = Counter(label for entry in found.entries.values() for label in entry.labels)
    lines.append(f"  {len(found.classes)} classes: {', '.join(f'{n} {count[n]}' for n in found.classes)}")
    if not masks:
        lines.append("  without masks everything runs, but scores stay empty")
    return "\n".join([*lines, *(f"  warning: {warning}" for warning in found.warnings)])


def command(config: Path) -> str:
    """The command that runs a configuration, with the path of this environment's program where it is not active."""
    program = "snakemake" if shutil.which("snakemake") else _portable(Path(sys.executable).parent / "snakemake")
    return f"{program} --cores 2 --configfile {config}"


def _survey(path: str | Path) -> tuple[Layout, Collection]:
    layout = recognise(path)
    found = collect(layout)
    if found.faults:
        raise all_faults(found.faults, path)
    return layout, found


def _initial_weights(preset: str, weights: Path | None) -> str:
    """The section `backbones` that gives the preset's network its weights, in all its roles."""
    if weights is None:
        return ""
    if not weights.is_file():
        raise UserError(f"--weights {weights}: there is no such file")
    if weights.suffix not in WEIGHT_FILES:
        known = ", ".join(sorted(WEIGHT_FILES))
        raise UserError(f"--weights {weights}: unknown kind; give a file that ends in {known}")
    roles = read_yaml(ROOT / "config" / "presets" / f"{preset}.yaml").get("backbones", {})
    if len({role["network"] for role in roles.values()}) != 1:
        raise UserError(f"--weights: preset {preset} has several networks; set backbones.<role>.weights instead")
    file = _quoted(_portable(Path(os.path.abspath(weights))))
    lines = [f"  {role}: {{weights: {file}}}" for role in roles]
    return "\n".join(["backbones:  # initial weights from a file", *lines, ""])


def _configuration(layout: Layout, found: Collection, name: str, preset: str, target: Path) -> str:
    """The YAML text; names and paths are quoted as JSON strings, which YAML reads in every language."""
    train: str = next(split for split in ("train_aug", "train") if split in found.splits)
    evaluated: list[str] = [split for split in ("train", "val") if split in found.splits]
    masked = {key for key, entry in found.entries.items() if entry.mask}
    if masked and any(key in masked for key in found.splits.get("test", ())):
        evaluated.append("test")
    inside = set(found.splits.get("train", ())) <= set(found.splits.get(train, ()))
    holder = {split: train if split == "train" and inside else split for split in evaluated}
    if train not in holder.values():
        holder = {train: train} | holder
    shards = {split: _shards(len(found.splits[split])) for split in dict.fromkeys((train, *holder.values()))}
    lines = [
        f"# {name}: {len(found.entries)} images, {len(found.classes)} classes ({_KINDS[layout.kind]}).",
        f"# Run it:  {command(target)}",
        "# Only what differs from config.yaml and the preset stands here; any of their keys can be added.",
        "",
        f"dataset: {json.dumps(name)}  # results are written to results/{name}/",
        f"preset: {preset}  # networks and recipes: {', '.join(presets())}",
        "data:",
        "  source: own",
        f"  root: {_quoted(_portable(layout.root))}  # this folder is only read",
        f"  layout: {layout.kind}  # {_KINDS[layout.kind]}",
        *_optional(layout, found),
        f"  train: {train}  # split that networks learn from",
        *_evaluation(holder, masked),
        "  # Jobs that share a split's per-image work; more jobs suit more cores, scores stay the same.",
        f"  shards: {_mapping(shards)}",
        'build: ["baseline/*"]  # tables to make; "*" is everything',
        "seeds: [0]  # several seeds give mean and standard deviation",
        *([] if masked & set(found.splits[train]) else _FIXED_THRESHOLDS),
    ]
    return "\n".join(lines) + "\n"


def _optional(layout: Layout, found: Collection) -> list[str]:
    lines = []
    if layout.csv is not None:
        lines.append(f"  csv: {_quoted(layout.csv.name)}  # columns image,labels and optionally mask,split")
    if layout.masks is not None:
        lines.append(f"  masks: {_quoted(layout.masks.name)}  # PNG of class ids, 255 = ignore")
    lines.append("  # Class ids in masks and predictions are 1, 2, ... in this order; 0 is background.")
    lines.append(f"  classes: [{', '.join(map(_quoted, found.classes))}]")
    if found.splits_made:
        lines.append("  val_fraction: 0.2  # share held out as val, by the hash of the names")
    return lines


def _evaluation(holder: dict[str, str], masked: set[str]) -> list[str]:
    note = "  # Scored split: the split whose maps and predictions hold its images."
    if not masked:
        note = "  # No masks: scores stay empty; maps, pseudo labels and predictions are made."
    return [note, f"  evaluate: {_mapping(holder)}"]


def _shards(images: int) -> int:
    """Jobs of 500 images up to 16 of them, then larger ones; none of more than 5,000, whose time a cluster limits."""
    return max(min(_SHARDS, math.ceil(images / _FEW_PER_SHARD)), math.ceil(images / _MOST_PER_SHARD), 1)


def _mapping(values: Mapping[str, str | int]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _portable(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
