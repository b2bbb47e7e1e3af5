"""Which pixels are neighbours, and the paths between them (Ahn and Kwak 2018, AffinityNet; Ahn et al. 2019, IRNet).

Only half of the neighbourhood is listed, as every pair of pixels has one end that comes first in reading order.

Letters: n neighbours of a pixel, m points of a path, h x w the grid.
"""

import numpy as np


def offsets(radius: int) -> np.ndarray:
    """Steps (dy, dx) from a pixel to its later neighbours nearer than `radius`: int64 [n, 2], sorted.

    Right of the pixel up to radius - 1, and below it every column with dy^2 + dx^2 < radius^2 (34 for 5, 152 for 10).
    """
    dy, dx = np.mgrid[:radius, 1 - radius : radius]
    later = (dy > 0) | (dx > 0)
    return np.stack([dy, dx], axis=-1)[later & (dy**2 + dx**2 < radius**2)]


def paths(radius: int) -> list[np.ndarray]:
    """Points (y, x) between a pixel (0, 0) and each neighbour, both ends included: int64 [m, 2] per row of offsets.

    The points of the box of both ends nearer than 1 to the line through them (IRNet section 3.3).
    """
    return [_path(int(dy), int(dx)) for dy, dx in offsets(radius)]


def sources(shape_hw: tuple[int, int], radius: int) -> tuple[slice, slice]:
    """Rows 0..h-radius and columns radius-1..w-radius: the pixels all of whose neighbours lie on the grid.

    Losses of both papers, and the walk of AffinityNet, know pairs of these only. Empty on grids that are too small.
    """
    height, width = shape_hw
    return slice(0, max(height - radius + 1, 0)), slice(radius - 1, max(width - radius + 1, radius - 1))


def _path(dy: int, dx: int) -> np.ndarray:
    y, x = np.mgrid[: dy + 1, min(0, dx) : max(0, dx) + 1]
    return np.stack([y, x], axis=-1)[(dy * x - dx * y) ** 2 < dy**2 + dx**2]
