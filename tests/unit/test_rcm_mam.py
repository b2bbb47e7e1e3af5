"""RCM and MAM as a network: who learns from whom, when, and that a killed training continues in the same bits."""

import io
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss import interface
from wsss.backbones import tiny
from wsss.errors import UserError
from wsss.methods import cam, rcm_mam, rcm_mam_modules
from wsss.ops import self_supervision as ops
from wsss.training import optimiser

torch.set_num_threads(1)

SMALL = {"num_classes": 3, "dim": 8}


class Flat(nn.Module):
    """A backbone whose features are the image itself."""

    channels = (3,)

    def __init__(self):
        super().__init__()
        self.register_buffer("statistic", torch.zeros(1))
        self.sizes = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape[2:]))
        return (image,)


def at(epoch):
    return SimpleNamespace(step=0, epoch=epoch, total=10, seed=0, epochs=9)


def network(backbone=None, **options):
    torch.manual_seed(0)
    return rcm_mam.build(backbone=backbone or tiny.build(), **(SMALL | options))


def batch(images=4, size=(32, 48)):
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]])[:images]
    return {"image": torch.randn(images, 3, *size, generator=generator), "labels": labels}


def identity(**options):
    """Features and raw maps are the image: three channels, three classes."""
    model = rcm_mam.build(backbone=Flat(), num_classes=3, dim=3, relu=False, **options)
    for part in (model.head, *([model.support[1]] if model.support is not None else [])):
        nn.init.eye_(part.projection.weight.data[..., 0, 0])
        nn.init.eye_(part.classifier.weight.data[..., 0, 0])
    return model


def test_without_modules_it_is_the_plain_network():
    model = network(rcm="off", mam="off")
    data = batch()
    losses = model.losses(data, None)
    expected = F.binary_cross_entropy_with_logits(model.class_maps(data["image"]).mean((2, 3)), data["labels"])
    assert list(losses) == ["classification"]
    torch.testing.assert_close(losses["classification"], expected)
    assert model.support is None
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "head"}


