"""Reading and loading of initial weights: formats, names, the account of every key, and refusals."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.unit.test_mxnet_params import params_bytes
from wsss.backbones import mobilenet_v2, resnet38, tiny
from wsss.backbones.weights import fetch, load_weights, read_weights, torchvision_url
from wsss.errors import UserError

MOBILENET = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights" / "mobilenet_v2_imagenet.pth"


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {key: torch.randn_like(value) for key, value in tiny.build().state_dict().items()}


def equal(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def test_the_mobilenet_file_leaves_no_key_unexplained():
    if not MOBILENET.exists():
        pytest.skip(f"{MOBILENET.name} is not there")
    state = read_weights(MOBILENET)
    model = mobilenet_v2.build()
    report = load_weights(model, state)
    assert report.complete
    assert len(report.keys("loaded")) == len(model.state_dict()) == 260
    counters = [key for key in report.keys("dropped") if key.endswith("num_batches_tracked")]
    assert set(report.keys("dropped")) - set(counters) == {"classifier.1.weight", "classifier.1.bias"}
    assert len(report.rows) == len(state)
    assert torch.equal(model.features[18][0].weight, state["features.18.0.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".params"])
def test_all_formats_bring_the_same_tensors(tmp_path, state, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix == ".params":
        path.write_bytes(params_bytes([value.numpy() for value in state.values()], list(state)))
    else:
        torch.save(state, path)
    model = tiny.build()
    load_weights(model, read_weights(path))
    assert equal(model, state)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_prefixes_of_wrappers_are_stripped(state, prefix):
    model = tiny.build()
    report = load_weights(model, {prefix + key: value for key, value in state.items()})
    assert equal(model, state)
    assert f"{prefix}stem.weight" in str(report)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_state_dicts_inside_checkpoints_are_found(tmp_path, state, wrapper):
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "w.pth")
    model = tiny.build()
    load_weights(model, read_weights(tmp_path / "w.pth"))
    assert equal(model, state)


def test_other_precisions_are_converted(state):
    model = tiny.build()
    load_weights(model, {key: value.half() for key, value in state.items()})
    assert model.stem.weight.dtype == torch.float32
    assert torch.equal(model.stem.weight, state["stem.weight"].half().float())


def test_mxnet_names_reach_resnet38s_blocks(tmp_path):
    model = nn.Module()
    model.b2 = resnet38._ResBlock(64, 128, 128, stride=2)
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}:{name}": rng.random(shape, np.float32)
        for kind, name, shape in [
            ("arg", "res2a_branch2a_weight", (128, 64, 3, 3)),
            ("arg", "res2a_branch2b1_weight", (128, 128, 3, 3)),
            ("arg", "res2a_branch1_weight", (128, 64, 1, 1)),
            *(("arg", f"bn2a_branch2a_{part}", (64,)) for part in ("gamma", "beta")),
            *(("arg", f"bn2a_branch2b1_{part}", (128,)) for part in ("gamma", "beta")),
            *(("aux", f"bn2a_branch2a_moving_{part}", (64,)) for part in ("mean", "var")),
            *(("aux", f"bn2a_branch2b1_moving_{part}", (128,)) for part in ("mean", "var")),
            ("arg", "linear1000_weight", (10, 4)),
        ]
    }
    path = tmp_path / "resnet38.params"
    path.write_bytes(params_bytes(list(arrays.values()), list(arrays), "V0"))
    report = load_weights(model, read_weights(path))
    assert report.summary() == "11 loaded, 1 dropped"
    np.testing.assert_array_equal(model.b2.bn_branch2b1.running_var, arrays["aux:bn2a_branch2b1_moving_var"])
    assert "arg:linear1000_weight" in str(report)


def test_faulty_keys_are_listed_and_the_model_stays_as_it_was(state):
    model = tiny.build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    faulty = dict(state)
    del faulty["norm.bias"]
    faulty["extra.weight"] = torch.zeros(2)
    faulty["stem.weight"] = torch.zeros(16, 3, 5, 5)
    with pytest.raises(UserError) as caught:
        load_weights(model, faulty)
    text = str(caught.value)
    assert "missing: norm.bias" in text
    assert "unexpected: extra.weight" in text
    assert "mismatch: stem.weight (file (16, 3, 5, 5), network (16, 3, 3, 3))" in text
    assert "\n" not in text
    assert equal(model, before)


def test_torchvisions_addresses_carry_their_checksum():
    url, digest = torchvision_url("resnet50", "IMAGENET1K_V1")
    assert url == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert digest == "0676ba61"
    for network in ("resnet101", "vgg16", "mobilenet_v2"):
        assert torchvision_url(network, "IMAGENET1K_V1")[1]
    with pytest.raises(UserError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        torchvision_url("mobilenet_v2", "IMAGENET1K_V3")
    with pytest.raises(UserError, match="none for 'resnet38'"):
        torchvision_url("resnet38", "IMAGENET1K_V1")


def test_a_download_appears_only_with_the_right_checksum(tmp_path, state):
    source, target = tmp_path / "source.pth", tmp_path / "weights" / "w.pth"
    torch.save(state, source)
    with pytest.raises(UserError, match="put it at"):
        fetch(source.as_uri(), "00000000", target)
    assert not target.exists()
    with pytest.raises(UserError, match="put it at"):
        fetch((tmp_path / "absent.pth").as_uri(), "00000000", target)
    fetch(source.as_uri(), hashlib.sha256(source.read_bytes()).hexdigest()[:8], target)
    assert target.read_bytes() == source.read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_the_report_is_a_table_with_one_line_per_key(state):
    report = load_weights(tiny.build(), state | {"classifier.weight": torch.zeros(20, 96)})
    lines = str(report).splitlines()
    assert lines[0] == "weights: 24 loaded, 1 dropped"
    assert lines[1].split() == ["key", "shape", "status", "in", "the", "file", "as"]
    assert len(lines) == 2 + 25
    assert lines[2].split() == ["stem.weight", "16x3x3x3", "loaded"]
    assert lines[-1].split() == ["classifier.weight", "20x96", "dropped"]
