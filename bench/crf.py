"""Dense CRF against pydensecrf2, the authors' program."""

import numpy as np
import pydensecrf.densecrf as densecrf

from bench.measure import Row, block_labels, interleaved, photographs
from wsss.ops.crf import PRESETS, CrfParameters, DenseCrf, crf, unary_from_labels


def rows() -> list[Row]:
    """IRNet's settings, 10 updates, on photographs of 500 x 375 pixels; medians over the photographs."""
    parameters = PRESETS["irn_labels"]
    unary_nHW = unary_from_labels(block_labels(3), 3, 0.7)
    other_nHW = unary_from_labels(block_labels(3, 40), 3, 0.7)
    padded_nHW = unary_from_labels(block_labels(3), 21, 0.7)
    times, equal, furthest = [], [], []
    for image_HW3 in photographs(3):

        def ours(image_HW3: np.ndarray = image_HW3) -> np.ndarray:
            return crf(image_HW3, unary_nHW, parameters)

        def theirs(unary_nHW: np.ndarray = unary_nHW, image_HW3: np.ndarray = image_HW3) -> np.ndarray:
            return by_library(image_HW3, unary_nHW, parameters)

        def twice(image_HW3: np.ndarray = image_HW3) -> None:
            dense_crf = DenseCrf(image_HW3, parameters)
            dense_crf(unary_nHW)
            dense_crf(other_nHW)

        q_nHW, expected_nHW = ours(), theirs()
        equal.append((q_nHW.argmax(0) == expected_nHW.argmax(0)).mean())
        furthest.append(np.abs(q_nHW - expected_nHW).max())
        times.append(interleaved(ours, theirs, lambda theirs=theirs: theirs(padded_nHW), twice, rounds=3))
    ours_ms, theirs_ms, padded_ms, twice_ms = np.median(times, 0).tolist()
    found = f"{100 * min(equal):.4f} % equal labels; probabilities {max(furthest):.1e}"
    return [
        Row("dense CRF, 10 updates, 3 labels", "pydensecrf2, all 21 labels", ours_ms, padded_ms, 3, found),
        Row("dense CRF, 10 updates, 3 labels", "pydensecrf2, the 3 labels", ours_ms, theirs_ms, 1.4, found),
        Row("two dense CRFs of one image", "pydensecrf2 twice", twice_ms, 2 * theirs_ms, 1.8, found),
    ]


def by_library(image_HW3: np.ndarray, unary_nHW: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """Probabilities [n, H, W] by pydensecrf2."""
    model = densecrf.DenseCRF2D(image_HW3.shape[1], image_HW3.shape[0], len(unary_nHW))
    model.setUnaryEnergy(unary_nHW.reshape(len(unary_nHW), -1))
    model.addPairwiseGaussian(sxy=parameters.s_g, compat=parameters.w_g)
    model.addPairwiseBilateral(
        sxy=parameters.s_xy, srgb=parameters.s_rgb, rgbim=np.ascontiguousarray(image_HW3), compat=parameters.w_b
    )
    return np.array(model.inference(parameters.iterations)).reshape(unary_nHW.shape)
