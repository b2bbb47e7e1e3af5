"""Connected segments of a label map: the largest pieces stay, each other one joins its most similar neighbour.

Rows are handled as runs of equal labels.

Letters: H, W image; M columns of the label map, W and padding; R runs; P touching pairs of runs; N pieces.
"""

import numba
import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]


@numba.njit(cache=True, nogil=True)
def edges(label_M: I32, edge: NDArray[np.int64]) -> int:
    """Write where the runs of equal labels in a row begin, and where the last one ends; returns their number."""
    width = len(edge) - 1
    edge[0] = 0
    runs = 1
    for x in range(1, width):
        edge[runs] = x  # always written: a branch would often be predicted wrongly
        runs += label_M[x] != label_M[x - 1]
    edge[runs] = width
    return runs


@numba.njit(cache=True, nogil=True)
def connected(label_HM: I32, sum_HW3: I32, count: int) -> I32:
    """Labels int32 [H, W] of at most `count` 4-connected segments, 0.. in the order of their first pixels.

    label_HM: any labels; columns from W on are not read. sum_HW3: running sums [H, W+1, 3] of the colours along rows.
    """
    run_R4 = _runs(label_HM, sum_HW3.shape[1] - 1)
    parent_R, border_P2 = _borders(run_R4)
    piece_R, total_N4 = _pieces(parent_R, run_R4, sum_HW3)
    for p in range(len(border_P2)):
        border_P2[p, 0], border_P2[p, 1] = piece_R[border_P2[p, 0]], piece_R[border_P2[p, 1]]
    owner_N = _merge(border_P2, total_N4, count)
    segment_N = np.full(len(owner_N), -1, np.int32)
    segments = 0
    label_HW = np.empty((sum_HW3.shape[0], sum_HW3.shape[1] - 1), np.int32)
    for r in range(len(run_R4)):
        owner = owner_N[piece_R[r]]
        if segment_N[owner] < 0:
            segment_N[owner] = segments
            segments += 1
        y, start, end = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2]
        label_HW[y, start:end] = segment_N[owner]
    return label_HW


@numba.njit(cache=True, nogil=True)
def _runs(label_HM: I32, width: int) -> I32:
    """Runs of equal labels in raster order [R, 4]: row, first column, column after the last, label."""
    edge = np.empty(width + 1, np.int64)
    count = 0
    for y in range(len(label_HM)):
        count += edges(label_HM[y], edge)
    run_R4 = np.empty((count, 4), np.int32)
    first = 0
    for y in range(len(label_HM)):
        label_M = label_HM[y]
        runs = edges(label_M, edge)
        for r in range(runs):
            run_R4[first + r, 0], run_R4[first + r, 1] = y, edge[r]
            run_R4[first + r, 2], run_R4[first + r, 3] = edge[r + 1], label_M[edge[r]]
        first += runs
    return run_R4


@numba.njit(cache=True, nogil=True)
def _borders(run_R4: I32) -> tuple[NDArray[np.int64], I32]:
    """Trees of the connected runs of one label (parents [R]), and the pairs of touching runs of two labels [P, 2]."""
    parent_R = np.arange(len(run_R4))
    border_P2 = np.empty((3 * len(run_R4), 2), np.int32)
    borders = 0
    upper = 0
    for r in range(len(run_R4)):
        y, start, end, label = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2], run_R4[r, 3]
        if start > 0:
            border_P2[borders, 0], border_P2[borders, 1] = r - 1, r
            borders += 1
        while run_R4[upper, 0] < y - 1 or (run_R4[upper, 0] < y and run_R4[upper, 2] <= start):
            upper += 1
        above = upper
        while run_R4[above, 0] < y and run_R4[above, 1] < end:
            if run_R4[above, 3] == label:
                _join(parent_R, above, r)
            else:
                border_P2[borders, 0], border_P2[borders, 1] = above, r
                borders += 1
            above += 1
    return parent_R, border_P2[:borders]


@numba.njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int64], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def _join(parent: NDArray[np.int64], i: int, j: int) -> None:
    i, j = _root(parent, i), _root(parent, j)
    parent[max(i, j)] = min(i, j)


