"""What stages ask of a method's network.

Legend: B batch, C classes, H x W image, h x w features.
"""

from typing import Any

from torch import Tensor, nn

from wsss.backbones.common import Backbone


class TrainableModel(nn.Module):
    """A network on a backbone that brings its losses and its optimiser groups."""

    backbone: Backbone

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Scalar losses of a batch by name; the training loop minimises their sum."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups with the keys name, params, lr_factor and weight_decay_factor."""
        raise NotImplementedError

    def after_step(self, progress: object) -> None:
        """Called after every update; an EMA network, say, follows here."""


class Classifier(TrainableModel):
    """A network of stage `classify`."""

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w) before any ReLU."""
        raise NotImplementedError


class Segmenter(TrainableModel):
    """A network of stage `segment`."""

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B,C+1,h,w), background first."""
        raise NotImplementedError
