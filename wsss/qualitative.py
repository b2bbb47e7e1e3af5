"""Montages of images beside their truth, maps and predictions: fixed, best and worst images of a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss.data.ground_truth import GroundTruth, read_ground_truth
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.figures import Example, choose, qualitative
from wsss.files import atomic_folder
from wsss.ops.palette import voc_palette
from wsss.ops.scores import enlarge
from wsss.stores import Store


def draw(
    *,
    data: str | Path,
    split: str,
    images: str | Path,
    scores: Sequence[str],
    labels: dict[str, Sequence[str]],
    count: int,
    out: str | Path,
) -> None:
    """Write fixed.png, best.png and worst.png (those that have images) to the folder `out`.

    `images` is an evaluation's images file, by which best and worst are ranked; `scores` the stores of the class
    activation maps; `labels` the label maps by caption: stores, or folders of PNGs.
    """
    manifest, truth = read_manifest(data), read_ground_truth(data)
    maps = Store(scores)

    def example(key: str) -> Example:
        sample = manifest.samples[key]
        names = ("background", *manifest.classes)
        record = maps[key]
        score_KHW = enlarge(record.array, record.meta["size"])
        named = {names[c]: score_HW for c, score_HW in zip(record.meta["classes"], score_KHW, strict=True)}
        found = {caption: _label_map(paths, sample) for caption, paths in labels.items()}
        return Example(key, read_rgb(sample.image), _truth(truth, key), named, found)

    with atomic_folder(out) as folder:
        for kind, ids in choose(images, manifest.splits[split], count).items():
            if ids:
                qualitative([example(key) for key in ids], voc_palette(), folder / f"{kind}.png")


def _label_map(paths: Sequence[str], sample: Sample) -> np.ndarray:
    if paths[0].endswith(".store"):
        return Store(paths)[sample.id].array
    return next(read_mask(path) for folder in paths if (path := Path(folder, f"{sample.id}.png")).is_file())


def _truth(truth: dict[str, GroundTruth], key: str) -> np.ndarray | None:
    return read_mask(truth[key].mask) if key in truth else None
