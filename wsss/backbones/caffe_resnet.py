"""ResNet as in the MSRA (Caffe) models: the stride sits in the first 1x1 convolution, the stem pools in ceil
mode.

The form that DeepLabv2 was published with (Chen et al. 2017), with the state-dict names of its PyTorch
conversion. The input is normalised RGB like everywhere; mean and scale are Caffe's, and the network itself
turns it into BGR.

Taps: layer1 (the stem) .. layer5.

Legend: B batch, D channels, H x W image, h x w features.
"""

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone, FixedBatchNorm, conv_norm, freeze_norms, refuse_stride

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
MEAN_RGB = (122.675, 116.669, 104.008)


class _ConvNorm(nn.Module):
    def __init__(self, depth: int, width: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(depth, width, kernel, stride, padding, dilation, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.bn = FixedBatchNorm(width)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        return conv_norm(self.conv, self.bn, x_BDhw)


class _Block(nn.Module):
    def __init__(self, depth: int, width: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.reduce = _ConvNorm(depth, width // 4, 1, stride=stride)
        self.conv3x3 = _ConvNorm(width // 4, width // 4, 3, dilation=dilation)
        self.increase = _ConvNorm(width // 4, width, 1)
        self.shortcut = _ConvNorm(depth, width, 1, stride=stride) if first else nn.Identity()

    def forward(self, x_BDhw: Tensor) -> Tensor:
        out_BDhw = F.relu_(self.conv3x3(F.relu_(self.reduce(x_BDhw))))
        return F.relu_(self.increase(out_BDhw) + self.shortcut(x_BDhw))


class _Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(3, 64, 7, stride=2)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        bgr_BCHW = image_BCHW.flip(1)
        return F.max_pool2d(F.relu_(self.conv1(bgr_BCHW)), 3, 2, 1, ceil_mode=True)


class CaffeResNet(Backbone):
    """MSRA ResNet without its classifier."""

    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    layer5: nn.Sequential
    channels = (64, 256, 512, 1024, 2048)
    mean = tuple(value / 255 for value in MEAN_RGB)
    std = (1 / 255, 1 / 255, 1 / 255)

    def __init__(self, depth: int, output_stride: int) -> None:
        super().__init__()
        refuse_stride("caffe_resnet", output_stride, (8, 16, 32))
        self.strides = tuple(min(stride, output_stride) for stride in (4, 4, 8, 16, 32))
        self.layer1 = _Stem()
        for layer, (count, full_stride) in enumerate(zip(BLOCKS[depth], (4, 8, 16, 32), strict=True), 1):
            stride = self.strides[layer] // self.strides[layer - 1]
            dilation = full_stride // self.strides[layer]
            shape = (self.channels[layer - 1], self.channels[layer])
            setattr(self, f"layer{layer + 1}", _layer(*shape, count, stride, dilation))

    def stage_modules(self) -> list[list[nn.Module]]:
        """The stem, then the blocks of each layer."""
        layers = (self.layer2, self.layer3, self.layer4, self.layer5)
        return [[self.layer1], *([*layer] for layer in layers)]


def _layer(depth: int, width: int, count: int, stride: int, dilation: int) -> nn.Sequential:
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, count + 1):
        first = number == 1
        blocks[f"block{number}"] = _Block(depth if first else width, width, stride if first else 1, dilation, first)
    return nn.Sequential(blocks)


def build(*, output_stride: int = 8, depth: Literal[50, 101] = 101, train_norm: bool = False) -> CaffeResNet:
    """MSRA ResNet at output stride 8, 16 or 32 (8: dilations 2 and 4 at the end), with random weights."""
    model = CaffeResNet(depth, output_stride)
    if not train_norm:
        freeze_norms(model)
    return model
