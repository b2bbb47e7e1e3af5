"""Visual words: hand-computed encoding and losses, where gradients flow and where not, agreement with the plain CAM."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import grad, gradcheck

from tests.unit.test_param_groups import official, ours
from wsss import interface
from wsss.backbones import resnet, tiny
from wsss.backbones.common import freeze
from wsss.errors import UserError
from wsss.methods import cam
from wsss.methods.vwe import build
from wsss.ops.hspp import hspp

LOSSES = ["classification", "words_to_image", "image_to_words"]
SIZES = [(1, 1), (3, 5), (13, 18)]
CLASSES = 3


class Flat(nn.Module):
    """A backbone whose features are the image itself."""

    def __init__(self, channels=4):
        super().__init__()
        self.channels = (channels,)

    def forward(self, image):
        return (image,)


def network(channels=4, words=5, seed=0, **options):
    torch.manual_seed(seed)
    return build(backbone=Flat(channels), num_classes=CLASSES, words=words, **options)


def batch(size=(3, 5), channels=4, dtype=torch.float32):
    torch.manual_seed(1)
    image = torch.rand(2, channels, *size, dtype=dtype) + 0.01
    return {"image": image.requires_grad_(), "labels": torch.tensor([[1.0, 0, 0], [0, 1, 1]])}


@pytest.fixture
def hand():
    """Two channels, two words along the axes (of unlike lengths), a map of 2 x 2 pixels."""
    model = build(backbone=Flat(2), num_classes=1, words=2, pooling="gap").double()
    with torch.no_grad():
        model.words.codebook.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
        model.words.to_image.weight.copy_(torch.tensor([1.0, -3.0]).reshape(1, 2, 1, 1))
        model.words.to_words.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]]).reshape(2, 2, 1, 1))
    return model, torch.tensor([[[[3.0, 1.0], [8.0, 0.0]], [[4.0, 0.0], [6.0, 5.0]]]]).double()


COSINES = [[[0.6, 1.0], [0.8, 0.0]], [[0.8, 0.0], [0.6, 1.0]]]


def softplus(x):
    return math.log1p(math.exp(x))


def logistic(x):
    return 1 / (1 + math.exp(-x))


def test_cosines_softmax_and_counts_by_hand(hand):
    model, image = hand
    similarity = model.words.similarity(image)
    assert torch.allclose(similarity, torch.tensor([COSINES]).double(), atol=1e-7)
    first = [logistic(-0.2), logistic(1), logistic(0.2), logistic(-1)]
    probability = model.words.probability(similarity)
    assert torch.allclose(probability[0, 0].flatten(), torch.tensor(first).double(), atol=1e-7)
    assert torch.allclose(probability.sum(1), torch.ones(1, 2, 2).double())
    assert model.words.counts(probability)[0].tolist() == pytest.approx([sum(first), 4 - sum(first)])


def test_losses_by_hand(hand):
    model, image = hand
    found = model.losses({"image": image, "labels": torch.ones(1, 1).double()}, None)
    # The four softmaxes of the first word add up to 2, so do those of the second; both words are present.
    assert found["words_to_image"].item() == pytest.approx(softplus(-(2 - 3 * 2)))
    # The mean feature is (3, 3.75): logits 3 and -0.75.
    assert found["image_to_words"].item() == pytest.approx((softplus(-3) + softplus(0.75)) / 2)


def test_the_nearest_word_by_hand(hand):
    model, image = hand
    assert model.word_map(image).tolist() == [[[1, 0], [0, 1]]]
    assert model.word_map(image).dtype == torch.int64


def test_a_word_that_is_nowhere_the_nearest_is_absent(hand):
    model, image = hand
    _, _, present = model.words.logits(torch.cat([image, image[..., :1, 1:].expand(1, 2, 2, 2)]))
    assert present.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("pooling", "histogram"), [("gap", "mean"), ("hspp", "sum")])
def test_gradients_of_every_loss(name, size, pooling, histogram):
    model = network(pooling=pooling, histogram=histogram, word_gradient=True, temperature=0.5).double()
    inputs = batch(size, dtype=torch.float64)

    def loss(image, *parameters):
        return model.losses(inputs | {"image": image}, None)[name]

    assert gradcheck(loss, (inputs["image"], *model.parameters()), fast_mode=size == (13, 18))


def gradients(name, word_gradient=False):
    """Of one loss: by the image and by every parameter, None where the graph has no path."""
    model, inputs = network(word_gradient=word_gradient), batch()
    named = dict(model.named_parameters()) | {"image": inputs["image"]}
    found = grad(model.losses(inputs, None)[name], list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))


@pytest.mark.parametrize("word_gradient", [False, True])
@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("classification", {"classifier.weight", "image"}),
        ("words_to_image", {"words.codebook", "words.to_image.weight"}),
        ("image_to_words", {"words.to_words.weight", "image"}),
    ],
)
def test_where_the_gradients_flow(name, reached, word_gradient):
    if word_gradient and name == "words_to_image":
        reached = reached | {"image"}
    found = {key for key, value in gradients(name, word_gradient).items() if value is not None}
    assert found == reached
    assert all(gradients(name, word_gradient)[key].abs().sum() > 0 for key in reached)


def test_the_words_present_are_constants_of_their_loss():
    model, inputs = network(word_gradient=True), batch()
    loss = model.losses(inputs, None)["image_to_words"]
    nearest = model.words.assignment(inputs["image"]).flatten(1)
    present = F.one_hot(nearest, 5).amax(1).float()
    assert 0 < present.mean() < 1
    logit = inputs["image"].mean((2, 3)) @ model.words.to_words.weight.flatten(1).T
    expected = F.multilabel_soft_margin_loss(logit, present)
    assert torch.allclose(loss, expected)
    assert torch.allclose(grad(loss, inputs["image"])[0], grad(expected, inputs["image"])[0])


def plain_and_ours(pooling="gap"):
    torch.manual_seed(3)
    plain = cam.build(backbone=Flat(), num_classes=CLASSES)
    model = network(words=0, pooling=pooling)
    model.load_state_dict(plain.state_dict())
    return plain, model


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_without_words_it_is_the_plain_network(precision):
    plain, model = plain_and_ours()
    found = []
    for network_ in (plain, model):
        inputs = batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            losses = network_.losses({**inputs, "image": inputs["image"].to(precision)}, None)
        losses["classification"].backward()
        found.append((losses, inputs["image"].grad, network_.class_maps(inputs["image"])))
    (plain_losses, *plain_rest), (losses, *rest) = found
    assert losses.keys() == plain_losses.keys()
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if precision == torch.float32 else {"rtol": 0.01, "atol": 1e-4}
    torch.testing.assert_close([*losses.values(), *rest], [*plain_losses.values(), *plain_rest], **tolerance)
    groups = [[(g["name"], g["lr_factor"], len(g["params"])) for g in m.parameter_groups()] for m in (plain, model)]
    assert groups[0] == groups[1]


def test_without_words_the_seed_gives_the_plain_networks_weights():
    torch.manual_seed(0)
    plain = cam.build(backbone=Flat(), num_classes=CLASSES)
    assert torch.equal(network(words=0).classifier.weight, plain.classifier.weight)


@pytest.mark.parametrize("size", SIZES)
def test_hspp_without_words(size):
    _, model = plain_and_ours("hspp")
    inputs = batch(size)
    logit = hspp(inputs["image"]) @ model.classifier.weight.flatten(1).T
    losses = model.losses(inputs, None)
    assert list(losses) == ["classification"]
    assert torch.allclose(losses["classification"], F.multilabel_soft_margin_loss(logit, inputs["labels"]))


def test_gamma_and_levels_reach_the_pooling():
    image = batch((9, 7))["image"]
    model = network(gamma=0.5, levels=[3])
    expected = hspp(image, gamma=0.5, levels=(3,)) @ model.classifier.weight.flatten(1).T
    assert torch.allclose(model.logits(image), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pooling", ["gap", "hspp"])
def test_any_feature_size(size, pooling):
    model, inputs = network(pooling=pooling), batch(size)
    losses = model.losses(inputs, None)
    assert list(losses) == LOSSES
    torch.stack([*losses.values()]).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert model.class_maps(inputs["image"]).shape == (2, CLASSES, *size)
    assert {name: maps.shape for name, maps in model.branches(inputs["image"]).items()} == {
        "img": (2, CLASSES, *size),
        "word": (2, CLASSES, *size),
    }
    assert model.word_map(inputs["image"]).shape == (2, *size)


def test_at_temperature_one_the_softmax_is_nearly_uniform():
    words = network(channels=300, words=256).words
    with torch.no_grad():
        words.codebook.copy_(torch.eye(256, 300))
    probability = words.probability(words.similarity(words.codebook[:1, :, None, None]))
    assert probability.max().item() == pytest.approx(0.0105, abs=1e-4)
    assert probability.min().item() == pytest.approx(1 / 256, abs=1e-4)


def test_a_low_temperature_sharpens_and_keeps_the_nearest_word():
    image = batch()["image"]
    peaks = []
    for temperature in (10.0, 1.0, 0.1, 1e-4):
        words = network(temperature=temperature).words
        probability = words.probability(words.similarity(image))
        assert probability.isfinite().all()
        assert torch.allclose(words.counts(probability).sum(1), torch.tensor(15.0))
        assert torch.equal(probability.argmax(1), words.assignment(image))
        peaks.append(probability.amax(1).mean().item())
    assert peaks == sorted(peaks)
    assert peaks[0] == pytest.approx(1 / 5, abs=0.02)
    assert peaks[-1] > 0.99


def test_the_mean_histogram_is_the_sum_over_the_pixels():
    image = batch((4, 6))["image"]
    total, _, present = network(histogram="sum").words.logits(image)
    mean, _, same = network(histogram="mean").words.logits(image)
    assert torch.allclose(total, 24 * mean)
    assert torch.equal(present, same)


def test_weights_of_the_losses():
    inputs = batch()
    one = network().losses(inputs, None)
    other = network(words_to_image_weight=0.25, image_to_words_weight=3.0).losses(inputs, None)
    ratios = [(other[name] / one[name]).item() for name in LOSSES]
    assert ratios == pytest.approx([1.0, 0.25, 3.0])


@pytest.mark.parametrize("histogram", ["sum", "mean"])
def test_the_words_work_in_float32_under_autocast(histogram):
    model = network(channels=64, words=32, histogram=histogram)
    image = batch((13, 18), channels=64)["image"].detach().bfloat16()
    plain = model.words.logits(image.float())
    with torch.autocast("cpu", torch.bfloat16):
        under = model.words.logits(image)
        losses = model.losses(batch(channels=64) | {"image": image}, None)
        maps = model.branches(image)["word"]
    assert torch.equal(plain[0], under[0])
    assert torch.equal(plain[2], under[2])
    # The mean feature has the precision of the features; the product behind it is exact.
    assert torch.allclose(plain[1], under[1], atol=2 / 256)
    assert not torch.equal(under[1], under[1].bfloat16().float())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert torch.equal(maps, model.words.class_maps(image.float()))


def test_branches(hand):
    model, image = hand
    maps = model.branches(image)
    assert torch.equal(maps["img"], model.class_maps(image))
    first = model.words.probability(model.words.similarity(image))[:, :1]
    assert torch.allclose(maps["word"], first - 3 * (1 - first))
    assert list(network(words=0).branches(batch()["image"])) == ["img"]


def test_the_word_maps_add_up_to_the_logit_of_the_histogram():
    model, image = network(), batch()["image"]
    assert torch.allclose(model.branches(image)["word"].sum((2, 3)), model.words.logits(image)[0], atol=1e-6)


def test_initial_codebook():
    std = build(backbone=Flat(2048), num_classes=20).words.codebook.std().item()
    assert std == pytest.approx(1 / math.sqrt(3 * 2048), rel=0.01)


def test_a_network_without_words_assigns_none():
    with pytest.raises(UserError, match="words"):
        network(words=0).word_map(batch()["image"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": -1}, "words: -1"),
        ({"temperature": 0.0}, "temperature: 0"),
        ({"temperature": math.nan}, "temperature: nan"),
        ({"levels": [2, 0]}, "levels: 0"),
        ({"gamma": -1.0}, "gamma: -1"),
        ({"gamma": 0.0, "levels": []}, "gamma: 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        network(**options)


def test_the_options_have_the_published_defaults():
    assert interface.options("methods", "vwe", {}, "classify.vwe.options") == {
        "pooling": "hspp",
        "words": 256,
        "temperature": 1.0,
        "histogram": "sum",
        "word_gradient": False,
        "words_to_image_weight": 1.0,
        "image_to_words_weight": 1.0,
        "gamma": 2.0,
        "levels": [1, 2, 4],
        "head_lr": 10.0,
    }


def test_parameter_groups_are_those_of_the_published_code():
    names = {
        "words.codebook": "VWE.centroid",
        "words.to_image.weight": "fc_a.weight",
        "words.to_words.weight": "fc_b.weight",
    }
    backbone = resnet.build(network="resnet50", output_stride=16, dilate=False)
    freeze(backbone, 3)
    found = ours(build(backbone=backbone, num_classes=20), lambda n: names.get(n, n.removeprefix("backbone.")))
    assert found == official("vwe")


def test_every_loss_falls_on_a_small_network():
    torch.manual_seed(0)
    model = build(backbone=tiny.build(output_stride=8), num_classes=CLASSES, words=16)
    inputs = {"image": torch.randn(6, 3, 32, 32), "labels": torch.eye(CLASSES).repeat(2, 1)}
    groups = [{"params": g["params"], "lr": 0.01 * g["lr_factor"]} for g in model.parameter_groups()]
    sgd = torch.optim.SGD(groups)
    history = []
    for _ in range(40):
        losses = model.losses(inputs, None)
        history.append({name: loss.item() for name, loss in losses.items()})
        sgd.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        sgd.step()
    assert all(history[-1][name] < history[0][name] for name in LOSSES), (history[0], history[-1])
