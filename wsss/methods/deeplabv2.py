"""DeepLabv2 (Chen et al. 2016): atrous spatial pyramid pooling, and multi-scale inputs merged by their maximum.

Numbers from kazuto1011/deeplab-pytorch (configs/voc12.yaml, libs/models): rates 6, 12, 18, 24 summed; inputs at 1,
0.5 and 0.75; in training a loss on every scale and on the maximum.

Legend: B batch, D channels, L = C + 1 labels, H x W image, h x w logits.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone, freeze_norms, split_parameters
from wsss.model import Segmenter
from wsss.ops.segmentation_loss import cross_entropy


class Aspp(nn.Module):
    """Sum of 3x3 convolutions with different dilations; weights N(0, 0.01), biases 0."""

    def __init__(self, channels: int, labels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, labels, 3, padding=r, dilation=r) for r in rates)
        for weight, bias in zip(*self.weights_and_biases(), strict=True):
            nn.init.normal_(weight, std=0.01)
            nn.init.zeros_(bias)

    def weights_and_biases(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the branches, in order."""
        named = dict(self.branches.named_parameters())
        return [named[n] for n in named if n.endswith("weight")], [named[n] for n in named if n.endswith("bias")]

    def forward(self, feature_BDhw: Tensor) -> Tensor:
        """Logits (B,L,h,w)."""
        return torch.stack([branch(feature_BDhw) for branch in self.branches]).sum(0)


class DeepLabV2(Segmenter):
    """Backbone and ASPP; `scales` below 1 are further passes over a smaller image."""

    def __init__(
        self,
        backbone: Backbone,
        labels: int,
        rates: Sequence[int],
        scales: Sequence[float],
        reduction: str,
        balanced: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.aspp = Aspp(backbone.channels[-1], labels, rates)
        self.scales, self.reduction, self.balanced = tuple(scales), reduction, balanced
        freeze_norms(backbone)

    def pyramid(self, image_BCHW: Tensor) -> list[Tensor]:
        """Logits of the image, of its smaller versions at their own sizes, and then the maximum of all."""
        logits = [self.aspp(self.backbone(image_BCHW)[-1])]
        for scale in self.scales:
            # The nominal factor also places the samples when the size is not a multiple, as in the published code.
            small = F.interpolate(image_BCHW, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)
            logits.append(self.aspp(self.backbone(small)[-1]))
        if self.scales:
            size = logits[0].shape[2:]
            resized = [logits[0], *(F.interpolate(logit, size, mode="bilinear") for logit in logits[1:])]
            logits.append(torch.stack(resized).amax(0))
        return logits

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B,L,h,w): the maximum over scales."""
        return self.pyramid(image_BCHW)[-1]

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Cross entropy of `image` (B,3,H,W) against `label` (B,H,W), summed (or averaged) over scales and maximum."""
        losses = [cross_entropy(z, batch["label"], balanced=self.balanced) for z in self.pyramid(batch["image"])]
        total = torch.stack(losses).sum()
        return {"segmentation": total / len(losses) if self.reduction == "mean" else total}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone x 1 without its BatchNorm, ASPP weights x 10, ASPP biases x 20 without decay."""
        weights, _, others = split_parameters(self.backbone)
        fast, faster = self.aspp.weights_and_biases()
        return [
            {"name": "backbone", "params": weights + others, "lr_factor": 1.0, "weight_decay_factor": 1.0},
            {"name": "aspp", "params": fast, "lr_factor": 10.0, "weight_decay_factor": 1.0},
            {"name": "aspp bias", "params": faster, "lr_factor": 20.0, "weight_decay_factor": 0.0},
        ]


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    rates: Sequence[int] = (6, 12, 18, 24),
    scales: Sequence[float] = (0.5, 0.75),
    reduction: Literal["sum", "mean"] = "sum",
    balanced: bool = False,
) -> DeepLabV2:
    """DeepLabv2 for `num_classes` foreground classes; `scales: []` trains and tests on one scale."""
    return DeepLabV2(backbone, num_classes + 1, rates, scales, reduction, balanced)
