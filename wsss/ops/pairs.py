"""Pairs of neighbouring pixels, for the losses of AffinityNet (Ahn and Kwak 2018) and IRNet (Ahn et al. 2019).

A pair is a regular source (wsss.ops.neighbours.sources) and one of its n later neighbours. Sources need a grid of at
least radius x (2 radius - 1); on smaller ones there are no pairs.

Legend: B batch, n neighbours, h x w grid, s x t regular sources.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss.ops.neighbours import offsets, paths, sources

IGNORED = 255
EPS = 1e-5


def origins(x_hw: Tensor, radius: int) -> Tensor:
    """Values (...,s,t) of a map (...,h,w) at the first pixel of every pair, a view."""
    return shifted(x_hw, (0, 0), radius)


def destinations(x_hw: Tensor, radius: int) -> Tensor:
    """Values (...,n,s,t) of a map (...,h,w) at the second pixel of every pair, offsets in the order of `offsets`."""
    return torch.stack([shifted(x_hw, offset, radius) for offset in offsets(radius).tolist()], dim=-3)


def shifted(x_hw: Tensor, offset: Sequence[int], radius: int) -> Tensor:
    """Values (...,s,t) of a map (...,h,w) at source + offset (dy, dx), a view; |dy|, |dx| < radius, dy >= 0."""
    rows, columns = sources((x_hw.shape[-2], x_hw.shape[-1]), radius)
    dy, dx = offset
    return x_hw[..., rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]


def path_maximum(x_Bhw: Tensor, radius: int) -> Tensor:
    """Maximum (B,n,s,t) of a map (B,h,w) over the path of every pair, both ends included (IRNet equation 3).

    Its gradient goes to the first of the highest points of a path.
    """
    return _PathMaximum.apply(x_Bhw, radius)


def kinds(label_Bhw: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of background, of one same class, and of different labels: three bool (B,n,s,t).

    label_Bhw: integers, 0 background, 255 ignored; pairs with an ignored end are of no kind.
    """
    first_B1st, second_Bnst = origins(label_Bhw, radius)[:, None], destinations(label_Bhw, radius)
    known_Bnst = (first_B1st != IGNORED) & (second_Bnst != IGNORED)
    equal_Bnst = known_Bnst & (first_B1st == second_Bnst)
    return equal_Bnst & (first_B1st == 0), equal_Bnst & (first_B1st > 0), known_Bnst & ~equal_Bnst


def mean_over(value: Tensor, mask: Tensor) -> Tensor:
    """Scalar sum(value[mask]) / (count + 1e-5), so 0 of an empty mask; the bool mask is broadcast to the values."""
    mask = mask.expand_as(value)
    return torch.where(mask, value, 0).sum() / (mask.sum().to(value.dtype) + EPS)


def affinity_losses(
    affinity_Bnst: Tensor, background_Bnst: Tensor, foreground_Bnst: Tensor, different_Bnst: Tensor
) -> dict[str, Tensor]:
    """Weighted losses of affinities 0..1 by the pairs' kinds (see `kinds`); their sum is the published total.

    Cross entropy, averaged over each kind's pairs in the batch, with weights 1/4, 1/4 and 1/2 (psa, irn).
    """
    alike_Bnst = -torch.log(affinity_Bnst + EPS)
    unlike_Bnst = -torch.log(1 + EPS - affinity_Bnst)
    return {
        "background": mean_over(alike_Bnst, background_Bnst) / 4,
        "foreground": mean_over(alike_Bnst, foreground_Bnst) / 4,
        "different": mean_over(unlike_Bnst, different_Bnst) / 2,
    }


class _PathMaximum(torch.autograd.Function):
    """Keeps neither the places of the maxima nor the values along the paths: the backward pass looks for them again."""

    @staticmethod
    def forward(ctx: Any, x_Bhw: Tensor, radius: int) -> Tensor:
        maxima = [
            reduce(torch.maximum, (shifted(x_Bhw, point, radius) for point in points.tolist()))
            for points in paths(radius)
        ]
        maximum_Bnst = torch.stack(maxima, dim=1)
        ctx.save_for_backward(x_Bhw, maximum_Bnst)
        ctx.radius = radius
        return maximum_Bnst

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_Bnst: Tensor) -> tuple[Tensor, None]:
        x_Bhw, maximum_Bnst = ctx.saved_tensors
        grad_x = torch.zeros(x_Bhw.numel(), dtype=x_Bhw.dtype, device=x_Bhw.device)
        source_Bst = origins(torch.arange(x_Bhw.numel(), device=x_Bhw.device).view(x_Bhw.shape), ctx.radius)
        for grad_Bst, maximum_Bst, points in zip(
            grad_Bnst.unbind(1), maximum_Bnst.unbind(1), paths(ctx.radius), strict=True
        ):
            step_Bst = torch.zeros_like(source_Bst, dtype=torch.int32)
            for y, x in points[::-1].tolist():
                highest_Bst = shifted(x_Bhw, (y, x), ctx.radius) == maximum_Bst
                step_Bst.masked_fill_(highest_Bst, y * x_Bhw.shape[-1] + x)
            grad_x.scatter_add_(0, (source_Bst + step_Bst).flatten(), grad_Bst.flatten())
        return grad_x.view(x_Bhw.shape), None
