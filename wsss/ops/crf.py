"""Dense CRF (Krähenbühl and Koltun 2011, "Efficient inference in fully connected CRFs").

Probabilities agree with those of the authors' program (pydensecrf) to rounding, in less than half of its time.

Letters: n labels (background and the classes of one image only: time grows with n), F features (place and colour),
H W pixels, P = H x W.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from wsss.ops.mean_field import mean_field
from wsss.ops.permutohedral import Lattice, lattice

Guide = Literal["rgb", "caffe_wrapped"]

CAFFE_MEAN_BGR = np.array([104.008, 116.669, 122.675], np.float32)


@dataclass(frozen=True, slots=True)
class CrfParameters:
    """Kernel widths (pixels; grey levels 0..255), weights (Potts) and number of mean-field updates.

    Smoothness kernel: s_g, w_g. Appearance kernel: s_xy, s_rgb, w_b. `guide` is the image that it sees: the
    RGB picture, or (kazuto1011 as it runs) BGR minus the Caffe mean as bytes, where values below it wrap.
    """

    s_g: float
    w_g: float
    s_xy: float
    s_rgb: float
    w_b: float
    iterations: int
    guide: Guide = "rgb"


PRESETS = {
    "irn_labels": CrfParameters(3, 3, 50, 5, 10, 10),  # irn misc/imutils.py, crf_inference_label
    "psa": CrfParameters(3, 3, 80, 13, 10, 10),  # psa tool/imutils.py; also SEAM and OC-CSE on CAMs
    "aeft": CrfParameters(3, 3, 80, 13, 10, 1),  # AEFT infer_aff.py, after the random walk
    "kazuto": CrfParameters(1, 3, 67, 3, 4, 10),  # kazuto1011/deeplab-pytorch configs/voc12.yaml
    "kazuto_asrun": CrfParameters(1, 3, 67, 3, 4, 10, "caffe_wrapped"),  # the same, main.py crf
    "vwe_v2": CrfParameters(1, 3, 64, 3, 4, 10),  # vwe v2/crf.py, on CAMs
    "seam_seg": CrfParameters(3, 3, 32, 13, 10, 1),  # DeepLab test of SEAM's code base
    "mctformer_seg": CrfParameters(4, 3, 83, 5, 3, 10),  # MCTformer, segmentation test
    "deconvnet": CrfParameters(3, 3, 20, 3, 5, 10),  # DeconvNet and DecoupledNet, their Matlab code
}


def unary_from_labels(label_HW: np.ndarray, labels: int, gt_prob: float) -> np.ndarray:
    """Energies float32 [n, H, W]: -ln(gt_prob) for the given label, -ln((1 - gt_prob) / (n - 1)) for others.

    label_HW holds 0..n-1 (0 is a label like others), 0 < gt_prob < 1. ValueError for labels outside.
    """
    if label_HW.size and not 0 <= label_HW.min() <= label_HW.max() < labels:
        raise ValueError(f"label map holds values outside 0..{labels - 1}")
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob {gt_prob} must lie between 0 and 1")
    other = (1 - gt_prob) / max(labels - 1, 1)
    given_nHW = np.arange(labels)[:, None, None] == label_HW
    return np.where(given_nHW, np.float32(-np.log(gt_prob)), np.float32(-np.log(other)))


def unary_from_scores(score_nHW: np.ndarray) -> np.ndarray:
    """Energies float32 [n, H, W]: -ln(clip(score, 1e-5, 1)); scores need not sum to one (psa)."""
    return -np.log(np.clip(np.asarray(score_nHW, np.float32), 1e-5, 1))


class DenseCrf:
    """The CRF of one image: its lattices are made once, for as many label sets as the image has.

    rgb_HW3 in 0..255 of any dtype; ValueError for other arrays.
    """

    def __init__(self, rgb_HW3: np.ndarray, parameters: CrfParameters) -> None:
        rgb_HW3 = _guide_image(rgb_HW3, parameters.guide)
        self.size = rgb_HW3.shape[:2]
        self.iterations = parameters.iterations
        place_2HW = np.indices(self.size, np.float32)[::-1] / np.float32(parameters.s_xy)
        colour_3HW = np.moveaxis(rgb_HW3, 2, 0) / np.float32(parameters.s_rgb)
        feature_FP = np.concatenate([place_2HW, colour_3HW]).reshape(5, -1)
        self._appearance = lattice(feature_FP).normalised(parameters.w_b)
        self._smoothness = _smoothness(self.size, parameters.s_g, parameters.w_g)
        self._total_P = self._appearance.of_ones() + self._smoothness.of_ones()

    def __call__(self, unary_nHW: np.ndarray) -> np.ndarray:
        """Label probabilities float32 [n, H, W] of energies [n, H, W] (or [n, P]); ValueError when sizes differ."""
        labels = len(unary_nHW)
        if labels == 0 or np.size(unary_nHW) != labels * math.prod(self.size):
            shape, (height, width) = np.shape(unary_nHW), self.size
            raise ValueError(f"energies of shape {shape} do not fit an image of {height} x {width}")
        if labels == 1:
            return np.ones((1, *self.size), np.float32)
        unary_nP = np.ascontiguousarray(unary_nHW, np.float32).reshape(labels, -1)
        q_nP = mean_field(unary_nP, self._appearance, self._smoothness, self._total_P, self.iterations)
        return q_nP.reshape(labels, *self.size)


def crf(rgb_HW3: np.ndarray, unary_nHW: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """Label probabilities float32 [n, H, W] after the mean-field updates: `DenseCrf` for one set of energies."""
    return DenseCrf(rgb_HW3, parameters)(unary_nHW)


def crf_exact(rgb_HW3: np.ndarray, unary_nHW: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """The same over every pair of pixels, not by the lattice's approximation: a reference for small images.

    Q <- softmax(-U + w_g Kg Q + w_b Kb Q) (their algorithm 1), kernels normalised as D^-1/2 K D^-1/2. Takes
    two matrices of P x P float32. Returns float32 [n, H, W].
    """
    rgb_HW3 = _guide_image(rgb_HW3, parameters.guide)
    height, width, _ = rgb_HW3.shape
    unary_nP = np.asarray(unary_nHW, np.float32).reshape(len(unary_nHW), -1)
    position_P2 = np.indices((height, width)).reshape(2, -1).T
    colour_P3 = rgb_HW3.reshape(-1, 3)
    kernel_PP = _normalised_kernel(position_P2 / parameters.s_g) * np.float32(parameters.w_g)
    features_P5 = np.concatenate([position_P2 / parameters.s_xy, colour_P3 / parameters.s_rgb], 1)
    kernel_PP += _normalised_kernel(features_P5) * np.float32(parameters.w_b)
    q_nP = _softmax(-unary_nP)
    for _ in range(parameters.iterations):
        q_nP = _softmax(q_nP @ kernel_PP - unary_nP)
    return q_nP.reshape(-1, height, width)


@lru_cache(maxsize=4)
def _smoothness(size: tuple[int, int], width: float, weight: float) -> Lattice:
    place_2P = np.indices(size, np.float32)[::-1].reshape(2, -1) / np.float32(width)
    return lattice(place_2P).normalised(weight)


def _guide_image(rgb_HW3: np.ndarray, guide: Guide) -> np.ndarray:
    if rgb_HW3.ndim != 3 or rgb_HW3.shape[2] != 3:
        raise ValueError(f"image of shape {rgb_HW3.shape}; expected (height, width, 3)")
    if rgb_HW3.dtype != np.uint8 and not 0 <= rgb_HW3.min() <= rgb_HW3.max() <= 255:
        raise ValueError("image values lie outside 0..255")
    if guide == "caffe_wrapped":
        shifted_HW3 = rgb_HW3[..., ::-1].astype(np.float32) - CAFFE_MEAN_BGR
        rgb_HW3 = shifted_HW3.astype(np.int32) & 255
    return np.ascontiguousarray(np.rint(rgb_HW3) if rgb_HW3.dtype.kind == "f" else rgb_HW3, np.uint8)


def _normalised_kernel(feature_PF: np.ndarray) -> np.ndarray:
    half_square_P = np.square(feature_PF).sum(1) / 2
    kernel_PP = np.empty((len(feature_PF), len(feature_PF)), np.float32)
    for row in range(0, len(feature_PF), 256):  # float64 block by block: differences of large products
        block = slice(row, row + 256)
        exponent_BP = feature_PF[block] @ feature_PF.T - half_square_P[block, None] - half_square_P
        kernel_PP[block] = np.exp(np.minimum(exponent_BP, 0), dtype=np.float32, casting="same_kind")
    scale_P = 1 / np.sqrt(kernel_PP.sum(1))
    kernel_PP *= scale_P[:, None]
    kernel_PP *= scale_P
    return kernel_PP


def _softmax(logit_nP: np.ndarray) -> np.ndarray:
    power_nP = np.exp(logit_nP - logit_nP.max(0))
    return power_nP / power_nP.sum(0)
