"""The user's own images: from a folder in one of three layouts to the four files of the data stage."""

import difflib
import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from wsss.data.csv_table import read_list
from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.inspection import Findings, Item, inspect_files, inspect_splits
from wsss.data.layouts import Kind, Layout, folders, recognise
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.data.own_readers import Collection, normal, read
from wsss.data.voc_constants import CLASSES as VOC_CLASSES
from wsss.errors import UserError

__all__ = ["Layout", "all_faults", "build", "collect", "examine", "recognise"]
_MOST_CLASSES = 254
_DELIMITER = re.compile(r"[,;|]")
_UNDECODED = re.compile(r"[\ud800-\udfff]")
"""What Python makes of bytes in a file's name that are not UTF-8."""


def build(
    out: str | Path,
    *,
    root: str | Path,
    layout: Kind | None = None,
    csv: str | None = None,
    masks: str | None = None,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    train: str = "train",
) -> None:
    """Write manifest.csv, splits.csv, classes.txt and ground_truth.csv of the user's images to `out`.

    `layout`, `csv`, `masks` and `classes` fix what is not guessed: the layout, its CSV and its folder of
    masks (relative to `root`), and the foreground classes in the order of their ids. `train` is the split
    that must have labels. Every image and mask is decoded once. Raises one UserError with all faults.
    """
    found = collect(recognise(root, kind=layout, csv=csv, masks=masks), classes=classes, val_fraction=val_fraction)
    items, findings = examine(found, train)
    if findings.faults:
        raise all_faults(findings.faults, root)
    for warning in findings.warnings:
        logging.getLogger(__name__).warning(warning)
    samples = {key: Sample(key, item.image, *findings.sizes[key], item.labels) for key, item in items.items()}
    splits = {name: tuple(keys) for name, keys in found.splits.items()}
    write_ground_truth(out, {key: GroundTruth(item.mask, "own") for key, item in items.items() if item.mask})
    write_manifest(out, Manifest(samples, found.classes, splits))


def collect(layout: Layout, *, classes: Sequence[str] | None = None, val_fraction: float = 0.2) -> Collection:
    """A data set with settled classes and splits, and its faults; no image is opened.

    Splits are read (image set lists, the CSV's column `split`, folders named as splits) or made: an image
    goes to `val` by the hash of its id, whatever other images there are. UserError for an unreadable CSV, or a folder
    whose name the workflow cannot hold.
    """
    folders(layout.root)
    found = read(layout)
    if not found.entries and not found.faults:
        found.faults.append(f"{layout.root}: holds no images")
    if not found.splits and found.entries:
        found.splits = make_splits(list(found.entries), val_fraction)
        found.splits_made = True
    for entry in found.entries.values():
        if _UNDECODED.search(f"{entry.image}{entry.mask}"):
            found.faults.append(f"{entry.where}: the file's name is not UTF-8; rename it")
    names = [name for name in found.splits if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
    found.faults += [f"'{name}' cannot name a split; use letters, digits, - and _" for name in names]
    if found.entries:
        _settle_classes(layout, found, classes)
    return found


def examine(found: Collection, train: str) -> tuple[dict[str, Item], Findings]:
    """The entries with class ids in place of names, and everything that is wrong with the whole data set."""
    number = {name: place for place, name in enumerate(found.classes, start=1)}
    items = {}
    for key, entry in found.entries.items():
        ids = tuple(sorted(number[name] for name in entry.labels if name in number))
        items[key] = Item(key, entry.image, ids, entry.mask, misnamed=len(ids) < len(entry.labels))
    findings = Findings(list(found.faults), list(found.warnings))
    if not items:
        return items, findings
    findings.extend(inspect_files(list(items.values()), found.classes))
    findings.extend(inspect_splits(items, found.splits, found.classes, train))
    return items, findings


def all_faults(faults: Sequence[str], root: str | Path) -> UserError:
    """One fault as it is; several below a title, one per line."""
    return UserError(*faults) if len(faults) == 1 else UserError(f"{root}: {len(faults)} faults", *faults)


def make_splits(ids: Sequence[str], val_fraction: float) -> dict[str, list[str]]:
    """`train` and `val`; about `val_fraction` of the ids, at least one, by a hash of each id alone."""
    place = {key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64 for key in ids}
    val = {key for key in ids if place[key] < val_fraction}
    if not val and len(ids) > 1 and val_fraction > 0:
        val = {min(ids, key=place.__getitem__)}
    if len(val) == len(ids) > 1 and val_fraction < 1:
        val.remove(max(ids, key=place.__getitem__))
    parts = {"train": [key for key in ids if key not in val], "val": [key for key in ids if key in val]}
    return {name: part for name, part in parts.items() if part}


def _settle_classes(layout: Layout, found: Collection, classes: Sequence[str] | None) -> None:
    used = {name for entry in found.entries.values() for name in entry.labels}
    listed, file = classes, layout.root / "classes.txt"
    if listed is None and file.is_file():
        listed = read_list(file)
    if listed is not None:
        found.classes = tuple(map(normal, listed))
    elif used and (used == set(VOC_CLASSES) or (layout.kind == "voc" and used <= set(VOC_CLASSES))):
        found.classes = VOC_CLASSES
    else:
        found.classes = tuple(sorted(used))
        if any(entry.mask for entry in found.entries.values()):
            found.faults.append(
                f"{file}: is missing; masks hold class ids, so write the class names there, one per line, "
                "in the order of their ids and without background"
            )
    found.faults += _class_faults(found.classes)
    for entry in found.entries.values():
        for name in entry.labels:
            if name not in found.classes or (layout.csv and _DELIMITER.search(name)):
                found.faults.append(_label_fault(entry.where, name, found.classes))


def _class_faults(classes: tuple[str, ...]) -> list[str]:
    twice = sorted({name for name in classes if classes.count(name) > 1})
    faults = [f"classes: '{name}' stands twice" for name in twice]
    for name in dict.fromkeys(name for name in classes if name and name.splitlines() != [name]):
        faults.append(f"classes: '{name}' holds a line break; rename the class")
    if "" in classes:
        faults.append(f"classes: line {classes.index('') + 1} is empty; every line is a class")
    if "background" in classes:
        faults.append("classes: remove 'background'; id 0 is background by itself")
    if not 0 < len(classes) <= _MOST_CLASSES:
        faults.append(f"classes: there are {len(classes)}; 1 to {_MOST_CLASSES} are possible")
    return faults


def _label_fault(where: str, name: str, classes: tuple[str, ...]) -> str:
    if _DELIMITER.search(name):
        return f"{where}: label '{name}'; separate labels by spaces"
    near = difflib.get_close_matches(name, classes, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the classes are: {', '.join(classes)}"
    return f"{where}: unknown label '{name}'; {hint}"
