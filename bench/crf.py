"""Dense CRF: 10 updates with IRNet's parameters."""

from collections.abc import Iterator

import numpy as np
import pydensecrf.densecrf as densecrf

from bench.pictures import photographs, scores
from bench.race import Row, race
from wsss.ops.crf import PRESETS, DenseCrf, crf, unary_from_labels
from wsss.ops.scores import labels_at

PARAMETERS = PRESETS["irn_labels"]


def rows() -> Iterator[Row]:
    """Three labels against the library with these and with all 21, and two label sets of one image."""
    pictures = photographs(4)
    first, second, all_of = ([_energies(rgb_HW3, *a) for rgb_HW3 in pictures] for a in ((0.5, 3), (0.3, 3), (0.5, 21)))
    equal = np.mean(
        [
            (crf(p, u, PARAMETERS).argmax(0) == library(p, u).argmax(0)).mean()
            for p, u in zip(pictures, first, strict=True)
        ]
    )
    text = f"{100 * equal:.3f} % equal labels"

    def twice() -> None:
        for rgb_HW3, *unaries in zip(pictures, first, second, strict=True):
            dense_crf = DenseCrf(rgb_HW3, PARAMETERS)
            for unary_nHW in unaries:
                dense_crf(unary_nHW)

    ours, both, present, every = race(
        lambda: [crf(p, u, PARAMETERS) for p, u in zip(pictures, first, strict=True)],
        twice,
        lambda: [library(p, u) for p, u in zip(pictures, first, strict=True)],
        lambda: [library(p, u) for p, u in zip(pictures, all_of, strict=True)],
        rounds=3,
    )
    yield Row("CRF, 3 labels", "pydensecrf2, 21 labels", ours / 4, every / 4, 3, text)
    yield Row("CRF, 3 labels", "pydensecrf2, 3 labels", ours / 4, present / 4, 1.4, text)
    yield Row("two CRFs of an image, 3 labels", "pydensecrf2 twice, 3 labels", both / 4, present / 2, 1.8, text)


def library(rgb_HW3: np.ndarray, unary_nHW: np.ndarray) -> np.ndarray:
    """Probabilities [n, H, W] by pydensecrf2."""
    model = densecrf.DenseCRF2D(rgb_HW3.shape[1], rgb_HW3.shape[0], len(unary_nHW))
    model.setUnaryEnergy(unary_nHW.reshape(len(unary_nHW), -1))
    model.addPairwiseGaussian(sxy=PARAMETERS.s_g, compat=PARAMETERS.w_g)
    model.addPairwiseBilateral(sxy=PARAMETERS.s_xy, srgb=PARAMETERS.s_rgb, rgbim=rgb_HW3, compat=PARAMETERS.w_b)
    return np.array(model.inference(PARAMETERS.iterations)).reshape(unary_nHW.shape)


def _energies(rgb_HW3: np.ndarray, background: float, labels: int) -> np.ndarray:
    return unary_from_labels(labels_at(scores(rgb_HW3, 2), (1, 2), background), labels, 0.7)
