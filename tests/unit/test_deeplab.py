"""DeepLabv2 and DeepLab-LargeFOV: scales, label sizes, balanced loss, parameter groups."""

import csv
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from wsss import interface
from wsss.backbones import caffe_resnet, mobilenet_v2, tiny, vgg16
from wsss.methods import deeplab_largefov, deeplabv2
from wsss.ops.segmentation_loss import cross_entropy, shrink_labels
from wsss.predict import probabilities

GROUPS = Path(__file__).resolve().parents[2].parent / "shared" / "conformance" / "11_param_groups.tsv"
PROGRESS = SimpleNamespace(step=0, epoch=0, total=10)


def batch(size: tuple[int, int] = (40, 56)) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    label_BHW = torch.randint(0, 4, (2, *size))
    label_BHW[:, :5] = 255
    return {"image": torch.randn(2, 3, *size), "label": label_BHW}


def trains(model) -> None:
    losses = model.losses(batch(), PROGRESS)
    sum(losses.values()).backward()
    for group in model.parameter_groups():
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("rectangle", [((7, 13), (3, 5)), ((321, 449), (41, 57)), ((4, 6), (8, 12))])
def test_labels_shrink_to_the_nearest_pixel_with_height_and_width_in_order(rectangle):
    (height, width), (h, w) = rectangle
    label_HW = torch.arange(height * width).reshape(height, width)
    rows = [((2 * y + 1) * height) // (2 * h) for y in range(h)]
    columns = [((2 * x + 1) * width) // (2 * w) for x in range(w)]
    expected = label_HW[torch.tensor(rows)][:, torch.tensor(columns)]
    assert torch.equal(shrink_labels(label_HW[None], (h, w))[0], expected)


def test_balanced_loss_by_hand():
    logit_BLhw = torch.tensor([[[[2.0, 0.0, 1.0, 5.0]], [[0.0, 1.0, 1.0, 0.0]]]])
    label_BHW = torch.tensor([[[0, 0, 1, 255]]])
    first, second, third = (math.log(1 + math.exp(margin)) for margin in (-2.0, 1.0, 0.0))
    plain = cross_entropy(logit_BLhw, label_BHW)
    balanced = cross_entropy(logit_BLhw, label_BHW, balanced=True)
    assert plain.item() == pytest.approx((first + second + third) / 3)
    assert balanced.item() == pytest.approx(((first + second) / 2 + third) / 2)


@pytest.mark.parametrize("label", [0, 2])
def test_balanced_loss_with_only_one_side_is_the_plain_one(label):
    torch.manual_seed(0)
    logit_BLhw, label_BHW = torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), label)
    expected = F.cross_entropy(logit_BLhw, label_BHW)
    torch.testing.assert_close(cross_entropy(logit_BLhw, label_BHW, balanced=True), expected)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_batch_of_ignored_pixels_costs_nothing(balanced):
    logit_BLhw = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logit_BLhw, torch.full((2, 9, 9), 255), balanced=balanced)
    loss.backward()
    assert loss.item() == 0
    assert logit_BLhw.grad.abs().sum() == 0


def test_aspp_sums_its_branches():
    torch.manual_seed(0)
    module = deeplabv2.Aspp(5, 3, (1, 2))
    feature_BDhw = torch.randn(1, 5, 9, 11)
    expected = sum(
        F.conv2d(feature_BDhw, b.weight, b.bias, padding=rate, dilation=rate)
        for b, rate in zip(module.branches, (1, 2), strict=True)
    )
    torch.testing.assert_close(module(feature_BDhw), expected)
    assert all(branch.bias.abs().sum() == 0 for branch in module.branches)


def test_deeplabv2_tests_with_the_maximum_over_scales():
    model = deeplabv2.build(backbone=tiny.build(), num_classes=3, rates=(1, 2)).eval()
    image_BCHW = batch((50, 61))["image"]
    with torch.inference_mode():
        whole, half, three_quarters, most = model.pyramid(image_BCHW)
        assert whole.shape == (2, 4, 7, 8)
        assert half.shape[2:] == (4, 4)
        assert three_quarters.shape[2:] == (5, 6)
        enlarged = [F.interpolate(z, whole.shape[2:], mode="bilinear") for z in (half, three_quarters)]
        assert torch.equal(most, torch.stack([whole, *enlarged]).amax(0))
        assert torch.equal(model.logits(image_BCHW), most)
        single = deeplabv2.build(backbone=model.backbone, num_classes=3, rates=(1, 2), scales=())
        single.aspp = model.aspp
        assert torch.equal(single.logits(image_BCHW), whole)


def test_deeplabv2_sums_or_averages_four_losses():
    model = deeplabv2.build(backbone=tiny.build(), num_classes=3, rates=(1, 2))
    data = batch()
    parts = [cross_entropy(z, data["label"]) for z in model.pyramid(data["image"])]
    assert len(parts) == 4
    total = sum(model.losses(data, PROGRESS).values())
    model.reduction = "mean"
    mean = sum(model.losses(data, PROGRESS).values())
    torch.testing.assert_close(total, sum(parts))
    torch.testing.assert_close(mean, sum(parts) / 4)


