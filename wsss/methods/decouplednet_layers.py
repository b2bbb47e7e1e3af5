"""What DecoupledNet adds to a classifier (Hong, Noh, Han 2015): the bridging layers and the segmentation branch.

Legend: B batch, C classes, D channels, H x W image, h x w features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.methods.image_classifier import Head, image_scores

LAYERS = (2, 2, 3, 3, 3)
"""Convolutions behind each unpooling, shallow to deep: those of VGG16 in reverse."""

NORM_EPS = 1e-9
NORM_SHIFT = 0.001


def back_propagated(head: Head, tap_BDhw: Tensor, labels_BC: Tensor) -> Tensor:
    """Bridging layers: the gradient (B,D,h,w) of sum_c stopgrad(sigmoid(s_c) y_c) s_c for the tap.

    s are the image scores and y the labels, 0 or 1. The published network has layers for it: unpooling to where the
    maximum was, transposed convolutions with the same weights, and masks where a ReLU was 0. Works in every mode.
    """
    # Tensors of inference mode cannot require gradients; their copies outside of it can.
    with torch.inference_mode(False), torch.enable_grad():
        tap_BDhw = tap_BDhw.detach().clone().requires_grad_()
        score_BC = image_scores(head(tap_BDhw))
        start_BC = score_BC.detach().sigmoid() * labels_BC
        return torch.autograd.grad(score_BC, tap_BDhw, start_BC.to(score_BC.dtype))[0]


class Encoded(NamedTuple):
    """What the segmentation branch reads of the backbone: last tap, and per stage, shallow to deep, its input's size.

    `switches`: flat positions of the maxima in that input, or None for a stage without max pooling.
    """

    tap_BDhw: Tensor
    sizes: list[tuple[int, int]]
    switches: list[Tensor | None]

    def repeated(self, count: int) -> "Encoded":
        """One image `count` times."""
        switches = [None if index is None else index.expand(count, -1, -1, -1) for index in self.switches]
        return Encoded(self.tap_BDhw.expand(count, -1, -1, -1), self.sizes, switches)


def unpool(x_BDhw: Tensor, index_BDhw: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Undo a max pooling: values (B,D,h,w) at the flat positions `index_BDhw` of a map of `size` (H,W), elsewhere 0.

    Values that overlapping poolings took from one position are added. Without switches: nearest neighbour.
    """
    if index_BDhw is None:
        return F.interpolate(x_BDhw, size, mode="nearest")
    batch, depth = x_BDhw.shape[:2]
    zeros_BDP = x_BDhw.new_zeros(batch, depth, size[0] * size[1])
    return zeros_BDP.scatter_add_(2, index_BDhw.flatten(2), x_BDhw.flatten(2)).unflatten(2, size)


def _layer(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, _norm(width), nn.ReLU(inplace=True)]


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, NORM_EPS)
    nn.init.constant_(norm.bias, NORM_SHIFT)
    return norm


class SegmentationBranch(nn.Module):
    """From the last tap and its class-specific gradient to two logits per pixel.

    `widths`: channels at every stage, shallow to deep. Weights N(0, 0.01), biases 0.
    """

    def __init__(self, channels: int, widths: Sequence[int], kernel: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_norm(channels) for _ in range(2))
        self.squeeze = nn.Sequential(
            *_layer(nn.Conv2d(2 * channels, width, kernel), width),
            *_layer(nn.Conv2d(width, width, 1), width),
            *_layer(nn.ConvTranspose2d(width, widths[-1], kernel), widths[-1]),
        )
        following = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(part for _ in range(layers - 1) for part in _layer(nn.ConvTranspose2d(depth, depth, 3, 1, 1), depth)),
                *_layer(nn.ConvTranspose2d(depth, then, 3, 1, 1), then),
            )
            for layers, depth, then in zip(LAYERS, widths, following, strict=True)
        )
        self.classifier = nn.Conv2d(widths[0], 2, 1)
        for name, parameter in self.convolution_parameters():
            nn.init.normal_(parameter, std=0.01) if name == "weight" else nn.init.zeros_(parameter)

    def convolution_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Weights and biases of all convolutions with their names, `weight` or `bias`."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        return [named for convolution in convolutions for named in convolution.named_parameters()]

    def forward(self, encoded: Encoded, back_BDhw: Tensor) -> Tensor:
        """Logits (B,2,H,W), background first."""
        pair = zip(self.norms, (encoded.tap_BDhw, back_BDhw), strict=True)
        x_BDhw = self.squeeze(torch.cat([norm(x_BDhw) for norm, x_BDhw in pair], 1))
        for stage, index, size in zip(
            reversed(self.stages), reversed(encoded.switches), reversed(encoded.sizes), strict=True
        ):
            x_BDhw = stage(unpool(x_BDhw, index, size))
        return self.classifier(x_BDhw)
