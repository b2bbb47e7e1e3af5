"""Small data sets of users, on disk, in the three layouts."""

from pathlib import Path

import numpy as np
from PIL import Image

from wsss.data.images import write_mask


def photo(path: Path, size: tuple[int, int] = (20, 16)) -> Path:
    """Write a small photograph of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path.name)))
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)
    return path


def mask(path: Path, ids: list[int], size: tuple[int, int] = (20, 16)) -> Path:
    """Write a mask of (width, height) that holds the given ids in stripes, and background."""
    path.parent.mkdir(parents=True, exist_ok=True)
    label_HW = np.zeros((size[1], size[0]), np.uint8)
    for row, value in enumerate(ids):
        label_HW[2 * row : 2 * row + 2] = value
    write_mask(path, label_HW)
    return path


def csv_set(root: Path, rows: list[str], header: str = "image,labels", images: tuple[str, ...] = ()) -> Path:
    """Write labels.csv with the rows, and the photographs that the rows or `images` name."""
    for name in images or [row.split(",")[0] for row in rows]:
        photo(root / name)
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def voc_set(root: Path, labels: dict[str, str], splits: dict[str, list[str]] | None = None) -> Path:
    """Write a VOC layout with Annotations: image name -> object names separated by spaces."""
    for name, objects in labels.items():
        photo(root / "JPEGImages" / f"{name}.jpg")
        items = "".join(f"<object><name>{label}</name></object>" for label in objects.split())
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation>{items}</annotation>", encoding="utf-8")
    for split, names in (splits or {}).items():
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return root


def folder_set(root: Path, names: list[str]) -> Path:
    """Write photographs below class folders."""
    for name in names:
        photo(root / name)
    return root
