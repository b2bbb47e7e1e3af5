"""Checks of a data set's files and splits: images are decoded, masks compared with image and labels."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsss.data.images import read_mask, read_rgb
from wsss.data.prefetch import ahead
from wsss.errors import UserError

_IGNORE = 255
_TRAIN_LIKE = ("train", "train_aug")
_HELD_OUT = ("val", "test")


@dataclass(frozen=True, slots=True)
class Item:
    """An image to check: its labels are class ids 1..C, `size` its (width, height) as far as known.

    `misnamed` says that it has labels outside the classes, which is a fault already.
    """

    id: str
    image: Path
    labels: tuple[int, ...]
    mask: Path | None = None
    size: tuple[int, int] | None = None
    misnamed: bool = False


@dataclass
class Findings:
    """Faults and warnings in the order of the items, and the (width, height) of every readable image."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    mask_ids: set[int] = field(default_factory=set)

    def extend(self, other: "Findings") -> None:
        """Append another item's findings."""
        self.faults += other.faults
        self.warnings += other.warnings
        self.sizes.update(other.sizes)
        self.mask_ids |= other.mask_ids


def inspect_files(items: Sequence[Item], classes: Sequence[str]) -> Findings:
    """Decode all images and masks, in threads; `classes` are the foreground names, ids 1..C."""
    found = Findings()
    for result in ahead(lambda item: _inspect(item, classes), items, min(16, os.cpu_count() or 1)):
        found.extend(result)
    labelled = any(item.labels and item.mask for item in items)
    if labelled and found.mask_ids and found.mask_ids <= {0, _IGNORE}:
        found.faults.append(
            f"all masks hold only 0 (background) and {_IGNORE} (ignore); write class ids 1 to {len(classes)}"
        )
    return found


def _inspect(item: Item, classes: Sequence[str]) -> Findings:
    found = Findings()
    try:
        height, width = read_rgb(item.image).shape[:2]
        found.sizes[item.id] = (width, height)
        if item.size not in (None, (width, height)):
            was = f"{width}x{height}, not as in manifest.csv"
            found.faults.append(f"{item.image}: is {was}; run the data stage again")
    except UserError as error:
        found.faults.append(str(error))
    if item.mask is None:
        return found
    try:
        label_HW = read_mask(item.mask)
    except UserError as error:
        found.faults.append(str(error))
        return found
    size = found.sizes.get(item.id)
    if size is not None and label_HW.shape[::-1] != size:
        mask_size = f"{label_HW.shape[1]}x{label_HW.shape[0]}"
        found.faults.append(
            f"{item.mask}: is {mask_size} but its image is {size[0]}x{size[1]}; they must have the same size"
        )
    found.mask_ids = {int(value) for value in np.flatnonzero(np.bincount(label_HW.ravel(), minlength=256))}
    _compare(item, classes, found)
    return found


def _compare(item: Item, classes: Sequence[str], found: Findings) -> None:
    beyond = sorted(value for value in found.mask_ids if len(classes) < value < _IGNORE)
    if beyond:
        values = ", ".join(map(str, beyond))
        found.faults.append(f"{item.mask}: holds ids {values}, but the last class has {len(classes)}")
    inside = found.mask_ids - {0, _IGNORE, *beyond}
    for value in sorted(inside - set(item.labels)):
        found.warnings.append(f"{item.id}: its mask shows '{classes[value - 1]}', which its labels lack")
    for value in sorted(set(item.labels) - inside):
        found.warnings.append(f"{item.id}: its labels name '{classes[value - 1]}', which its mask lacks")


def inspect_splits(
    items: Mapping[str, Item], splits: Mapping[str, Sequence[str]], classes: Sequence[str], train: str
) -> Findings:
    """Check that no split is empty, no held-out image is trained on, all training images have labels."""
    found = Findings()
    if train not in splits:
        known = ", ".join(splits) or "none"
        found.faults.append(f"there is no split '{train}' to train on; this data set has: {known}")
    found.faults += [f"split '{name}' is empty" for name, keys in splits.items() if not keys]
    learned = [name for name in dict.fromkeys((train, *_TRAIN_LIKE)) if name in splits]
    owner = {key: name for name in reversed(learned) for key in splits[name]}
    for name in (name for name in _HELD_OUT if name in splits and name not in learned):
        clashes = (key for key in splits[name] if key in owner)
        found.faults += [f"{key}: stands in {owner[key]} and {name}; remove it from one" for key in clashes]
    bare = [key for key in splits.get(train, ()) if not items[key].labels and not items[key].misnamed]
    if bare and len(bare) == len(splits[train]):
        found.faults.append(f"split '{train}': no image has a label; add labels")
    elif bare:
        found.warnings.append(
            f"split '{train}': {len(bare)} images have no labels and teach as negatives, first {bare[0]}"
        )
    for name, keys in splits.items():
        _warn_split(name, [items[key] for key in keys], found)
    seen = Counter(label for key in splits.get(train, ()) for label in items[key].labels)
    missing = [name for number, name in enumerate(classes, start=1) if not seen[number]]
    if missing and train in splits:
        found.warnings.append(f"split '{train}' has no image of: {', '.join(missing)}")
    return found


def _warn_split(name: str, items: Iterable[Item], found: Findings) -> None:
    items = list(items)
    masks = sum(item.mask is not None for item in items)
    if 0 < masks < len(items):
        found.warnings.append(f"split '{name}': {len(items) - masks} of {len(items)} images have no mask")
    unlabelled = sum(not item.labels for item in items)
    if unlabelled and name in _HELD_OUT:
        found.warnings.append(f"split '{name}': {unlabelled} of {len(items)} images have no labels")
