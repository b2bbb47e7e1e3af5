"""Stage `classify`: train a network from image-level labels. Masks cannot be reached from here."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.networks import train as train_network

KEPT_BYTES = 2**28
"""Memory for guides that later epochs use again."""


def train(*, data: str, split: str, method: str, data_options: dict[str, Any] | None = None, **training: Any) -> None:
    """Train the method's network (`training`: the other keywords of networks.train) on a split's image-level labels.

    A method's `guide` (superpixels, say) is an integer map per image, cut like the image; -1 stands around it.
    """
    manifest = read_manifest(data)
    samples, count = manifest.split(split), len(manifest.classes)
    if not any(sample.labels for sample in samples):
        raise UserError(f"{data}: no image of split '{split}' has a label; correct the labels")

    guide = getattr(importlib.import_module(f"wsss.methods.{method}"), "guide", None)
    guide = guide and _kept(partial(guide, **data_options or {}))

    def arrays(augment: Augmentation, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        rgb_HW3, labels_C = read_rgb(sample.image), multi_hot(sample, count)
        if guide is None:
            return {"image": augment(rgb_HW3, rng)[0], "labels": labels_C}
        image_3HW, guide_HW = augment(rgb_HW3, rng, guide(sample.id, rgb_HW3), outside=-1)
        return {"image": image_3HW, "labels": labels_C, "guide": np.asarray(guide_HW)}

    train_network(samples, count, arrays, method=method, chance=chance_loss(samples, count), **training)


def _kept(guide: Callable[[np.ndarray], np.ndarray]) -> Callable[[str, np.ndarray], np.ndarray]:
    """`guide` by an image's id; the first ones stay in memory, as many as KEPT_BYTES hold."""
    kept: dict[str, np.ndarray] = {}

    def remember(id: str, rgb_HW3: np.ndarray) -> np.ndarray:
        if (found_HW := kept.get(id)) is not None:
            return found_HW
        made_HW = guide(rgb_HW3)
        if made_HW.nbytes * (len(kept) + 1) <= KEPT_BYTES:
            kept[id] = made_HW
        return made_HW

    return remember


def chance_loss(samples: Sequence[Sample], num_classes: int) -> float:
    """Multi-label loss of the best constant answer: the mean entropy of the classes' frequencies, in nats."""
    count_C = np.zeros(num_classes)
    for sample in samples:
        count_C[[label - 1 for label in sample.labels]] += 1
    share_C = (count_C / len(samples)).clip(1e-6, 1 - 1e-6)
    return float(-np.mean(share_C * np.log(share_C) + (1 - share_C) * np.log(1 - share_C)))


def multi_hot(sample: Sample, num_classes: int) -> np.ndarray:
    """Labels of an image as float32 (C,), 1 for present classes."""
    labels_C = np.zeros(num_classes, np.float32)
    labels_C[[label - 1 for label in sample.labels]] = 1
    return labels_C
