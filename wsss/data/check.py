"""Validation of a data set: every fault at once, each with the file, row or id and the remedy."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from wsss.data.ground_truth import FILE, read_ground_truth
from wsss.data.inspection import Findings, Item, inspect_files, inspect_splits
from wsss.data.layouts import recognise
from wsss.data.manifest import FILES, read_manifest
from wsss.data.own import collect, examine
from wsss.errors import UserError

WARNING = "warning: "


def check(settings_data: Mapping[str, Any], folder: Path | None) -> list[str]:
    """All faults of a data set; where there are none, all warnings, which start with `warning: `.

    `settings_data` is the resolved section `data`. Own images are checked where they lie; of the other
    sources the data stage's `folder` is checked, if it is there yet.
    """
    train = settings_data.get("train", "train")
    try:
        own = settings_data["source"] == "own"
        found = _check_own(settings_data, train) if own else _check_folder(folder, settings_data, train)
    except UserError as error:
        return [str(error)]
    return found.faults or [f"{WARNING}{warning}" for warning in found.warnings]


def _check_own(settings: Mapping[str, Any], train: str) -> Findings:
    parts = {"kind": settings.get("layout"), "csv": settings.get("csv"), "masks": settings.get("masks")}
    layout, fraction = recognise(settings["root"], **parts), settings.get("val_fraction", 0.2)
    collection = collect(layout, classes=settings.get("classes"), val_fraction=fraction)
    found = examine(collection, train)[1]
    found.faults = found.faults or _unscored(collection.splits, settings)
    return found


def _unscored(splits: Collection[str], settings: Mapping[str, Any]) -> list[str]:
    """Scored splits, and splits with their maps, that the data set does not have."""
    wanted = {name: key for key, holder in settings.get("evaluate", {}).items() for name in (holder, key)}
    has = f"this data set has: {', '.join(splits) or 'none'}"
    return [
        f"data.evaluate.{key}: there is no split '{name}'; {has}" for name, key in wanted.items() if name not in splits
    ]


def _check_folder(folder: Path | None, settings: Mapping[str, Any], train: str) -> Findings:
    if folder is None or not folder.is_dir():
        return Findings()
    absent = [name for name in (*FILES, FILE) if not (folder / name).is_file()]
    if absent:
        return Findings([f"{folder / name}: is missing; run the data stage again" for name in absent])
    manifest, masks = read_manifest(folder), read_ground_truth(folder)
    places = {FILE: masks, **{f"splits.csv, {name}": keys for name, keys in manifest.splits.items()}}
    found = Findings()
    for place, keys in places.items():
        strays = (key for key in keys if key not in manifest.samples)
        found.faults += [f"{folder / place}: '{key}' is not in manifest.csv" for key in strays]
    items = {}
    for key, sample in manifest.samples.items():
        mask = masks[key].mask if key in masks else None
        items[key] = Item(key, sample.image, sample.labels, mask, (sample.width, sample.height))
    splits = {name: [key for key in keys if key in items] for name, keys in manifest.splits.items()}
    found.extend(inspect_files(list(items.values()), manifest.classes))
    found.extend(inspect_splits(items, splits, manifest.classes, train))
    found.faults = found.faults or _unscored(splits, settings)
    return found
