"""DeepLab-LargeFOV (Chen et al. 2015): one 3x3 convolution with a large dilation sees a wide field.

`head: vgg` is DeepLabv1's fc6 (3x3, dilation 12), fc7, fc8 with dropout (rulixiang/deeplab-pytorch). `head: resnet38`
is the one on ResNet38: two 3x3 convolutions, dilation 12, xavier weights (KAIST-vilab/AEFT networks/resnet38d.py). Its
public code compares logits with labels at the size of the image, that of VGG16 at the size of the logits.

Legend: B batch, D channels, L = C + 1 labels, H x W image, h x w logits.
"""

from typing import Any, Literal

from torch import Tensor, nn

from wsss.backbones.common import Backbone, freeze_norms, split_parameters
from wsss.model import Segmenter
from wsss.ops.segmentation_loss import Grid, cross_entropy


class DeepLabLargeFov(Segmenter):
    """Backbone and a head with a large field of view; the head's layers `new` (positions) learn ten times faster."""

    def __init__(
        self, backbone: Backbone, head: nn.Sequential, new: tuple[int, ...], balanced: bool, grid: Grid
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.new = backbone, head, new
        self.balanced, self.grid = balanced, grid
        freeze_norms(backbone)

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B,L,h,w)."""
        return self.head(self.backbone(image_BCHW)[-1])

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Cross entropy of `image` (B,3,H,W) against `label` (B,H,W)."""
        logit_BLhw = self.logits(batch["image"])
        return {"segmentation": cross_entropy(logit_BLhw, batch["label"], balanced=self.balanced, grid=self.grid)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights x 1, biases x 2 without decay; new layers x 10 and x 20. BatchNorm is not trained."""
        old = [self.backbone, *(layer for i, layer in enumerate(self.head) if i not in self.new)]
        new = [self.head[i] for i in self.new]
        return [
            group
            for name, modules, factor in (("old", old, 1.0), ("new", new, 10.0))
            for group in _weights_and_biases(name, modules, factor)
        ]


def _weights_and_biases(name: str, modules: list[nn.Module], factor: float) -> list[dict[str, Any]]:
    split = [split_parameters(module) for module in modules]
    weights = [p for found, _, _ in split for p in found]
    biases = [p for _, _, found in split for p in found]
    return [
        {"name": f"{name} weights", "params": weights, "lr_factor": factor, "weight_decay_factor": 1.0},
        {"name": f"{name} biases", "params": biases, "lr_factor": 2 * factor, "weight_decay_factor": 0.0},
    ]


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    head: Literal["vgg", "resnet38"] = "resnet38",
    width: int | None = None,
    dilation: int = 12,
    dropout: float = 0.5,
    balanced: bool = False,
    loss_grid: Literal["logits", "image"] | None = None,
) -> DeepLabLargeFov:
    """DeepLab-LargeFOV for `num_classes` foreground classes; `width` is 1024 for the vgg head and 512 for resnet38's.

    `loss_grid`: see `cross_entropy`; without it that of the head's public code, `image` for resnet38.
    torchvision has no fc6 and fc7 in this form, so all of the head is new; the published VGG16 had them pretrained.
    """
    channels, labels = backbone.channels[-1], num_classes + 1
    new: tuple[int, ...]
    if head == "vgg":
        wide = width or 1024
        fc6 = nn.Conv2d(channels, wide, 3, padding=dilation, dilation=dilation)
        fc7, fc8 = nn.Conv2d(wide, wide, 1), nn.Conv2d(wide, labels, 1)
        nn.init.normal_(fc8.weight, std=0.01)
        rest = [[nn.ReLU(inplace=True), nn.Dropout(dropout)] for _ in range(2)]
        layers, new = nn.Sequential(fc6, *rest[0], fc7, *rest[1], fc8), (0, 3, 6)
    else:
        wide = width or 512
        first = nn.Conv2d(channels, wide, 3, padding=dilation, dilation=dilation)
        last = nn.Conv2d(wide, labels, 3, padding=dilation, dilation=dilation)
        nn.init.xavier_uniform_(first.weight)
        nn.init.xavier_uniform_(last.weight)
        layers, new = nn.Sequential(first, nn.ReLU(inplace=True), last), (0, 2)
    for name, parameter in layers.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return DeepLabLargeFov(backbone, layers, new, balanced, loss_grid or ("logits" if head == "vgg" else "image"))
