"""Backbones: taps, strides, the folded BatchNorm, freezing, recomputation, and agreement with torchvision."""

import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from wsss import interface
from wsss.backbones import caffe_resnet, mobilenet_v2, resnet, resnet38, tiny, vgg16
from wsss.backbones.common import (
    Backbone,
    FixedBatchNorm,
    conv_norm,
    freeze,
    freeze_norms,
    split_parameters,
)
from wsss.errors import UserError

CONFORMANCE = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
BUILDERS = {
    "tiny-4": lambda: tiny.build(output_stride=4),
    "tiny-8": lambda: tiny.build(output_stride=8),
    "tiny-16": lambda: tiny.build(output_stride=16),
    "mobilenet_v2-16": lambda: mobilenet_v2.build(output_stride=16),
    "mobilenet_v2-8": lambda: mobilenet_v2.build(output_stride=8),
    "resnet50-16": lambda: resnet.build(output_stride=16),
    "resnet50-irn": lambda: resnet.build(output_stride=16, dilate=False),
    "vgg16-32": lambda: vgg16.build(output_stride=32),
    "vgg16-largefov": lambda: vgg16.build(output_stride=8, largefov=True),
    "caffe-8": lambda: caffe_resnet.build(output_stride=8, depth=50),
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def randomise_statistics(model: nn.Module) -> None:
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def gradients(model: Backbone, image_BCHW: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    sum(tap.square().mean() for tap in model(image_BCHW)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", BUILDERS)
def test_taps_have_the_channels_and_strides_that_the_network_states(name):
    model = BUILDERS[name]()
    with torch.inference_mode():
        taps = model(torch.randn(2, 3, 64, 96))
    assert len(taps) == len(model.channels) == len(model.strides) == 5
    for tap, channels, stride in zip(taps, model.channels, model.strides, strict=True):
        slack = 1 if name.startswith(("caffe", "vgg16-largefov")) else 0  # ceil mode and padded pools add a pixel
        assert tap.shape[:2] == (2, channels)
        assert 64 // stride <= tap.shape[2] <= 64 // stride + slack
        assert 96 // stride <= tap.shape[3] <= 96 // stride + slack


@pytest.mark.parametrize("name", BUILDERS)
def test_odd_sizes_pass(name):
    with torch.inference_mode():
        assert BUILDERS[name]()(torch.randn(1, 3, 37, 51))[-1].isfinite().all()


@pytest.mark.parametrize(
    ("module", "options"),
    [(mobilenet_v2, {}), (resnet, {}), (vgg16, {}), (caffe_resnet, {}), (tiny, {}), (resnet38, {})],
)
def test_an_output_stride_that_a_network_lacks_is_refused_with_those_it_has(module, options):
    with pytest.raises(UserError, match="no output stride 64; use one of"):
        module.build(output_stride=64, **options)


def test_settings_of_every_backbone_can_be_read_without_importing_it():
    for name in ("resnet", "vgg16", "mobilenet_v2", "resnet38", "tiny", "caffe_resnet"):
        assert "output_stride" in interface.options("backbones", name, {}, "backbones.x.options")


def test_parameter_counts():
    assert count(resnet.build()) == 23_508_032
    assert count(mobilenet_v2.build()) == 2_223_872
    assert count(vgg16.build()) == 14_714_688
    assert count(tiny.build()) == 217_296
    with torch.device("meta"):
        assert count(resnet.build(network="resnet101")) == 42_500_160
        assert count(caffe_resnet.build()) == 42_500_160


def test_resnet38_has_the_published_size():
    with torch.device("meta"):
        model = resnet38.build()
    assert count(model) == 105_070_912
    assert sum(buffer.numel() for buffer in model.buffers()) == 47_744


def test_resnet38_has_the_official_names_and_shapes():
    table = CONFORMANCE / "07_resnet38_params.tsv"
    if not table.exists():
        pytest.skip(f"{table.name} is not there")
    with table.open(encoding="utf-8") as stream:
        listed = {row["name"]: row["shape"] for row in csv.DictReader(stream, delimiter="\t")}
    with torch.device("meta"):
        own = {name: "x".join(map(str, t.shape)) for name, t in resnet38.build().state_dict().items()}
    assert own == {name: shape for name, shape in listed.items() if not name.startswith("fc8")}


def test_resnet38_freezes_its_norms_and_scales_its_dropout():
    with torch.device("meta"):
        model = resnet38.build(dropout=(0.2, 0.4))
    norms = [module for module in model.modules() if isinstance(module, FixedBatchNorm)]
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert (model.b6.dropout, model.b7.dropout) == (0.2, 0.4)
    freeze(model, 1)
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}.isdisjoint(
        {"conv1a", "b2", "b2_1", "b2_2"}
    )


@pytest.mark.parametrize("network", ["resnet50", "mobilenet_v2", "vgg16"])
def test_without_removed_strides_a_network_is_torchvisions(network):
    torch.manual_seed(0)
    original = models.get_model(network).eval()
    randomise_statistics(original)
    module = {"resnet50": resnet, "mobilenet_v2": mobilenet_v2, "vgg16": vgg16}[network]
    model = module.build(output_stride=32)
    model.load_state_dict({k: v for k, v in original.state_dict().items() if k in model.state_dict()})
    image_BCHW = torch.randn(1, 3, 65, 81)
    with torch.inference_mode():
        if network == "resnet50":
            x = original.maxpool(original.relu(original.bn1(original.conv1(image_BCHW))))
            expected = original.layer4(original.layer3(original.layer2(original.layer1(x))))
        else:
            expected = original.features(image_BCHW)
        torch.testing.assert_close(model(image_BCHW)[-1], expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("module", [resnet, mobilenet_v2, caffe_resnet])
def test_dilation_computes_the_strided_network_densely(module):
    torch.manual_seed(0)
    strided, dense = module.build(output_stride=32).double(), module.build(output_stride=8).double()
    randomise_statistics(strided)
    dense.load_state_dict(strided.state_dict())
    image_BCHW = torch.randn(1, 3, 70, 97, dtype=torch.float64)
    with torch.inference_mode():
        coarse, fine = strided(image_BCHW)[-1], dense(image_BCHW)[-1]
    torch.testing.assert_close(fine[:, :, ::4, ::4], coarse, rtol=1e-9, atol=1e-9 * float(coarse.abs().max()))


def test_irnets_form_removes_the_stride_without_dilation():
    model = resnet.build(output_stride=16, dilate=False)
    assert {m.dilation for m in model.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert {m.stride for m in model.layer4.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


def test_largefov_form_of_vgg16():
    model = vgg16.build(output_stride=8, largefov=True)
    pools = [m for m in model.features if isinstance(m, nn.MaxPool2d)]
    assert [p.stride for p in pools] == [2, 2, 2, 1, 1]
    assert {(p.kernel_size, p.padding) for p in pools} == {(3, 1)}
    assert [m.dilation[0] for m in model.features if isinstance(m, nn.Conv2d)] == [1] * 10 + [2] * 3
    torch.manual_seed(0)
    image_BCHW = torch.randn(1, 3, 33, 41)
    with torch.inference_mode():
        expected = F.avg_pool2d(model.features(image_BCHW), 3, 1, 1)
        torch.testing.assert_close(model(image_BCHW)[-1], expected)


def test_vgg16_switches_point_at_the_maxima():
    model = vgg16.build()
    image_BCHW = torch.randn(2, 3, 70, 49)
    with torch.inference_mode():
        taps, switches = model.forward_with_switches(image_BCHW)
        for tap, plain in zip(taps, model(image_BCHW), strict=True):
            assert torch.equal(tap, plain)
        assert switches[0].size == (70, 49)
        assert switches[1].size == tuple(taps[0].shape[2:])
        restored = F.max_unpool2d(taps[2], switches[2].index_BDhw, 2, output_size=switches[2].size)
    assert torch.equal(F.max_pool2d(restored, 2), taps[2])
    assert restored.count_nonzero() == taps[2].count_nonzero()


def test_a_folded_norm_gives_the_same_values_and_gradients():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, 2, 2, 2, groups=2).double(), FixedBatchNorm(6).double()
    randomise_statistics(norm)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64, requires_grad=True)
    wanted = [x, *conv.parameters(), *norm.parameters()]
    plain, folded = norm(conv(x)), conv_norm(conv, norm, x)
    torch.testing.assert_close(folded, plain)
    expected = torch.autograd.grad(plain.square().sum(), wanted)
    for found, reference in zip(torch.autograd.grad(folded.square().sum(), wanted), expected, strict=True):
        torch.testing.assert_close(found, reference)


def test_norms_use_running_statistics_in_training_too():
    model = mobilenet_v2.build(output_stride=16)
    randomise_statistics(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    image_BCHW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.train()(image_BCHW)[-1], model.eval()(image_BCHW)[-1])
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("stages", [0, 2, 5])
def test_frozen_stages_do_no_gradient_work(stages):
    model = mobilenet_v2.build(output_stride=16)
    freeze(model, stages)
    taps = model(torch.randn(1, 3, 48, 48))
    assert [tap.requires_grad for tap in taps] == [number > stages for number in range(1, 6)]
    for number, modules in enumerate(model.stage_modules(), 1):
        trains = [p.requires_grad for module in modules for p in module.parameters()]
        assert all(trains) if number > stages else not any(trains)


def test_freezing_more_stages_than_there_are_is_refused():
    with pytest.raises(UserError, match="use 0 to 5"):
        freeze(tiny.build(), 6)


@pytest.mark.parametrize("name", ["tiny-8", "mobilenet_v2-16", "vgg16-largefov"])
def test_recomputation_leaves_gradients_as_they_are(name):
    torch.manual_seed(0)
    model = BUILDERS[name]()
    image_BCHW = torch.randn(2, 3, 48, 40)
    freeze(model, 1)
    kept = gradients(model, image_BCHW)
    model.gradient_checkpointing = True
    again = gradients(model, image_BCHW)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[key], again[key]) for key in kept)


def test_parameters_split_into_weights_norms_and_others():
    model = mobilenet_v2.build()
    weights, norms, others = split_parameters(model)
    assert (len(weights), len(norms), len(others)) == (52, 104, 0)
    weights, norms, others = split_parameters(tiny.build())
    assert (len(weights), len(norms), len(others)) == (10, 0, 14)
    freeze_norms(model)
    assert sum(p.requires_grad for p in model.parameters()) == 52


def test_caffe_networks_take_rgb_and_see_bgr_around_caffes_mean():
    model = caffe_resnet.build(depth=50)
    mean_3 = torch.tensor(model.mean) * 255
    torch.testing.assert_close(mean_3, torch.tensor([122.675, 116.669, 104.008]))
    assert model.std == (1 / 255,) * 3
    blue = torch.zeros(1, 3, 32, 32)
    blue[:, 2] = 1
    with torch.no_grad():
        model.layer1.conv1.conv.weight[:, 1:] = 0  # only the first channel that the network sees counts
        assert model(blue)[0].abs().sum() > 0
        assert model(blue.flip(1))[0].abs().sum() == 0
