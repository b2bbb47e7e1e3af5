"""Refinement by the dense CRF (Krähenbühl and Koltun 2011) over background and the image's own classes.

Two published forms: IRNet's, from the labels at a background threshold with confidence `gt_prob`, and PSA's, from the
scores themselves beside the background score (1 - max score)^alpha.

Legend: K present classes, n = K + 1 labels, H x W pixels.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from wsss.ops.crf import PRESETS, DenseCrf, unary_from_labels, unary_from_scores
from wsss.ops.scores import background_alpha, enlarge, labels_at
from wsss.stores import Record

OUTPUT = "labels"


def refine(
    maps: Record,
    rgb_HW3: np.ndarray,
    background: float,
    *,
    preset: Literal["irn_labels", "psa", "aeft", "vwe_v2"] = "irn_labels",
    unary: Literal["labels", "scores"] = "labels",
    gt_prob: float = 0.7,
    alpha: float | None = None,
) -> np.ndarray:
    """Label map uint8 (H,W) of class ids from stored score maps in [0,1] and the image.

    `background` is the threshold of the label form and the constant background score of the score form; `alpha`
    replaces the constant by (1 - max score)^alpha.
    """
    score_KHW = enlarge(maps.array, maps.meta["size"], maps.meta.get("grid")).astype(np.float32)
    dense_crf = DenseCrf(rgb_HW3, PRESETS[preset])
    if unary == "labels":
        return refine_labels(score_KHW, maps.meta["classes"], background, dense_crf, gt_prob)
    plane_HW = background_alpha(score_KHW, alpha) if alpha else np.full(score_KHW.shape[1:], background, np.float32)
    unary_nHW = unary_from_scores(np.concatenate([plane_HW[None], score_KHW]))
    return _class_ids(dense_crf(unary_nHW), maps.meta["classes"])


def refine_labels(
    score_KHW: np.ndarray, classes: Sequence[int], background: float, dense_crf: DenseCrf, gt_prob: float
) -> np.ndarray:
    """Label map uint8 (H,W) from full-size scores in the label form, by the CRF of their image."""
    position_HW = labels_at(score_KHW, tuple(range(1, len(classes) + 1)), background)
    return _class_ids(dense_crf(unary_from_labels(position_HW, len(classes) + 1, gt_prob)), classes)


def _class_ids(prob_nHW: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    return np.array([0, *classes], np.uint8)[prob_nHW.argmax(0)]