def test_parameter_groups_of_deeplabv2_are_the_published_ones():
    if not GROUPS.exists():
        pytest.skip(f"{GROUPS.name} is not there")
    with GROUPS.open(encoding="utf-8") as stream:
        table = [row for row in csv.DictReader(stream, delimiter="\t") if row["network"] == "deeplabv2"]
    expected = {row["parameter"]: (float(row["lr_factor"]), float(row["weight_decay"]) / 5e-4) for row in table}
    with torch.device("meta"):
        model = deeplabv2.build(backbone=caffe_resnet.build(), num_classes=20)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)].removeprefix("backbone.").replace("aspp.branches.", "aspp.c"): (
            group["lr_factor"],
            group["weight_decay_factor"],
        )
        for group in model.parameter_groups()
        for p in group["params"]
    }
    assert found == expected


@pytest.mark.parametrize("head", ["vgg", "resnet38"])
def test_parameter_groups_of_largefov_hold_every_parameter_once(head):
    model = deeplab_largefov.build(backbone=vgg16.build(output_stride=8), num_classes=3, head=head, width=8)
    groups = model.parameter_groups()
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    factors = {id(p): (g["lr_factor"], g["weight_decay_factor"]) for g in groups for p in g["params"]}
    assert factors[id(model.head[-1].weight)] == (10, 1)
    assert factors[id(model.head[-1].bias)] == (20, 0)
    assert factors[id(model.backbone.features[0].weight)] == (1, 1)
    assert factors[id(model.backbone.features[0].bias)] == (2, 0)


@pytest.mark.parametrize("head", ["vgg", "resnet38"])
@pytest.mark.parametrize("backbone", [tiny, mobilenet_v2])
def test_largefov_works_on_any_backbone(head, backbone):
    model = deeplab_largefov.build(backbone=backbone.build(output_stride=8), num_classes=3, head=head, width=16)
    assert model.logits(batch()["image"]).shape == (2, 4, 5, 7)
    trains(model)


@pytest.mark.parametrize("balanced", [False, True])
def test_deeplabv2_trains_on_other_backbones(balanced):
    backbone = mobilenet_v2.build(output_stride=16)
    trains(deeplabv2.build(backbone=backbone, num_classes=3, rates=(1, 2), balanced=balanced))


def test_options_can_be_read_without_importing_the_methods():
    assert interface.options("methods", "deeplabv2", {}, "x")["rates"] == [6, 12, 18, 24]
    assert interface.options("methods", "deeplab_largefov", {"head": "vgg"}, "x")["head"] == "vgg"


def test_losses_meet_where_the_public_code_of_each_head_compares_them():
    torch.manual_seed(0)
    logit_BLhw, label_BHW = torch.randn(2, 4, 5, 7), batch()["label"]
    image = F.cross_entropy(F.interpolate(logit_BLhw, (40, 56), mode="bilinear"), label_BHW, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logit_BLhw, label_BHW, grid="image"), image)
    logits = F.cross_entropy(logit_BLhw, shrink_labels(label_BHW, (5, 7)), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logit_BLhw, label_BHW, grid="logits"), logits)
    for head, grid, expected in (("vgg", "logits", logits), ("resnet38", "image", image)):
        model = deeplab_largefov.build(backbone=tiny.build(), num_classes=3, head=head, width=8)
        model.logits = lambda image_BCHW: logit_BLhw
        torch.testing.assert_close(model.losses(batch(), PROGRESS)["segmentation"], expected)
        other = deeplab_largefov.build(backbone=tiny.build(), num_classes=3, head=head, width=8, loss_grid=grid)
        assert other.grid == model.grid == grid


def test_scales_and_mirror_images_merge_as_named():
    """Logits that depend on the scale and on the side; the mirror image's are turned back."""
    given = {8: torch.tensor([[2.0, 0.0], [0.0, 1.0]]), 4: torch.tensor([[0.0, 3.0], [1.0, 0.0]])}

    class Fixed(torch.nn.Linear):
        def logits(self, image_BCHW):
            plain_L2 = given[image_BCHW.shape[2]]
            return torch.stack([plain_L2, plain_L2.flip(1) + 0.5][: len(image_BCHW)])[:, :, None]

    images = [torch.zeros(3, 8, 8), torch.zeros(3, 4, 4)]
    logits = torch.stack([z for plain in given.values() for z in (plain, (plain.flip(1) + 0.5).flip(1))])
    expected = {
        "mean": logits.softmax(1).mean(0),
        "max": logits.softmax(1).amax(0) / logits.softmax(1).amax(0).sum(0),
        "mean_logits": logits.mean(0).softmax(0),
    }
    for merge, prob_L2 in expected.items():
        found = probabilities(Fixed(1, 1), images, (1, 2), flip=True, merge=merge)
        torch.testing.assert_close(found[:, 0], prob_L2)
    torch.testing.assert_close(
        probabilities(Fixed(1, 1), images[:1], (1, 2), flip=False, merge="mean_logits")[:, 0], given[8].softmax(0)
    )
