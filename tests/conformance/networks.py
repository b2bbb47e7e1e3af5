"""Adapters for entries 07 and 08: networks with weights that follow from their official names."""

import csv
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wsss.backbones import caffe_resnet, resnet, resnet38
from wsss.backbones.common import Backbone
from wsss.backbones.mxnet_params import torch_name
from wsss.backbones.weights import UNUSED
from wsss.methods import cam, deeplabv2
from wsss.ops.segmentation_loss import cross_entropy, shrink_labels

TOLERANCE = 1e-5


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def official_weight(name: str, shape: tuple[int, ...], kind: str) -> Tensor:
    """The deterministic array of the README, section 2."""
    z = np.random.default_rng(zlib.crc32(name.encode("ascii"))).standard_normal(shape)
    if kind == "conv":
        z *= np.sqrt(2 / prod(shape[1:]))
    elif kind == "norm_weight":
        z = 1 + 0.1 * z
    elif kind == "running_var":
        z = 1 + 0.1 * np.abs(z)
    else:
        z *= 0.1
    return torch.from_numpy(z.astype(np.float32))


def fill(model: nn.Module, table: Path) -> nn.Module:
    """Give a model the weights of a `_params.tsv`; its names and the table's must be the same set."""
    own = model.state_dict()
    listed = {ours(row["name"]): row for row in rows(table)}
    if own.keys() != listed.keys():
        raise AssertionError(f"{table.name} and the network differ in {sorted(own.keys() ^ listed.keys())[:5]}")
    for key, tensor in own.items():
        row = listed[key]
        shape = tuple(int(size) for size in row["shape"].split("x"))
        value = official_weight(row["name"], shape, row["kind"])
        ends = (float(value.flatten()[0]), float(value.flatten()[-1]))
        if not np.allclose(ends, (float(row["first_value"]), float(row["last_value"])), rtol=1e-6):
            raise AssertionError(f"{row['name']}: the generator gives {ends}")
        tensor.copy_(value)
    return model.eval()


def ours(name: str) -> str:
    """Our state-dict name for a name in the tables."""
    if name.startswith("aspp.c"):
        return name.replace("aspp.c", "aspp.branches.")
    return name.replace("fc8.", "classifier.") if name.startswith(("fc8.", "classifier.")) else f"backbone.{name}"


