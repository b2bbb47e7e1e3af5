"""VGG16 (Simonyan and Zisserman 2015) with torchvision's names, and its DeepLab-LargeFOV form (Chen et al.
2015).

Taps: the five pooling stages. `forward_with_switches` also gives the positions of the maxima, for unpooling.

Legend: B batch, D channels, h x w features.
"""

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import STAGES, Backbone, refuse_stride

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Switches(NamedTuple):
    """Where a max pooling took its values: flat int64 positions (B,D,h',w') in its input of `size` (h,w)."""

    index_BDhw: Tensor
    size: tuple[int, int]


class VGG16(Backbone):
    """The 13 convolutions of VGG16 and their poolings; 14,714,688 parameters.

    Poolings are 2x2 at stride 2; one whose stride is removed becomes 3x3 at stride 1, and convolutions behind
    it are dilated. With `largefov` all poolings are 3x3 with padding 1, and a 3x3 average pooling follows the
    last.
    """

    channels = (64, 128, 256, 512, 512)

    def __init__(self, output_stride: int, largefov: bool) -> None:
        super().__init__()
        refuse_stride("vgg16", output_stride, (8, 16, 32))
        self.largefov = largefov
        self.strides = tuple(min(2**stage, output_stride) for stage in range(1, STAGES + 1))
        layers: list[nn.Module] = []
        self.bounds = [0]
        depth = 3
        for stage, widths in enumerate(WIDTHS):
            dilation = 2**stage // ((1, *self.strides)[stage])
            for width in widths:
                layers += [_convolution(depth, width, dilation), nn.ReLU(inplace=True)]
                depth = width
            stride = self.strides[stage] // (1, *self.strides)[stage]
            kernel = 3 if largefov or stride == 1 else 2
            layers.append(nn.MaxPool2d(kernel, stride, kernel // 2 if kernel == 3 else 0))
            self.bounds.append(len(layers))
        self.features = nn.Sequential(*layers)

    def stage_modules(self) -> list[list[nn.Module]]:
        """Convolutions, ReLUs and the pooling of each stage, out of torchvision's `features`."""
        return [list(self.features[start:end]) for start, end in pairwise(self.bounds)]

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """Convolutions and pooling of a stage."""
        return self._pool(stage, self._convolve(stage, x_BDhw))[0]

    def forward_with_switches(self, image_BCHW: Tensor) -> tuple[tuple[Tensor, ...], tuple[Switches, ...]]:
        """The five taps, and the switches of the five max poolings."""
        taps, switches = [], []
        x_BDhw = image_BCHW
        for stage in range(STAGES):
            with self.tracks_gradients(stage):
                feature_BDhw = self._convolve(stage, x_BDhw)
                x_BDhw, index_BDhw = self._pool(stage, feature_BDhw)
            taps.append(x_BDhw)
            switches.append(Switches(index_BDhw, (feature_BDhw.shape[2], feature_BDhw.shape[3])))
        return tuple(taps), tuple(switches)

    def _convolve(self, stage: int, x_BDhw: Tensor) -> Tensor:
        return self.step(self.features[self.bounds[stage] : self.bounds[stage + 1] - 1], x_BDhw)

    def _pool(self, stage: int, x_BDhw: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.features[self.bounds[stage + 1] - 1]
        assert isinstance(pool, nn.MaxPool2d)
        out_BDhw, index_BDhw = F.max_pool2d(x_BDhw, pool.kernel_size, pool.stride, pool.padding, return_indices=True)
        if self.largefov and stage == STAGES - 1:
            out_BDhw = F.avg_pool2d(out_BDhw, 3, 1, 1)
        return out_BDhw, index_BDhw


def _convolution(depth: int, width: int, dilation: int) -> nn.Conv2d:
    conv = nn.Conv2d(depth, width, 3, padding=dilation, dilation=dilation)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.constant_(conv.get_parameter("bias"), 0.0)
    return conv


def build(*, output_stride: int = 32, largefov: bool = False) -> VGG16:
    """VGG16 at output stride 8, 16 or 32, random weights; DeepLab-LargeFOV is `largefov` at stride 8."""
    return VGG16(output_stride, largefov)
