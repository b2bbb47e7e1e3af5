"""Vectors of array operations: dense CRF, merging of class maps, metrics and the threshold sweep."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsss.ops import cam_merge, metrics
from wsss.ops.crf import PRESETS, CrfParameters, crf, crf_exact, unary_from_labels, unary_from_scores
from wsss.ops.scores import background_alpha
from wsss.ops.sweep import Sweep, threshold_of_alpha

Check = tuple[float, float]
MOST = 0.999


def crf_vector(path: Path) -> Check:
    """Energies, the library's result, the exact kernels, and the named parameter set."""
    vector = np.load(path)
    parameters = _parameters(vector["params"])
    size = vector["rgb"].shape[:2]
    if "labels" in vector:
        unary_nHW = unary_from_labels(vector["labels"], int(vector["n_labels"]), float(vector["gt_prob"]))
    else:
        unary_nHW = unary_from_scores(vector["prob"])
    q_nHW = crf(vector["rgb"], unary_nHW, parameters)
    exact_nHW = crf_exact(vector["rgb"], unary_nHW, parameters)
    return worst(
        largest(unary_nHW, vector["unary"].reshape(-1, *size), 1e-6),
        most(q_nHW, vector["q"], 1e-3),
        largest(exact_nHW, vector["q_exact"], 1e-4),
        (0.0 if _known(path.stem, parameters) else np.inf, 0.0),
    )


def crf_iterations(path: Path) -> Check:
    """The result after every number of updates."""
    vector = np.load(path)
    unary_nHW = unary_from_scores(vector["prob"])
    checks = []
    for iterations, q_nHW in zip(vector["t"], vector["q"], strict=True):
        parameters = _parameters([*vector["params"][:5], iterations])
        checks.append(most(crf(vector["rgb"], unary_nHW, parameters), q_nHW, 1e-3))
    return worst(*checks)


def crf_wrapped_guide(path: Path) -> Check:
    """The published run of kazuto1011, whose guide wraps; and the CRF on the guide that the file holds."""
    vector = np.load(path)
    unary_nHW = unary_from_scores(vector["prob"])
    preset = PRESETS["kazuto_asrun"]
    plain = _parameters(vector["params"])
    return worst(
        most(crf(vector["rgb"], unary_nHW, preset), vector["q"], 1e-3),
        most(crf(vector["guide"], unary_nHW, plain), vector["q"], 1e-3),
        most(crf(vector["rgb"][..., ::-1], unary_nHW, plain), vector["q_bgr"], 1e-3),
    )


def crf_alpha(path: Path) -> Check:
    """Scores with the background (1 - max)^alpha, and the CRF on them."""
    vector = np.load(path)
    cam_KHW = vector["cams"]
    checks = []
    for alpha, score_nHW, q_nHW in zip(vector["alphas"], vector["scores"], vector["q"], strict=True):
        own_nHW = np.concatenate([background_alpha(cam_KHW, float(alpha))[None], cam_KHW])
        own_q_nHW = crf(vector["rgb"], unary_from_scores(own_nHW), PRESETS["psa"])
        checks += [largest(own_nHW, score_nHW, 1e-6), most(own_q_nHW, q_nHW, 1e-3)]
    return worst(*checks)


def cam_merging(path: Path) -> Check:
    """Every published way of merging that the file holds."""
    vector = np.load(path)
    size = (int(vector["size"][0]), int(vector["size"][1]))
    keys = torch.from_numpy(vector["keys"])
    raw = [torch.from_numpy(vector[f"raw_{i}"]) for i in range(len(vector["scales"]))]
    raw = [maps if maps.shape[1] == len(keys) else maps[:, keys] for maps in raw]
    ways = {
        "vwe_strided": ("stride4", "max", "relu_first"),
        "vwe_highres": ("full", "max", "relu_first"),
        "irn_strided": ("stride4", "sum", "relu_first"),
        "irn_highres": ("full16", "sum", "relu_first"),
        "psa_highres": ("full", "sum", "relu_first"),
        "occse_highres": ("full", "sum", "resize_first"),
    }
    checks = []
    for name, (grid, flip, order) in ways.items():
        if name in vector:
            merged = cam_merge.merge(raw, size, grid=grid, flip=flip, order=order)
            checks.append(largest(cam_merge.normalise(merged).numpy(), vector[name], 1e-5))
    return worst(*checks)


