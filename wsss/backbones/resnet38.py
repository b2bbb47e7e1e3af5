"""ResNet38 (Wu et al. 2019, "Wider or Deeper", model A1) in the dilated form of PSA, output stride 8.

All blocks are pre-activated: BatchNorm and ReLU come before the convolutions. Taps are the activated inputs
of b3, b4, b5 (conv4) and b6 (conv5), and the final activation (conv6): 128, 256, 512, 1024, 4096 channels at
strides 2, 4, 8, 8, 8. Stage 1 holds conv1a and the b2 blocks, which PSA freezes together with all BatchNorm
layers.

Legend: B batch, D channels, h x w features.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import STAGES, Backbone, FixedBatchNorm, conv_norm, freeze_norms, refuse_stride


def _conv(depth: int, width: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(depth, width, kernel, stride, dilation * (kernel // 2), dilation, bias=False)


class _ResBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut convolves (1x1) the activated input."""

    def __init__(
        self,
        depth: int,
        middle: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int = 1,
    ) -> None:
        super().__init__()
        self.bn_branch2a = FixedBatchNorm(depth)
        self.conv_branch2a = _conv(depth, middle, 3, stride, first_dilation)
        self.bn_branch2b1 = FixedBatchNorm(middle)
        self.conv_branch2b1 = _conv(middle, width, 3, 1, dilation)
        self.conv_branch1 = _conv(depth, width, 1, stride) if depth != width or stride > 1 else None

    def residual(self, active_BDhw: Tensor) -> Tensor:
        middle_BDhw = F.relu_(conv_norm(self.conv_branch2a, self.bn_branch2b1, active_BDhw))
        return self.conv_branch2b1(middle_BDhw)

    def from_active(self, active_BDhw: Tensor) -> Tensor:
        """Output for an input that has passed bn_branch2a and ReLU; only with a convolution as shortcut."""
        assert self.conv_branch1 is not None
        return self.residual(active_BDhw) + self.conv_branch1(active_BDhw)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        active_BDhw = F.relu_(self.bn_branch2a(x_BDhw))
        if self.conv_branch1 is not None:
            return self.from_active(active_BDhw)
        return self.residual(active_BDhw) + x_BDhw


class _Bottleneck(_ResBlock):
    """1x1, dilated 3x3, 1x1, with channel dropout before the second and the third."""

    def __init__(self, depth: int, width: int, dilation: int, dropout: float) -> None:
        nn.Module.__init__(self)
        self.dropout = dropout
        self.bn_branch2a = FixedBatchNorm(depth)
        self.conv_branch2a = _conv(depth, width // 4, 1)
        self.bn_branch2b1 = FixedBatchNorm(width // 4)
        self.conv_branch2b1 = _conv(width // 4, width // 2, 3, 1, dilation)
        self.bn_branch2b2 = FixedBatchNorm(width // 2)
        self.conv_branch2b2 = _conv(width // 2, width, 1)
        self.conv_branch1 = _conv(depth, width, 1)

    def residual(self, active_BDhw: Tensor) -> Tensor:
        x_BDhw = F.relu_(conv_norm(self.conv_branch2a, self.bn_branch2b1, active_BDhw))
        x_BDhw = F.dropout2d(x_BDhw, self.dropout, self.training)
        x_BDhw = F.relu_(conv_norm(self.conv_branch2b1, self.bn_branch2b2, x_BDhw))
        return self.conv_branch2b2(F.dropout2d(x_BDhw, self.dropout, self.training))


class ResNet38(Backbone):
    """ResNet38 without its classifier: 105,070,912 parameters and 47,744 running statistics."""

    channels = (128, 256, 512, 1024, 4096)
    strides = (2, 4, 8, 8, 8)

    def __init__(self, dropout: Sequence[float]) -> None:
        super().__init__()
        self.conv1a = _conv(3, 64, 3)
        self.b2, self.b2_1, self.b2_2 = _ResBlock(64, 128, 128, stride=2), *_same(128, 128, 2)
        self.b3, self.b3_1, self.b3_2 = _ResBlock(128, 256, 256, stride=2), *_same(256, 256, 2)
        self.b4 = _ResBlock(256, 512, 512, stride=2)
        self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5 = _same(512, 512, 5)
        self.b5 = _ResBlock(512, 512, 1024, dilation=2, first_dilation=1)
        self.b5_1, self.b5_2 = _same(1024, 512, 2, dilation=2)
        self.b6 = _Bottleneck(1024, 2048, 4, dropout[0])
        self.b7 = _Bottleneck(2048, 4096, 4, dropout[1])
        self.bn7 = FixedBatchNorm(4096)

    def stage_modules(self) -> list[list[nn.Module]]:
        """conv1a and the b2 blocks; b3; b4; b5; b6, b7 and bn7."""
        return [
            [self.conv1a, self.b2, self.b2_1, self.b2_2],
            [self.b3, self.b3_1, self.b3_2],
            [self.b4, self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5],
            [self.b5, self.b5_1, self.b5_2],
            [self.b6, self.b7, self.bn7],
        ]

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """Activated output of a stage for the activated output of the stage before it."""
        first, *others = self.stage_modules()[stage]
        x_BDhw = self.step(first.from_active if isinstance(first, _ResBlock) else first, x_BDhw)
        for module in others:
            x_BDhw = self.step(module, x_BDhw)
        if stage < STAGES - 1:
            x_BDhw = (self.b3, self.b4, self.b5, self.b6)[stage].bn_branch2a(x_BDhw)
        return F.relu_(x_BDhw)


def _same(width: int, middle: int, count: int, *, dilation: int = 1) -> list[_ResBlock]:
    """`count` blocks that keep the shape."""
    return [_ResBlock(width, middle, width, dilation=dilation, first_dilation=dilation) for _ in range(count)]


def build(*, output_stride: int = 8, dropout: Sequence[float] = (0.3, 0.5), train_norm: bool = False) -> ResNet38:
    """ResNet38 with random weights; `dropout` of b6 and b7: 0.3, 0.5 in PSA, SEAM, OC-CSE; 0.2, 0.2 in AEFT."""
    refuse_stride("resnet38", output_stride, (8,))
    model = ResNet38(dropout)
    if not train_norm:
        freeze_norms(model)
    return model
