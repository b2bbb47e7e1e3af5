"""Stage `affinity`: a network that learns from class activation maps which pixels belong together.

Three steps: training labels from the maps, shard by shard; the training itself; and the refinement of maps by the
trained network, shard by shard (stage `refine`). Masks cannot be reached from here.
"""

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest, shard_of
from wsss.data.transforms import Augmentation
from wsss.job import Job
from wsss.networks import assemble, load_trained
from wsss.networks import train as train_network
from wsss.process import set_up
from wsss.refine import write
from wsss.stores import Store, Writer
from wsss.thresholds import chosen


def make_labels(
    *,
    data: str,
    split: str,
    shard: str,
    scores: str,
    evaluation: str | None,
    out: str,
    method: str,
    background: float | str,
    options: dict[str, Any],
) -> None:
    """Write the method's training labels of one shard: uint8 (H,W) or (N,H,W) per image."""
    labels = importlib.import_module(f"wsss.methods.{method}").labels
    threshold = chosen(background, evaluation)
    print(f"background threshold {threshold:.4f} ({background})", flush=True)
    source = Store(scores)
    samples = shard_of(read_manifest(data).split(split), shard)
    with Writer(out, compress=True) as store:
        for number, sample in enumerate(samples, 1):
            store.add(sample.id, labels(source[sample.id], read_rgb(sample.image), threshold, **options))
            if number % 100 == 0 or number == len(samples):
                print(f"{number}/{len(samples)} images", flush=True)


def train(*, data: str, split: str, labels: Sequence[str], method: str, **training: Any) -> None:
    """Train the method's network (`training`: the other keywords of networks.train) on stored labels."""
    manifest, source = read_manifest(data), Store(labels)
    module = importlib.import_module(f"wsss.methods.{method}")
    reduce = (
        partial(module.sample_target, stride=training["output_stride"])
        if hasattr(module, "sample_target")
        else np.asarray
    )

    def arrays(augment: Augmentation, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        label = source[sample.id].array
        image_3HW, cut = augment(read_rgb(sample.image), rng, label, outside=module.PAD)
        return {"image": image_3HW, "label": reduce(cut)}

    train_network(manifest.split(split), len(manifest.classes), arrays, method=method, **training)


def refine(
    *,
    data: str,
    split: str,
    shard: str,
    scores: str,
    weights: str,
    out: str,
    job: Job,
    method: str,
    options: dict[str, Any],
    network: dict[str, Any],
) -> None:
    """Refine one shard of score maps by the method's trained network (the random walk)."""
    device = set_up(0, job.threads)
    model = load_trained(assemble(num_classes=len(read_manifest(data).classes), **network), Path(weights)).to(device)
    walk = partial(importlib.import_module(f"wsss.methods.{method}").refine, model, **options)
    write(data=data, split=split, shard=shard, scores=scores, out=out, refine=walk)
