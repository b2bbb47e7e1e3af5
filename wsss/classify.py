"""Stage `classify`: train a network from image-level labels. Masks cannot be reached from here."""

from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.errors import UserError
from wsss.job import Job
from wsss.networks import trainee
from wsss.training import fit


def train(
    *,
    data: str,
    split: str,
    seed: int,
    job: Job,
    weights: str,
    history: str,
    initial_weights: str | None,
    recipe: dict[str, Any],
    **network: Any,
) -> None:
    """Train the network described by `network` (see networks.assemble) on a split's image-level labels."""
    manifest = read_manifest(data)
    samples = manifest.split(split)
    if not any(sample.labels for sample in samples):
        raise UserError(f"{data}: no image of split '{split}' has a label; correct the labels")
    model, augment = trainee(
        num_classes=len(manifest.classes),
        seed=seed,
        threads=job.threads,
        recipe=recipe,
        initial_weights=initial_weights,
        network=network,
    )
    print(f"{len(samples)} images, {len(manifest.classes)} classes", flush=True)

    def sample(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image_3HW, _ = augment(read_rgb(samples[index].image), rng)
        return {"image": image_3HW, "labels": multi_hot(samples[index], len(manifest.classes))}

    fit(
        model,
        sample,
        len(samples),
        recipe=recipe,
        seed=seed,
        job=job,
        weights=Path(weights),
        history=Path(history),
        name=lambda index: samples[index].id,
    )


def multi_hot(sample: Sample, num_classes: int) -> np.ndarray:
    """Labels of an image as float32 (C,), 1 for present classes."""
    labels_C = np.zeros(num_classes, np.float32)
    labels_C[[label - 1 for label in sample.labels]] = 1
    return labels_C
