"""What montages share: the choice of images, their scenes, and the sheet with a row per image.

Letters: H W pixels.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsss.data.ground_truth import GroundTruth, read_ground_truth
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.errors import UserError
from wsss.figures import PAPER, Colour, Panel, colour_mask, sheet
from wsss.ops.metrics import IGNORE, confusion, means, tally
from wsss.ops.palette import voc_palette
from wsss.paper_figures.inputs import Inputs
from wsss.sources import Folders, open_source
from wsss.stores import Record, Store
from wsss.thresholds import read_evaluation

Order = Literal["fixed", "best", "worst"]
PALETTE = voc_palette()


@dataclass(frozen=True)
class Scene:
    """An image, its truth uint8 [H, W] with 255 = ignored, and the one of its classes that is in focus, if any."""

    sample: Sample
    image_HW3: np.ndarray
    truth_HW: np.ndarray | None
    focus: int | None


@dataclass(frozen=True)
class Drawn:
    """What a chain made of an image: the picture, its measures in words, and the class ids that it shows in colours."""

    image_HW3: np.ndarray
    measures: str = ""
    labels: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Column:
    """A chain: what its results are read from, and the background threshold where it is open and known."""

    caption: str
    source: Store | Folders
    threshold: float | None


def compose(
    inputs: Inputs,
    out: str | Path,
    draw: Callable[[Scene, Record, float | None], Drawn],
    about: Callable[[Scene], str],
    *,
    split: str,
    images: int,
    choose: Order,
    columns: Sequence[dict[str, Any]],
    measures: bool,
    threshold: str,
    lines: int,
) -> None:
    """Write a montage as a PNG: per image itself, its truth where any image has one, and what every chain made of it.

    `draw` draws a record at its column's threshold, `about` says in words what is shown of a scene. The other arguments
    are those of wsss.figure_settings.Montage. Without ground truth images are spaced evenly.
    """
    manifest, truth = read_manifest(inputs.data), read_ground_truth(inputs.data)
    thresholds = {chain: _threshold(path, threshold) for (chain, _, _), path in inputs.evaluations.items()}
    found = [
        Column(column["caption"], open_source(paths, truth), thresholds.get(tuple(column["chain"])))
        for column, paths in zip(columns, inputs.maps, strict=True)
    ]
    ids = chosen(choose, manifest.split(split).ids, images, inputs.images)
    scenes = [scene(manifest.samples[key], truth.get(key)) for key in ids]
    drawn = [[draw(view, column.source[view.sample.id], column.threshold) for column in found] for view in scenes]
    named, masks = lines > 1, any(view.truth_HW is not None for view in scenes)
    leaders = [_leaders(view, about(view), masks, named) for view in scenes]
    rows = [
        [*leading, *(_panel(each, column, named, measures) for each, column in zip(results, found, strict=True))]
        for leading, results in zip(leaders, drawn, strict=True)
    ]
    sheet(
        [part for row in rows for part in _parts(row, lines, len(leaders[0]))],
        out,
        header=[] if named else ["image", "ground truth"][: len(leaders[0])] + [_heading(c, measures) for c in found],
        legend=_legend(scenes, drawn, manifest.classes),
        group=lines,
    )


def chosen(order: Order, ids: Sequence[str], count: int, images_csv: Path | None) -> list[str]:
    """At most `count` ids: evenly spaced over `ids`, or the best or worst by an images file (columns id, miou).

    Ties go by id; where no image has a score, images are spaced evenly. UserError when the file lacks a column.
    """
    ids = sorted(ids)
    spaced = [ids[index * len(ids) // count] for index in range(count)] if len(ids) > count else ids
    if order == "fixed" or images_csv is None:
        return spaced
    with open(images_csv, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if not {"id", "miou"} <= set(reader.fieldnames or ()):
            raise UserError(f"{images_csv}: needs the columns id and miou; run the evaluation again")
        scored = [(float(row["miou"]), row["id"]) for row in reader if row["miou"] not in ("", "nan")]
    if not scored:
        print(f"{images_csv}: no image has a score; the figure shows evenly spaced ones", flush=True)
        return spaced
    sign = -1 if order == "best" else 1
    return [key for _, key in sorted((sign * score, key) for score, key in scored)[:count]]


def scene(sample: Sample, truth: GroundTruth | None) -> Scene:
    """An image and its truth; in focus is the image's class with most pixels in the truth, else its first label."""
    truth_HW = None if truth is None else read_mask(truth.mask)
    pixels = np.zeros(256, np.int64) if truth_HW is None else np.bincount(truth_HW.reshape(-1), minlength=256)
    focus = max(sample.labels, key=lambda label: pixels[label], default=None)
    return Scene(sample, read_rgb(sample.image), truth_HW, focus)


def coloured(label_HW: np.ndarray, truth_HW: np.ndarray | None, classes: int) -> Drawn:
    """Labels uint8 [H, W] in colours, with their mean IoU in percent over the classes in truth or labels."""
    text = ""
    if truth_HW is not None:
        text = f"mean IoU {percent(means(tally(confusion(truth_HW, label_HW, classes))).miou)}"
    return Drawn(colour_mask(label_HW, PALETTE), text, frozenset(np.unique(label_HW).tolist()))


def percent(value: float | np.ndarray) -> str:
    """A fraction in percent with one digit; a dash for NaN."""
    return "–" if np.isnan(value) else f"{100 * float(value):.1f}"


def _leaders(view: Scene, about: str, masks: bool, named: bool) -> list[Panel]:
    """The image, and its truth where any image of the figure has one."""
    found = [Panel(view.image_HW3, "\n".join(filter(None, (view.sample.id, about))))]
    if not masks:
        return found
    if view.truth_HW is None:
        return [*found, Panel(np.full_like(view.image_HW3, PAPER), "no mask")]
    return [*found, Panel(colour_mask(view.truth_HW, PALETTE), "ground truth" if named else "")]


def _panel(drawn: Drawn, column: Column, named: bool, measures: bool) -> Panel:
    texts = (column.caption if named else "", drawn.measures if measures else "")
    return Panel(drawn.image_HW3, "\n".join(filter(None, texts)))


def _heading(column: Column, measures: bool) -> str:
    """Text above a column: its caption, and the threshold on which its measures rest."""
    if not measures or column.threshold is None:
        return column.caption
    return f"{column.caption}\nthreshold {column.threshold:.3f}"


def _parts(row: list[Panel], lines: int, leading: int) -> list[list[Panel]]:
    """A row, or its halves: the first behind the image, the second behind the truth (or behind the image again)."""
    if lines == 1:
        return [row]
    half = (len(row) - leading) // 2
    return [[row[0], *row[leading : leading + half]], [row[leading - 1], *row[leading + half :]]]


def _legend(
    scenes: Sequence[Scene], drawn: Sequence[Sequence[Drawn]], classes: Sequence[str]
) -> list[tuple[Colour, str]]:
    """The colours of all classes that occur in the truth or in a coloured panel, and of what the truth leaves out."""
    found = set().union(*(each.labels for row in drawn for each in row))
    for view in scenes:
        found |= set() if view.truth_HW is None else set(np.unique(view.truth_HW).tolist())
    names = [*enumerate(classes, 1), (IGNORE, "not scored")]
    return [(tuple(PALETTE[label].tolist()), name) for label, name in names if label in found]


def _threshold(evaluation: Path, rule: str) -> float | None:
    """The background threshold of an evaluation's rule; None for label maps, or where nothing could choose it."""
    value = (read_evaluation(evaluation)["rules"].get(rule) or {}).get("threshold")
    return None if value is None else float(value)
