import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.ops.superpixel_pooling import _gathered, image_mean, paint, pool, weights

BOTH = pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])


def naive(feature_BDhw, superpixels, interpolation):
    """The definition: enlarge, then average over the pixels of each superpixel."""
    rows = []
    for feature_Dhw, label_HW in zip(feature_BDhw, superpixels, strict=True):
        mode = {"mode": "nearest-exact"} if interpolation == "nearest" else {"mode": "bilinear", "align_corners": False}
        large_DHW = F.interpolate(feature_Dhw[None].double(), label_HW.shape, **mode)[0]
        rows += [large_DHW[:, torch.as_tensor(label_HW == n)].mean(1) for n in range(label_HW.max() + 1)]
    return torch.stack(rows)


def random_map(height, width, count, seed):
    label_HW = np.random.default_rng(seed).integers(-1, count, (height, width)).astype(np.int32)
    label_HW.flat[:count] = np.arange(count)
    return label_HW


@settings(max_examples=20, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(3, 30), st.integers(3, 30)),
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    interpolation=st.sampled_from(["nearest", "bilinear"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_the_mean_of_the_enlarged_map(grid, size, counts, interpolation, seed):
    feature_BDhw = torch.randn(len(counts), 5, *grid, generator=torch.Generator().manual_seed(seed))
    superpixels = [random_map(size[0] + i, size[1], count, seed) for i, count in enumerate(counts)]
    pooled_ND, image_N = pool(feature_BDhw, superpixels, interpolation=interpolation)
    assert pooled_ND.dtype == torch.float32
    assert image_N.tolist() == [image for image, count in enumerate(counts) for _ in range(count)]
    torch.testing.assert_close(pooled_ND.double(), naive(feature_BDhw, superpixels, interpolation), atol=1e-5, rtol=0)


def test_large_map_agrees_to_1e_5_forward_and_backward():
    feature_BDhw = torch.randn(1, 8, 32, 32, requires_grad=True)
    rows, columns = np.ogrid[:300, :250]
    label_HW = rows // 30 * 9 + (columns + rows % 7) // 29
    pooled_ND, _ = pool(feature_BDhw, label_HW[None], interpolation="bilinear")
    slope_ND = torch.randn_like(pooled_ND)
    (own,) = torch.autograd.grad(pooled_ND, feature_BDhw, slope_ND)
    exact_ND = naive(feature_BDhw, [label_HW], "bilinear")
    (exact,) = torch.autograd.grad(exact_ND, feature_BDhw, slope_ND.double())
    assert (pooled_ND - exact_ND).abs().max() < 1e-5
    assert (own - exact).abs().max() < 1e-5


def test_one_superpixel_per_cell_is_the_identity():
    feature_BDhw = torch.randn(2, 4, 3, 5)
    label_HW = np.repeat(np.repeat(np.arange(15).reshape(3, 5), 8, 0), 8, 1)
    pooled_ND, _ = pool(feature_BDhw, [label_HW, label_HW])
    assert torch.equal(pooled_ND, feature_BDhw.flatten(2).transpose(1, 2).flatten(0, 1))


@BOTH
def test_one_superpixel_over_all_is_the_global_mean(interpolation):
    feature_BDhw = torch.randn(2, 4, 6, 5)
    pooled_ND, image_N = pool(feature_BDhw, torch.zeros(2, 48, 40, dtype=torch.int32), interpolation=interpolation)
    expected = F.interpolate(feature_BDhw, (48, 40), mode="bilinear") if interpolation == "bilinear" else feature_BDhw
    torch.testing.assert_close(pooled_ND, expected.mean((2, 3)))
    torch.testing.assert_close(image_mean(pooled_ND, image_N, 2), pooled_ND)


@BOTH
def test_constants_are_preserved_and_weights_sum_to_one(interpolation):
    label_HW = random_map(31, 45, 12, 0)
    pooled_ND, _ = pool(torch.full((1, 2, 4, 6), 3.5), [label_HW], interpolation=interpolation)
    torch.testing.assert_close(pooled_ND, torch.full((12, 2), 3.5))
    start_N, cell_E, weight_E = weights(label_HW, (4, 6), interpolation)
    assert (weight_E > 0).all()
    assert cell_E.max() < 24
    np.testing.assert_allclose(np.add.reduceat(weight_E, start_N[:-1]), 1)


@BOTH
def test_gradient(interpolation):
    feature_BDhw = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    superpixels = [random_map(9, 11, 3, 0), random_map(7, 5, 4, 1)]
    assert torch.autograd.gradcheck(lambda f: pool(f, superpixels, interpolation=interpolation)[0], feature_BDhw)


def test_index_operations_give_the_same_product_and_gradient():
    start_N, cell_E, weight_E = (torch.from_numpy(a) for a in weights(random_map(20, 30, 6, 0), (4, 5), "bilinear"))
    feature_MD = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    own_ND = _gathered(start_N, cell_E, weight_E, feature_MD)
    other_ND, _ = pool(feature_MD.T.reshape(1, 3, 4, 5), [random_map(20, 30, 6, 0)], interpolation="bilinear")
    torch.testing.assert_close(own_ND, other_ND)
    slopes = [torch.autograd.grad(pooled.pow(2).sum(), feature_MD)[0] for pooled in (own_ND, other_ND)]
    torch.testing.assert_close(*slopes)


@BOTH
def test_padding_counts_nowhere(interpolation):
    # cells see the padded square: what lies under the padding alone must not matter
    label_HW = np.full((24, 24), -1)
    label_HW[:8] = random_map(8, 24, 5, 0).clip(0)
    feature_BDhw = torch.randn(1, 3, 6, 6)
    changed_BDhw = feature_BDhw.clone()
    changed_BDhw[:, :, 3:] = torch.nan
    expected_ND, _ = pool(feature_BDhw, [label_HW], interpolation=interpolation)
    pooled_ND, image_N = pool(changed_BDhw, [label_HW], interpolation=interpolation)
    assert torch.equal(pooled_ND, expected_ND)
    assert image_N.tolist() == [0] * 5


def test_labels_without_pixels_keep_their_row_but_not_their_vote():
    superpixels = [np.array([[0, 0], [2, 2]]), np.full((2, 2), -1), np.array([[1, 1], [1, -1]])]
    feature_BDhw = torch.arange(12.0).reshape(3, 1, 2, 2)
    pooled_ND, image_N = pool(feature_BDhw, superpixels)
    assert image_N.tolist() == [0, -1, 0, -1, 2]
    assert pooled_ND[:, 0].tolist() == [0.5, 0, 2.5, 0, 9]
    assert image_mean(pooled_ND, image_N, 3)[:, 0].tolist() == [1.5, 0, 9]


def test_image_mean_counts_small_superpixels_as_much_as_large():
    label_HW = np.zeros((1, 10), np.int32)
    label_HW[0, 9] = 1
    pooled_ND, image_N = pool(torch.from_numpy(label_HW)[None, None].float(), [label_HW])
    assert image_mean(pooled_ND, image_N, 1).tolist() == [[0.5]]


def test_half_precision_and_autocast_pool_in_float32():
    feature_BDhw = torch.randn(1, 3, 4, 4).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        pooled_ND, _ = pool(feature_BDhw, [random_map(8, 8, 3, 0)])
    pooled_ND.sum().backward()
    assert pooled_ND.dtype == torch.float32
    assert feature_BDhw.grad.dtype == torch.bfloat16


def test_paint_by_hand():
    values_ND = torch.tensor([[1.0, 10.0], [2.0, 20.0]], requires_grad=True)
    maps_DHW = paint(values_ND, np.array([[0, 1], [1, -1]], np.int32))
    assert maps_DHW.tolist() == [[[1, 2], [2, 0]], [[10, 20], [20, 0]]]
    maps_DHW.sum().backward()
    assert values_ND.grad.tolist() == [[1, 1], [2, 2]]


def test_painting_pooled_superpixels_of_single_pixels_is_the_enlarged_map():
    feature_BDhw = torch.randn(1, 3, 4, 5)
    label_HW = np.arange(12 * 11).reshape(12, 11)
    pooled_ND, _ = pool(feature_BDhw, [label_HW], interpolation="bilinear")
    torch.testing.assert_close(paint(pooled_ND, label_HW), F.interpolate(feature_BDhw, (12, 11), mode="bilinear")[0])


def test_refusals():
    with pytest.raises(ValueError, match="1 superpixel maps for 2"):
        pool(torch.zeros(2, 1, 2, 2), [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="bicubic"):
        weights(np.zeros((2, 2)), (2, 2), "bicubic")
