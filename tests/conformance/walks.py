"""Adapters for entries 01, 02 and 05: offsets and paths, and the random walks of IRNet and AffinityNet."""

from pathlib import Path

import numpy as np

from tests.conformance.arrays import Check, largest, worst
from wsss.ops.neighbours import offsets, paths, sources
from wsss.ops.random_walk import edge_affinity, scattered, walk
from wsss.ops.scores import background_alpha, enlarge, labels_at

CLASSES = 21
CELL = 8


def path_index(path: Path) -> Check:
    """Offsets and points of the paths, and the sources and destinations of the example grid."""
    vector = np.load(path)
    checks = []
    for radius in vector["radii"].tolist():
        points = paths(radius)
        checks += [
            largest(offsets(radius), vector[f"offsets_r{radius}"], 0),
            largest(np.concatenate(points), vector[f"path_points_r{radius}"], 0),
            largest(np.cumsum([0, *map(len, points)]), vector[f"path_ptr_r{radius}"], 0),
        ]
    for name in (key for key in vector if key.startswith("grid_r")):
        radius, (height, width) = int(name.removeprefix("grid_r")), vector[name]
        place_hw = np.arange(height * width).reshape(height, width)
        source = place_hw[sources((height, width), radius)].ravel()
        checks += [
            largest(source, vector[f"src_r{radius}"], 0),
            largest(source + (offsets(radius) @ [width, 1])[:, None], vector[f"dst_r{radius}"], 0),
        ]
    return worst(*checks)


def irnet_walk(path: Path) -> Check:
    """The seeds off the boundaries after the walk."""
    vector = np.load(path)
    radius, steps = int(vector["radius"]), 2 ** int(vector["exp_times"])
    affinity_nhw = edge_affinity(vector["edge"], radius)
    own_Khw = walk(vector["seed"] * (1 - vector["edge"]), affinity_nhw, radius, beta=int(vector["beta"]), steps=steps)
    return worst(largest(own_Khw, vector["out64"], 2e-4), largest(own_Khw, vector["out32"], 2e-4))


def transition(path: Path) -> Check:
    """Affinity, T and its power as matrices: a walk from every pixel gives a row of the power."""
    vector = np.load(path)
    radius, beta = int(vector["radius"]), int(vector["beta"])
    height, width = vector["edge"].shape
    affinity_nhw = edge_affinity(vector["edge"], radius)
    unit_Phw = np.eye(height * width, dtype=np.float32).reshape(-1, height, width)
    checks = [largest(_dense(affinity_nhw, radius), vector["affinity"], 1e-5)]
    for name, steps in (("trans_1", 1), ("trans_256", 2 ** int(vector["exp_times"]))):
        own_Phw = walk(unit_Phw, affinity_nhw, radius, beta=beta, steps=steps)
        checks.append(largest(own_Phw.reshape(len(own_Phw), -1), vector[name], 1e-5))
    return worst(*checks)


def affinitynet_walk(path: Path) -> Check:
    """Scores on the grid of 8 x 8 cells, the walk without padding, and the labels."""
    vector = np.load(path)
    size = vector["cams"].shape[1:]
    _, rows, columns = vector["rw"].shape
    radius = int(vector["offsets"].max()) + 1
    score_CHW = np.zeros((CLASSES, rows * CELL, columns * CELL))
    score_CHW[0, : size[0], : size[1]] = background_alpha(vector["cams"], float(vector["alpha"]))
    score_CHW[vector["keys"] + 1, : size[0], : size[1]] = vector["cams"]
    low_Chw = score_CHW.reshape(CLASSES, rows, CELL, columns, CELL).mean((2, 4))
    hs, ws = (
        range(length)[part] for length, part in zip((rows, columns), sources((rows, columns), radius), strict=True)
    )
    affinity_nhw = scattered(vector["affinity_sparse"].reshape(-1, len(hs), len(ws)), (rows, columns), radius)
    own_Chw = walk(low_Chw, affinity_nhw, radius, beta=int(vector["beta"]), steps=2 ** int(vector["logt"]))
    label_HW = labels_at(enlarge(own_Chw, size, grid=score_CHW.shape[1:]), range(CLASSES), None)
    return worst(
        largest(offsets(radius), vector["offsets"], 0),
        largest(low_Chw, vector["score_low"], 1e-6),
        largest(own_Chw, vector["rw"], 1e-4),
        largest(np.mean(label_HW != vector["label"]), np.float64(0), 1e-3),
    )


def _dense(affinity_nhw: np.ndarray, radius: int) -> np.ndarray:
    """Symmetric matrix with unit diagonal; affinities to the outside must be zero."""
    _, height, width = affinity_nhw.shape
    matrix_PP = np.eye(height * width)
    for affinity_hw, (dy, dx) in zip(affinity_nhw, offsets(radius), strict=True):
        for y, x in np.argwhere(affinity_hw):
            p, q = y * width + x, (y + dy) * width + x + dx
            matrix_PP[p, q] = matrix_PP[q, p] = affinity_hw[y, x]
    return matrix_PP


ADAPTERS = {
    "01_pathindex": path_index,
    "02_irn_rw": irnet_walk,
    "02_irn_transition_tiny": transition,
    "05_psa_random_walk": affinitynet_walk,
}