def test_region_loss_by_hand():
    # One image, 2 x 2, class 1 present. Pixel vectors (class 1, 2, 3): (4, 0, 0), (2, 0, 0), (0, 3, 0), (0, 0, 5).
    image = torch.tensor([[[4.0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 5]]]).reshape(1, 3, 2, 2)
    data = {"image": image, "labels": torch.tensor([[1.0, 0, 0]])}
    model = identity(mam="off", scales=())
    losses = model.losses(data, at(0))
    # Class 1 divided by 4: 1, 0.5, 0, 0; above 0.2 are the first two. Prototypes: (3, 0, 0) and (0, 1.5, 2.5).
    assert model.rcm.prototype.tolist() == [[0, 1.5, 2.5], [3, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert model.rcm.seen.tolist() == [True, True, False, False]
    # Cosines with (background, class 1): (0, 1), (0, 1), (1.5/n, 0), (2.5/n, 0), n = sqrt(1.5^2 + 2.5^2); T = 0.5.
    n = torch.tensor(1.5**2 + 2.5**2).sqrt()
    rows = [[0, 2], [0, 2], [3 / n, 0], [5 / n, 0]]
    probability = [torch.tensor(r, dtype=torch.float32).softmax(0)[k] for r, k in zip(rows, (1, 1, 0, 0), strict=True)]
    torch.testing.assert_close(losses["region"], -torch.stack(probability).log().mean())
    literal = identity(mam="off", scales=(), form="prob", region_reduction="sum").losses(data, at(0))["region"]
    torch.testing.assert_close(literal, -torch.stack(probability).sum())
    # GAP: 6/4, 3/4, 5/4.
    expected = F.binary_cross_entropy_with_logits(torch.tensor([[1.5, 0.75, 1.25]]), data["labels"])
    torch.testing.assert_close(losses["classification"], expected)


def test_attention_loss_by_hand():
    # Scale 2 doubles every pixel; back on the 2 x 2 grid (bilinear, half-pixel) pixel i is the mean of its 2 x 2
    # block of the enlarged image. In one dimension x, y becomes x, (3x+y)/4, (x+3y)/4, y and then (7x+y)/8, (x+7y)/8.
    image = torch.tensor([[[8.0, 0], [8, 0]]])[None].repeat(1, 3, 1, 1)
    data = {"image": image, "labels": torch.tensor([[1.0, 0, 0]])}
    model = identity(rcm="off", mam_epoch=0, scales=(2.0,))
    # G equals F. Maps of class 1: (8, 0) and (7, 1) in both rows; scaled (1, 0) and (1, 1/7).
    cosine = 1 / torch.tensor(1 + 1 / 49).sqrt()
    xi = 2 - cosine
    first = ((1 + xi) / 2 - 1) + (xi / 7 / 2 - 0)  # target (1 + xi, 0 + xi/7)/2 against (1, 0)
    second = ((xi + 1) / 2 - 1) + (1 / 7 - (0 + 1 / 7) / 2)  # target (xi + 1, 0 + 1/7)/2 against (1, 1/7)
    losses = model.losses(data, at(0))
    torch.testing.assert_close(losses["attention"], (first + second) / 2, atol=1e-5, rtol=1e-4)
    assert set(losses) == {"classification", "attention"}
    mmm = identity(rcm="off", mam="mmm", mam_epoch=0, scales=(2.0,)).losses(data, at(0))["attention"]
    torch.testing.assert_close(mmm, torch.tensor((1 / 14 + 1 / 14) / 2), atol=1e-5, rtol=1e-4)
    # SMM: msinf (8+7, 0+1)/2 scaled is (1, 1/15), against (1, 0).
    for classification in ("middle", "all"):
        smm = identity(rcm="off", mam="smm", mam_epoch=0, scales=(2.0,), classification=classification)
        value = smm.losses(data, at(0))["attention"]
        torch.testing.assert_close(value, torch.tensor(1 / 15 / 2), atol=1e-5, rtol=1e-4)


def test_only_the_scales_that_a_loss_needs_are_computed():
    small, middle, large = (16, 24), (32, 48), (64, 96)
    every = [middle, small, large]
    for options, epoch, main, guide in (
        ({"rcm": "off", "mam": "off"}, 9, [middle], None),
        ({"rcm": "off"}, 5, [middle], []),
        ({"mam": "off"}, 9, [middle], every),
        ({}, 5, [middle], every),
        ({}, 6, every, every),
        ({"mam": "smm"}, 6, [middle], every),
        ({"mam": "off", "classification": "all"}, 0, every, every),
        ({"mam": "off", "support": "shared"}, 0, every, None),
        ({"mam": "off", "scales": ()}, 0, [middle], [middle]),
    ):
        model = identity(**options)
        model.losses(batch(), at(epoch))
        assert model.backbone.sizes == main, options
        assert (model.support[0].sizes if model.support is not None else None) == guide, options


def test_attention_starts_at_its_epoch():
    model = network(mam_epoch=3)
    values = [model.losses(batch(), at(epoch))["attention"].item() for epoch in (0, 2, 3, 4)]
    assert values[:2] == [0, 0]
    assert min(values[2:]) > 0


def test_a_module_that_would_never_begin_is_refused():
    with pytest.raises(UserError, match=r"mam_epoch: .* begins in epoch 9 .* ends after 9"):
        network(mam_epoch=9).losses(batch(), at(0))


def test_the_weights_multiply_the_losses():
    plain = network(mam_epoch=0).losses(batch(), at(0))
    options = {"classification_weight": 2.0, "region_weight": 3.0, "attention_weight": 5.0}
    weighted = network(mam_epoch=0, **options).losses(batch(), at(0))
    for name, factor in (("classification", 2), ("region", 3), ("attention", 5)):
        torch.testing.assert_close(weighted[name], factor * plain[name])


def test_classification_over_all_scales_is_their_mean():
    model, data = network(mam="off", rcm="off", classification="all"), batch()
    images = [data["image"], *(F.interpolate(data["image"], scale_factor=s, mode="bilinear") for s in (0.5, 2.0))]
    expected = [
        F.binary_cross_entropy_with_logits(model.class_maps(image).mean((2, 3)), data["labels"]) for image in images
    ]
    torch.testing.assert_close(model.losses(data, None)["classification"], torch.stack(expected).mean())


def test_supportnet_starts_as_mainnet_and_follows_it():
    model = network(momentum=0.75)
    image = batch()["image"]
    model.eval()
    before = model.class_maps(image)
    model.network = "support"
    assert torch.equal(model.class_maps(image), before)
    old = [p.clone() for p in model.support.parameters()]
    with torch.no_grad():
        for parameter in (*model.backbone.parameters(), *model.head.parameters()):
            parameter += torch.randn_like(parameter)
    model.after_step(at(0))
    ours = [*model.backbone.parameters(), *model.head.parameters()]
    for start, theirs, goal in zip(old, model.support.parameters(), ours, strict=True):
        torch.testing.assert_close(theirs, 0.75 * start + 0.25 * goal)
    assert not torch.equal(model.class_maps(image), before)


def test_ema_by_hand_and_buffers_are_copied():
    model = identity(momentum=0.997)
    with torch.no_grad():
        model.head.projection.weight.fill_(2.0)
        model.support[1].projection.weight.fill_(1.0)
        model.backbone.statistic.fill_(7.0)
    model.after_step(at(0))
    assert model.support[1].projection.weight[0, 0].item() == pytest.approx(0.997 * 1 + 0.003 * 2, rel=1e-7)
    model.after_step(at(0))
    assert model.support[1].projection.weight[0, 0].item() == pytest.approx(0.997 * 1.003 + 0.003 * 2, rel=1e-7)
    assert model.support[0].statistic.item() == 7
    assert torch.equal(model.support[1].classifier.weight, model.head.classifier.weight)


@pytest.mark.parametrize("options", [{}, {"rcm": "direct", "mam": "mmm"}, {"detach_attention": False}])
def test_only_mainnet_learns(options):
    model = network(mam_epoch=0, **options).train()
    assert not model.support.training
    sum(model.losses(batch(), at(0)).values()).backward()
    for parameter in (*model.backbone.parameters(), *model.head.parameters()):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0
    for parameter in model.support.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
    assert not any(buffer.requires_grad for buffer in model.buffers())
    listed = [id(p) for group in model.parameter_groups() for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in (*model.backbone.parameters(), *model.head.parameters()))


@pytest.mark.parametrize("name", ["region", "attention"])
def test_gradients_of_a_loss_come_from_mainnets_maps_alone(name):
    # The same loss, with everything from G replaced by constants, has the same gradient.
    model, data = network(mam_epoch=0, scales=()), batch()
    with torch.no_grad():
        for parameter in model.support.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.losses(data, at(0))[name].backward()
    found = model.head.projection.weight.grad.clone()
    model.zero_grad()
    with torch.no_grad():
        guide_feature, guide_raw = model.support(data["image"])
        guide = ops.scaled_cams(guide_raw)
        region = ops.class_regions(guide, data["labels"], 0.2)
        prototype, seen = ops.prototypes(guide_feature, region, 4, average="mean")
    feature, raw = model.head(model.backbone(data["image"]))
    cam = ops.scaled_cams(raw)
    with torch.no_grad():
        target = ops.attended(ops.attention(cam[None], guide[None]), guide[None], target="plain")
    expected = {
        "region": ops.contrastive_loss(feature, prototype, seen, region, temperature=0.5, form="log", reduction="mean"),
        "attention": ops.map_loss(target, cam[None], data["labels"], reduction="mean"),
    }
    expected[name].backward()
    torch.testing.assert_close(model.head.projection.weight.grad, found)


def test_absent_classes_keep_their_latest_prototype():
    model = identity(mam="off", scales=())
    image = torch.tensor([[[4.0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 5]]]).reshape(1, 3, 2, 2)
    model.losses({"image": image, "labels": torch.tensor([[1.0, 0, 0]])}, at(0))
    assert model.rcm.prototype[1].tolist() == [3, 0, 0]
    second = model.losses({"image": 2 * image, "labels": torch.tensor([[0.0, 1, 0]])}, at(0))["region"]
    # Class 1 is absent: its prototype stays and still repels. Class 2: pixel 3; background: pixels 1, 2 and 4.
    assert model.rcm.prototype.tolist() == [[4, 0, pytest.approx(10 / 3)], [3, 0, 0], [0, 6, 0], [0, 0, 0]]
    assert model.rcm.seen.tolist() == [True, True, True, False]
    n = torch.tensor(4**2 + (10 / 3) ** 2).sqrt()
    rows = [[8 / n, 2, 0], [8 / n, 2, 0], [0, 0, 2], [20 / 3 / n, 0, 0]]
    probability = [torch.tensor(r, dtype=torch.float32).softmax(0)[k] for r, k in zip(rows, (0, 0, 2, 0), strict=True)]
    torch.testing.assert_close(second, -torch.stack(probability).log().mean())


def test_images_without_labels_are_background():
    model = network(mam_epoch=0)
    losses = model.losses(batch() | {"labels": torch.zeros(4, 3)}, at(0))
    assert losses["attention"] == 0
    assert losses["region"].item() == pytest.approx(
        0, abs=1e-6
    )  # one prototype, the background's: nothing to tell apart
    assert model.rcm.seen.tolist() == [True, False, False, False]


@pytest.mark.parametrize("options", [{}, {"rcm": "direct", "grid": "image"}, {"support": "shared", "mam": "mmm"}])
def test_losses_do_not_depend_on_the_order_of_the_batch(options):
    data, order = batch(), torch.tensor([2, 0, 3, 1])
    losses = network(mam_epoch=0, **options).losses(data, at(0))
    moved = network(mam_epoch=0, **options).losses({name: value[order] for name, value in data.items()}, at(0))
    assert set(losses) == {"classification", "region", "attention"}
    for name, value in losses.items():
        torch.testing.assert_close(moved[name], value)


def test_weight_sharing_starts_like_the_average_and_keeps_no_copy():
    shared, averaged = network(mam_epoch=0, support="shared").eval(), network(mam_epoch=0).eval()
    losses, expected = shared.losses(batch(), at(0)), averaged.losses(batch(), at(0))
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    assert shared.support is None
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    torch.testing.assert_close(shared.head.projection.weight.grad, averaged.head.projection.weight.grad)
    shared.after_step(at(0))


def test_the_grid_can_be_the_image():
    model = identity(scales=(0.5,), grid="image", mam_epoch=0)
    sizes = []
    model.rcm.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[2].shape[2:]))
    for parts in (model, network(grid="image", mam_epoch=0)):
        losses = parts.losses(batch(), at(0))
        assert all(value.isfinite() for value in losses.values())
    assert sizes == [(32, 48)]
    coarse = network(mam_epoch=0).losses(batch(), at(0))
    assert not torch.equal(losses["region"], coarse["region"])


