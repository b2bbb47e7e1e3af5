"""RCM's and MAM's formulas: values by hand, gradients, properties that hold for any maps."""

from math import exp, log, sqrt

import pytest
import torch

from wsss.ops import self_supervision as ops

torch.set_num_threads(1)


def maps(*rows):
    """Float64 (1,C,2,2) from one list of four pixels per class."""
    return torch.tensor(rows, dtype=torch.float64).reshape(1, len(rows), 2, 2)


def random(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_maps_are_divided_by_their_own_maximum():
    cam = ops.scaled_cams(maps([2, -1, 1, 4], [0.5, 0.25, 0, -3], [-1, -2, -3, -4]))
    expected = maps([2, 0, 1, 4], [0.5, 0.25, 0, 0], [0, 0, 0, 0])
    expected[0, 0] /= 4 + 1e-5
    expected[0, 1] /= 0.5 + 1e-5
    torch.testing.assert_close(cam, expected)


@pytest.mark.parametrize("detach_max", [False, True])
def test_the_gradient_through_the_maximum(detach_max):
    raw = maps([2, -1, 1, 4]).requires_grad_()
    ops.scaled_cams(raw, detach_max=detach_max).sum().backward()
    slope = 1 / (4 + 1e-5)
    through_the_maximum = 0 if detach_max else -(2 + 1 + 4) * slope**2
    torch.testing.assert_close(raw.grad, maps([slope, 0, slope, slope + through_the_maximum]))


def test_merging_scales_by_hand():
    raw_SBChw = torch.stack([maps([3, -2, 1, 0]), maps([-1, 2, 1, 4])])
    by_hand = {
        "mean": maps([1, 0, 1, 2]) / (2 + 1e-5),  # (3-1)/2, (-2+2)/2, (1+1)/2, (0+4)/2
        "relu_mean": maps([1.5, 1, 1, 2]) / (2 + 1e-5),  # 3/2, 2/2, 2/2, 4/2
        "max": maps([3, 2, 1, 4]) / (4 + 1e-5),
    }
    for merge, expected in by_hand.items():
        torch.testing.assert_close(ops.merged(raw_SBChw, merge), expected)


def test_regions_by_hand():
    cam = maps([0.9, 0.2, 0.3, 0.21], [0.95, 0.9, 0.9, 0.9], [0.1, 0.1, 0.6, 0.2])
    labels = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    # The absent class 2 never counts; 0.2 is not above the threshold; 0.6 beats 0.3; 0.21 beats 0.2.
    assert ops.class_regions(cam, labels, 0.2).tolist() == [[[1, 0], [3, 1]]]


def test_regions_hold_every_pixel_exactly_once_and_only_present_classes():
    cam, labels = random(5, 4, 6, 7), (random(5, 4, seed=1) > 0.5).double()
    labels[0] = 0
    region = ops.class_regions(cam, labels, 0.6)
    masks = torch.stack([region == k for k in range(5)])
    assert torch.equal(masks.sum(0), torch.ones_like(region))
    assert not (masks[1:].any((2, 3)).T & (labels == 0)).any()
    assert (region[0] == 0).all()
    highest = (cam * labels[..., None, None]).amax(1)
    assert torch.equal(masks[0], highest <= 0.6)


def test_prototypes_by_hand():
    # Image 1: region 0 at pixels 1, 2, region 1 at 3, 4; image 2: region 1 at pixel 1, region 3 elsewhere.
    feature = torch.cat([maps([1, 3, 5, 7], [0, 2, 4, 4]), maps([2, 3, 6, 9], [8, 0, 0, 3])])
    region = torch.tensor([[[0, 0], [1, 1]], [[1, 3], [3, 3]]])
    mean, present = ops.prototypes(feature, region, 4, average="mean")
    assert present.tolist() == [True, True, False, True]
    # Region 1: (6, 4) in image 1 and (2, 8) in image 2, so (4, 6); region 3: (18, 3) / 3.
    assert mean.tolist() == [[2, 1], [4, 6], [0, 0], [6, 1]]
    total, _ = ops.prototypes(feature, region, 4, average="sum")
    # Region 1: ((12, 8) + (2, 8)) / 2.
    assert total.tolist() == [[4, 2], [7, 8], [0, 0], [18, 3]]


def contrast(**changes):
    """Four pixels against prototypes 0 right, 1 up, 2 left, and 3, which was never seen."""
    arguments = {
        "feature_BDhw": maps([2, 0, 1, 0], [0, 5, 1, -1]),
        "prototype_LD": torch.tensor([[1, 0], [0, 2], [-3, 0], [0, 0]], dtype=torch.float64),
        "seen_L": torch.tensor([True, True, True, False]),
        "region_Bhw": torch.tensor([[[0, 1], [1, 2]]]),
        "temperature": 0.5,
        "form": "log",
        "reduction": "mean",
    }
    return ops.contrastive_loss(**(arguments | changes))


R = sqrt(2)
SOFTMAX = [
    exp(2) / (exp(2) + 1 + exp(-2)),  # (2, 0): cosines 1, 0, -1
    exp(2) / (1 + exp(2) + 1),  # (0, 5): cosines 0, 1, 0
    exp(R) / (exp(R) + exp(R) + exp(-R)),  # (1, 1): cosines r, r, -r with r = 1/sqrt(2), and 2 r = sqrt(2)
    1 / (1 + exp(-2) + 1),  # (0, -1): cosines 0, -1, 0
]


@pytest.mark.parametrize("form", ["log", "prob"])
def test_contrastive_loss_by_hand(form):
    a, b, c, d = (-log(p) if form == "log" else -p for p in SOFTMAX)
    assert contrast(form=form).item() == pytest.approx((a + b + c + d) / 4, rel=1e-9)
    assert contrast(form=form, reduction="sum").item() == pytest.approx(a + b + c + d, rel=1e-9)
    assert contrast(form=form, reduction="class_mean").item() == pytest.approx(a + (b + c) / 2 + d, rel=1e-9)


def test_sums_are_averaged_over_images():
    twice = {"feature_BDhw": maps([2, 0, 1, 0], [0, 5, 1, -1]).repeat(2, 1, 1, 1)}
    region = torch.tensor([[[0, 1], [1, 2]]]).repeat(2, 1, 1)
    assert contrast(**twice, region_Bhw=region, reduction="sum").item() == pytest.approx(-sum(map(log, SOFTMAX)))


@pytest.mark.parametrize("form", ["log", "prob"])
def test_prototypes_that_were_never_seen_do_not_count(form):
    prototype = torch.tensor([[1, 0], [0, 2], [-3, 0], [5, 5]], dtype=torch.float64)
    assert contrast(form=form, prototype_LD=prototype).item() == contrast(form=form).item()
    assert contrast(form=form, prototype_LD=prototype, seen_L=torch.ones(4, dtype=torch.bool)) > contrast(form=form)


def test_the_temperature_bounds_the_softmax():
    # 21 prototypes, one of them right and the others opposite: e^2 / (e^2 + 20 e^-2) at T = 0.5.
    prototype = torch.tensor([[1.0, 0.0]] + [[-1.0, 0.0]] * 20, dtype=torch.float64)
    seen, region = torch.ones(21, dtype=torch.bool), torch.zeros(1, 2, 2, dtype=torch.int64)
    case = {"feature_BDhw": maps([3] * 4, [0] * 4), "prototype_LD": prototype, "seen_L": seen, "region_Bhw": region}
    assert contrast(**case, form="prob").item() == pytest.approx(-exp(2) / (exp(2) + 20 * exp(-2)))
    assert contrast(**case).item() == pytest.approx(log(1 + 20 * exp(-4)))


@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_features_near_zero_have_bounded_gradients(size):
    feature = torch.full((1, 2, 2, 2), size, requires_grad=True)
    prototype = torch.tensor([[1.0, 0], [0, 2], [-3, 0], [0, 0]])
    contrast(feature_BDhw=feature.relu(), prototype_LD=prototype, reduction="sum").backward()
    # A logit's slope is 1 / (T 1e-5) at most, and the weights of the softmax sum to 2.
    assert feature.grad.abs().max() <= 2 / (0.5 * 1e-5)


@pytest.mark.parametrize("form", ["log", "prob"])
@pytest.mark.parametrize("reduction", ["mean", "class_mean", "sum"])
def test_gradient_of_the_contrastive_loss(form, reduction):
    feature = (random(2, 3, 2, 2) - 0.3).requires_grad_()
    prototype, seen = random(4, 3, seed=1) - 0.5, torch.tensor([True, True, True, False])
    region = torch.tensor([[[0, 1], [2, 2]], [[0, 0], [2, 1]]])

    def loss(feature):
        return contrast(
            feature_BDhw=feature,
            prototype_LD=prototype,
            seen_L=seen,
            region_Bhw=region,
            form=form,
            reduction=reduction,
        )

    assert torch.autograd.gradcheck(loss, (feature,))


def test_direct_loss_by_hand():
    cam = maps([0.5, 0.25, 0.75, 0.5], [0.9] * 4, [0.2, 0.5, 0.5, 0.1])
    labels = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    region = torch.tensor([[[1, 0], [1, 3]]])
    # Targets: class 1: 1 0 1 0, class 3: 0 0 0 1; class 2 is absent.
    first = [log(0.5), log(0.75), log(0.75), log(0.5)]
    third = [log(0.8), log(0.5), log(0.5), log(0.1)]
    bce = ops.direct_loss(cam, region, labels, form="bce")
    assert bce.item() == pytest.approx(-(sum(first) + sum(third)) / 8)
    l1 = ops.direct_loss(cam, region, labels, form="l1")
    assert l1.item() == pytest.approx((0.5 + 0.25 + 0.25 + 0.5 + 0.2 + 0.5 + 0.5 + 0.9) / 8)


@pytest.mark.parametrize("form", ["bce", "l1"])
def test_gradient_of_the_direct_loss(form):
    raw = (random(2, 3, 2, 2) - 0.2).requires_grad_()
    labels = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.float64)
    region = torch.tensor([[[0, 1], [2, 1]], [[3, 0], [3, 3]]])
    assert torch.autograd.gradcheck(
        lambda raw: ops.direct_loss(0.95 * ops.scaled_cams(raw), region, labels, form=form), (raw,)
    )


