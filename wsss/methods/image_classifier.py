"""DecoupledNet's classification branch (Hong, Noh, Han 2015), trained alone from image-level labels.

VGG16's fully connected layers as convolutions on the last tap: fc6 (kernel x kernel, no padding), fc7 and the score
(1x1). The score of an image is the maximum of the score map, as in the published network, whose pooling layer is named
after the average. Its training is not published; dropout and the faster new layers are as in VGG16's own fine-tuning.

Legend: B batch, C classes, D channels, H x W image, h x w features.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.errors import UserError
from wsss.model import Classifier, backbone_and_head


class Head(nn.Module):
    """fc6, fc7 and the score; He weights, the score's N(0, 0.01), biases 0."""

    def __init__(self, channels: int, num_classes: int, kernel: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc6 = nn.Conv2d(channels, width, kernel)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.score = nn.Conv2d(width, num_classes, 1)
        self.kernel, self.dropout = kernel, dropout
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.score.weight, std=0.01)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tap_BDhw: Tensor) -> Tensor:
        """Score map (B,C,h-k+1,w-k+1) for kernel size k; UserError when the features are smaller than the kernel."""
        height, width = tap_BDhw.shape[2:]
        if min(height, width) < self.kernel:
            raise UserError(
                f"kernel: {self.kernel} is more than the {height} x {width} features; "
                "lower it, or enlarge the images (recipes.<name>.augment.crop)"
            )
        for layer in (self.fc6, self.fc7):
            tap_BDhw = F.dropout(layer(tap_BDhw).relu(), self.dropout, self.training)
        return self.score(tap_BDhw)


def image_scores(score_BChw: Tensor) -> Tensor:
    """Maximum (B,C) of every score map; its gradient goes to one location, as a max pooling's does."""
    return score_BChw.flatten(2).max(2).values


class ImageClassifier(Classifier):
    """A backbone and the head on its last tap."""

    def __init__(self, backbone: Backbone, head: Head, head_lr: float) -> None:
        super().__init__()
        self.backbone, self.head, self.head_lr = backbone, head, head_lr

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Binary logistic loss, averaged over classes, of `image` (B,3,H,W) against `labels` (B,C), 0 or 1."""
        logit_BC = image_scores(self.class_maps(batch["image"])).float()
        return {"classification": F.multilabel_soft_margin_loss(logit_BC, batch["labels"])}

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Score maps (B,C,h,w), smaller than the last tap by kernel - 1 in each direction."""
        return self.head(self.backbone(image_BCHW)[-1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone at the recipe's rate, the head at `head_lr` times that."""
        return backbone_and_head(self.backbone, self.head.parameters(), self.head_lr)


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    kernel: int = 7,
    width: int = 4096,
    dropout: float = 0.5,
    head_lr: float = 10.0,
) -> ImageClassifier:
    """Classification branch; `kernel` of fc6 must fit the last tap (7 on the 10 x 10 of VGG16 for 320 pixels)."""
    return ImageClassifier(backbone, Head(backbone.channels[-1], num_classes, kernel, width, dropout), head_lr)
