"""Stage `segment`: train a segmentation network on pseudo labels. Masks of the data set cannot be reached from here."""

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.data.pngs import Pngs
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.networks import train as train_network


def train(
    *,
    data: str,
    split: str,
    labels: Sequence[str],
    method: str,
    data_options: dict[str, Any] | None = None,
    **training: Any,
) -> None:
    """Train the method's network (`training`: the other keywords of networks.train) on PNGs of the folders `labels`.

    A method may choose its own `examples` (image and class, say) from the label maps, and cut its own `arrays`.
    """
    manifest = read_manifest(data)
    samples = manifest.split(split)
    files = Pngs(labels)
    absent = [id for id in samples.ids if id not in files]
    if absent:
        raise UserError(
            f"{labels[0]}: {len(absent)} of {len(samples)} labels are missing, first {absent[0]}.png; make them again"
        )
    module = importlib.import_module(f"wsss.methods.{method}")
    if hasattr(module, "examples"):
        examples = module.examples(samples, lambda sample: read_mask(files[sample.id]), **data_options or {})
        train_network(examples, len(manifest.classes), partial(module.arrays, files), method=method, **training)
        return

    def arrays(augment: Augmentation, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image_3HW, cut_HW = augment(read_rgb(sample.image), rng, read_mask(files[sample.id]))
        return {"image": image_3HW, "label": np.asarray(cut_HW)}

    train_network(samples, len(manifest.classes), arrays, method=method, **training)