def test_certain_mistakes_have_bounded_loss_and_gradient():
    cam = maps([0, 1, 1e-9, 1 - 1e-9]).requires_grad_()
    region, labels = torch.tensor([[[1, 0], [1, 0]]]), torch.ones(1, 1, dtype=torch.float64)
    loss = ops.direct_loss(cam, region, labels, form="bce")
    loss.backward()
    assert loss.item() == pytest.approx(-log(1e-3))
    assert cam.grad.abs().max() <= 1e3


def test_attention_by_hand():
    cam = torch.stack([maps([1, 0, 0, 0]), maps([1, 1, 1, 1])])
    guide = torch.stack([maps([1, 0, 0, 0]), maps([0, 2, 0, 0]), maps([0, 0, 0, 0])])
    # Cosines: 1, 0, 0 (empty) and 1/2, 1/2, 0.
    assert ops.attention(cam, guide).squeeze().tolist() == [[1, 2, 2], [1.5, 1.5, 2]]


def test_attention_is_between_one_and_two():
    cam, guide = ops.scaled_cams(random(3, 4, 5, 6, 7) - 0.5), ops.scaled_cams(random(3, 4, 5, 6, 7, seed=1) - 0.5)
    xi = ops.attention(cam.float(), guide.float())
    assert xi.shape == (3, 3, 4, 5)
    assert xi.min() >= 1
    assert xi.max() <= 2
    same = ops.attention(cam.float(), cam.float()).diagonal()
    assert same.min() == 1
    assert torch.allclose(same, torch.ones(()), atol=1e-6)


