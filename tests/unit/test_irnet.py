"""IRNet: confident labels, losses of pairs, branches on any backbone, boundary of an image, refined maps."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from wsss.backbones import caffe_resnet, mobilenet_v2, resnet, tiny, vgg16
from wsss.backbones.common import freeze
from wsss.methods import irnet
from wsss.ops import pairs
from wsss.ops.random_walk import edge_affinity, walk
from wsss.ops.scores import enlarge
from wsss.stores import Record

GROUPS = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "11_param_groups.tsv"
NAMES = ["positive", "negative", "displacement_foreground", "displacement_background"]
E = pairs.EPS

BACKBONES = {
    "tiny4": lambda: tiny.build(output_stride=4),
    "tiny16": lambda: tiny.build(output_stride=16),
    "mobilenet": lambda: mobilenet_v2.build(output_stride=16),
    "vgg": lambda: vgg16.build(output_stride=32),
    "caffe": lambda: caffe_resnet.build(output_stride=8),
}


def network(backbone="tiny16", **options) -> irnet.IRNet:
    torch.manual_seed(0)
    return irnet.build(backbone=BACKBONES[backbone](), num_classes=3, **{"radius": 3, **options})


def batch(size=(48, 64)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    coarse_B1hw = torch.randint(0, 3, (2, 1, 3, 4), generator=generator).float()
    label_BHW = F.interpolate(coarse_B1hw, size)[:, 0].long()
    image_B3HW = F.one_hot(label_BHW, 3).movedim(-1, 1) + 0.3 * torch.randn(2, 3, *size, generator=generator)
    label_BHW[:, :5] = 255
    return {"image": image_B3HW, "label": label_BHW}


def record(score_Khw, classes, size) -> Record:
    return Record(np.asarray(score_Khw, np.float16), {"classes": classes, "size": list(size)})


# labels


@pytest.fixture
def bands():
    """Three bands of very different colours, whose one score is high, middling, and low."""
    rgb_HW3 = np.repeat(np.array([[[250, 20, 20], [20, 250, 20], [20, 20, 250]]], np.uint8), 20, 1).repeat(30, 0)
    return rgb_HW3, record(np.repeat([[[0.9, 0.16, 0.01]]], 20, 2).repeat(30, 1), [7], (30, 60))


def middles(label_HW) -> list[int]:
    return label_HW[15, [10, 30, 50]].tolist()


def test_labels_are_a_class_unsure_or_background(bands):
    rgb_HW3, maps = bands
    label_HW = irnet.labels(maps, rgb_HW3, 0.5)
    assert label_HW.dtype == np.uint8
    assert label_HW.shape == (30, 60)
    assert middles(label_HW) == [7, 255, 0]
    assert middles(irnet.labels(maps, rgb_HW3, 0.5, fg_threshold=0.1)) == [7, 7, 0]
    assert middles(irnet.labels(maps, rgb_HW3, 0.5, bg_threshold=0.2)) == [7, 0, 0]


@pytest.mark.parametrize(("background", "expected"), [(0.15, [7, 255, 0]), (0.06, [7, 7, 0]), (0.45, [7, 0, 0])])
def test_relative_thresholds_follow_the_best_threshold_of_the_maps(bands, background, expected):
    rgb_HW3, maps = bands
    assert middles(irnet.labels(maps, rgb_HW3, background, thresholds="relative")) == expected


def test_thresholds_are_shifted_by_their_odds():
    assert irnet._shifted(0.3, 0.15) == pytest.approx(0.3)
    assert irnet._shifted(0.3, 0.3) == pytest.approx(0.51)  # odds 3/7, times (3/7) / (3/17)
    assert irnet._shifted(0.3, 0.0) == 0
    assert irnet._shifted(0.3, 1.0) == 1


def test_an_image_without_classes_is_background(bands):
    rgb_HW3, _ = bands
    assert not irnet.labels(record(np.empty((0, 8, 15)), [], (30, 60)), rgb_HW3, 0.15).any()


@pytest.mark.parametrize("size", [(32, 48), (4, 4)])
def test_labels_are_reduced_as_by_pillow(size):
    label_HW = np.random.default_rng(0).integers(0, 255, size).astype(np.uint8)
    small = Image.fromarray(label_HW).resize((size[1] // 4, size[0] // 4), Image.Resampling.NEAREST)
    assert np.array_equal(irnet.reduced(torch.from_numpy(label_HW)[None], 4)[0], np.asarray(small))


def test_cells_whose_centre_lies_outside_are_unsure():
    small_Bhw = irnet.reduced(torch.ones(1, 6, 7, dtype=torch.int64), 4)
    assert small_Bhw.tolist() == [[[1, 1], [255, 255]]]


# losses


def test_losses_by_hand():
    """Radius 2, one source at (0,1): its neighbours are (0,2), (1,0), (1,1), (1,2)."""
    edge_1hw = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]], dtype=torch.float64)
    label_1hw = torch.tensor([[[9, 1, 1], [0, 1, 255]]])
    displacement_12hw = torch.tensor([[[[0, 1.0, 3], [5, 7, 9]], [[0, 2.0, 5], [1, 1, 8]]]], dtype=torch.float64)
    parts = irnet.pair_losses(edge_1hw.logit(), displacement_12hw, label_1hw, 2)
    # alike: (0,2), highest boundary 0.3, and (1,1), 0.5; different: (1,0), by the corner (1,1), 0.5
    positive = 0.5 * -(math.log(0.7 + E) + math.log(0.5 + E)) / (2 + E)
    # changes of (y, x): (-2, -3) to (0,2), wanted (0, 1); (-6, 1) to (1,1), wanted (1, 0)
    displacement = ((2 + 4) + (7 + 1)) / (2 * 2 + E)
    expected = [positive / 2, -math.log(0.5 + E) / (1 + E) / 2, displacement / 2, 0]
    assert list(parts) == NAMES
    assert [part.item() for part in parts.values()] == pytest.approx(expected, rel=1e-9)
    parts = irnet.pair_losses(edge_1hw.logit(), displacement_12hw, torch.zeros_like(label_1hw), 2)
    positive = 0.5 * -(math.log(0.7 + E) + 2 * math.log(0.5 + E) + math.log(0.4 + E)) / (4 + E)
    displacement = ((2 + 3) + (4 + 1) + (6 + 1) + (8 + 6)) / (2 * 4 + E)
    assert [part.item() for part in parts.values()] == pytest.approx([positive / 2, 0, 0, displacement / 2], rel=1e-9)


def test_the_displacement_to_a_centre_costs_nothing():
    """The field centre - pixel changes by exactly the offset between two pixels."""
    field_12hw = -torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij"))[None]
    parts = irnet.pair_losses(torch.zeros(1, 9, 9), field_12hw, torch.full((1, 9, 9), 4), 4)
    assert parts["displacement_foreground"] == 0
    assert irnet.pair_losses(torch.zeros(1, 9, 9), -field_12hw, torch.full((1, 9, 9), 4), 4)[NAMES[2]] > 1


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name):
    generator = torch.Generator().manual_seed(0)
    label_Bhw = torch.tensor([0, 0, 1, 2, 255])[torch.randint(0, 5, (2, 5, 7), generator=generator)]
    logit_Bhw = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    field_B2hw = torch.randn(2, 2, 5, 7, dtype=torch.float64, generator=generator, requires_grad=True)

    def loss(logit_Bhw, field_B2hw):
        return irnet.pair_losses(logit_Bhw, field_B2hw, label_Bhw, 3)[name]

    assert loss(logit_Bhw, field_B2hw) > 0
    assert torch.autograd.gradcheck(loss, (logit_Bhw, field_B2hw))


@pytest.mark.parametrize(
    ("label", "size", "present"),
    [
        (0, (9, 9), {"positive", "displacement_background"}),
        (3, (9, 9), {"positive", "displacement_foreground"}),
        (255, (9, 9), set()),
        (0, (2, 2), set()),  # no pixel has all its neighbours
        (0, (9, 4), set()),
    ],
)
def test_kinds_without_pairs_give_zero(label, size, present):
    torch.manual_seed(0)
    logit_Bhw, field_B2hw = torch.randn(2, *size, requires_grad=True), torch.randn(2, 2, *size, requires_grad=True)
    parts = irnet.pair_losses(logit_Bhw, field_B2hw, torch.full((2, *size), label), 3)
    sum(parts.values()).backward()
    assert {name for name, part in parts.items() if part > 0} == present
    assert all(part == 0 for name, part in parts.items() if name not in present)
    assert logit_Bhw.grad.isfinite().all()
    assert logit_Bhw.grad.any() == field_B2hw.grad.any() == bool(present)


def test_images_smaller_than_the_radius_train():
    model = network(radius=10)
    losses = model.losses(batch((20, 27)), None)
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]


# network


def test_resnet50_has_the_published_factors_and_groups():
    with torch.device("meta"):
        model = irnet.build(backbone=resnet.build(output_stride=16, dilate=False), num_classes=20)
    assert [layer.factor for layer in model.boundary_branch.layers] == [1, 1, 2, 4, 4]
    assert [layer.factor for layer in model.displacement_branch.layers] == [1, 1, 1, 2, 2]
    assert (model.displacement_branch.deep.factor, model.displacement_branch.all.factor) == (2, 1)
    groups = [module.num_groups for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert groups == [4] * 5 + [8] + [16] * 6


def test_parameter_groups_are_the_published_ones():
    if not GROUPS.exists():
        pytest.skip(f"{GROUPS.name} is not there")
    from tests.conformance.irnet import ours

    with GROUPS.open(encoding="utf-8") as stream:
        table = [row for row in csv.DictReader(stream, delimiter="\t") if row["network"] == "irn_irn"]
    expected = {ours(row["parameter"]): (float(row["lr_factor"]), float(row["weight_decay"]) / 1e-4) for row in table}
    with torch.device("meta"):
        model = irnet.build(backbone=resnet.build(output_stride=16, dilate=False), num_classes=20)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = model.parameter_groups()
    found = {names[id(p)]: (g["lr_factor"], g["weight_decay_factor"]) for g in groups for p in g["params"]}
    assert found == expected


def test_no_gradient_runs_through_the_backbone():
    model, image_B3HW = network(), batch()["image"].requires_grad_()
    freeze(model.backbone, 0)  # as a recipe without frozen stages does
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert not any(tap.requires_grad for tap in model.taps(image_B3HW))


@pytest.mark.parametrize("size", [(48, 64), (50, 61)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_trains_on_any_backbone_and_size_but_not_the_backbone(backbone, size):
    model = network(backbone).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    sgd = torch.optim.SGD([p for group in model.parameter_groups() for p in group["params"]], lr=0.01)
    losses = model.losses(batch(size), None)
    assert list(losses) == NAMES
    assert all(loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    sgd.step()
    trained = {id(p) for group in model.parameter_groups() for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in trained) == (not name.startswith("backbone."))
        assert parameter.requires_grad == (id(parameter) in trained)
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert all(torch.equal(before[name], value) for name, value in model.backbone.state_dict().items())
    assert not model.backbone.training
    assert model.boundary_branch.training


def test_losses_use_the_cells_of_the_image_only():
    """On 50 x 61 pixels the grid is 13 x 16; the rest of the filled image has no pairs."""
    model, data = network(), batch((50, 61))
    filled_B3HW = F.pad(data["image"], (0, 3, 0, 14))
    logit_Bhw = model.boundary_branch(model.taps(filled_B3HW))[:, :13, :16]
    field_B2hw = model.displacement_branch(model.taps(filled_B3HW))[:, :, :13, :16]
    label_Bhw = irnet.reduced(data["label"], 4)
    expected = irnet.pair_losses(logit_Bhw, field_B2hw, label_Bhw, 3)
    found = model.losses(data, None)
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)


def test_without_displacement():
    model = network(displacement=False)
    assert list(model.losses(batch(), None)) == NAMES[:2]
    assert [group["name"] for group in model.parameter_groups()] == ["boundary"]
    assert model.calibration_batches == 0
    model.calibrate([])
    with pytest.raises(ValueError, match="without displacements"):
        model.displacement(torch.zeros(3, 20, 20))


def test_bfloat16_losses_are_float32():
    model = network()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(batch(), None)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    exact = model.losses(batch(), None)
    assert all(losses[name].item() == pytest.approx(exact[name].item(), rel=0.05, abs=0.02) for name in NAMES)
    sum(losses.values()).backward()
    assert model.boundary_branch.last.weight.grad.abs().sum() > 0


def test_it_learns():
    model, data = network().train(), batch()
    groups = [{"params": g["params"], "lr": 0.05 * g["lr_factor"]} for g in model.parameter_groups()]
    sgd = torch.optim.SGD(groups)
    history = []
    for _ in range(30):
        sgd.zero_grad()
        loss = sum(model.losses(data, None).values())
        loss.backward()
        sgd.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


def test_calibration_takes_the_mean_displacement():
    model, batches = network(), [batch((48, 64)), {"image": torch.ones(2, 3, 48, 64)}]
    with torch.no_grad():
        fields = [model.displacement_branch(model.taps(each["image"])) for each in batches]
    model.calibrate(batches)
    mean_2 = torch.stack(fields).mean((0, 1, 3, 4))
    torch.testing.assert_close(model.displacement_branch.mean_2, mean_2)
    assert "displacement_branch.mean_2" in model.state_dict()
    found_2hw = model.displacement(batches[0]["image"][0], crop_size=64)
    alone_12hw = model.displacement_branch(model.taps(F.pad(batches[0]["image"][:1], (0, 0, 0, 16))))[:, :, :12]
    torch.testing.assert_close(found_2hw, alone_12hw[0].detach() - mean_2[:, None, None])


# boundary


@pytest.mark.parametrize("size", [(48, 64), (41, 62), (7, 5)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_boundaries_of_any_size(backbone, size):
    edge_hw = network(backbone).eval().boundary(torch.randn(3, *size), crop_size=64)
    assert edge_hw.shape == ((size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1)
    assert ((edge_hw > 0) & (edge_hw < 1)).all()


def test_boundaries_of_the_mirror_image_are_mirrored():
    model, image_3HW = network().eval(), torch.randn(3, 41, 62)
    edge_hw = model.boundary(image_3HW, crop_size=64)
    torch.testing.assert_close(model.boundary(image_3HW.flip(-1), crop_size=64), edge_hw.flip(-1))
    alone_hw = model.boundary(image_3HW, crop_size=64, flip=False)
    logit_1hw = model.boundary_branch(model.taps(F.pad(image_3HW, (0, 2, 0, 23))[None]))
    torch.testing.assert_close(alone_hw, logit_1hw[0, :11, :16].sigmoid())
    assert not torch.allclose(alone_hw, edge_hw)
    both = torch.stack([alone_hw, model.boundary(image_3HW.flip(-1), crop_size=64, flip=False).flip(-1)])
    torch.testing.assert_close(both.logit().mean(0).sigmoid(), edge_hw)


def test_the_filling_is_part_of_the_result():
    model, image_3HW = network().eval(), torch.randn(3, 48, 48)
    assert not torch.allclose(model.boundary(image_3HW, crop_size=64), model.boundary(image_3HW, crop_size=96))


def test_images_larger_than_the_crop_are_filled_to_the_next_multiple_of_16():
    model, image_3HW = network().eval(), torch.randn(3, 50, 70)
    found_hw = model.boundary(image_3HW, crop_size=48)
    assert torch.equal(found_hw, model.boundary(image_3HW, crop_size=80))
    assert found_hw.shape == (13, 18)
    assert irnet.squared(image_3HW[None], 48).shape == (1, 3, 80, 80)


# refine


def with_boundary(monkeypatch, edge_hw) -> irnet.IRNet:
    model = network(displacement=False).eval()
    monkeypatch.setattr(model, "boundary", lambda image_3HW, **_: torch.as_tensor(edge_hw, dtype=torch.float32))
    return model


def image(size) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(40, 56), (41, 58), (9, 11), (3, 2)])
@pytest.mark.parametrize("classes", [[], [4], [2, 9]])
def test_refined_maps_reach_one_where_they_are_used(size, classes):
    grid = [(n - 1) // 4 + 1 for n in size]
    score_Khw = np.random.default_rng(1).random((len(classes), *grid))
    found_Khw, meta = irnet.refine(network().eval(), record(score_Khw, classes, size), image(size), crop_size=64)
    assert found_Khw.dtype == np.float16
    assert found_Khw.shape == (len(classes), *grid)
    assert meta == {"grid": [4 * n for n in grid]}
    if classes:
        assert enlarge(found_Khw, size, meta["grid"]).max() == pytest.approx(1, abs=1e-3)


def test_constant_maps_stay_constant_without_boundaries(monkeypatch):
    model = with_boundary(monkeypatch, np.zeros((10, 14)))
    score_Khw = np.stack([np.full((10, 14), 0.5), np.full((10, 14), 0.25)])
    found_Khw, _ = irnet.refine(model, record(score_Khw, [1, 2], (40, 56)), image((40, 56)))
    np.testing.assert_allclose(found_Khw[0], 1, atol=1e-3)
    np.testing.assert_allclose(found_Khw[1], 0.5, atol=1e-3)


def test_scores_fill_the_area_up_to_a_boundary(monkeypatch):
    edge_hw, score_Khw = np.zeros((10, 14)), np.zeros((1, 10, 14))
    edge_hw[:, 7] = 1
    score_Khw[0, 5, 2] = 1
    model = with_boundary(monkeypatch, edge_hw)
    found_Khw, meta = irnet.refine(model, record(score_Khw, [3], (40, 56)), image((40, 56)))
    score_KHW = enlarge(found_Khw, (40, 56), meta["grid"])
    assert score_KHW[0, :, :24].min() > 0.9
    assert score_KHW[0, :, 32:].max() == 0


def test_what_lies_on_boundaries_does_not_spread(monkeypatch):
    edge_hw, score_Khw = np.zeros((10, 14)), np.zeros((1, 10, 14))
    edge_hw[4, 4], score_Khw[0, 4, 4] = 1, 1
    found_Khw, _ = irnet.refine(with_boundary(monkeypatch, edge_hw), record(score_Khw, [3], (40, 56)), image((40, 56)))
    assert not found_Khw.any()


def test_exp_times_doubles_the_steps(monkeypatch):
    generator = np.random.default_rng(0)
    edge_hw, score_Khw = generator.random((10, 14)).astype(np.float32), generator.random((2, 10, 14))
    maps, model = record(score_Khw, [1, 2], (40, 56)), with_boundary(monkeypatch, edge_hw)
    found_Khw, meta = irnet.refine(model, maps, image((40, 56)), radius=3, beta=2.0, exp_times=4)
    value_Khw = maps.array * (1 - edge_hw)
    walked_Khw = walk(value_Khw, edge_affinity(edge_hw, 3), 3, beta=2.0, steps=16)
    np.testing.assert_allclose(found_Khw, irnet.normalised(walked_Khw, (40, 56), meta["grid"]), rtol=1e-3)


def test_faint_maps_do_not_vanish_in_half_numbers(monkeypatch):
    score_Khw = np.zeros((1, 10, 14))
    score_Khw[0, 5, 5] = 6e-8  # the smallest half number, spread over 140 cells
    model = with_boundary(monkeypatch, np.zeros((10, 14)))
    found_Khw, _ = irnet.refine(model, record(score_Khw, [3], (40, 56)), image((40, 56)))
    assert found_Khw.min() > 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_maps_walk_alike_on_the_gpu():
    model, maps = network().eval(), record(np.random.default_rng(1).random((2, 11, 15)), [1, 2], (41, 58))
    found = [irnet.refine(model.to(device), maps, image((41, 58)), crop_size=64)[0] for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*found, atol=2e-3)


def test_maps_of_another_grid_are_resized(monkeypatch):
    model = with_boundary(monkeypatch, np.zeros((10, 14)))
    score_Khw = np.random.default_rng(0).random((2, 5, 7)).astype(np.float16)
    large_Khw = F.interpolate(torch.from_numpy(score_Khw).float()[None], (10, 14), mode="bilinear")[0].numpy()
    given = [record(maps, [1, 2], (40, 56)) for maps in (score_Khw, large_Khw)]
    small, large = (irnet.refine(model, maps, image((40, 56)), exp_times=1)[0] for maps in given)
    np.testing.assert_allclose(small, large, atol=2e-3)


def test_the_common_maximum_is_that_of_the_part_in_the_image():
    walked_Khw = np.zeros((2, 2, 2), np.float32)
    walked_Khw[0, 0, 0], walked_Khw[1, 1, 1] = 2, 9  # of the second only what reaches the upper left 5 x 5 pixels
    found_Khw = irnet.normalised(walked_Khw, (5, 5), (8, 8))
    seen_Khw = F.interpolate(torch.from_numpy(walked_Khw)[None], (8, 8), mode="bilinear")[0, :, :5, :5]
    np.testing.assert_allclose(found_Khw, walked_Khw / seen_Khw.max().item())
    assert seen_Khw.max() == pytest.approx(9 * 0.625**2)
