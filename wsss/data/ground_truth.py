"""Where the ground-truth masks lie. Only the data stage and the evaluation may import this module."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsss.data.manifest import portable
from wsss.data.rows import Rows, damaged, read_rows
from wsss.files import write_csv

FILE = "ground_truth.csv"
COLUMNS = ("id", "mask", "source")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The mask of one image (palette PNG, 255 = ignore) and who drew it: VOC, SBD, shapes, own."""

    mask: Path
    source: str


def read_ground_truth(folder: str | Path) -> Mapping[str, GroundTruth]:
    """Masks by image id, from ground_truth.csv of a data folder; images without a mask do not occur.

    UserError that names the file and line when it is missing or was damaged.
    """
    masks: dict[str, str] = {}
    sources: list[str] = []
    names: dict[str, str] = {}
    path = Path(folder) / FILE
    for line, (id, mask, source) in read_rows(path, COLUMNS):
        if id in masks:
            raise damaged(path, line, f"id '{id}' stands already above")
        masks[id] = mask
        sources.append(names.setdefault(source, source))
    paths = list(masks.values())
    return Rows(masks, lambda n: GroundTruth(Path(paths[n]), sources[n]))


def write_ground_truth(folder: str | Path, masks: Mapping[str, GroundTruth]) -> None:
    """Write ground_truth.csv, atomically; a data set without masks gets a table without rows."""
    rows = ((id, portable(truth.mask), truth.source) for id, truth in masks.items())
    write_csv(Path(folder) / FILE, COLUMNS, rows)