def test_targets_by_hand():
    guide = torch.stack([maps([1, 0.5, 0, 0.25]), maps([1, 0, 1, 0.5])])
    xi = torch.tensor([[1.0, 2.0], [1.5, 1.0]], dtype=torch.float64)[..., None, None]
    by_hand = {
        "plain": ([1.5, 0.25, 1, 0.625], [1.25, 0.375, 0.5, 0.4375]),
        "clamp": ([1, 0.25, 1, 0.625], [1, 0.375, 0.5, 0.4375]),
        "normalise": ([1, 0.5 / 3, 2 / 3, 1.25 / 3], [1, 0.3, 0.4, 0.35]),
    }
    for target, rows in by_hand.items():
        torch.testing.assert_close(ops.attended(xi, guide, target=target), torch.stack([maps(row) for row in rows]))


def test_map_loss_by_hand():
    # Two scales, two images, three classes; image 1 has classes 1 and 2, image 2 has class 3.
    labels = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.float64)
    target = torch.zeros(2, 2, 3, 2, 2, dtype=torch.float64)
    cam = target.clone()
    cam[0, 0, 0] = torch.tensor([[1, 0], [0.5, 0.5]])  # sum 2, mean 1/2
    cam[1, 0, 1] = torch.tensor([[1, 1], [1, 0]])  # sum 3, mean 3/4
    target[1, 1, 2] = 2  # sum 8, mean 2
    cam[0, 0, 2] = 9  # absent
    expected = {"mean": (0.5 + 0.75 + 2) / 3, "class_sum": (0.5 + 0.75 + 2) / 2, "sum": (2 + 3 + 8) / 2}
    for reduction, value in expected.items():
        assert ops.map_loss(target, cam, labels, reduction=reduction).item() == pytest.approx(value)
        assert ops.map_loss(target, cam, torch.zeros_like(labels), reduction=reduction) == 0


