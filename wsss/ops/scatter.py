"""How scattered a mask is: what DecoupledNet's rounds choose their training masks by.

SPN's authors train only on images with a small "degree of scatter" and do not define it (Kwak et al. 2017), so there
are three measures. None depends on the mask's size: enlarging every pixel to a block changes no value.
"""

from typing import Literal

import cv2
import numpy as np

Measure = Literal["components", "spread", "largest"]


def scatter(mask_HW: np.ndarray, measure: Measure = "components") -> float:
    """Degree of scatter of a bool mask (H,W) with at least one pixel; larger is more scattered.

    With p_i the share of the area in connected component i (8 neighbours):
    `components`: effective number of components 1 / sum_i p_i^2, from 1 (a single one; n for n of equal area);
    `largest`: 1 - max_i p_i, from 0 (a single component) to below 1;
    `spread`: root mean square distance to the centroid over the root of the area, pixels being unit squares: 0.399 for
    a disc, the least there is, 0.408 for a square. Raises ValueError for an empty mask.
    """
    if not mask_HW.any():
        raise ValueError("an empty mask has no degree of scatter")
    if measure == "spread":
        return _spread(mask_HW)
    statistics = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8), connectivity=8)[2]
    area_N = statistics[1:, cv2.CC_STAT_AREA].astype(np.float64)
    share_N = area_N / area_N.sum()
    return float(1 - share_N.max() if measure == "largest" else 1 / np.square(share_N).sum())


def _spread(mask_HW: np.ndarray) -> float:
    """A unit square adds 1/12 to the variance of its centre in each direction."""
    point_N2 = np.argwhere(mask_HW)
    variance = point_N2.var(0).sum() + 1 / 6
    return float(np.sqrt(variance / len(point_N2)))
