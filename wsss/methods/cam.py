"""Class activation maps: a backbone, global pooling, one linear classifier.

Zhou et al. 2016, in the form of IRNet (Ahn et al. 2019): the classifier is a 1x1 convolution without bias, so the map
of class c at pixel p is the product of its weights with the features at p. `gap` pools by the mean, `gmp` by the
maximum (Figure 6 of the visual words paper).

Legend: B batch, C classes, D channels, H x W image, h x w features.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.model import Classifier, backbone_and_head


class Cam(Classifier):
    """Classifier whose weights give class activation maps."""

    def __init__(self, backbone: Backbone, num_classes: int, pooling: str, dropout: float, head_lr: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.channels[-1], num_classes, 1, bias=False)
        self.pooling, self.dropout, self.head_lr = pooling, dropout, head_lr

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Multi-label soft margin loss of `image` (B,3,H,W) against `labels` (B,C), 0 or 1."""
        feature_BDhw = F.dropout2d(self.backbone(batch["image"])[-1], self.dropout, self.training)
        pooled_BD11 = (
            F.adaptive_avg_pool2d(feature_BDhw, 1) if self.pooling == "gap" else feature_BDhw.amax((2, 3), True)
        )
        logit_BC = self.classifier(pooled_BD11).flatten(1).float()
        return {"classification": F.multilabel_soft_margin_loss(logit_BC, batch["labels"])}

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w) before any ReLU."""
        return self.classifier(self.backbone(image_BCHW)[-1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone at the recipe's rate, the classifier at `head_lr` times that."""
        return backbone_and_head(self.backbone, self.classifier.parameters(), self.head_lr)


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    pooling: Literal["gap", "gmp"] = "gap",
    dropout: float = 0.0,
    head_lr: float = 10.0,
    init: Literal["default", "xavier"] = "default",
) -> Cam:
    """Baseline classifier; PSA's form has dropout 0.5 on the features and a xavier classifier."""
    model = Cam(backbone, num_classes, pooling, dropout, head_lr)
    if init == "xavier":
        torch.nn.init.xavier_uniform_(model.classifier.weight)
    return model
