"""A small network (0.2 M parameters) that learns from random weights on images of about 100 pixels.

Pre-activated residual blocks with GroupNorm, which needs no pretrained statistics. For classifiers the last norm
starts at scale 4 and bias -4, so that only strong responses pass its ReLU: global average pooling then is not swamped
by the ground, and the classifier leaves its plateau within a few hundred updates.

Taps: the stem, three blocks (32, 64, 96 channels), and the final activation of the last.

Legend: B batch, D channels, h x w features.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone, refuse_stride

GROUPS = 8
WIDTHS = (16, 32, 64, 96)
FINAL_SCALE = 4.0


class _Block(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; the shortcut is a 1x1 convolution of the activated input."""

    def __init__(self, depth: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, depth)
        self.conv1 = nn.Conv2d(depth, width, 3, stride, 1, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.shortcut = nn.Conv2d(depth, width, 1, stride, bias=False)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        active_BDhw = F.relu_(self.norm1(x_BDhw))
        out_BDhw = self.conv2(F.relu_(self.norm2(self.conv1(active_BDhw))))
        return out_BDhw + self.shortcut(active_BDhw)


class Tiny(Backbone):
    """Stem, three blocks, final norm; 217,296 parameters."""

    channels = (*WIDTHS, WIDTHS[-1])

    def __init__(self, output_stride: int, selective: bool) -> None:
        super().__init__()
        refuse_stride("tiny", output_stride, (4, 8, 16))
        self.strides = (2, *(min(stride, output_stride) for stride in (4, 8, 16, 16)))
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False)
        self.block2, self.block3, self.block4 = (self._block(stage) for stage in (1, 2, 3))
        self.norm = nn.GroupNorm(GROUPS, WIDTHS[-1])
        if selective:
            nn.init.constant_(self.norm.weight, FINAL_SCALE)
            nn.init.constant_(self.norm.bias, -FINAL_SCALE)

    def _block(self, stage: int) -> _Block:
        stride = self.strides[stage] // self.strides[stage - 1]
        dilation = min(2 ** (stage + 1), 8) // min(self.strides[stage], 8)
        return _Block(WIDTHS[stage - 1], WIDTHS[stage], stride, dilation)

    def stage_modules(self) -> list[list[nn.Module]]:
        """One module per stage."""
        return [[self.stem], [self.block2], [self.block3], [self.block4], [self.norm]]

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """A block; the last stage ends with the final ReLU."""
        out_BDhw = super().run_stage(stage, x_BDhw)
        return F.relu_(out_BDhw) if stage == len(self.channels) - 1 else out_BDhw


def build(*, output_stride: int = 8, selective: bool = True) -> Tiny:
    """The demo's network at output stride 4, 8 or 16, with random weights; `selective` suits global pooling."""
    return Tiny(output_stride, selective)
