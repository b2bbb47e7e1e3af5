"""Assembles a network from settings: backbone file, initial weights, method file."""

import importlib
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file

from wsss.backbones.common import freeze
from wsss.backbones.weights import load_weights, read_weights
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.model import TrainableModel
from wsss.training import seed_everything

Model = TypeVar("Model", bound=TrainableModel)


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


def trainee(
    *,
    num_classes: int,
    seed: int,
    threads: int,
    recipe: dict[str, Any],
    initial_weights: str | None,
    network: dict[str, Any],
) -> tuple[TrainableModel, Augmentation]:
    """A network ready for training, on its device, and the augmentation of its images; everything follows the seed."""
    device = seed_everything(seed, threads)
    initial = Path(initial_weights) if initial_weights else None
    model = prepare(assemble(num_classes=num_classes, initial_weights=initial, **network), recipe, device)
    augment = Augmentation.from_settings(recipe["augment"], mean=model.backbone.mean, std=model.backbone.std)
    return model, augment


def prepare(model: TrainableModel, recipe: dict[str, Any], device: torch.device) -> TrainableModel:
    """Apply what a recipe says of the backbone (frozen stages, gradient checkpointing) and move to the device."""
    freeze(model.backbone, recipe["freeze"])
    model.backbone.gradient_checkpointing = recipe["gradient_checkpointing"]
    return model.to(device)


def load_trained(model: Model, weights: Path) -> Model:
    """Load a network's own trained weights; UserError when they belong to another network."""
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"{weights}: does not hold this network's weights ({' '.join(str(error).split())[:300]})"
        ) from None
    return model.eval().to(memory_format=torch.channels_last)
