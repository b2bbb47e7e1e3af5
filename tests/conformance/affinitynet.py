"""Adapters for the parts of entry 05 that AffinityNet holds: label grid and pairs, affinities, loss."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.conformance.arrays import Check, largest, worst
from wsss.methods import affinitynet
from wsss.ops import pairs
from wsss.ops.neighbours import offsets
from wsss.ops.random_walk import scattered


class Taps(nn.Module):
    """A stand-in backbone of stride 1 that returns the taps of the file."""

    strides = (1,)

    def __init__(self, taps: list[Tensor]) -> None:
        super().__init__()
        self.taps, self.channels = taps, tuple(tap.shape[1] for tap in taps)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.taps


def radius_of(offset_n2: np.ndarray) -> int:
    """The radius whose offsets the file lists; they must be the same, in the same order."""
    radius = int(offset_n2.max()) + 1
    if not np.array_equal(offsets(radius), offset_n2):
        raise AssertionError(f"offsets differ from those of radius {radius}")
    return radius


def labels(path: Path) -> Check:
    """Label grids and kinds of pairs; the grid also from probabilities stored in a byte, as the workflow does."""
    data = np.load(path)
    stride = data["la"].shape[1] // len(data["label_grid"])
    cut_2NHW = np.stack([data["la"], data["ha"]])
    grid_hw = affinitynet.sample_target(cut_2NHW, stride=stride)
    stored_hw = affinitynet.sample_target(np.rint(255 * cut_2NHW).astype(np.uint8), stride=stride)
    kinds = pairs.kinds(torch.from_numpy(grid_hw)[None], radius_of(data["offsets"]))
    return worst(
        largest(grid_hw, data["label_grid"], 0),
        largest(stored_hw, data["label_grid"], 0),
        *(
            largest(kind[0].flatten(1), data[name], 0)
            for name, kind in zip(("bg_pos", "fg_pos", "neg"), kinds, strict=True)
        ),
    )


@torch.no_grad()
def head(path: Path) -> Check:
    """Affinities of all pairs, and the dense matrix that they make."""
    data = np.load(path)
    taps = [torch.from_numpy(data[f"conv{i}"]) for i in (4, 5, 6)]
    names = ("w_f8_3", "w_f8_4", "w_f8_5")
    radius = radius_of(data["offsets"])
    widths = [len(data[name]) for name in names]
    model = affinitynet.build(backbone=Taps(taps), num_classes=1, radius=radius, widths=widths)
    for layer, name in zip([*model.f8, model.f9], [*names, "w_f9"], strict=True):
        layer.weight.copy_(torch.from_numpy(data[name])[:, :, None, None])
    size = taps[-1].shape[2:]
    own_1nst = model.affinities(torch.zeros(1, 3, *size), radius)
    return worst(
        largest(own_1nst.flatten(2), data["aff"], 1e-6),
        largest(dense(scattered(own_1nst[0].numpy(), tuple(size), radius), radius), data["dense"], 1e-6),
    )


def dense(affinity_nhw: np.ndarray, radius: int) -> np.ndarray:
    """Symmetric matrix (hw,hw) with ones on the diagonal."""
    _, height, width = affinity_nhw.shape
    matrix = np.eye(height * width)
    for (dy, dx), plane in zip(offsets(radius), affinity_nhw, strict=True):
        for y, x in np.argwhere(plane):
            p, q = y * width + x, (y + dy) * width + x + dx
            matrix[p, q] = matrix[q, p] = plane[y, x]
    return matrix


def loss(path: Path) -> Check:
    """The three means, the total, and its gradient."""
    data = np.load(path)
    affinity_Bns = torch.from_numpy(data["aff"]).requires_grad_()
    kinds = [torch.from_numpy(data[name]).bool() for name in ("bg_pos", "fg_pos", "neg")]
    parts = pairs.affinity_losses(affinity_Bns, *kinds)
    total = torch.stack([*parts.values()]).sum()
    total.backward()
    weighted = [part.item() for part in parts.values()]
    own = np.array([4 * weighted[0], 4 * weighted[1], 2 * weighted[2], total.item()])
    scale = np.abs(data["grad_aff"]).max()
    return worst(
        largest(own / data["losses"], np.ones(4), 1e-6),
        largest(affinity_Bns.grad.numpy() / scale, data["grad_aff"] / scale, 1e-6),
    )


ADAPTERS = {"05_psa_aff_labels": labels, "05_psa_affinity_head": head, "05_psa_aff_loss": loss}
