"""Stage `segment`: train a segmentation network on pseudo labels. Masks of the data set cannot be reached from here."""

from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import read_manifest
from wsss.errors import UserError
from wsss.job import Job
from wsss.networks import trainee
from wsss.training import fit


def train(
    *,
    data: str,
    split: str,
    labels: str,
    seed: int,
    job: Job,
    weights: str,
    history: str,
    initial_weights: str | None,
    recipe: dict[str, Any],
    **network: Any,
) -> None:
    """Train the network described by `network` (see networks.assemble) on the PNGs of the folder `labels`."""
    manifest = read_manifest(data)
    samples = manifest.split(split)
    absent = [sample.id for sample in samples if not Path(labels, f"{sample.id}.png").is_file()]
    if absent:
        raise UserError(f"{labels}: {len(absent)} of {len(samples)} labels are missing, first {absent[0]}.png")
    model, augment = trainee(
        num_classes=len(manifest.classes),
        seed=seed,
        threads=job.threads,
        recipe=recipe,
        initial_weights=initial_weights,
        network=network,
    )
    print(f"{len(samples)} images, {len(manifest.classes)} classes and background", flush=True)

    def sample(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        label_HW = read_mask(Path(labels, f"{samples[index].id}.png"))
        image_3HW, cut_HW = augment(read_rgb(samples[index].image), rng, label_HW)
        return {"image": image_3HW, "label": np.asarray(cut_HW)}

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
