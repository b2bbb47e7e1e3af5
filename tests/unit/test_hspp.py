"""Hybrid spatial pyramid pooling: hand-computed maps, a loop over windows, sizes that no level divides, gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from wsss.ops.hspp import hspp, window_maxima

SIZES = [(1, 1), (2, 2), (3, 5), (13, 18), (4, 7)]


def ramp(height, width):
    return torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)


def shuffled(*shape):
    """Distinct values, so that every window has one maximum and finite differences stay on its side."""
    count = int(np.prod(shape))
    return torch.randperm(count, generator=torch.Generator().manual_seed(count)).reshape(shape).double() / 10


def by_loops(x_hw, gamma, levels):
    """The definition: complete windows side by side, from the top left corner."""
    height, width = x_hw.shape
    total = gamma * x_hw.mean()
    for level in levels:
        tall, wide = max(1, height // level), max(1, width // level)
        maxima = [
            x_hw[top : top + tall, left : left + wide].max()
            for top in range(0, height - tall + 1, tall)
            for left in range(0, width - wide + 1, wide)
        ]
        total += np.mean(maxima)
    return total / (gamma + len(levels))


def test_two_by_two():
    # GAP 2.5, levels 1, 2, 4: maximum 4, then single pixels twice
    assert hspp(ramp(2, 2) + 1).item() == pytest.approx((2 * 2.5 + 4 + 2.5 + 2.5) / 5)


def test_three_by_five_leaves_out_a_column():
    assert window_maxima(ramp(3, 5), 2)[0, 0].tolist() == [[1, 3], [6, 8], [11, 13]]
    assert hspp(ramp(3, 5)).item() == pytest.approx((2 * 7 + 14 + 7 + 7) / 5)


@pytest.mark.parametrize(
    ("size", "level", "windows"),
    [((1, 1), 4, (1, 1)), ((32, 32), 4, (4, 4)), ((13, 18), 4, (4, 4)), ((7, 7), 4, (7, 7)), ((11, 5), 2, (2, 2))],
)
def test_number_of_windows(size, level, windows):
    assert window_maxima(ramp(*size), level).shape[2:] == windows


@settings(max_examples=50)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0, 5),
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_any_size_is_pooled_as_defined(height, width, gamma, levels, seed):
    x_BDhw = np.random.default_rng(seed).standard_normal((2, 3, height, width))
    found_BD = hspp(torch.from_numpy(x_BDhw), gamma=gamma, levels=levels)
    expected_BD = [[by_loops(x_hw, gamma, levels) for x_hw in x_Dhw] for x_Dhw in x_BDhw]
    np.testing.assert_allclose(found_BD.numpy(), expected_BD, rtol=1e-12, atol=1e-12)


def test_adaptive_pooling_is_something_else():
    x_BDhw = shuffled(1, 3, 13, 18)
    levels = [F.adaptive_max_pool2d(x_BDhw, level).mean((2, 3)) for level in (1, 2, 4)]
    adaptive_BD = (2 * x_BDhw.mean((2, 3)) + sum(levels)) / 5
    assert ((hspp(x_BDhw) - adaptive_BD).abs() > 1e-3).all()


def test_its_ends_are_mean_and_maximum():
    x_BDhw = shuffled(2, 3, 9, 6)
    assert torch.equal(hspp(x_BDhw, gamma=0, levels=[1]), x_BDhw.amax((2, 3)))
    assert torch.allclose(hspp(x_BDhw, gamma=1, levels=[]), x_BDhw.mean((2, 3)))
    assert (x_BDhw.mean((2, 3)) < hspp(x_BDhw)).all()
    assert (hspp(x_BDhw) < x_BDhw.amax((2, 3))).all()


@pytest.mark.parametrize("size", SIZES)
def test_gradients(size):
    assert gradcheck(hspp, shuffled(1, 2, *size).requires_grad_())


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("level", [1, 2, 4])
def test_one_pixel_of_a_tie_gets_the_gradient_as_in_a_single_pooling(level, memory):
    flat = torch.randint(0, 3, (2, 3, 13, 18), generator=torch.Generator().manual_seed(1)).float()
    x_BDhw = flat.contiguous(memory_format=memory).requires_grad_()
    once_BDij = F.max_pool2d(x_BDhw, (13 // level, 18 // level))
    twice_BDij = window_maxima(x_BDhw, level)
    assert torch.equal(once_BDij, twice_BDij)
    slope_BDij = torch.arange(once_BDij.numel()).reshape(once_BDij.shape) + 1.0
    gradients = [torch.autograd.grad(y_BDij, x_BDhw, slope_BDij)[0] for y_BDij in (once_BDij, twice_BDij)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_stays(dtype):
    assert hspp(torch.ones(1, 2, 5, 5, dtype=dtype)).dtype == dtype
