"""Hybrid spatial pyramid pooling (Ru et al. 2021, eq. 5-7): between global maximum and global average pooling.

Legend: B batch, D channels, h x w features, r a level of the pyramid, i x j its windows.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def hspp(x_BDhw: Tensor, *, gamma: float = 2.0, levels: Sequence[int] = (1, 2, 4)) -> Tensor:
    """[gamma GAP(x) + sum over levels r of GAP(maxima of the windows of r)] / (gamma + number of levels) (eq. 7).

    x: floating (B,D,h,w) of any size; result (B,D), same dtype, between the mean and the maximum of each channel.
    `levels` are >= 1, `gamma` >= 0 and above 0 without levels. The poster writes another factor 1/3; the published
    code and eq. 7 do not.
    """
    terms_BD = [gamma * global_average(x_BDhw)]
    terms_BD += [window_maxima(x_BDhw, level).mean((2, 3)) for level in levels]
    return torch.stack(terms_BD).sum(0) / (gamma + len(levels))


def global_average(x_BDhw: Tensor) -> Tensor:
    """Mean over pixels, (B,D), same dtype."""
    # The mean's own gradient loses the channels_last layout, which costs the sums with others several times their time.
    return x_BDhw.sum((2, 3)) / (x_BDhw.shape[2] * x_BDhw.shape[3])


def window_maxima(x_BDhw: Tensor, level: int) -> Tensor:
    """Maxima (B,D,i,j) of windows of max(1, floor(h/r)) x max(1, floor(w/r)) pixels side by side (eq. 5-7).

    Incomplete windows at the bottom and at the right are left out. So there are r x r windows where r divides both
    sides, but 4 rows of them for h = 13, r = 4 (one pixel unused), and 7 for h = 7, r = 4. A tie's gradient goes to its
    first pixel in reading order.
    """
    height, width = (max(1, side // level) for side in x_BDhw.shape[2:])
    # Rows, then columns: the same as in one pass, gradients of ties included, and 4 times as fast in channels_last.
    return F.max_pool2d(F.max_pool2d(x_BDhw, (1, width)), (height, 1))
