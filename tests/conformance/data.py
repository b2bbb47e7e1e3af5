"""Vectors of VOC's constants, preprocessing and sizes: fn(path) -> (largest difference, tolerance)."""

import csv
from pathlib import Path

import numpy as np


def voc(path: Path) -> tuple[float, float]:
    """Palette; and the numbers of images behind the class totals against the known split sizes."""
    from wsss.data.voc_constants import CLASSES, SPLITS
    from wsss.ops.palette import voc_palette

    vector = np.load(path)
    difference = np.abs(voc_palette().astype(int) - vector["palette"].astype(int)).max()
    histogram = vector["labels_per_image_hist"]
    images = SPLITS["train_aug"][0] + SPLITS["val"][0]
    labels = int((histogram * np.arange(len(histogram))).sum())
    counts = [
        histogram.sum() - images,
        vector["class_totals_all"].sum() - labels,
        len(vector["class_totals_all"]) - len(CLASSES),
    ]
    return float(max(difference, *np.abs(counts))), 0.0


def voc_lists(path: Path) -> tuple[float, float]:
    """Number of splits whose size or digest differs."""
    from wsss.data.voc_constants import SPLITS

    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    wrong = [r for r in rows if SPLITS.get(r["list"]) != (int(r["count"]), r["sha256_of_sorted_ids"])]
    return float(len(wrong)), 0.0


def class_names(path: Path) -> tuple[float, float]:
    """Number of names that differ, background first."""
    from wsss.data.voc_constants import CLASSES

    wanted = path.read_text(encoding="utf-8").splitlines()
    found = ["background", *CLASSES]
    differing = sum(a != b for a, b in zip(wanted, found, strict=False))
    return float(differing + abs(len(wanted) - len(found))), 0.0


def preprocess(path: Path) -> tuple[float, float]:
    """Normalisation to 1e-6; masks exact; images within one level, by which versions of Pillow may differ."""
    from wsss.data.transforms import normalise, resize_image, resize_label
    from wsss.ops.sizes import scaled

    vector = np.load(path)
    image_HW3, label_HW = vector["rgb"], vector["mask"]
    differences = [np.abs(normalise(image_HW3).transpose(1, 2, 0) - vector["normalised"]).max()]
    for i, scale in enumerate(vector["scales"]):
        size = scaled(image_HW3.shape[:2], float(scale))
        grey = np.abs(resize_image(image_HW3, size).astype(int) - vector[f"rgb_{i}"].astype(int)).max()
        label = np.abs(resize_label(label_HW, size).astype(int) - vector[f"mask_{i}"].astype(int)).max()
        differences += [max(0, grey - 1), label]
    return float(max(differences)), 1e-6


def sizes(path: Path) -> tuple[float, float]:
    """All size formulae, exactly."""
    from wsss.ops.sizes import resized_long, resized_long_psa, rounded_up, scaled, strided

    vector = np.load(path)
    images = [(int(h), int(w)) for h, w in vector["hw"]]
    targets = [int(target) for target in vector["target_long"]]
    scaled_all = [[scaled(size, float(factor)) for factor in vector["scales"]] for size in images]
    found = {
        "scaled_irn": scaled_all,
        "scaled_psa": scaled_all,
        "strided4": [strided(size, 4) for size in images],
        "up16": [rounded_up(size, 16) for size in images],
        "resized_long_irn": [resized_long(*pair) for pair in zip(images, targets, strict=True)],
        "resized_long_psa": [resized_long_psa(*pair) for pair in zip(images, targets, strict=True)],
    }
    return float(max(np.abs(np.array(value) - vector[key]).max() for key, value in found.items())), 0.0


ADAPTERS = {
    "12_voc": voc,
    "12_voc_lists": voc_lists,
    "12_class_names": class_names,
    "14_preprocess": preprocess,
    "14_sizes": sizes,
}
