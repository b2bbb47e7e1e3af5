"""Where the ground-truth masks lie. Only the data stage and the evaluation may import this module."""

from dataclasses import dataclass
from pathlib import Path

from wsss.data.manifest import portable
from wsss.errors import UserError
from wsss.files import read_csv, write_csv

FILE = "ground_truth.csv"
COLUMNS = ("id", "mask", "source")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The mask of one image (palette PNG, 255 = ignore) and who drew it: VOC, SBD, shapes, own."""

    mask: Path
    source: str


def read_ground_truth(folder: str | Path) -> dict[str, GroundTruth]:
    """Masks by image id, from ground_truth.csv of a data folder; images without a mask do not occur."""
    path = Path(folder) / FILE
    try:
        return {key: GroundTruth(Path(mask), source) for key, mask, source in read_csv(path, COLUMNS)}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; run the data stage again") from None


def write_ground_truth(folder: str | Path, masks: dict[str, GroundTruth]) -> None:
    """Write ground_truth.csv, atomically; a data set without masks gets a table without rows."""
    rows = ((key, portable(truth.mask), truth.source) for key, truth in masks.items())
    write_csv(Path(folder) / FILE, COLUMNS, rows)