@pytest.mark.parametrize("target", ["plain", "clamp", "normalise"])
@pytest.mark.parametrize("reduction", ["mean", "class_sum", "sum"])
def test_gradient_of_the_attentive_loss(target, reduction):
    raw, guide = (random(2, 2, 3, 2, 2) - 0.2).requires_grad_(), ops.scaled_cams(random(2, 2, 3, 2, 2, seed=1) - 0.2)
    labels = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.float64)

    def loss(raw):
        cam = ops.scaled_cams(raw)
        goal = ops.attended(ops.attention(cam, guide), guide, target=target)
        return ops.map_loss(goal, cam, labels, reduction=reduction)

    assert torch.autograd.gradcheck(loss, (raw,))


def test_losses_do_not_depend_on_the_order_of_the_batch():
    cam, guide, labels = random(3, 5, 4, 6, 6), random(3, 5, 4, 6, 6, seed=1), (random(5, 4, seed=2) > 0.4).double()
    feature, order = random(5, 8, 6, 6, seed=3) - 0.5, torch.tensor([3, 0, 4, 1, 2])

    def everything(cam, guide, feature, labels):
        region = ops.class_regions(ops.merged(guide, "mean"), labels, 0.5)
        values = []
        for average in ("mean", "sum"):
            prototype, seen = ops.prototypes(feature, region, 5, average=average)
            values += [
                ops.contrastive_loss(feature, prototype, seen, region, temperature=0.5, form=form, reduction=reduction)
                for form in ("log", "prob")
                for reduction in ("mean", "class_mean", "sum")
            ]
        target = ops.attended(ops.attention(cam, guide), guide, target="plain")
        values += [ops.map_loss(target, cam, labels, reduction=r) for r in ("mean", "class_sum", "sum")]
        values += [ops.direct_loss(cam[0], region, labels, form=form) for form in ("bce", "l1")]
        return torch.stack(values)

    moved = everything(cam[:, order], guide[:, order], feature[order], labels[order])
    torch.testing.assert_close(everything(cam, guide, feature, labels), moved, rtol=1e-12, atol=1e-12)
