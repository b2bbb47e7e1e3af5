"""Where the ground-truth masks lie. Only the data stage and the evaluation may import this module."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wsss.data.manifest import portable
from wsss.errors import UserError
from wsss.files import atomic_write

FILE = "ground_truth.csv"


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The mask of one image (palette PNG, 255 = ignore) and who drew it: VOC, SBD, shapes, own."""

    mask: Path
    source: str


def read_ground_truth(folder: str | Path) -> dict[str, GroundTruth]:
    """Masks by image id, from ground_truth.csv of a data folder; images without a mask do not occur."""
    path = Path(folder) / FILE
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; run the data stage again") from None
    rows = zip(table["id"], table["mask"], table["source"], strict=True)
    return {key: GroundTruth(Path(mask), source) for key, mask, source in rows}


def write_ground_truth(folder: str | Path, masks: dict[str, GroundTruth]) -> None:
    """Write ground_truth.csv, atomically; a data set without masks gets a table without rows."""
    rows = [(key, portable(truth.mask), truth.source) for key, truth in masks.items()]
    with atomic_write(Path(folder) / FILE) as path:
        pd.DataFrame(rows, columns=["id", "mask", "source"]).to_csv(path, index=False)
