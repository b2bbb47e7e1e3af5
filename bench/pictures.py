"""Photographs of 375 x 500 pixels: those of a folder in VOC's layout, with their masks, or scikit-image's without."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from wsss.data.images import read_mask, read_rgb

SIZE = (375, 500)


def photographs(number: int) -> list[np.ndarray]:
    """Up to four of scikit-image's photographs, uint8 [375, 500, 3]."""
    found = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()][:number]
    return [cv2.resize(rgb_HW3, SIZE[::-1], interpolation=cv2.INTER_AREA) for rgb_HW3 in found]


def with_masks(folder: Path, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of photograph and mask of a VOC folder, resized; none where there is no such folder."""
    pairs = []
    for path in sorted((folder / "SegmentationClass").glob("*.png"))[:number]:
        rgb_HW3, label_HW = read_rgb(folder / "JPEGImages" / f"{path.stem}.jpg"), read_mask(path)
        rgb_HW3 = cv2.resize(rgb_HW3, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        pairs.append((rgb_HW3, cv2.resize(label_HW, SIZE[::-1], interpolation=cv2.INTER_NEAREST)))
    return pairs


def scores(rgb_HW3: np.ndarray, classes: int) -> np.ndarray:
    """Smooth scores float32 [K, H, W] in 0..1: low-pass channels of a photograph, as class activation maps look."""
    channel_KHW = [cv2.GaussianBlur(rgb_HW3[..., k % 3].astype(np.float32), (0, 0), 12 + 4 * k) for k in range(classes)]
    return np.stack([cv2.normalize(map_HW, None, 0, 1, cv2.NORM_MINMAX) for map_HW in channel_KHW]).clip(0, 1)