@numba.njit(cache=True, nogil=True)
def _pieces(parent_R: NDArray[np.int64], run_R4: I32, sum_HW3: I32) -> tuple[I32, NDArray[np.int64]]:
    """Number of each run's connected piece, and the pieces' colour sums and sizes [N, 4]."""
    piece_R = np.empty(len(parent_R), np.int32)
    pieces = 0
    for r in range(len(parent_R)):
        if parent_R[r] == r:
            piece_R[r] = pieces
            pieces += 1
        else:
            piece_R[r] = piece_R[parent_R[r]]  # parents come first
    total_N4 = np.zeros((pieces, 4), np.int64)
    for r in range(len(parent_R)):
        y, start, end = run_R4[r, 0], run_R4[r, 1], run_R4[r, 2]
        total = total_N4[piece_R[r]]
        for c in range(3):
            total[c] += sum_HW3[y, end, c] - sum_HW3[y, start, c]
        total[3] += end - start
    return piece_R, total_N4


@numba.njit(cache=True, nogil=True)
def _merge(border_P2: I32, total_N4: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The piece each piece ends in: the `count` largest stay, the others join their most similar neighbours."""
    pieces = len(total_N4)
    owner_N = np.arange(pieces)
    kept_N = _largest(total_N4[:, 3], count)
    borders = len(border_P2)
    while True:
        borders = _open_borders(border_P2[:borders], owner_N, kept_N)
        if borders == 0:
            break
        nearest_N = _most_similar(border_P2[:borders], kept_N, total_N4)
        for n in range(pieces):
            if nearest_N[n] >= 0:
                target = _root(owner_N, nearest_N[n])
                if target != n:  # else the two had chosen each other
                    owner_N[n] = target
                    for c in range(4):
                        total_N4[target, c] += total_N4[n, c]
    for n in range(pieces):
        owner_N[n] = _root(owner_N, n)
    return owner_N


@numba.njit(cache=True, nogil=True)
def _largest(size_N: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """True for the `count` largest, the first ones among equals."""
    if len(size_N) <= count:
        return np.ones(len(size_N), np.bool_)
    limit = np.partition(size_N, len(size_N) - count)[len(size_N) - count]
    kept_N = size_N > limit
    spare = count - kept_N.sum()
    for n in range(len(size_N)):
        if spare > 0 and size_N[n] == limit:
            kept_N[n] = True
            spare -= 1
    return kept_N


@numba.njit(cache=True, nogil=True)
def _open_borders(border_P2: I32, owner_N: NDArray[np.int64], kept_N: NDArray[np.bool_]) -> int:
    """Move the borders of pieces that are still to join another to the front, as pairs of owners; their number."""
    found = 0
    for p in range(len(border_P2)):
        i, j = _root(owner_N, border_P2[p, 0]), _root(owner_N, border_P2[p, 1])
        border_P2[found, 0], border_P2[found, 1] = i, j
        found += (i != j) & ~(kept_N[i] & kept_N[j])
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _most_similar(border_P2: I32, kept_N: NDArray[np.bool_], total_N4: NDArray[np.int64]) -> NDArray[np.int64]:
    """The neighbour of nearest mean colour of every piece with a border that is not kept, -1 for the others."""
    mean_N3 = np.empty((len(total_N4), 3))
    for n in range(len(total_N4)):
        for c in range(3):
            mean_N3[n, c] = total_N4[n, c] / total_N4[n, 3]
    gap_N = np.where(kept_N, -1, np.inf)
    nearest_N = np.full(len(kept_N), -1)
    for p in range(len(border_P2)):
        i, j = border_P2[p, 0], border_P2[p, 1]
        gap = 0.0
        for c in range(3):
            gap += (mean_N3[i, c] - mean_N3[j, c]) ** 2
        if gap < gap_N[i]:
            gap_N[i], nearest_N[i] = gap, j
        if gap < gap_N[j]:
            gap_N[j], nearest_N[j] = gap, i
    return nearest_N
