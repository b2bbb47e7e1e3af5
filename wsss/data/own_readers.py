"""Readers of the three layouts: from a user's folder to images with label names, masks and splits.

What is wrong is collected, not raised, so that a user sees every fault at once.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from wsss.data.csv_table import Row, read_list, read_table
from wsss.data.layouts import SPLITS, Layout, class_folders, image_id, list_images


@dataclass(slots=True)
class Entry:
    """One image of the user; `where` is the row or file that names it."""

    id: str
    image: Path
    labels: tuple[str, ...]
    where: str
    mask: Path | None = None


@dataclass
class Collection:
    """A data set as found: entries by id, foreground classes, ids by split, and all faults and warnings."""

    entries: dict[str, Entry] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    splits: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    splits_made: bool = False

    def add(self, entry: Entry) -> bool:
        """Take an entry; a second one with the same id is a fault."""
        known = self.entries.setdefault(entry.id, entry)
        if known is entry:
            return True
        if known.image == entry.image:
            self.faults.append(f"{entry.where}: '{known.image.name}' is in {known.where} too; remove one")
        else:
            both = f"'{known.image}' and '{entry.image}'"
            self.faults.append(f"{entry.where}: {both} give the same id '{entry.id}'; rename one")
        return False


def read(layout: Layout) -> Collection:
    """Read a data set without opening images; classes stay unsettled. UserError for an unreadable CSV."""
    found = Collection()
    if layout.kind == "folders":
        _read_folders(layout, found)
    elif layout.kind == "csv":
        _read_csv(layout, found)
        _warn_unsplit(found)
    else:
        _read_voc(layout, found)
    _find_masks(layout, found)
    return found


def normal(name: str) -> str:
    """A name in Unicode's composed form, so that equal names compare equal on every file system."""
    return unicodedata.normalize("NFC", name.strip())


def _read_csv(layout: Layout, found: Collection) -> None:
    assert layout.csv is not None
    rows, faults = read_table(layout.csv, {"image", "labels"})
    found.faults += faults
    for row in rows:
        image = _locate(layout, row.cells["image"])
        if image is None:
            found.faults.append(f"{row.where}: image '{row.cells['image']}' does not exist")
            continue
        labels = dict.fromkeys(normal(row.cells["labels"]).split())
        entry = Entry(_relative_id(layout, image), image, tuple(labels), row.where, _mask(layout, row, found))
        if found.add(entry):
            for split in row.cells.get("split", "").split():
                found.splits.setdefault(split, []).append(entry.id)


def _mask(layout: Layout, row: Row, found: Collection) -> Path | None:
    name = row.cells.get("mask")
    if not name:
        return None
    path = _locate(layout, name)
    if path is None:
        found.faults.append(f"{row.where}: mask '{name}' does not exist")
    return path


def _locate(layout: Layout, name: str) -> Path | None:
    """The file that a CSV names below the root or the images' folder, in either Unicode normal form."""
    for folder in (layout.root, layout.images):
        for form in ("NFC", "NFD"):
            path = folder / unicodedata.normalize(form, name)
            if name and path.is_file():
                return Path(os.path.abspath(path))
    return None


def _relative_id(layout: Layout, image: Path) -> str:
    for folder in (layout.images, layout.root):
        if image.is_relative_to(folder):
            return image_id(image.relative_to(folder))
    return image_id(image.name)


def _read_voc(layout: Layout, found: Collection) -> None:
    images: dict[str, Path] = {}
    for path in list_images(layout.images):
        key = image_id(path.relative_to(layout.images))
        if key in images:
            found.faults.append(f"'{images[key]}' and '{path}' give the same id '{key}'; rename one")
        images.setdefault(key, path)
    if layout.csv is not None:
        _read_csv(layout, found)
    lists = _lists(layout)
    for path in lists:
        found.splits[path.stem] = _read_list(path, images, found)
    listed = {key for keys in found.splits.values() for key in keys} if found.splits else set(images)
    if layout.csv is not None:
        _warn_unsplit(found)
    elif not (layout.root / "Annotations").is_dir():
        found.faults.append(f"{layout.root}: has no labels; add labels.csv (image,labels) or Annotations")
        return
    for key in sorted(listed - set(found.entries)):
        labels = _annotated(layout, images[key], found) if layout.csv is None else ()
        found.entries[key] = Entry(key, images[key], labels, f"JPEGImages/{images[key].name}")


def _warn_unsplit(found: Collection) -> None:
    """Drop entries that stand in no split, with a warning, where splits exist."""
    used = {key for keys in found.splits.values() for key in keys}
    if unused := len(set(found.entries) - used) if used else 0:
        found.warnings.append(f"{unused} labelled images stand in no split and stay unused")
        found.entries = {key: entry for key, entry in found.entries.items() if key in used}


def _lists(layout: Layout) -> list[Path]:
    folder = layout.root / "ImageSets" / "Segmentation"
    return [path for name in SPLITS if (path := folder / f"{name}.txt").is_file()]


def _read_list(path: Path, images: dict[str, Path], found: Collection) -> list[str]:
    lines: dict[str, int] = {}
    for number, name in enumerate(read_list(path), start=1):
        key = image_id(name)
        if not name:
            continue
        if key not in images:
            found.faults.append(f"{path.name} line {number}: there is no image '{name}' in JPEGImages")
        elif key in lines:
            found.faults.append(f"{path.name} line {number}: '{name}' stands already in line {lines[key]}")
        else:
            lines[key] = number
    return list(lines)


class _Plain(ElementTree.TreeBuilder):
    """Trees of files without a document type, where entities would be declared that grow without bounds."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a document type declaration")


def _annotated(layout: Layout, image: Path, found: Collection) -> tuple[str, ...]:
    """Names of all objects in an image's XML, also difficult and truncated ones."""
    path = layout.root / "Annotations" / image.relative_to(layout.images).with_suffix(".xml")
    try:
        objects = ElementTree.parse(path, ElementTree.XMLParser(target=_Plain())).getroot().iter("object")
    except FileNotFoundError:
        return ()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        found.faults.append(f"Annotations/{path.name}: is no valid XML ({error}); correct it")
        return ()
    return tuple(sorted({normal(name) for item in objects if (name := item.findtext("name"))}))


def _read_folders(layout: Layout, found: Collection) -> None:
    for folder, (split, name) in class_folders(layout).items():
        for path in list_images(folder):
            relative = path.relative_to(layout.root)
            entry = Entry(image_id(relative), path, (normal(name),), str(relative))
            if found.add(entry) and split is not None:
                found.splits.setdefault(split, []).append(entry.id)
    loose = [path.name for path in list_images(layout.root) if path.parent == layout.root]
    found.warnings += [f"{name}: lies outside the class folders and stays unused" for name in loose]


def _find_masks(layout: Layout, found: Collection) -> None:
    """Give every entry the mask of the same name below the masks' folder; rows that are wrong may lack theirs."""
    if layout.masks is None:
        return
    whole = bool(found.entries) and not (layout.csv and found.faults)
    known = {image_id(path.relative_to(layout.images)) for path in list_images(layout.images)}
    named = {entry.mask for entry in found.entries.values()}
    for path in list_images(layout.masks):
        key = image_id(path.relative_to(layout.masks))
        if key in found.entries:
            found.entries[key].mask = found.entries[key].mask or path
        elif whole and path not in named and (layout.kind != "voc" or key not in known):
            name = path.relative_to(layout.masks.parent)
            found.faults.append(f"{name}: is a mask without an image; remove it or add its image")
