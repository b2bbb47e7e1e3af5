"""Superpixel pooling network: its layers by hand, its sizes, its padding, and SP-CAM on whole images."""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss import interface
from wsss.backbones import mobilenet_v2, tiny, vgg16
from wsss.backbones.common import freeze
from wsss.data.transforms import Augmentation
from wsss.errors import UserError
from wsss.methods import spn
from wsss.ops.cam_merge import normalise
from wsss.ops.scores import labels_at
from wsss.training import optimiser

torch.set_num_threads(1)

SIX = (250, 300, 350, 400, 450, 500)


def at(step, seed=0):
    return SimpleNamespace(step=step, epoch=0, total=100, seed=seed)


def network(backbone=None, **options):
    torch.manual_seed(0)
    defaults = {"num_classes": 3, "width": 8, "sizes": (32,), "segments": 12}
    return spn.build(backbone=backbone or tiny.build(), **(defaults | options))


def with_features(z_BDhw, map_BDhw, **options):
    """A network whose z and upsampled map are given."""
    model = network(width=map_BDhw.shape[1], **options)
    model.features = lambda image: (z_BDhw, map_BDhw)
    return model


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def batch(images=2, side=32, superpixels=4):
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(images, 3, side, side, generator=generator),
        "labels": torch.tensor([[1.0, 0, 1], [0, 1, 0]])[:images],
        "guide": torch.randint(-1, superpixels, (images, side, side), generator=generator),
    }


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return spn.build(backbone=vgg16.build(), num_classes=2, sizes=(64,)).eval()


def test_pooling_and_losses_by_hand():
    map_1122 = torch.tensor([[[[1.0, 2], [3, 4]]]])
    model = with_features(torch.tensor([[[[0.25, 0.75]]]]), map_1122, sizes=(4,), num_classes=2)
    with torch.no_grad():
        model.top.weight.copy_(torch.tensor([[2.0], [-1]]))
        model.top.bias.copy_(torch.tensor([-1.0, 0]))
        model.bottom.weight.copy_(torch.tensor([[2.0], [4]]))
        model.bottom.bias.zero_()
    guide = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1], [-1, -1, -1, 1]]])
    data = {"image": torch.zeros(1, 3, 4, 4), "labels": torch.tensor([[1.0, 0]]), "guide": guide}
    losses = model.losses(data, at(0))
    # Superpixel 0: four pixels see 1, one sees 3. Superpixel 1: four see 2, one sees 3, three see 4. Both count alike.
    mean = ((4 * 1 + 3) / 5 + (4 * 2 + 3 + 3 * 4) / 8) / 2
    first, second = 2 * mean - 1, -mean
    expected = math.log1p(math.exp(-first)) + math.log1p(math.exp(second))
    assert losses["superpixel"].item() == pytest.approx(expected, rel=1e-6)
    # z has the mean 0.5, so the logits are 1 and 2.
    assert losses["global"].item() == pytest.approx(math.log1p(math.exp(-1)) + math.log1p(math.exp(2)), rel=1e-6)
    assert list(losses) == ["superpixel", "global"]