def mean_iou(path: Path) -> Check:
    """Counts exactly; IoU, the three conventions and the accuracies."""
    vector = np.load(path)
    classes = len(vector["confusion"])
    confusion_CC = np.zeros((classes, classes), np.int64)
    for i in range(int(vector["n_images"])):
        confusion_CC += metrics.confusion(vector[f"gt_{i}"], vector[f"pred_{i}"], classes)
    counts = metrics.tally(confusion_CC)
    iou_C = metrics.iou(counts)
    return worst(
        largest(confusion_CC, vector["confusion"], 0),
        largest(iou_C, vector["iou_nan"], 1e-9),
        largest(np.nan_to_num(iou_C) * 100, vector["iou_seam"], 1e-9),
        largest(metrics.means(counts, "present").miou, vector["miou_chainercv"], 1e-9),
        largest(metrics.means(counts, "all").miou * 100, vector["miou_seam"], 1e-9),
        largest(metrics.means(counts, "truth").miou, vector["miou_kazuto"], 1e-9),
        largest(metrics.pixel_accuracy(confusion_CC), vector["pixel_accuracy"], 1e-9),
        largest(metrics.mean_accuracy(confusion_CC), vector["mean_accuracy"], 1e-9),
        largest(metrics.frequency_weighted_iou(confusion_CC), vector["freq_weighted_iou"], 1e-9),
    )


def threshold_sweep(path: Path) -> Check:
    """Scores at all thresholds and alphas, and the whole confusion matrix at the best threshold."""
    vector = np.load(path)
    classes = len(vector["confusion_best"])
    sweep = _swept(vector, classes, vector["thresholds"])
    counts_CT = sweep.at_all()
    iou_TC = metrics.iou(counts_CT).T
    best = vector["thresholds"][int(vector["best_index"])]
    alphas = [threshold_of_alpha(float(alpha)) for alpha in vector["alphas"]]
    by_alpha = _swept(vector, classes, sorted(alphas))
    miou_alpha = [float(metrics.means(by_alpha.at(threshold)).miou) for threshold in alphas]
    return worst(
        largest(iou_TC, vector["iou_chainercv"], 1e-9),
        largest(metrics.means(counts_CT, "present").miou, vector["miou_chainercv"], 1e-9),
        largest(np.nan_to_num(iou_TC) * 100, vector["iou_seam"], 1e-9),
        largest(metrics.means(counts_CT, "all").miou * 100, vector["miou_seam"], 1e-9),
        largest(sweep.confusion(float(best)), vector["confusion_best"], 0),
        largest(np.float32(sweep.best()), np.float32(best), 0),
        largest(np.array(miou_alpha), vector["miou_alpha_chainercv"], 1e-9),
    )


def largest(own: np.ndarray | float, reference: np.ndarray, tolerance: float) -> Check:
    """Largest absolute difference; infinite when shapes or undefined places differ."""
    own, reference = np.asarray(own, np.float64), np.asarray(reference, np.float64)
    if own.shape != reference.shape or (np.isnan(own) != np.isnan(reference)).any():
        return np.inf, tolerance
    return float(np.nan_to_num(np.abs(own - reference)).max(initial=0)), tolerance


def most(own: np.ndarray, reference: np.ndarray, tolerance: float) -> Check:
    """The difference that 99.9 % of the entries do not exceed; infinite for other shapes and for NaN."""
    if own.shape != reference.shape or not np.isfinite(own).all():
        return np.inf, tolerance
    return float(np.quantile(np.abs(own - reference), MOST, method="higher")), tolerance


def worst(*checks: Check) -> Check:
    """The check that is nearest to failing, or has failed by most."""

    def ratio(check: Check) -> float:
        difference, tolerance = check
        return difference / tolerance if tolerance else np.inf if difference else 0.0

    return max(checks, key=ratio)


def _parameters(values: Sequence[float]) -> CrfParameters:
    return CrfParameters(*(float(value) for value in values[:5]), iterations=int(values[5]))


def _known(stem: str, parameters: CrfParameters) -> bool:
    """Whether the named parameter set of the library is the one of the file."""
    names = [name for name in PRESETS if stem.startswith(f"09_crf_{name}")]
    return not names or PRESETS[max(names, key=len)] == parameters


def _swept(vector: np.lib.npyio.NpzFile, classes: int, thresholds: Sequence[float]) -> Sweep:
    sweep = Sweep(classes, thresholds, full=True)
    for i in range(int(vector["n_images"])):
        sweep.add(sweep.count(vector[f"cam_{i}"], vector[f"keys_{i}"] + 1, vector[f"gt_{i}"]))
    return sweep


ADAPTERS = {
    "05_psa_crf_alpha": crf_alpha,
    "06_cam_merge": cam_merging,
    "09_crf": crf_vector,
    "09_crf_iterations": crf_iterations,
    "09_crf_kazuto_asrun": crf_wrapped_guide,
    "10_miou": mean_iou,
    "10_threshold_sweep": threshold_sweep,
}
