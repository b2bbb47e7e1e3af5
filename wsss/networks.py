"""Assembles and trains a network from settings: backbone file, initial weights, method file, recipe."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from wsss.backbones.common import freeze
from wsss.backbones.weights import load_weights, read_weights
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.job import Job
from wsss.model import TrainableModel
from wsss.process import set_up
from wsss.training import fit

Model = TypeVar("Model", bound=TrainableModel)


class HasId(Protocol):
    """A training sample that errors can name."""

    @property
    def id(self) -> str:
        """Its name."""


Named = TypeVar("Named", bound=HasId)


def assemble(
    *,
    method: str,
    network: str,
    output_stride: int,
    backbone_options: dict[str, Any],
    options: dict[str, Any],
    num_classes: int,
    initial_weights: Path | None = None,
) -> Any:
    """The method's network on its backbone; `num_classes` counts foreground classes.

    `initial_weights` (a file) start the backbone; every key must be accounted for (UserError otherwise), and the report
    goes to the log.
    """
    backbone = importlib.import_module(f"wsss.backbones.{network}").build(
        output_stride=output_stride, **backbone_options
    )
    if initial_weights is not None:
        print(load_weights(backbone, read_weights(initial_weights)), flush=True)
    return importlib.import_module(f"wsss.methods.{method}").build(
        backbone=backbone, num_classes=num_classes, **options
    )


def train(
    samples: Sequence[Named],
    num_classes: int,
    sample: Callable[[Augmentation, Named, np.random.Generator], dict[str, np.ndarray]],
    *,
    seed: int,
    job: Job,
    weights: str,
    history: str,
    initial_weights: str | None,
    start: str | None,
    recipe: dict[str, Any],
    chance: float | None = None,
    **network: Any,
) -> None:
    """Train the network described by `network` (see assemble) on `samples`; write its weights and loss history.

    `sample` gives the arrays of one sample of a batch, drawn with the recipe's augmentation; all follows `seed`.
    `initial_weights` are the backbone's, or, with `start` (the name of a trained network), those of that network.
    """
    device = set_up(seed, job.threads)
    initial = Path(initial_weights) if initial_weights else None
    model = assemble(num_classes=num_classes, initial_weights=None if start else initial, **network)
    if start and initial:
        model.start(read_weights(initial))
    prepare(model, recipe, device)
    augment = Augmentation.from_settings(recipe["augment"], mean=model.backbone.mean, std=model.backbone.std)
    print(f"{len(samples)} samples, {num_classes} classes", flush=True)
    fit(
        model,
        lambda index, rng: sample(augment, samples[index], rng),
        len(samples),
        recipe=recipe,
        seed=seed,
        job=job,
        weights=Path(weights),
        history=Path(history),
        name=lambda index: samples[index].id,
        chance=chance,
    )


def prepare(model: TrainableModel, recipe: dict[str, Any], device: torch.device) -> TrainableModel:
    """Apply what a recipe says of the backbone (frozen stages, gradient checkpointing) and move to the device."""
    freeze(model.backbone, recipe["freeze"])
    model.backbone.gradient_checkpointing = recipe["gradient_checkpointing"]
    return model.to(device)


def load_trained(model: Model, weights: Path) -> Model:
    """Load a network's own trained weights; UserError when they belong to another network."""
    state = read_weights(weights)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{weights}: does not hold this network's weights ({' '.join(str(error).split())[:300]}); train it again"
        ) from None
    return model.eval().to(memory_format=torch.channels_last)
