"""ResNet-50 and ResNet-101 (He et al. 2016) with torchvision's names: the stride sits in the 3x3 convolution.

Taps: after the max pooling, then layer1..layer4. Strides that `output_stride` removes are replaced by
dilation (the same function as the strided network, computed densely), or with `dilate=False` by nothing at
all: IRNet's CAM network runs layer4 at stride 1 with dilation 1 (output stride 16).

Legend: B batch, D channels, h x w features.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet

from wsss.backbones.common import Backbone, FixedBatchNorm, conv_norm, freeze_norms, refuse_stride

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class _Bottleneck(torchvision_resnet.Bottleneck):
    def forward(self, x_BDhw: Tensor) -> Tensor:
        out_BDhw = F.relu_(conv_norm(self.conv1, self.bn1, x_BDhw))
        out_BDhw = F.relu_(conv_norm(self.conv2, self.bn2, out_BDhw))
        out_BDhw = conv_norm(self.conv3, self.bn3, out_BDhw)
        if self.downsample is not None:
            x_BDhw = conv_norm(self.downsample[0], self.downsample[1], x_BDhw)
        return F.relu_(out_BDhw + x_BDhw)


class ResNet(Backbone):
    """ResNet without its classifier; 23,508,032 parameters for ResNet-50."""

    channels = (64, 256, 512, 1024, 2048)

    def __init__(self, network: str, output_stride: int, dilate: bool) -> None:
        super().__init__()
        refuse_stride(network, output_stride, (8, 16, 32))
        original = torchvision_resnet.ResNet(
            _Bottleneck,
            list(BLOCKS[network]),
            replace_stride_with_dilation=[False, output_stride < 16, output_stride < 32],
            norm_layer=FixedBatchNorm,
        )
        self.conv1, self.bn1 = original.conv1, original.bn1
        self.layer1, self.layer2 = original.layer1, original.layer2
        self.layer3, self.layer4 = original.layer3, original.layer4
        self.strides = (4, 4, 8, min(16, output_stride), output_stride)
        if not dilate:
            self._undilate()

    def _undilate(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (1, 1)

    def stage_modules(self) -> list[list[nn.Module]]:
        """The stem's convolution and norm, then the blocks of each layer."""
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [[self.conv1, self.bn1], *([*layer] for layer in layers)]

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """The stem with its max pooling, or a layer."""
        if stage == 0:
            return F.max_pool2d(F.relu_(conv_norm(self.conv1, self.bn1, x_BDhw)), 3, 2, 1)
        return super().run_stage(stage, x_BDhw)


def build(
    *,
    output_stride: int = 16,
    network: Literal["resnet50", "resnet101"] = "resnet50",
    dilate: bool = True,
    train_norm: bool = True,
) -> ResNet:
    """ResNet-50 or ResNet-101 at output stride 8, 16 or 32, with random weights.

    The CAM network of IRNet and of the visual words paper: output_stride 16, dilate False, train_norm True
    (BatchNorm's affine parameters train in stages that are not frozen).
    """
    model = ResNet(network, output_stride, dilate)
    if not train_norm:
        freeze_norms(model)
    return model
