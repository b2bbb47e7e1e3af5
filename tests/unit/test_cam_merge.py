import pytest
import torch
import torch.nn.functional as F

from wsss.ops.cam_merge import merge, normalise

RAW = torch.tensor([[[[1.0, -2.0, 3.0]]], [[[4.0, 5.0, -6.0]]]])  # mirror image first at its right border


def test_one_scale_by_hand():
    # the mirror image's map turned back: -6 5 4; after the ReLU: 1 0 3 and 0 5 4
    assert merge([RAW], (1, 3), grid="full", flip="sum", order="relu_first").tolist() == [[[1, 5, 7]]]
    assert merge([RAW], (1, 3), grid="full", flip="max", order="relu_first").tolist() == [[[1, 5, 4]]]
    assert merge([RAW], (1, 3), grid="full", flip="none", order="relu_first").tolist() == [[[1, 0, 3]]]
    assert merge([RAW[:1]], (1, 3), grid="full", flip="none", order="resize_first").tolist() == [[[1, 0, 3]]]


def test_scales_are_summed():
    small = torch.tensor([[[[2.0]]], [[[1.0]]]])
    merged = merge(iter([RAW, small]), (1, 3), grid="full", flip="max", order="relu_first")
    assert merged.tolist() == [[[3, 7, 6]]]


def test_the_order_of_resizing_and_relu_matters():
    # -2 and 2 enlarged to four samples: -2 -1 1 2; the ReLU before gives 0 0.5 1.5 2, after 0 0 1 2
    raw = torch.tensor([[[[-2.0, 2.0]]]])
    first = merge([raw], (1, 4), grid="full", flip="none", order="relu_first")
    last = merge([raw], (1, 4), grid="full", flip="none", order="resize_first")
    assert first.tolist() == [[[0, 0.5, 1.5, 2]]]
    assert last.tolist() == [[[0, 0, 1, 2]]]


@pytest.mark.parametrize("flip", ["sum", "max"])
@pytest.mark.parametrize("order", ["relu_first", "resize_first"])
def test_mirroring_the_image_mirrors_the_result(flip, order):
    raw = [torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h)) for h, w in ((5, 7), (9, 13))]
    merged = merge(raw, (33, 50), grid="full", flip=flip, order=order)
    swapped = merge([pair.flip(0) for pair in raw], (33, 50), grid="full", flip=flip, order=order)
    torch.testing.assert_close(swapped, merged.flip(-1), atol=1e-5, rtol=0)


def test_grids():
    raw = [torch.rand(2, 3, 5, 7), torch.rand(2, 3, 9, 13)]
    shapes = {
        grid: tuple(merge(raw, (33, 50), grid=grid, flip="sum", order="relu_first").shape)
        for grid in ("stride4", "full", "full16")
    }
    assert shapes == {"stride4": (3, 9, 13), "full": (3, 33, 50), "full16": (3, 33, 50)}


def test_full16_enlarges_to_multiples_of_16_and_cuts():
    raw = torch.rand(2, 1, 3, 4)
    merged = merge([raw], (33, 50), grid="full16", flip="max", order="relu_first")
    pair = torch.maximum(raw[:1], raw[1:].flip(-1))
    large = F.interpolate(pair, (48, 64), mode="bilinear", align_corners=False)[0, :, :33, :50]
    torch.testing.assert_close(merged, large)
    assert not torch.allclose(merged, merge([raw], (33, 50), grid="full", flip="max", order="relu_first"))


def test_normalise_by_hand():
    maps_Chw = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(normalise(maps_Chw)[0], maps_Chw[0] / 4.00001)
    assert (normalise(maps_Chw)[1] == 0).all()


def test_an_image_without_labels_has_no_maps():
    merged = merge([torch.zeros(2, 0, 3, 4)], (33, 50), grid="stride4", flip="sum", order="relu_first")
    assert normalise(merged).shape == (0, 9, 13)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        merge([], (1, 3), grid="full", flip="sum", order="relu_first")
    with pytest.raises(ValueError, match="needs a pair"):
        merge([RAW[:1]], (1, 3), grid="full", flip="sum", order="relu_first")
