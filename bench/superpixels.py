"""SLIC, and the mean features of superpixels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from skimage.segmentation import slic as skimage_slic

from bench.pictures import photographs, with_masks
from bench.race import Row, extra_megabytes, race
from wsss.ops.slic import slic
from wsss.ops.superpixel_pooling import pool


def rows(folder: Path) -> Iterator[Row]:
    """Both steps; accuracy of SLIC on the masks of `folder`."""
    yield _slic(folder)
    yield _pooling()


def _slic(folder: Path) -> Row:
    pictures = photographs(4)

    def library(rgb_HW3: np.ndarray) -> np.ndarray:
        return skimage_slic(rgb_HW3, 300, compactness=20, min_size_factor=0.25, start_label=0)

    ours, anchor = race(*(lambda f=f: [f(rgb_HW3) for rgb_HW3 in pictures] for f in (slic, library)), rounds=5)
    pairs = with_masks(folder, 8)
    accuracy = [np.mean([_achievable(f(rgb_HW3), mask_HW) for rgb_HW3, mask_HW in pairs]) for f in (slic, library)]
    text = f"accuracy {accuracy[0]:.4f}, theirs {accuracy[1]:.4f} ({len(pairs)} masks)" if pairs else "no masks here"
    return Row("SLIC, 300 segments", "scikit-image", ours / 4, anchor / 4, 25, text)


def _achievable(segment_HW: np.ndarray, mask_HW: np.ndarray) -> float:
    """Share of the pixels that are right when every segment has its most frequent label."""
    known_HW = mask_HW != 255
    count_N256 = np.zeros((segment_HW.max() + 1, 256), np.int64)
    np.add.at(count_N256, (segment_HW[known_HW], mask_HW[known_HW]), 1)
    return float(count_N256.max(1).sum() / known_HW.sum())


def _pooling(channels: int = 512, cells: int = 32, pixels: int = 500) -> Row:
    rgb_HW3 = np.resize(photographs(1)[0], (pixels, pixels, 3))
    segment_HW = slic(np.ascontiguousarray(rgb_HW3))
    feature_1Dhw = torch.randn(1, channels, cells, cells, generator=torch.Generator().manual_seed(0))
    gradient_ND = torch.randn(int(segment_HW.max()) + 1, channels, generator=torch.Generator().manual_seed(1))
    index_P = torch.from_numpy(segment_HW).long().flatten()

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = feature_1Dhw.clone().requires_grad_()
        pooled_ND, _ = pool(leaf, [segment_HW], interpolation="bilinear")
        return pooled_ND.detach(), torch.autograd.grad(pooled_ND, leaf, gradient_ND)[0]

    def plain(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = feature_1Dhw.to(dtype).requires_grad_()
        large_DP = F.interpolate(leaf, (pixels, pixels), mode="bilinear", align_corners=False)[0].flatten(1)
        sum_DN = large_DP.new_zeros(channels, len(gradient_ND)).index_add(1, index_P, large_DP)
        pooled_ND = (sum_DN / torch.bincount(index_P)).T
        return pooled_ND.detach(), torch.autograd.grad(pooled_ND, leaf, gradient_ND.to(dtype))[0]

    apart = max(float((a - b).abs().max()) for a, b in zip(ours(), plain(torch.float64), strict=True))
    memory = extra_megabytes(ours)
    text = f"{apart:.1e} from float64; {memory:.0f} MB more memory"
    return Row(
        "superpixel pooling, forward and backward", "upsample, index_add", *race(ours, plain, rounds=3), 150, text
    )