def test_losses_are_float32_under_autocast():
    exact = network(mam_epoch=0).losses(batch(), at(0))
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(mam_epoch=0).losses(batch(), at(0))
        direct = network(mam_epoch=0, rcm="direct").losses(batch(), at(0))
    for name, value in rough.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=0.05)
    assert direct["region"].isfinite()


def test_detached_attention_leaves_the_sign_of_the_difference():
    raw = torch.rand(2, 1, 3, 2, 2, dtype=torch.float64).requires_grad_()
    guide = torch.rand(2, 1, 3, 2, 2, dtype=torch.float64)
    labels = torch.ones(1, 3, dtype=torch.float64)
    module = rcm_mam_modules.Mam("mam", 0, "plain", detach_attention=True, detach_max=True, reduction="mean")
    module(rcm_mam_modules.Views(raw, raw), rcm_mam_modules.Views(guide, guide), guide[0], labels).backward()
    cam, teacher = ops.scaled_cams(raw.detach()), ops.scaled_cams(guide)
    sign = (cam - ops.attended(ops.attention(cam, teacher), teacher, target="plain")).sign()
    expected = sign / (4 * 3) / (raw.detach().amax((-2, -1), keepdim=True) + 1e-5)
    torch.testing.assert_close(raw.grad, expected)


