"""What all backbones share: the five-stage interface, BatchNorm with fixed statistics, freezing.

A backbone runs five stages in a row and returns the output of each (its taps, shallow to deep). BatchNorm
always uses its running statistics, as the papers' code does, also in training. A fixed BatchNorm behind a
convolution is linear, so it is folded into the convolution's weights on every pass: the same function and the
same gradients (also for its own affine parameters) without another pass over the feature map.

Legend: B batch, D channels, H x W image, h x w features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wsss.errors import UserError

STAGES = 5
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FixedBatchNorm(nn.Module):
    """BatchNorm2d that normalises by its running statistics in every mode; weight and bias may train."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Normalise (B,D,h,w)."""
        return F.batch_norm(
            x_BDhw, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The (D,) factors a, b for which this layer is a x + b."""
        scale_D = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale_D, self.bias - self.running_mean * scale_D


def conv_norm(conv: nn.Conv2d, norm: FixedBatchNorm, x_BDhw: Tensor) -> Tensor:
    """norm(conv(x)) as a single convolution."""
    scale_D, shift_D = norm.scale_and_shift()
    bias_D = shift_D if conv.bias is None else conv.bias * scale_D + shift_D
    weight = conv.weight * scale_D[:, None, None, None]
    return F.conv2d(x_BDhw, weight, bias_D, conv.stride, conv.padding, conv.dilation, conv.groups)


class Backbone(nn.Module):
    """Base of all backbones.

    `channels` and `strides` describe the five taps; `mean` and `std` normalise RGB/255. With
    `gradient_checkpointing` the blocks of a stage are recomputed in the backward pass instead of keeping
    their activations; gradients are the same.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.frozen_stages = 0

    def stage_modules(self) -> list[list[nn.Module]]:
        """Per stage, its modules in the order of the data."""
        raise NotImplementedError

    def run_stage(self, stage: int, x_BDhw: Tensor) -> Tensor:
        """Output of stage 0..4 for the output of the stage before it (stage 0: the image)."""
        for module in self.stage_modules()[stage]:
            x_BDhw = self.step(module, x_BDhw)
        return x_BDhw

    def step(self, function: Callable[[Tensor], Tensor], x_BDhw: Tensor) -> Tensor:
        """Apply one block, recomputed in the backward pass when `gradient_checkpointing` is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, x_BDhw, use_reentrant=False)
        return function(x_BDhw)

    def tracks_gradients(self, stage: int) -> torch.set_grad_enabled:
        """Context in which a stage runs: without gradient work for frozen stages."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and stage >= self.frozen_stages)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Five feature maps, shallow to deep, for normalised RGB images (B,3,H,W) of any size."""
        taps = []
        x_BDhw = image_BCHW
        for stage in range(STAGES):
            with self.tracks_gradients(stage):
                x_BDhw = self.run_stage(stage, x_BDhw)
            taps.append(x_BDhw)
        return tuple(taps)


def freeze(model: Backbone, stages: int) -> None:
    """Freeze the first `stages` (0..5) stages: no gradients for their parameters, and none flow into them."""
    if not 0 <= stages <= STAGES:
        raise UserError(f"freeze: {stages} is not a number of stages; use 0 to {STAGES}")
    model.frozen_stages = stages
    for modules in model.stage_modules()[:stages]:
        for module in modules:
            module.requires_grad_(False)


def freeze_norms(model: nn.Module) -> None:
    """Stop training of the affine parameters of every FixedBatchNorm."""
    for module in model.modules():
        if isinstance(module, FixedBatchNorm):
            module.requires_grad_(False)


def split_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Parameters as (convolution weights, FixedBatchNorm parameters, everything else: biases, GroupNorm)."""
    weights, norms, others = [], [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, FixedBatchNorm):
                norms.append(parameter)
            elif isinstance(module, nn.Conv2d) and name == "weight":
                weights.append(parameter)
            else:
                others.append(parameter)
    return weights, norms, others


def refuse_stride(network: str, output_stride: int, valid: tuple[int, ...]) -> None:
    """UserError unless `output_stride` is one that the network offers."""
    if output_stride not in valid:
        offered = ", ".join(map(str, valid))
        raise UserError(f"output_stride: {network} has no output stride {output_stride}; use one of {offered}")
