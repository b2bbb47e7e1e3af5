import numpy as np
import pytest

from wsss.ops.permutohedral import Lattice, blur, gather, lattice, spread


def points(features: int, number: int = 400) -> np.ndarray:
    return np.random.default_rng(features).uniform(-3, 3, (features, number)).astype(np.float32)


def filtered(of: Lattice, value_PC: np.ndarray) -> np.ndarray:
    """The sums of the filter, all points at once."""
    value_PC = np.ascontiguousarray(value_PC, np.float32)
    start_MC, result_PC = of.buffer(value_PC.shape[1]), np.zeros_like(value_PC)
    spread(value_PC, 0, len(value_PC), of.points, start_MC)
    end_MC, _ = blur(start_MC, of.buffer(value_PC.shape[1]), of.neighbour_VM2)
    gather(end_MC, 0, len(value_PC), of.points, result_PC)
    return result_PC


@pytest.mark.parametrize("features", [1, 2, 3, 5])
def test_weights_are_barycentric(features):
    of = lattice(points(features))
    assert of.vertex_PV.shape == of.weight_PV.shape == (400, features + 1)
    assert of.weight_PV.min() > -1e-5
    np.testing.assert_allclose(of.weight_PV.sum(1), 1, atol=1e-5)
    assert all(len(set(row)) == features + 1 for row in of.vertex_PV)


def test_one_feature_by_hand():
    # scale sqrt(2/3) * 2 / sqrt(2) = 1.1547, coordinates (s, -s): vertices at whole multiples of (1, -1)
    feature = np.array([[0.0, 1.0, 1.7]], np.float32)
    place = 1.1547005 * feature[0]
    of = lattice(feature)
    assert len(set(of.vertex_PV.ravel())) == of.neighbour_VM2.shape[1] == 3
    for row, weight_V, s in zip(of.vertex_PV, of.weight_PV, place, strict=True):
        assert set(np.round(weight_V, 5)) == set(np.round([s % 1, 1 - s % 1], 5)), row


def test_neighbours_are_mutual():
    of = lattice(points(5, 3000))
    missing = of.neighbour_VM2.shape[1]
    for pair_M2 in of.neighbour_VM2:
        before_M, after_M = pair_M2.T
        m = np.flatnonzero(after_M < missing)
        assert len(m) > 0
        assert (before_M[after_M[m]] == m).all()


@pytest.mark.parametrize("features", [1, 2, 3])
def test_filter_is_near_the_gaussian(features):
    feature_FP = points(features, 2500 * features)
    value_P1 = np.random.default_rng(0).random((feature_FP.shape[1], 1)).astype(np.float32)
    square_PP = np.square(feature_FP[:, :, None] - feature_FP[:, None, :]).sum(0)
    kernel_PP = np.exp(-square_PP / 2)
    of = lattice(feature_FP)
    mean_P = filtered(of, np.repeat(value_P1, 2, 1))[:, 0] / of.of_ones()
    np.testing.assert_allclose(mean_P, kernel_PP @ value_P1[:, 0] / kernel_PP.sum(1), atol=0.05)


def test_normalised_filter_keeps_the_mass_of_the_kernel():
    # D^-1/2 K D^-1/2 maps D^1/2 onto itself, times the weight
    of = lattice(points(3))
    root_P = np.sqrt(of.of_ones())
    result_PC = filtered(of.normalised(2.0), np.stack([root_P, 3 * root_P], 1))
    np.testing.assert_allclose(result_PC, np.stack([2 * root_P, 6 * root_P], 1), rtol=1e-5)


def test_values_do_not_mix():
    of = lattice(points(2))
    value_PC = np.random.default_rng(1).random((400, 6))
    pairs = [filtered(of, value_PC[:, c : c + 2]) for c in (0, 2, 4)]
    np.testing.assert_array_equal(filtered(of, value_PC), np.concatenate(pairs, 1))


def test_many_vertices_keep_apart():
    feature_FP = np.random.default_rng(2).uniform(0, 100, (5, 20000)).astype(np.float32)
    of = lattice(feature_FP)  # hardly any two points share a vertex, so the table grows
    assert of.neighbour_VM2.shape[1] > 115000
    np.testing.assert_array_equal(np.unique(of.vertex_PV), np.arange(of.neighbour_VM2.shape[1]))


def test_points_that_span_too_much_are_refused():
    with pytest.raises(ValueError, match="span too much"):
        lattice(np.array([[0, 1e6]] * 5, np.float32))