def train(model, sgd, steps):
    model.train()
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(6, 4, 3, 32, 32, generator=generator)
    labels = (torch.rand(6, 4, 3, generator=generator) > 0.6).float()
    for step in steps:
        sgd.zero_grad()
        sum(model.losses({"image": images[step], "labels": labels[step]}, at(step)).values()).backward()
        sgd.step()
        model.after_step(at(step))


@pytest.mark.parametrize("options", [{}, {"support": "shared"}, {"rcm": "direct", "mam": "smm"}])
def test_a_training_continues_in_the_same_bits(options):
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
    kind = {"mam_epoch": 3, "dropout": 0.5, "momentum": 0.9} | options
    model = network(**kind)
    sgd = optimiser(model.parameter_groups(), **settings)
    train(model, sgd, range(2))
    file = io.BytesIO()
    torch.save([model.state_dict(), sgd.state_dict(), torch.get_rng_state()], file)
    train(model, sgd, range(2, 6))
    expected = model.state_dict()

    file.seek(0)
    state, updates, random = torch.load(file, weights_only=True)
    again = rcm_mam.build(backbone=tiny.build(), **(SMALL | kind))
    again.load_state_dict(state)
    sgd = optimiser(again.parameter_groups(), **settings)
    sgd.load_state_dict(updates)
    torch.set_rng_state(random)
    train(again, sgd, range(2, 6))
    found = again.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "support", "support": "shared"}, "network: there is no SupportNet"),
        ({"network": "support", "rcm": "off", "mam": "off"}, "network: there is no SupportNet"),
        ({"momentum": 1.2}, "momentum: must be within 0 and 1"),
        ({"threshold": 1.0}, "threshold: must be at least 0"),
        ({"temperature": 0.0}, "temperature: must be above 0"),
        ({"scales": (0.5, 0.0)}, "scales: must all be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        network(**options)


def test_options_can_be_read_without_importing_the_method():
    options = interface.options("methods", "rcm_mam", {"rcm": "off"}, "x")
    assert (options["momentum"], options["scales"], options["temperature"]) == (0.997, [0.5, 2.0], 0.5)
    assert (options["threshold"], options["mam_epoch"], options["dim"], options["head_lr"]) == (0.2, 6, 256, 1.0)
    with pytest.raises(UserError, match="has the options"):
        interface.options("methods", "rcm_mam", {"form": "square"}, "x")


def test_a_start_reaches_both_networks():
    trained = cam.build(backbone=tiny.build(output_stride=16), num_classes=3)
    model = rcm_mam.build(backbone=tiny.build(output_stride=16), num_classes=3, dim=8)
    model.start(trained.state_dict())
    for own, support, other in zip(
        model.backbone.parameters(), model.support[0].parameters(), trained.backbone.parameters(), strict=True
    ):
        assert torch.equal(own, other)
        assert torch.equal(support, other)
    with pytest.raises(UserError, match="another kind of backbone"):
        model.start({"backbone.stem.weight": torch.zeros(1)})