def test_one_superpixel_per_cell_leaves_the_map_as_it_is():
    map_1D33 = torch.rand(1, 5, 3, 3)
    model = with_features(map_1D33, map_1D33)
    cells = np.arange(9, dtype=np.int32).reshape(3, 3)
    model.superpixels = lambda rgb: cells.repeat(3, 0).repeat(3, 1)
    maps = model.image_maps(picture(9, 9), [0, 1, 2], [9.0])
    expected = model.class_maps(torch.zeros(1, 3, 9, 9))[0].relu()
    torch.testing.assert_close(maps, expected.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert (maps > 0).any()


def test_a_single_superpixel_is_global_average_pooling():
    map_2D44 = torch.rand(2, 5, 4, 4)
    model = with_features(map_2D44, map_2D44)
    data = batch() | {"guide": torch.zeros(2, 32, 32, dtype=torch.int64)}
    expected = spn.binary_logistic(model.top(map_2D44.mean((2, 3))), data["labels"])
    torch.testing.assert_close(model.losses(data, at(0))["superpixel"], expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_constant_features_give_the_same_loss_with_any_superpixels(interpolation):
    vector_D = torch.rand(5)
    constant = vector_D[None, :, None, None].expand(2, 5, 3, 3)
    model = with_features(constant, constant, interpolation=interpolation)
    data = batch()
    expected = spn.binary_logistic(model.top(vector_D).expand(2, 3), data["labels"])
    torch.testing.assert_close(model.losses(data, at(0))["superpixel"], expected)


def test_interpolation_decides_what_a_pixel_sees():
    ramp = torch.tensor([[[[0.0, 1.0]]]])
    guide = torch.tensor([[[0, 1, 1, 1]]]).expand(1, 4, 4)
    found = {}
    for interpolation in ("nearest", "bilinear"):
        model = with_features(ramp, ramp, sizes=(4,), num_classes=1, interpolation=interpolation)
        nn.init.ones_(model.top.weight)
        nn.init.zeros_(model.top.bias)
        data = {"image": torch.zeros(1, 3, 4, 4), "labels": torch.ones(1, 1), "guide": guide}
        loss = model.losses(data, at(0))["superpixel"].item()
        found[interpolation] = -math.log(math.expm1(loss))
    # Enlarged to four columns the ramp is 0, 0, 1, 1 or 0, 1/4, 3/4, 1.
    assert found["nearest"] == pytest.approx(1 / 3, rel=1e-5)
    assert found["bilinear"] == pytest.approx(1 / 3, rel=1e-5)
    model.superpixels = lambda rgb: np.array([[0, 1, 2, 3]] * 4, np.int32)
    assert model.image_maps(picture(4, 4), [0], [4.0])[0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    model.interpolation = "nearest"
    assert model.image_maps(picture(4, 4), [0], [4.0])[0, 0].tolist() == pytest.approx([0, 0, 1, 1])


@pytest.mark.parametrize("side", [64, 80])
def test_unpooling_puts_values_where_the_last_pooling_took_them(vgg, side):
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3))
    model = spn.build(backbone=vgg.backbone, num_classes=2)
    nn.init.dirac_(model.extra.weight)
    nn.init.zeros_(model.extra.bias)
    model.upsampler.before = model.upsampler.after = nn.Identity()
    with torch.no_grad():
        z_BDhw, map_BDhw = model.features(image)
        conv5_BDhw = model.backbone.features[:-1](image)
    kept = map_BDhw > 0
    assert map_BDhw.shape == conv5_BDhw.shape == (1, 512, side // 16, side // 16)
    assert torch.equal(map_BDhw[kept], conv5_BDhw[kept])
    assert torch.equal(F.max_pool2d(map_BDhw, 2), z_BDhw)
    assert kept.sum() == (z_BDhw > 0).sum() > 0


@pytest.mark.parametrize(
    ("backbone", "grid"), [(tiny.build(output_stride=16), 12), (mobilenet_v2.build(output_stride=32), 6)]
)
def test_without_switches_values_are_repeated_on_the_finer_tap(backbone, grid):
    model = network(backbone)
    model.upsampler.before = model.upsampler.after = nn.Identity()
    z_BDhw, map_BDhw = model.features(torch.randn(1, 3, 96, 96))
    assert map_BDhw.shape[2:] == (grid, grid)
    assert torch.equal(map_BDhw, z_BDhw.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_upsampler_has_four_deconvolutions_with_norm_and_relu():
    model = network()
    kinds = [type(module) for module in model.upsampler.modules() if not list(module.children())]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * 4
    assert model.features(torch.randn(2, 3, 32, 32))[1].min() == 0


@pytest.mark.parametrize(("strides", "factor"), [((1, 1, 1, 1), 1), ((1, 1, 2, 2), 4), ((1, 1, 1, 3), 3)])
def test_strides_of_the_deconvolutions_enlarge_the_map(strides, factor):
    model = network(tiny.build(output_stride=8), strides=strides)
    assert model.features(torch.randn(2, 3, 48, 40))[1].shape == (2, 8, 12 * factor, 10 * factor)


def test_sizes_follow_seed_and_step_and_all_occur():
    model = network(sizes=SIX)
    drawn = [model.size_of(0, step) for step in range(100)]
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert [model.size_of(0, step) for step in range(100)] == drawn
    assert set(drawn) == {(size, size) for size in SIX}
    assert [model.size_of(1, step) for step in range(100)] != drawn


def test_a_batch_is_seen_at_the_size_of_its_step():
    model = network(sizes=(24, 32, 40))
    seen, features = [], model.features
    model.features = lambda image: seen.append(tuple(image.shape)) or features(image)
    for step in range(6):
        model.losses(batch(), at(step, seed=4))
    assert seen == [(2, 3, *model.size_of(4, step)) for step in range(6)]
    assert len(set(seen)) > 1


def test_padding_is_in_no_superpixel():
    map_1D44 = torch.rand(1, 5, 4, 4, requires_grad=True)
    model = with_features(map_1D44.detach(), map_1D44, sizes=(16,))
    data = batch(1, side=16)
    data["guide"] = torch.arange(16)[None, None].expand(1, 16, 16) // 3
    data["guide"] = data["guide"].clone()
    data["guide"][:, :, 8:] = -1
    model.losses(data, at(0))["superpixel"].backward()
    assert (map_1D44.grad[..., 2:] == 0).all()
    assert (map_1D44.grad[..., :2] != 0).all()


def test_padding_of_an_inference_is_in_no_superpixel():
    map_1D44 = torch.rand(1, 5, 4, 4)
    map_1D44[:, :, 2:] = 1e6  # the lower half of the square is not the image
    model = with_features(map_1D44, map_1D44)
    maps = model.image_maps(picture(8, 16), [0, 1, 2], [16.0])
    assert maps.shape == (3, 8, 16)
    assert maps.max() < 100


def test_training_and_inference_see_the_same_square():
    rgb = picture(30, 44)
    model = network(sizes=(24, 32))
    colours = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 1.0)}
    model.backbone.mean, model.backbone.std = colours.values()
    seen = []
    model._scores = lambda image, size, label: seen.append((image, size, label)) or torch.zeros(100, 3)
    model.image_maps(rgb, [0], [24.0, 32.0])
    augment = Augmentation(crop=32, resize="long_side", values=(32, 32), crop_position="top_left", flip=0.0, **colours)
    image_3SS, _ = augment(rgb, np.random.default_rng(0))
    assert [size for _, size, _ in seen] == [24, 32]
    assert torch.equal(seen[0][0], torch.from_numpy(image_3SS))
    label_SS = seen[0][2]
    assert label_SS.shape == (44, 44)
    assert (label_SS[30:] == -1).all()
    assert np.array_equal(label_SS[:30], spn.guide(rgb, segments=12))


@pytest.mark.parametrize("stages", [0, 5])
def test_gradients_reach_all_that_is_new_and_the_backbone_unless_frozen(stages):
    model = network()
    freeze(model.backbone, stages)
    sum(model.losses(batch(), at(0)).values()).backward()
    new = {name: p.grad for name, p in model.named_parameters() if not name.startswith("backbone")}
    assert all(grad is not None and grad.isfinite().all() and (grad != 0).any() for grad in new.values())
    learns = [p.grad is not None for p in model.backbone.parameters()]
    assert not any(learns) if stages else all(learns)


def test_a_frozen_vgg16_leaves_the_new_layers_to_the_optimiser(vgg):
    model = spn.build(backbone=vgg.backbone, num_classes=2, sizes=(64,), head_lr=10.0)
    freeze(model.backbone, 5)
    losses = model.losses(batch(side=64) | {"labels": torch.tensor([[1.0, 0], [0, 1]])}, at(0))
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all((p.grad != 0).any() for p in model.extra.parameters())
    sgd = optimiser(model.parameter_groups(), lr=0.1, momentum=0.9, weight_decay=0.0)
    held = {id(p) for group in sgd.param_groups for p in group["params"]}
    assert held == {id(p) for name, p in model.named_parameters() if not name.startswith("backbone")}
    assert [group["lr"] for group in sgd.param_groups] == [1.0]


def test_every_parameter_is_in_one_group():
    model = network()
    listed = [id(p) for group in model.parameter_groups() for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    assert [group["lr_factor"] for group in model.parameter_groups()] == [1.0, 1.0]


def test_images_with_different_numbers_of_superpixels_do_not_mix():
    model = network().eval()
    data = batch()
    data["guide"][0] = torch.arange(32)[:, None] // 16  # two superpixels
    data["guide"][1] = torch.arange(32 * 32).reshape(32, 32) // 7  # 147
    together = model.losses(data, at(0))
    alone = [model.losses({key: value[i : i + 1] for key, value in data.items()}, at(0)) for i in range(2)]
    for name, loss in together.items():
        torch.testing.assert_close(loss, torch.stack([each[name] for each in alone]).mean())


def test_superpixels_that_vanish_in_a_small_size_are_left_out():
    map_1D22 = torch.rand(1, 5, 2, 2)
    model = with_features(map_1D22, map_1D22, sizes=(4,))
    data = batch(1, side=8)
    data["guide"] = torch.zeros(1, 8, 8, dtype=torch.int64)
    data["guide"][0, 0, 0] = 1
    small = data | {"guide": torch.zeros(1, 8, 8, dtype=torch.int64)}
    rows = F.interpolate(torch.arange(8.0)[None, None], 4, mode="nearest-exact")
    assert 0 not in rows  # so the pixel of superpixel 1 is not taken
    assert model.losses(data, at(0))["superpixel"] == model.losses(small, at(0))["superpixel"]


def test_norm_takes_batch_statistics_in_training_only():
    model = network()
    data = batch()
    freeze(model.backbone, 5)
    norm = model.upsampler.after[1][1]
    model.losses(data, at(0))
    assert (norm.running_mean != 0).any()
    model.eval()
    before = norm.running_mean.clone()
    single = model.class_maps(data["image"][:1])
    torch.testing.assert_close(model.class_maps(data["image"])[:1], single)
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("size", [(37, 23), (23, 38), (32, 32)])
def test_maps_are_constant_on_superpixels(size):
    model = network().eval()
    rgb = picture(*size)
    with torch.inference_mode():
        maps = model.image_maps(rgb, [2, 0], [32.0, 48.0])
        assert model.image_maps(rgb, [], [32.0]).shape == (0, *size)
    assert maps.shape == (2, *size)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    label_HW = torch.from_numpy(spn.guide(rgb, segments=12))
    for label in label_HW.unique():
        assert (maps[:, label_HW == label] == maps[:, label_HW == label][:, :1]).all()
    assert len(maps[0].unique()) > 1 or len(maps[1].unique()) > 1
    with torch.inference_mode():
        assert torch.equal(model.image_maps(rgb, [0, 2], [32.0, 48.0]).flip(0), maps)


@pytest.mark.parametrize(("merge", "expected"), [("max", [[3, 1], [0, 5]]), ("mean", [[2, 0.5], [0, 4]])])
def test_sizes_merge_after_the_relu(merge, expected):
    model = network(merge=merge)
    scores = {24: torch.tensor([[1.0, 9, -2], [-4, 9, 5]]), 32: torch.tensor([[3.0, 9, -7], [1, 9, 3]])}
    model._scores = lambda image, size, label: scores[size]
    model.superpixels = lambda rgb: np.array([[0, 1]], np.int32)
    assert model.image_maps(picture(1, 2), [0, 2], [24.0, 32.0])[:, 0].tolist() == expected


def test_a_background_of_one_half_is_the_papers_threshold():
    model = network()
    # Classes of maxima 10 and 2; the third has no score above 0.
    table = torch.tensor([[10.0, 0.9, -1], [5.1, 1.1, -3], [4.9, 0.9, -1], [6, 1.9, -1], [-2, 2, -1], [9, 1.2, -0.1]])
    model._scores = lambda image, size, label: table
    model.superpixels = lambda rgb: np.arange(6, dtype=np.int32)[None]
    maps = model.image_maps(picture(1, 6), [0, 1, 2], [32.0])
    labels = labels_at(normalise(maps).numpy().astype(np.float16), (1, 2, 3), 0.5)
    survives = (table > 0.5 * table.amax(0)) & (table.amax(0) > 0)
    assert ((labels[0] > 0) == survives.any(1).numpy()).all()
    # Superpixel 1 keeps both (0.51, 0.55), 3 keeps both (0.6, 0.95), 5 keeps both (0.9, 0.6): the larger share wins,
    # while the larger raw score would have been class 1 in all three.
    assert labels.tolist() == [[1, 2, 0, 2, 2, 1]]


def test_state_dict_round_trip():
    model = network()
    optimiser_step(model)
    other = network(tiny.build())
    other.load_state_dict(model.state_dict())
    rgb = picture(40, 33)
    with torch.inference_mode():
        first, second = (each.eval().image_maps(rgb, [0, 1, 2], [32.0]) for each in (model, other))
    assert torch.equal(first, second)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "extra", "upsampler", "top", "bottom"}


def optimiser_step(model, data=None):
    sgd = optimiser(model.parameter_groups(), lr=0.05, momentum=0.9, weight_decay=0.0)
    loss = sum(model.losses(data or batch(), at(0)).values())
    loss.backward()
    sgd.step()
    return loss.item()


def test_it_learns_a_batch():
    model, data = network(sizes=(24, 32)), batch()
    sgd = optimiser(model.parameter_groups(), lr=0.02, momentum=0.9, weight_decay=0.0)
    history = []
    for step in range(45):
        sgd.zero_grad()
        losses = model.losses(data, at(step))
        sum(losses.values()).backward()
        sgd.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    assert all(history[-1][name] < 0.2 * history[0][name] for name in ("superpixel", "global"))


def test_losses_stay_in_float32_under_autocast():
    model = network()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(batch(), at(0))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("slic", {"segments": 20}),
        ("skimage", {"segments": 20, "compactness": 20.0}),
        ("felzenszwalb", {"scale": 50.0, "min_size": 20}),
    ],
)
def test_superpixels_of_every_algorithm(algorithm, options):
    rgb = np.kron(picture(3, 4), np.ones((13, 11, 1), np.uint8))
    label_HW = spn.guide(rgb, algorithm=algorithm, **options)
    assert (label_HW.shape, label_HW.dtype) == (rgb.shape[:2], np.int32)
    count = label_HW.max() + 1
    assert np.array_equal(np.unique(label_HW), np.arange(count))
    assert 6 <= count <= 40
    assert np.array_equal(label_HW, spn.guide(rgb, algorithm=algorithm, **options))
    model = network(algorithm=algorithm, **options)
    assert np.array_equal(model.superpixels(rgb), label_HW)


