"""DeepLab-LargeFOV (Chen et al. 2015): one 3x3 convolution with a large dilation sees a wide field.

`head: vgg` is DeepLabv1's fc6 (3x3, dilation 12), fc7, fc8 with dropout (rulixiang/deeplab-pytorch). `head: resnet38` is the
one on ResNet38: two 3x3 convolutions with dilation 12, xavier weights (KAIST-vilab/AEFT networks/resnet38d.py).

Legend: B batch, D channels, L = C + 1 labels, H x W image, h x w logits.
"""

from typing import Any, Literal

from torch import Tensor, nn

from wsss.backbones.common import split_parameters
from wsss.ops.segmentation_loss import cross_entropy


class DeepLabLargeFov(nn.Module):
    """Backbone and a head with a large field of view; `new` layers of the head learn ten times faster."""

    def __init__(self, backbone: nn.Module, head: nn.Sequential, new: nn.ModuleList, balanced: bool) -> None:
        super().__init__()
        self.backbone, self.head, self.balanced = backbone, head, balanced
        self._new = {id(parameter) for parameter in new.parameters()}

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B,L,h,w)."""
        return self.head(self.backbone(image_BCHW)[-1])

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Cross entropy of `image` (B,3,H,W) against `label` (B,H,W)."""
        return {
            "segmentation": cross_entropy(self.logits(batch["image"]), batch["label"], balanced=self.balanced)
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights x 1, biases x 2 without decay; new layers x 10 and x 20. BatchNorm is not trained."""
        groups = []
        for factor, new in ((1.0, False), (10.0, True)):
            for bias in (False, True):
                found = [
                    p for p, is_bias in self._by_kind() if is_bias == bias and (id(p) in self._new) == new
                ]
                name = f"{'new' if new else 'old'} {'biases' if bias else 'weights'}"
                rates = {
                    "lr_factor": factor * (2.0 if bias else 1.0),
                    "weight_decay_factor": 0.0 if bias else 1.0,
                }
                groups.append({"name": name, "params": found} | rates)
        return groups

    def _by_kind(self) -> list[tuple[nn.Parameter, bool]]:
        pairs = []
        for module in (self.backbone, self.head):
            weights, _, others = split_parameters(module)
            pairs += [(p, False) for p in weights] + [(p, True) for p in others]
        return pairs


def build(
    *,
    backbone: nn.Module,
    num_classes: int,
    head: Literal["vgg", "resnet38"] = "resnet38",
    width: int | None = None,
    dilation: int = 12,
    dropout: float = 0.5,
    balanced: bool = False,
) -> DeepLabLargeFov:
    """DeepLab-LargeFOV for `num_classes` foreground classes; `width` is 1024 for the vgg head and 512 for resnet38's."""
    channels, labels = backbone.channels[-1], num_classes + 1
    wide = {"padding": dilation, "dilation": dilation}
    if head == "vgg":
        width = width or 1024
        fc8 = nn.Conv2d(width, labels, 1)
        nn.init.normal_(fc8.weight, std=0.01)
        nn.init.zeros_(fc8.bias)
        fc6 = [nn.Conv2d(channels, width, 3, **wide), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        fc7 = [nn.Conv2d(width, width, 1), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        return DeepLabLargeFov(backbone, nn.Sequential(*fc6, *fc7, fc8), nn.ModuleList([fc8]), balanced)
    width = width or 512
    first, last = nn.Conv2d(channels, width, 3, **wide), nn.Conv2d(width, labels, 3, **wide)
    for layer in (first, last):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    layers = nn.Sequential(first, nn.ReLU(inplace=True), last)
    return DeepLabLargeFov(backbone, layers, nn.ModuleList([first, last]), balanced)