def relative(found: Tensor | np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the largest absolute value of the reference; infinite when shapes differ."""
    found = np.asarray(found, np.float64)
    if found.shape != reference.shape:
        return float("inf")
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def tap_differences(data: np.lib.npyio.NpzFile, taps: dict[str, Tensor]) -> Iterable[float]:
    for name, tap_1Dhw in taps.items():
        tap_Dhw = tap_1Dhw[0].double().numpy()
        yield 0.0 if tap_Dhw.shape == tuple(data[f"{name}_shape"]) else float("inf")
        yield relative(tap_Dhw[::16], data[f"{name}_every16"])
        yield relative(tap_Dhw.mean((1, 2)), data[f"{name}_channel_mean"])
        yield relative([tap_Dhw.mean(), tap_Dhw.std()], data[f"{name}_mean_std"])


def classifier(backbone: Backbone, table: Path) -> cam.Cam:
    """CAM network on a backbone, with the table's weights."""
    shape = next(row["shape"] for row in rows(table) if row["name"] in ("fc8.weight", "classifier.weight"))
    return fill(cam.build(backbone=backbone, num_classes=int(shape.split("x")[0])), table)


def table_of(path: Path, name: str) -> Path:
    return path.with_name(f"{name}_params.tsv")


@torch.inference_mode()
def resnet38_forward(path: Path) -> tuple[float, float]:
    data = np.load(path)
    model = classifier(resnet38.build(), table_of(path, "07_resnet38"))
    taps = model.backbone(torch.from_numpy(data["x"]))
    map_1Chw = model.classifier(taps[-1])
    differences = [*tap_differences(data, dict(zip(("conv4", "conv5", "conv6"), taps[2:], strict=True)))]
    differences.append(relative(map_1Chw.mean((2, 3)), data["logits"]))
    differences.append(relative(map_1Chw.relu(), data["cam"]))
    return max(differences), TOLERANCE


@torch.inference_mode()
def resnet50_forward(path: Path) -> tuple[float, float]:
    data = np.load(path)
    backbone = resnet.build(output_stride=16, dilate=False)
    model = classifier(backbone, table_of(path, "08_resnet50"))
    x = torch.from_numpy(data["x"])
    taps = backbone(x)
    maps_BChw = model.class_maps(torch.cat([x, x.flip(-1)]))
    layers = dict(zip(("layer1", "layer2", "layer3", "layer4"), taps[1:], strict=True))
    differences = [*tap_differences(data, layers)]
    differences.append(relative(maps_BChw[:1].mean((2, 3)), data["logits"]))
    merged = maps_BChw[0].relu() + maps_BChw[1].relu().flip(-1)
    differences.append(relative(merged, data["cam_flip_sum"]))
    return max(differences), TOLERANCE


@torch.inference_mode()
def deeplabv2_forward(path: Path) -> tuple[float, float]:
    data = np.load(path)
    labels = data["test_logits"].shape[1]
    model = deeplabv2.build(backbone=caffe_resnet.build(output_stride=8), num_classes=labels - 1)
    fill(model, table_of(path, "08_deeplabv2"))
    rgb_BCHW = torch.from_numpy(data["x"]).flip(1)  # the file holds BGR, the network takes RGB
    names = [f"train_logits_{part}" for part in ("100", "050", "075", "max")]
    differences = [relative(z, data[n]) for z, n in zip(model.pyramid(rgb_BCHW), names, strict=True)]
    differences.append(relative(model.logits(rgb_BCHW), data["test_logits"]))
    return max(differences), TOLERANCE


@torch.inference_mode()
def aspp(path: Path) -> tuple[float, float]:
    data = np.load(path)
    weight, bias = torch.from_numpy(data["weight"]), torch.from_numpy(data["bias"])
    module = deeplabv2.Aspp(weight.shape[2], weight.shape[1], data["rates"].tolist())
    for branch, w, b in zip(module.branches, weight, bias, strict=True):
        branch.weight.copy_(w)
        branch.bias.copy_(b)
    return float(np.abs(module(torch.from_numpy(data["x"])).numpy() - data["y"]).max()), TOLERANCE


def deeplab_loss(path: Path) -> tuple[float, float]:
    data = np.load(path)
    label_BHW = torch.from_numpy(data["labels"].astype(np.int64))
    losses = []
    for part in ("100", "050", "075", "max"):
        logits = torch.from_numpy(data[f"logits_{part}"])
        if not np.array_equal(shrink_labels(label_BHW, tuple(logits.shape[2:])), data[f"labels_{part}"]):
            return float("inf"), TOLERANCE
        losses.append(float(cross_entropy(logits, label_BHW)))
    differences = np.abs(np.array([*losses, sum(losses)]) - [*data["losses"], data["total"]])
    return float(differences.max()), TOLERANCE


def mxnet_names(path: Path) -> tuple[float, float]:
    """Number of names that go elsewhere than the official converter sends them."""
    wrong = 0
    for row in rows(path):
        name = torch_name(row["mxnet_name"])
        dropped = row["torch_name"] == "(dropped)"
        wrong += not UNUSED.fullmatch(name) if dropped else name != row["torch_name"]
    return float(wrong), 0.0


ADAPTERS = {
    "07_resnet38": resnet38_forward,
    "07_mxnet_names": mxnet_names,
    "08_resnet50": resnet50_forward,
    "08_deeplabv2": deeplabv2_forward,
    "08_aspp": aspp,
    "08_deeplab_loss": deeplab_loss,
}