def test_settings_know_the_options_and_the_guide():
    options = interface.options("methods", "spn", {}, "x")
    assert tuple(options["sizes"]) == SIX
    assert (options["width"], options["strides"]) == (512, [1, 1, 1, 1])
    assert interface.hook("spn", "classify") == "guide"
    of_guide = interface.options("methods", "spn", {}, "x", function="guide")
    assert of_guide.items() <= options.items()
    assert {*of_guide} < {*inspect.signature(spn.build).parameters}


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (lambda: vgg16.build(output_stride=32), {"width": 256}, "width: VGG16's switches have 512 channels"),
        (lambda: vgg16.build(output_stride=16), {"width": 512}, "output_stride: SPN unpools"),
        (lambda: vgg16.build(output_stride=8, largefov=True), {"width": 512}, "without largefov"),
        (tiny.build, {"strides": (1, 2, 1, 1)}, "strides: give four"),
        (tiny.build, {"strides": (1, 1, 2)}, "strides: give four"),
        (tiny.build, {"strides": (1, 1, 0, 1)}, "strides: give four"),
        (tiny.build, {"sizes": ()}, "sizes: give at least one"),
        (tiny.build, {"sizes": (0, 32)}, "sizes: give at least one"),
    ],
)
def test_options_that_do_not_fit_are_refused(backbone, options, message):
    with torch.device("meta"):
        built = backbone()
    with pytest.raises(UserError, match=message):
        network(built, **options)
