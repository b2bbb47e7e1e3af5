import numpy as np
import pytest
import torch

from wsss.ops.neighbours import offsets, paths
from wsss.ops.pairs import destinations, kinds, mean_over, origins, path_maximum, shifted


def noise(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_ends_by_hand():
    # radius 2 on 3 x 4: sources rows 0..1, columns 1..2
    map_hw = torch.arange(12).view(3, 4)
    assert origins(map_hw, 2).tolist() == [[1, 2], [5, 6]]
    right, below_left, below, below_right = destinations(map_hw, 2).tolist()
    assert right == [[2, 3], [6, 7]]
    assert below_left == [[4, 5], [8, 9]]
    assert below == [[5, 6], [9, 10]]
    assert below_right == [[6, 7], [10, 11]]
    assert shifted(map_hw, (1, -1), 2).tolist() == below_left


def test_ends_keep_leading_dimensions():
    map_BDhw = noise(2, 3, 7, 11)
    assert origins(map_BDhw, 3).shape == (2, 3, 5, 7)
    second = destinations(map_BDhw, 3)
    assert second.shape == (2, 3, len(offsets(3)), 5, 7)
    assert torch.equal(second[1, 2], destinations(map_BDhw[1, 2], 3))


@pytest.mark.parametrize(("shape", "radius"), [((3, 3), 2), ((8, 11), 3), ((6, 13), 5), ((12, 21), 10)])
def test_path_maximum_is_that_of_every_single_path(shape, radius):
    map_Bhw = noise(2, *shape)
    own = path_maximum(map_Bhw, radius).numpy()
    rows, columns = shape[0] - radius + 1, shape[1] - 2 * radius + 2
    assert own.shape == (2, len(offsets(radius)), rows, columns)
    for n, points in enumerate(paths(radius)):
        for y, x in np.ndindex(rows, columns):
            places = points + np.array([y, x + radius - 1])
            expected = map_Bhw[:, places[:, 0], places[:, 1]].amax(1)
            np.testing.assert_array_equal(own[:, n, y, x], expected)


@pytest.mark.parametrize("radius", [2, 4])
def test_path_maximum_gradient(radius):
    map_Bhw = noise(2, 6, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: path_maximum(x, radius), map_Bhw)


def test_gradient_of_tied_maxima_goes_to_the_first():
    map_Bhw = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    maximum = path_maximum(map_Bhw, 2)
    weight = torch.tensor([1.0, 10, 100, 1000]).view(maximum.shape)
    (maximum * weight).sum().backward()
    # the source is (0, 1), first point of all its paths but the one to (1, 0), whose box begins at (0, 0)
    assert map_Bhw.grad[0].tolist() == [[10, 1101, 0], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 20), (20, 8)])
def test_grids_that_are_too_small_have_no_pairs(shape):
    map_Bhw = noise(2, *shape).requires_grad_()
    maximum = path_maximum(map_Bhw, 5)
    assert maximum.numel() == 0
    assert maximum.shape == destinations(map_Bhw, 5).shape
    masks = kinds(torch.zeros(2, *shape, dtype=torch.int64), 5)
    assert [mask.shape for mask in masks] == [maximum.shape] * 3
    loss = mean_over(maximum, masks[0])
    loss.backward()
    assert loss.item() == 0
    assert not map_Bhw.grad.any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_kinds_by_hand(dtype):
    # one source, (0, 1); neighbours right, below left, below, below right
    def kinds_of(source, *neighbours):
        right, below_left, below, below_right = neighbours
        label = torch.tensor([[[9, source, right], [below_left, below, below_right]]], dtype=dtype)
        return [mask.flatten().tolist() for mask in kinds(label, 2)]

    nothing = [False] * 4
    background, foreground, different = kinds_of(0, 0, 3, 255, 0)
    assert background == [True, False, False, True]
    assert foreground == nothing
    assert different == [False, True, False, False]
    background, foreground, different = kinds_of(7, 0, 7, 3, 255)
    assert background == nothing
    assert foreground == [False, True, False, False]
    assert different == [True, False, True, False]
    assert kinds_of(255, 255, 0, 1, 255) == [nothing] * 3


def test_mean_over_by_hand():
    value = torch.tensor([1.0, 2, 4, float("inf")], dtype=torch.float64)
    mask = torch.tensor([True, False, True, False])
    assert mean_over(value, mask).item() == pytest.approx(5 / 2.00001, rel=1e-12)
    assert mean_over(value, mask).dtype == torch.float64
    # broadcast over a channel dimension, every entry counts
    assert mean_over(torch.stack([value, value]), mask).item() == pytest.approx(10 / 4.00001, rel=1e-12)
    assert mean_over(value, torch.zeros(4, dtype=torch.bool)).item() == 0


def test_mean_over_leaves_masked_values_out_of_the_gradient():
    value = noise(3, 4).requires_grad_()
    mask = noise(3, 4, seed=1) > 0.5
    mean_over(value, mask).backward()
    expected = mask / (mask.sum().double() + 1e-5)
    torch.testing.assert_close(value.grad, expected, rtol=1e-12, atol=0)
