"""AffinityNet: label grids, affinities and their gradient, losses, and what the random walk makes of CAMs."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss import interface
from wsss.backbones import mobilenet_v2, resnet38, tiny, vgg16
from wsss.backbones.common import freeze
from wsss.errors import UserError
from wsss.methods import affinitynet
from wsss.methods.affinitynet import affinity, block_means, build, labels, refine, sample_target, with_background
from wsss.ops import pairs
from wsss.ops.crf import PRESETS, crf
from wsss.ops.neighbours import offsets
from wsss.stores import Record

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "conformance"
ALONE = [(0, 0), (0, 1), (0, 2), (0, 3), (-1, 0), (-1, 1), (-2, 0), (-1, -1), (-1, -2), (-2, -1)]


class Taps(nn.Module):
    """A backbone of stride 4 whose taps are random but fixed, the first at twice the resolution."""

    channels, strides = (2, 3, 4), (2, 4, 4)
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def forward(self, image_BCHW):
        generator = torch.Generator().manual_seed(0)
        batch, _, height, width = image_BCHW.shape
        sizes = [(height // stride, width // stride) for stride in self.strides]
        return [torch.randn(batch, d, *size, generator=generator) for d, size in zip(self.channels, sizes, strict=True)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def small(backbone=None, **options):
    return build(backbone=backbone or tiny.build(output_stride=8), num_classes=3, widths=(4, 5, 6), **options)


def record(score_Khw, classes, size):
    return Record(np.asarray(score_Khw, np.float16), {"classes": classes, "size": list(size)})


def picture(size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def plain_affinity(feature_BDhw, radius):
    """Loops over pixels."""
    *_, height, width = feature_BDhw.shape
    rows = [
        [
            [
                torch.exp(-(feature_BDhw[..., y, x] - feature_BDhw[..., y + dy, x + dx]).abs().mean(1))
                for x in range(radius - 1, width - radius + 1)
            ]
            for y in range(height - radius + 1)
        ]
        for dy, dx in offsets(radius).tolist()
    ]
    return torch.stack([torch.stack([torch.stack(row, 1) for row in plane], 1) for plane in rows], 1)


def test_block_means_by_hand():
    value_HW = np.array([[1, 3, 4], [5, 7, 8], [2, 2, 4]], np.uint8)
    assert np.array_equal(block_means(value_HW, 2), [[4, 3], [1, 1]])
    assert block_means(np.ones((2, 5, 16, 17)), 8).shape == (2, 5, 2, 3)


def test_label_grid_cases():
    """Per block: sure class, sure background, background at the low alpha only, outside, and half outside."""
    low, high = np.zeros((3, 4, 20), np.uint8), np.zeros((3, 4, 20), np.uint8)
    for block, (low_N, high_N) in enumerate(
        [([50, 5, 200], [5, 50, 200]), ([250, 3, 2], [200, 30, 25]), ([130, 120, 5], [60, 190, 5])]
    ):
        cells = slice(4 * block, 4 * block + 4)
        low[:, :, cells], high[:, :, cells] = np.array(low_N)[:, None, None], np.array(high_N)[:, None, None]
    low[:, 3, 19], high[:, 3, 19] = [10, 240, 5], [5, 245, 5]
    grid_hw = sample_target(np.stack([low, high]), stride=4)
    assert grid_hw.dtype == np.int64
    assert grid_hw.tolist() == [[2, 0, 255, 255, 1]]


def test_surely_background_overrides_a_class_at_the_low_alpha():
    cut_2NHW = np.array([[10, 245], [200, 55]], np.uint8)[:, :, None, None] * np.ones((8, 8), np.uint8)
    assert sample_target(cut_2NHW).tolist() == [[0]]


def test_label_grid_of_a_cut_that_is_no_multiple_of_the_stride():
    cut_2NHW = np.zeros((2, 2, 9, 17), np.uint8)
    cut_2NHW[:, 1] = 255
    assert sample_target(cut_2NHW).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_labels_have_more_background_at_the_low_alpha():
    column_W = np.linspace(0, 1, 9)
    maps = record(np.tile(column_W, (1, 7, 1)), [5], (25, 33))
    prob_2NHW = labels(maps, picture((25, 33)), 0.2)
    assert prob_2NHW.shape == (2, 2, 25, 33)
    assert prob_2NHW.dtype == np.uint8
    assert np.abs(prob_2NHW.astype(int).sum(1) - 255).max() <= 1
    low_HW, high_HW = prob_2NHW[:, 0].astype(int)
    assert (low_HW >= high_HW).mean() > 0.99
    assert (low_HW > 127).sum() > (high_HW > 127).sum() > 0


def test_labels_without_classes_are_background():
    maps = record(np.zeros((0, 5, 7)), [], (17, 25))
    prob_2NHW = labels(maps, picture((17, 25)), 0.2)
    assert prob_2NHW.shape == (2, 1, 17, 25)
    assert (prob_2NHW == 255).all()
    assert (sample_target(prob_2NHW) == 0).all()


def test_labels_are_the_official_probabilities():
    path = VECTORS / "05_psa_crf_alpha.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand")
    data = np.load(path)
    maps = Record(data["cams"], {"classes": [*(data["keys"] + 1).tolist()], "size": data["rgb"].shape[:2]})
    chosen = [0, len(data["alphas"]) - 1]
    prob_2NHW = labels(
        maps,
        data["rgb"],
        0.2,
        low_alpha=float(data["alphas"][chosen[0]]),
        high_alpha=float(data["alphas"][chosen[1]]),
    )
    difference = np.abs(prob_2NHW / 255 - data["q"][chosen])
    assert np.quantile(difference, 0.999) < 0.01


def test_affinity_by_hand():
    feature_BDhw = torch.tensor([[[[9.0, 1.0, 2.0], [4.0, 1.0, 0.0]], [[9.0, 3.0, 0.0], [3.0, 3.0, 5.0]]]])
    assert offsets(2).tolist() == [[0, 1], [1, -1], [1, 0], [1, 1]]
    expected = [math.exp(-distance) for distance in (2.0, 1.5, 0.0, 1.5)]
    assert affinity(feature_BDhw, 2).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_affinity_and_gradient_are_those_of_the_plain_form(radius):
    feature_BDhw = torch.randn(2, 6, 9, 12, dtype=torch.float64, requires_grad=True)
    own, plain = affinity(feature_BDhw, radius), plain_affinity(feature_BDhw, radius)
    torch.testing.assert_close(own, plain)
    weight = torch.randn_like(own)
    gradients = [torch.autograd.grad((value * weight).sum(), feature_BDhw)[0] for value in (own, plain)]
    torch.testing.assert_close(*gradients)


def test_gradient_of_affinity_is_that_of_finite_differences():
    feature_BDhw = torch.randn(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda feature: affinity(feature, 3), feature_BDhw)


def test_affinity_of_a_map_below_the_radius_has_no_sources():
    feature_BDhw = torch.randn(1, 3, 3, 20, requires_grad=True)
    own = affinity(feature_BDhw, 5)
    assert own.shape[1] == 34
    assert own.numel() == 0
    own.sum().backward()
    assert not feature_BDhw.grad.any()


def test_the_backward_pass_keeps_no_differences():
    feature_BDhw = torch.randn(1, 64, 24, 24, requires_grad=True)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        affinity(feature_BDhw, 5).sum().backward()
    assert sum(kept.values()) < 2 * feature_BDhw.numel()


def test_losses_by_hand():
    """One source with a pair of each kind, and one without a label."""
    label_Bhw = torch.tensor([[[0, 1, 1], [255, 1, 0]], [[5, 0, 5], [3, 0, 255]]])
    affinity_Bnst = torch.tensor([[0.5, 0.9, 0.25, 0.125], [0.2, 0.4, 0.8, 0.1]])[:, :, None, None]
    found = pairs.affinity_losses(affinity_Bnst, *pairs.kinds(label_Bhw, 2))
    foreground = -(math.log(0.5) + math.log(0.25)) / 2
    different = -(math.log(1 - 0.125) + math.log(1 - 0.2) + math.log(1 - 0.4)) / 3
    assert found["foreground"].item() == pytest.approx(foreground / 4, rel=1e-4)
    assert found["background"].item() == pytest.approx(-math.log(0.8) / 4, rel=1e-4)
    assert found["different"].item() == pytest.approx(different / 2, rel=1e-4)


def test_losses_of_a_network_follow_from_its_affinities():
    model = small(radius=3)
    batch = {"image": torch.randn(2, 3, 48, 54), "label": torch.randint(0, 3, (2, 6, 7))}
    found = model.losses(batch, None)
    parts = pairs.affinity_losses(model.affinities(batch["image"], 3), *pairs.kinds(batch["label"], 3))
    assert found.keys() == parts.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, parts[name])


def test_an_unsure_batch_costs_nothing():
    losses = small().losses({"image": torch.randn(1, 3, 96, 96), "label": torch.full((1, 12, 12), 255)}, None)
    assert [value.item() for value in losses.values()] == [0, 0, 0]


def test_images_too_small_for_any_pair_are_refused():
    model = small()
    with pytest.raises(UserError, match=r"augment.crop.* 65 or more"):
        model.losses({"image": torch.randn(1, 3, 64, 64), "label": torch.zeros(1, 8, 8, dtype=torch.int64)}, None)
    assert model.losses({"image": torch.randn(1, 3, 65, 65), "label": torch.zeros(1, 9, 9, dtype=torch.int64)}, None)


def test_gradient_reaches_what_is_not_frozen():
    model = small()
    freeze(model.backbone, 2)
    batch = {"image": torch.randn(2, 3, 96, 96), "label": torch.randint(0, 3, (2, 12, 12))}
    torch.stack([*model.losses(batch, None).values()]).sum().backward()
    frozen = {name for name, p in model.named_parameters() if p.grad is None}
    assert frozen == {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name for name, _ in model.named_parameters() if name.startswith(("backbone.stem", "backbone.block2"))
    }
    assert all(
        p.grad.abs().sum() > 0 for name, p in model.named_parameters() if name.endswith("weight") and p.requires_grad
    )


def test_autocast_keeps_distances_in_float32():
    model = small()
    image_BCHW, label_Bhw = torch.randn(1, 3, 96, 96), torch.randint(0, 3, (1, 12, 12))
    with torch.autocast("cpu", torch.bfloat16):
        feature_BDhw = model.features(image_BCHW)
        affinity_Bnst = model.affinities(image_BCHW, 5)
        losses = model.losses({"image": image_BCHW, "label": label_Bhw}, None)
    assert feature_BDhw.dtype == torch.bfloat16
    assert affinity_Bnst.dtype == torch.float32
    torch.testing.assert_close(affinity_Bnst.double(), affinity(feature_BDhw.double(), 5), rtol=1e-5, atol=1e-6)
    total = torch.stack([*losses.values()]).sum()
    assert total.dtype == torch.float32
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_features_resize_taps_of_other_strides():
    model = build(backbone=Taps(), num_classes=1, widths=(3, 4, 5))
    image_BCHW = torch.zeros(2, 3, 24, 32)
    first, *others = model.backbone(image_BCHW)
    taps = [F.interpolate(first, (6, 8), mode="bilinear"), *others]
    mixed = torch.cat([F.elu(layer(tap)) for layer, tap in zip(model.f8, taps, strict=True)], 1)
    torch.testing.assert_close(model.features(image_BCHW), F.elu(model.f9(mixed)))


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [(tiny.build(output_stride=4), 4), (mobilenet_v2.build(output_stride=16), 16), (vgg16.build(output_stride=8), 8)],
)
def test_the_grid_is_the_size_over_the_stride(backbone, stride):
    model = small(backbone)
    grid = (-(-90 // stride), -(-61 // stride))
    assert model.stride == stride
    assert model.features(torch.randn(1, 3, 90, 61)).shape == (1, 15, *grid)


def test_initial_weights():
    model = build(backbone=Taps(), num_classes=1, widths=(300, 300, 300))
    for layer, channels in zip(model.f8, Taps.channels, strict=True):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / channels), rel=0.1)
    assert model.f9.weight.abs().max().item() == pytest.approx(4 * math.sqrt(6 / 1800), rel=0.01)


def test_parameter_groups_are_those_of_psa():
    path = VECTORS / "11_param_groups.tsv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand")
    with open(path, newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["network"] == "psa_aff"]
    expected = {
        r["parameter"]: (float(r["lr_factor"]), float(r["weight_decay"]) > 0, r["trained"] == "1") for r in rows
    }
    with torch.device("meta"):
        model = build(backbone=resnet38.build(), num_classes=20)
    freeze(model.backbone, 1)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    official = {f"f8.{i}.weight": f"f8_{i + 3}.weight" for i in range(3)}
    found = {
        official.get(names[id(p)], names[id(p)]): (
            group["lr_factor"],
            group["weight_decay_factor"] > 0,
            p.requires_grad,
        )
        for group in model.parameter_groups()
        for p in group["params"]
    }
    assert found == expected


def test_biases_of_a_backbone_learn_twice_as_fast_without_decay():
    model = small(vgg16.build(output_stride=8))
    groups = model.parameter_groups()
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    factors = {id(p): (g["lr_factor"], g["weight_decay_factor"]) for g in groups for p in g["params"]}
    assert factors[id(model.backbone.features[0].bias)] == (2, 0)
    assert factors[id(model.f9.weight)] == (10, 1)


def test_a_label_grid_of_another_stride_is_refused():
    batch = {"image": torch.randn(1, 3, 64, 64), "label": torch.zeros(1, 4, 4, dtype=torch.int64)}
    with pytest.raises(ValueError, match="stride is 8"):
        small().losses(batch, None)


@pytest.mark.parametrize("widths", [(), (1,) * 6])
def test_widths_that_do_not_fit_the_taps_are_refused(widths):
    with pytest.raises(UserError, match="widths"):
        build(backbone=tiny.build(), num_classes=3, widths=widths)


@pytest.mark.parametrize("size", [(101, 118), (96, 104)])
def test_refined_maps_cover_the_padded_picture(size):
    maps = record(np.random.default_rng(0).random((2, 26, 30)), [3, 7], size)
    walked_Nhw, meta = refine(small().eval(), maps, picture(size))
    grid = (-(-size[0] // 8), -(-size[1] // 8))
    assert meta == {"classes": [0, 3, 7], "grid": [8 * grid[0], 8 * grid[1]]}
    assert walked_Nhw.dtype == np.float16
    assert walked_Nhw.shape == (3, *grid)
    assert (walked_Nhw >= 0).all()
    assert (walked_Nhw <= 1).all()


@pytest.mark.parametrize("classes", [[], [3, 7]])
def test_a_crf_after_the_walk_gives_its_labels(classes):
    maps, size = record(np.random.default_rng(0).random((len(classes), 26, 30)), classes, (101, 118)), (101, 118)
    model, rgb_HW3 = small().eval(), np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    walked_Nhw, meta = refine(model, maps, rgb_HW3, logt=2)
    score_NHW = affinitynet.enlarge(walked_Nhw, size, meta["grid"]).astype(np.float32)
    prob_NHW = crf(rgb_HW3, -np.log(np.clip(score_NHW, 1e-5, 1)), PRESETS["aeft"])
    label_HW = refine(model, maps, rgb_HW3, logt=2, crf="aeft")
    assert label_HW.dtype == np.uint8
    assert np.array_equal(label_HW, np.array([0, *classes])[prob_NHW.argmax(0)])


def test_pixels_without_neighbours_keep_their_score():
    maps = record(np.random.default_rng(1).random((2, 26, 30)), [3, 7], (101, 118))
    model = small().eval()
    nn.init.zeros_(model.f9.weight)  # all affinities are 1
    walked_Nhw, _ = refine(model, maps, picture((101, 118)))
    full_KHW = affinitynet.enlarge(maps.array, (101, 118)).astype(np.float32)
    before_Nhw = block_means(with_background(full_KHW, 16), 8)
    kept_hw = (np.abs(walked_Nhw - before_Nhw) < 1e-3).all(0)
    alone_hw = np.zeros_like(kept_hw)
    for y, x in ALONE:
        alone_hw[y, x] = True
    assert np.array_equal(kept_hw, alone_hw)


def test_a_picture_below_the_radius_only_loses_resolution():
    maps = record(np.random.default_rng(1).random((1, 7, 8)), [3], (26, 30))
    walked_Nhw, _ = refine(small().eval(), maps, picture((26, 30)))
    full_KHW = affinitynet.enlarge(maps.array, (26, 30)).astype(np.float32)
    np.testing.assert_allclose(walked_Nhw, block_means(with_background(full_KHW, 16), 8), atol=1e-3)


def test_refinement_without_classes_is_background():
    maps = record(np.zeros((0, 16, 18)), [], (64, 72))
    walked_Nhw, meta = refine(small().eval(), maps, picture((64, 72)))
    assert meta == {"classes": [0], "grid": [64, 72]}
    np.testing.assert_allclose(walked_Nhw, np.ones((1, 8, 9)), atol=1e-3)


def test_more_steps_bring_the_scores_closer_together():
    maps = record(np.random.default_rng(2).random((1, 16, 18)), [1], (64, 72))
    model = small().eval()
    spreads = [refine(model, maps, picture((64, 72)), logt=logt)[0][1, 2:6, 2:7].std() for logt in (0, 3, 10)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_it_learns_a_boundary_and_scores_stop_there():
    """A seed on the left half of a two-coloured picture fills this half, and not the other."""
    rgb_HW3 = np.zeros((48, 64, 3), np.uint8)
    rgb_HW3[:, :32], rgb_HW3[:, 32:] = (200, 30, 30), (20, 60, 220)
    model = build(backbone=tiny.build(output_stride=4), num_classes=1, widths=(8, 8, 8))
    image_BCHW = torch.from_numpy(affinitynet.normalise(rgb_HW3, model.backbone.mean, model.backbone.std))[None]
    label_Bhw = torch.zeros(1, 12, 16, dtype=torch.int64)
    label_Bhw[..., :8] = 1
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    totals = []
    for _ in range(60):
        total = torch.stack([*model.losses({"image": image_BCHW, "label": label_Bhw}, None).values()]).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]
    seed_1hw = np.zeros((1, 12, 16))
    seed_1hw[0, 4:8, 2:5] = 1
    walked_Nhw, _ = refine(model.eval(), record(seed_1hw, [1], (48, 64)), rgb_HW3)
    left_hw, right_hw = walked_Nhw[1, 1:10, 2:7], walked_Nhw[1, 1:10, 9:14]
    assert left_hw.min() > 2 * right_hw.max()
    assert left_hw.std() < 0.5 * left_hw.mean()


def test_options_can_be_read_without_importing_the_method():
    assert interface.options("methods", "affinitynet", {}, "x")["widths"] == [64, 128, 256]
    assert interface.constant("methods", "affinitynet", "OUTPUT") == "labels"
    assert interface.constant("methods", "affinitynet", "PAD", 255) == 0
