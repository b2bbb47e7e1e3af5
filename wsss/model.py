"""What stages ask of a method's network.

Legend: B batch, C classes, H x W image, h x w features.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.errors import UserError


class TrainableModel(nn.Module):
    """A network on a backbone that brings its losses and its optimiser groups."""

    backbone: Backbone

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Scalar losses of a batch by name; the training loop minimises their sum."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups with the keys name, params, lr_factor and weight_decay_factor."""
        raise NotImplementedError

    classification_weight: float = 1.0
    """Factor of the loss `classification`, where there is one."""

    def after_step(self, progress: object) -> None:
        """Called after every update; an EMA network, say, follows here."""

    own_inference: bool = False
    """Whether the network turns whole images into maps or probabilities by itself."""

    def start(self, state: dict[str, Tensor]) -> None:
        """Take over another trained network's backbone (settings: `start`); UserError when it is of another kind."""
        prefix = "backbone."
        found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        try:
            self.backbone.load_state_dict(found)
        except RuntimeError:
            raise UserError("start: that network stands on another kind of backbone; name one on the same") from None

    calibration_batches: int = 0

    def calibrate(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Called once after the last update with `calibration_batches` batches: statistics that inference needs."""


def backbone_and_head(backbone: nn.Module, head: Iterable[nn.Parameter], head_lr: float) -> list[dict[str, Any]]:
    """Parameter groups: the backbone at the recipe's rate, `head` at `head_lr` times that, weight decay on both."""
    return [
        {"name": "backbone", "params": [*backbone.parameters()], "lr_factor": 1.0, "weight_decay_factor": 1.0},
        {"name": "head", "params": [*head], "lr_factor": head_lr, "weight_decay_factor": 1.0},
    ]


class Classifier(TrainableModel):
    """A network of stage `classify`."""

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w) before any ReLU."""
        raise NotImplementedError

    def branches(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Raw score maps (B,C,h,w) by branch; most networks have only the classifier's, `img`."""
        return {"img": self.class_maps(image_BCHW)}

    def image_maps(self, rgb_HW3: np.ndarray, keys: list[int], scales: list[float]) -> Tensor:
        """Score maps (K,h,w) >= 0 of the classes `keys` (from 0), for networks with an inference of their own."""
        raise NotImplementedError


class Segmenter(TrainableModel):
    """A network of stage `segment`."""

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B,C+1,h,w), background first."""
        raise NotImplementedError

    def image_probabilities(self, image_3HW: Tensor, classes: Sequence[int]) -> Tensor:
        """Probabilities (L,H,W) of one normalised image, for networks with an inference of their own.

        `classes`: the ids that may be predicted beside background; empty where the network decides.
        """
        raise NotImplementedError
