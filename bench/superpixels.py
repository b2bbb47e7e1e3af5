"""SLIC against scikit-image, and superpixel pooling against enlarging and adding up."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from skimage.segmentation import slic as skimage_slic

from bench.measure import HEIGHT, PHOTOGRAPHS, WIDTH, Row, interleaved, peak_extra_mb, photographs
from wsss.data.images import read_mask, read_rgb
from wsss.ops.slic import slic
from wsss.ops.superpixel_pooling import pool


def rows() -> list[Row]:
    """SLIC at 300 segments; pooling of 512 channels from 32 x 32 cells to 500 x 500 pixels, both passes."""
    return [_slic(), _pooling()]


def _slic() -> Row:
    image_HW3 = photographs(1)[0]
    ours, anchor = interleaved(lambda: slic(image_HW3), lambda: skimage_slic(image_HW3, n_segments=300), rounds=9)
    return Row("SLIC, 300 segments, 500x375", "scikit-image slic", ours, anchor, 25, _accuracies())


def _accuracies() -> str:
    """Achievable segmentation accuracy of both, scikit-image at the best of four settings."""
    files = sorted((PHOTOGRAPHS / "SegmentationClass").glob("*.png"))[:10]
    if not files:
        return "accuracy not measured: no masks"
    pairs = []
    for file in files:
        image_HW3 = read_rgb(PHOTOGRAPHS / "JPEGImages" / f"{file.stem}.jpg")
        label_HW = cv2.resize(read_mask(file), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        pairs.append((cv2.resize(image_HW3, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), label_HW))

    def mean(segment: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.mean([_accuracy(segment(image_HW3), label_HW) for image_HW3, label_HW in pairs]))

    best = max(
        mean(lambda x, m=m, s=s: skimage_slic(x, n_segments=300, compactness=m, min_size_factor=s, start_label=0))
        for m in (10, 20)
        for s in (0.25, 0.5)
    )
    return f"accuracy {mean(slic):.4f}, theirs {best:.4f} ({len(pairs)} images)"


def _accuracy(segment_HW: np.ndarray, label_HW: np.ndarray) -> float:
    """Share of the labelled pixels that have the most frequent label of their segment."""
    known_HW = label_HW != 255
    pair_P = segment_HW[known_HW].astype(np.int64) * 256 + label_HW[known_HW]
    count_N256 = np.bincount(pair_P, minlength=256 * (int(segment_HW.max()) + 1)).reshape(-1, 256)
    return count_N256.max(1).sum() / known_HW.sum()


def _enlarged(feature_BDhw: torch.Tensor, label_HW: torch.Tensor) -> torch.Tensor:
    """The plain way: make the large map, add up its pixels, divide."""
    large_DP = F.interpolate(feature_BDhw, tuple(label_HW.shape), mode="bilinear")[0].flatten(1)
    label_P = label_HW.flatten()
    sums_DN = large_DP.new_zeros(len(large_DP), int(label_P.max()) + 1).index_add(1, label_P, large_DP)
    return (sums_DN / torch.bincount(label_P)).T


def _pooling() -> Row:
    label_HW = slic(cv2.resize(photographs(1)[0], (500, 500)))
    label = torch.from_numpy(label_HW).long()
    start = torch.randn(1, 512, 32, 32, generator=torch.Generator().manual_seed(0))

    def both(run: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        feature = start.to(dtype).requires_grad_()
        pooled = run(feature)
        pooled.square().sum().backward()
        return [pooled.detach(), feature.grad]

    def ours() -> list[torch.Tensor]:
        return both(lambda x: pool(x, [label_HW], interpolation="bilinear")[0])

    exact = both(lambda x: _enlarged(x, label), torch.float64)
    error = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours(), exact, strict=True))
    memory = peak_extra_mb(ours)
    ours_ms, anchor_ms = interleaved(ours, lambda: both(lambda x: _enlarged(x, label)), rounds=5)
    found = f"{error:.1e} of the largest value against float64; {memory:.0f} MB more memory"
    return Row(
        "superpixel pooling, 512 channels, 32x32 to 500x500", "enlarge + index_add", ours_ms, anchor_ms, 150, found
    )
