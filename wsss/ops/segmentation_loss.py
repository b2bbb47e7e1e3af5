"""Cross entropy of segmentation networks on label maps with ignored pixels.

Legend: B batch, L labels (background and classes), H x W labels, h x w logits.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255

Grid = Literal["logits", "image"]


def shrink_labels(label_BHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels resized by nearest neighbour as Pillow does: output i takes input floor((i + 0.5) N / n)."""
    rows, columns = (
        (2 * torch.arange(n, device=label_BHW.device) + 1) * total // (2 * n)
        for n, total in zip(size, label_BHW.shape[1:], strict=True)
    )
    return label_BHW[:, rows[:, None], columns]


def cross_entropy(logit_BLhw: Tensor, label_BHW: Tensor, *, balanced: bool = False, grid: Grid = "logits") -> Tensor:
    """Mean cross entropy over pixels that are not 255; 0 when no pixel counts.

    `grid`: where they meet, labels resized to the logits (DeepLab's own code) or logits bilinearly to the labels.
    `balanced`: the mean over background pixels and the mean over foreground pixels count one half each; when the
    batch has only one of the two, that one counts whole.
    """
    logit_BLhw = logit_BLhw.float()
    if grid == "image":
        logit_BLhw = F.interpolate(logit_BLhw, label_BHW.shape[1:], mode="bilinear")
    label_Bhw = shrink_labels(label_BHW, (logit_BLhw.shape[2], logit_BLhw.shape[3]))
    loss_Bhw = F.cross_entropy(logit_BLhw, label_Bhw, ignore_index=IGNORE, reduction="none")
    groups = [label_Bhw == 0, (label_Bhw > 0) & (label_Bhw != IGNORE)] if balanced else [label_Bhw != IGNORE]
    means = [(loss_Bhw * group).sum() / group.sum().clamp(min=1) for group in groups]
    present = torch.stack([group.any() for group in groups]).float()
    return (torch.stack(means) * present).sum() / present.sum().clamp(min=1)
