"""Recognition of the user's folder: VOC layout, a CSV with images, or one folder per class."""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsss.data.csv_table import header
from wsss.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
SPLITS = ("train_aug", "train", "val", "trainval", "test")
Kind = Literal["voc", "csv", "folders"]
_MASK_FOLDERS = ("SegmentationClass", "masks")
_USUAL_TABLE = "labels.csv"
_LONGEST_ID = 120


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder holds its data, as absolute paths; `csv` and `masks` (a folder) may be missing."""

    kind: Kind
    root: Path
    csv: Path | None = None
    masks: Path | None = None

    @property
    def images(self) -> Path:
        """The folder that image ids are relative to."""
        folder = self.root / ("JPEGImages" if self.kind == "voc" else "images")
        return folder if folder.is_dir() and self.kind != "folders" else self.root


def recognise(
    path: str | Path, *, kind: Kind | None = None, csv: str | None = None, masks: str | None = None
) -> Layout:
    """The layout of a folder, or of a CSV file's folder; `kind`, `csv`, `masks` fix what is not guessed.

    `csv` and `masks` are relative to the folder. Raises UserError that says what was looked for.
    """
    root = Path(os.path.abspath(path))
    if root.is_file():
        root, csv = root.parent, csv or root.name
    if not root.is_dir():
        raise UserError(f"{path}: does not exist; give the data set's folder or its CSV file")
    nested = [folder for folder in (*root.glob("VOC*"), *root.glob("VOCdevkit/VOC*")) if _is_voc(folder)]
    if kind is None and csv is None and not _is_voc(root) and nested:
        root = nested[-1]
    kind = kind or _guess(root, csv)
    if kind == "voc" and not _is_voc(root):
        raise UserError(f"{root}: VOC layout wanted, but there is no folder JPEGImages")
    folder = root / masks if masks else root / _MASK_FOLDERS[kind != "voc"]
    if masks and not folder.is_dir():
        raise UserError(f"data.masks: {folder} is no folder; give it relative to {root}")
    return Layout(kind, root, _table(root, kind, csv), folder if folder.is_dir() else None)


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted, without hidden ones."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    parts = ((path, path.relative_to(folder).parts) for path in found)
    return sorted(path for path, names in parts if not any(name.startswith(".") for name in names))


def folders(root: Path) -> list[str]:
    """A folder and all below it, without hidden ones, as the workflow watches them; UserError where it cannot."""
    found = []
    for path, below, _ in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        if re.search(r"\{[^{}]+\}", path):
            raise UserError(f"{path}: Snakemake takes braces for a wildcard; rename this folder")
        found.append(path)
    return found


def class_folders(layout: Layout) -> dict[Path, tuple[str | None, str]]:
    """Folder -> (split or None, class name): below the root, or below folders that are named as splits."""
    top = _subfolders(layout.root, layout.masks)
    if top and all(folder.name in SPLITS for folder in top):
        return {below: (folder.name, below.name) for folder in top for below in _subfolders(folder, None)}
    return {folder: (None, folder.name) for folder in top}


def image_id(relative: str | Path) -> str:
    """A path relative to the images' folder as id: no suffix, folders joined by `__`, safe as a file's stem.

    Letters and digits of all languages, `.`, `-` and `_` stay; any other character becomes `_`.
    """
    path = Path(unicodedata.normalize("NFC", str(relative)))
    joined = "__".join(path.parts)
    name = joined[: -len(path.suffix)] if path.suffix.lower() in SUFFIXES else joined
    safe = re.sub(r"[^\w.-]", "_", name)
    safe = f"_{safe}" if safe.startswith((".", "-")) else safe
    if len(safe.encode()) <= _LONGEST_ID:
        return safe
    digest = hashlib.sha256(safe.encode()).hexdigest()[:12]
    return safe.encode()[: _LONGEST_ID - 13].decode(errors="ignore") + "-" + digest


def _is_voc(folder: Path) -> bool:
    return (folder / "JPEGImages").is_dir()


def _subfolders(root: Path, masks: Path | None) -> list[Path]:
    ignored = {masks, *(root / name for name in _MASK_FOLDERS)}
    folders = (folder for folder in root.iterdir() if folder.is_dir() and folder not in ignored)
    return sorted(folder for folder in folders if not folder.name.startswith("."))


def _tables(root: Path) -> list[Path]:
    return [path for path in sorted(root.glob("*.csv")) if {"image", "labels"} <= set(header(path))]


def _guess(root: Path, csv: str | None) -> Kind:
    if _is_voc(root):
        return "voc"
    if csv or _tables(root) or (root / _USUAL_TABLE).is_file():
        return "csv"
    if any(list_images(folder) for folder in _subfolders(root, None)):
        return "folders"
    raise UserError(
        f"{root}: no known layout; wanted: VOC layout (JPEGImages, with labels.csv or Annotations), "
        "a CSV with the columns image,labels, or one folder of images per class"
    )


def _table(root: Path, kind: Kind, csv: str | None) -> Path | None:
    if csv is not None:
        if not (root / csv).is_file():
            raise UserError(f"data.csv: {root / csv} does not exist; give it relative to {root}")
        return root / csv
    if kind == "folders":
        return None
    usual = root / _USUAL_TABLE
    if kind == "voc" or usual.is_file():
        return usual if usual.is_file() else None
    tables = _tables(root)
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise UserError(f"{root}: one CSV with the columns image,labels is needed, found: {found}; name it")
    return tables[0]
