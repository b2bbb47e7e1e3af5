"""MobileNetV2 (Sandler et al. 2018) with torchvision's names.

Taps: the last block at strides 2, 4, 8, 16 (16, 24, 32 and 96 channels) and the last convolution (1280
channels). A stride that `output_stride` removes becomes dilation of the depthwise convolutions behind it, so
that the dense map holds the strided network's values.

Legend: B batch, D channels, h x w features.
"""

from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models import mobilenetv2 as torchvision_mobilenet

from wsss.backbones.common import Backbone, FixedBatchNorm, conv_norm, freeze_norms, refuse_stride

BOUNDS = (0, 2, 4, 7, 14, 19)
"""First block of every stage, and the end."""


def _folded(layers: nn.Module, x_BDhw: Tensor) -> Tensor:
    """Run nested Sequentials, each convolution together with the norm behind it."""
    if isinstance(layers, torchvision_mobilenet.InvertedResidual):
        out_BDhw = _folded(layers.conv, x_BDhw)
        return x_BDhw + out_BDhw if layers.use_res_connect else out_BDhw
    modules = list(layers.children())
    for module, following in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, nn.Conv2d) and isinstance(following, FixedBatchNorm):
            x_BDhw = conv_norm(module, following, x_BDhw)
        elif isinstance(module, nn.Sequential):
            x_BDhw = _folded(module, x_BDhw)
        elif not isinstance(module, FixedBatchNorm):
            x_BDhw = module(x_BDhw)
    return x_BDhw


def _limit_stride(features: nn.Sequential, output_stride: int) -> None:
    """Turn strides beyond `output_stride` into dilation of all later 3x3 convolutions."""
    stride, dilation = 1, 1
    for conv in features.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)
            if conv.stride == (2, 2) and stride == output_stride:
                conv.stride = (1, 1)
                dilation *= 2
            else:
                stride *= conv.stride[0]


class MobileNetV2(Backbone):
    """MobileNetV2 without its classifier; 2,223,872 parameters."""

    channels = (16, 24, 32, 96, 1280)

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        refuse_stride("mobilenet_v2", output_stride, (8, 16, 32))
        self.features = torchvision_mobilenet.MobileNetV2(norm_layer=FixedBatchNorm).features
        _limit_stride(self.features, output_stride)
        self.strides = (2, 4, 8, min(16, output_stride), output_stride)

    def stage_modules(self) -> list[list[nn.Module]]:
        """The blocks of torchvision's `features`, by stage."""
        return [list(self.features[start:end]) for start, end in pairwise(BOUNDS)]

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """Blocks of a stage with their norms folded into the convolutions."""
        for block in self.stage_modules()[stage]:
            x_BDhw = self.step(partial(_folded, block), x_BDhw)
        return x_BDhw


def build(*, output_stride: int = 16, train_norm: bool = True) -> MobileNetV2:
    """MobileNetV2 (width 1.0) at output stride 8, 16 or 32, with random weights."""
    model = MobileNetV2(output_stride)
    if not train_norm:
        freeze_norms(model)
    return model
