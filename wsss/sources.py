"""Where predictions come from: packed stores, or folders of PNGs; both are read by image id.

Letters: H W pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from wsss.data.ground_truth import GroundTruth
from wsss.data.images import read_mask
from wsss.data.pngs import Pngs
from wsss.errors import UserError
from wsss.stores import Record, Store


class Folders:
    """Predicted label maps as <id>.png in one folder or several; read like a Store."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.files = Pngs(paths)

    def __contains__(self, id: str) -> bool:
        return id in self.files

    def __getitem__(self, id: str) -> Record:
        if id not in self.files:
            raise UserError(f"{self.paths[0]}: there is no {id}.png; predict the whole split")
        label_HW = read_mask(self.files[id])
        return Record(label_HW, {"size": list(label_HW.shape)})


def open_source(maps: str | Path | Sequence[str | Path], truth: Mapping[str, GroundTruth]) -> Store | Folders:
    """Folders when every path is a folder, else a Store; UserError when a folder is that of the masks."""
    paths = [Path(maps)] if isinstance(maps, str | Path) else [Path(path) for path in maps]
    if not paths or not all(path.is_dir() for path in paths):
        return Store(paths)
    masks = {folder.resolve() for folder in {entry.mask.parent for entry in truth.values()}}
    for path in paths:
        if path.resolve() in masks:
            raise UserError(f"{path}: holds the ground truth masks; give the folder of predictions")
    return Folders(paths)


def kind_of(record: Record) -> Literal["scores", "labels"]:
    """Scores: float maps that need a background threshold. Labels: label maps, or maps with a background."""
    is_map = record.array.dtype.kind == "f" and 0 not in record.meta.get("classes", ())
    return "scores" if is_map else "labels"


def full_size(record: Record, truth_HW: np.ndarray, mask: Path) -> tuple[int, int]:
    """(H, W) of the prediction; UserError when the mask has another size."""
    height, width = record.meta.get("size", record.array.shape[-2:])
    if (height, width) != truth_HW.shape:
        raise UserError(
            f"the prediction is {width} x {height} (width x height), but {mask} is {truth_HW.shape[1]} x "
            f"{truth_HW.shape[0]}; make both at the size of the image"
        )
    return height, width
