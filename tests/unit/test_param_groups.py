"""Optimiser groups of the networks that exist, against those of the official implementations."""

import csv
from pathlib import Path

import pytest

from wsss.backbones import caffe_resnet, resnet, resnet38
from wsss.backbones.common import freeze
from wsss.methods import cam, deeplabv2

TABLE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "11_param_groups.tsv"


def official(network: str) -> dict[str, tuple[float, bool, bool]]:
    """Learning rate factor, whether it decays, and whether it trains, by parameter name."""
    if not TABLE.is_file():
        pytest.skip(f"{TABLE.name} is not at hand")
    with open(TABLE, newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["network"] == network]
    return {r["parameter"]: (float(r["lr_factor"]), float(r["weight_decay"]) > 0, r["trained"] == "1") for r in rows}


def ours(model, rename) -> dict[str, tuple[float, bool, bool]]:
    names = {id(parameter): rename(name) for name, parameter in model.named_parameters()}
    return {
        names[id(p)]: (group["lr_factor"], group["weight_decay_factor"] > 0, p.requires_grad)
        for group in model.parameter_groups()
        for p in group["params"]
    }


def test_cam_network_of_irnet():
    backbone = resnet.build(network="resnet50", output_stride=16, dilate=False)
    freeze(backbone, 3)
    found = ours(cam.build(backbone=backbone, num_classes=20), lambda name: name.removeprefix("backbone."))
    assert found == official("irn_cam")


def test_cam_network_of_psa():
    backbone = resnet38.build()
    freeze(backbone, 1)
    model = cam.build(backbone=backbone, num_classes=20)
    found = ours(model, lambda name: name.removeprefix("backbone.").replace("classifier", "fc8"))
    trained = {name: row for name, row in found.items() if row[2]}
    assert trained == {name: row for name, row in official("psa_cls").items() if row[2]}


def test_deeplabv2_of_kazuto():
    model = deeplabv2.build(backbone=caffe_resnet.build(), num_classes=20)
    rename = lambda name: name.removeprefix("backbone.").replace("aspp.branches.", "aspp.c")  # noqa: E731
    found = {name: row for name, row in ours(model, rename).items() if row[2]}
    assert found == official("deeplabv2")
