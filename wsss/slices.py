"""What the job of each stage reads of the settings: the plain dict that is its rule's `params.config`."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from wsss import chains, interface
from wsss.errors import UserError
from wsss.settings import Network, Settings

NEEDED = {"classify": "class_maps", "affinity": "labels", "segment": "logits", "refine": "refine"}
"""What a method must define to serve a stage."""

WEIGHT_FILES = {".pth", ".pt", ".params", ".safetensors"}

NETWORK_FILES = {"resnet50": "resnet", "resnet101": "resnet"}


def network_config(settings: Settings, network: Network, where: str) -> dict[str, Any]:
    """Everything that builds a network: the keyword arguments of networks.assemble, defaults filled in."""
    role = settings.backbones[network.backbone]
    file = backbone_file(settings, network)
    if not interface.exists("backbones", file):
        known = sorted({*NETWORK_FILES, *interface.names("backbones")} - {*NETWORK_FILES.values()})
        raise UserError(
            f"backbones.{network.backbone}.network: there is no '{role.network}'; known: {', '.join(known)}"
        )
    _check_weights(network.backbone, role.weights)
    given = role.options | ({"network": role.network} if file != role.network else {})
    return {
        "method": network.method,
        "network": file,
        "output_stride": network.output_stride,
        "backbone_options": _without(
            interface.options("backbones", file, given, f"backbones.{network.backbone}.options"),
            "output_stride",
        ),
        "options": interface.options("methods", network.method, network.options, f"{where}.options"),
    }


def _check_weights(role: str, weights: str) -> None:
    """A file of a known kind, or a name such as IMAGENET1K_V1."""
    if weights != "none" and PurePath(weights).suffix not in WEIGHT_FILES and not re.fullmatch(r"[A-Z0-9_]+", weights):
        raise UserError(
            f"backbones.{role}.weights: '{weights}' is neither none, nor a name such as IMAGENET1K_V1, nor a file that "
            f"ends in {', '.join(sorted(WEIGHT_FILES))}"
        )


def backbone_file(settings: Settings, network: Network) -> str:
    """Name of the file in wsss/backbones that builds a network's backbone."""
    name = settings.backbones[network.backbone].network
    return NETWORK_FILES.get(name, name)


def _check_method(stage: str, name: str, method: str) -> None:
    try:
        suits = interface.provides("methods", method, NEEDED[stage])
    except UserError as error:
        raise UserError(f"{stage}.{name}.method: {error}") from None
    if not suits:
        raise UserError(f"{stage}.{name}.method: '{method}' cannot serve {stage} (it defines no {NEEDED[stage]})")


def initial_weights(settings: Settings, network: Network) -> str | None:
    """The file with a backbone's initial weights: the user's, the one that a rule downloads, or none."""
    role = settings.backbones[network.backbone]
    if role.weights == "none":
        return None
    if PurePath(role.weights).suffix in WEIGHT_FILES:
        return role.weights
    return f"resources/weights/{role.network}-{role.weights}.pth"


def train_config(settings: Settings, stage: str, name: str) -> dict[str, Any]:
    """Slice of a training rule: network and recipe."""
    network: Network = getattr(settings, stage)[name]
    _check_method(stage, name, network.method)
    _check_start(settings, network, f"{stage}.{name}")
    config = network_config(settings, network, f"{stage}.{name}") | {"start": network.start}
    if hook := interface.hook(network.method, stage):
        data = interface.options("methods", network.method, network.data, f"{stage}.{name}.data", function=hook)
        _check_shared(config["options"], data, f"{stage}.{name}.data", f"{stage}.{name}.options")
        config["data_options"] = data
    elif network.data:
        raise UserError(f"{stage}.{name}.data: {network.method} has no options for its samples; remove the key")
    return config | {"recipe": settings.recipes[network.recipe].model_dump(mode="json")}


def _check_start(settings: Settings, network: Network, where: str) -> None:
    """A network that starts from another one stands on the same backbone; some methods need such a start."""
    inherits = interface.constant("methods", network.method, "NEEDS_START", False)
    if network.start is None:
        if inherits:
            raise UserError(
                f"{where}.start: {network.method} needs one; name the variant of classify that it starts from"
            )
        return
    before = settings.classify[network.start]
    if before.backbone != network.backbone:
        raise UserError(f"{where}.start: '{network.start}' stands on another backbone; use one on {network.backbone}")
    if inherits and before.output_stride != network.output_stride:
        raise UserError(f"{where}.start: '{network.start}' has output_stride {before.output_stride}, not the same")
    if inherits:
        here, there = f"{where}.options", f"classify.{network.start}.options"
        ours = interface.options("methods", network.method, network.options, here)
        _check_shared(interface.options("methods", before.method, before.options, there), ours, here, there)


def _check_shared(one: dict[str, Any], other: dict[str, Any], where: str, elsewhere: str) -> None:
    """Keys that stand in both must agree; UserError otherwise."""
    for key in one.keys() & other.keys():
        if one[key] != other[key]:
            raise UserError(f"{where}.{key}: {other[key]!r} must equal {elsewhere}.{key}, {one[key]!r}")


def cam_config(settings: Settings, classify: str, name: str) -> dict[str, Any]:
    """Slice of CAM inference: scales, flip, order, and the network that it loads."""
    network = network_config(settings, settings.classify[classify], f"classify.{classify}")
    return settings.cam[name].model_dump(mode="json", exclude={"background"}) | {"network": network}


def words_config(settings: Settings, classify: str) -> dict[str, Any]:
    """Slice of the visual words' assignment: the network that it loads."""
    return {"network": network_config(settings, settings.classify[classify], f"classify.{classify}")}


def affinity_labels_config(settings: Settings, name: str) -> dict[str, Any]:
    """Slice of an affinity network's training labels: method, threshold, options with defaults."""
    given = settings.affinity[name]
    _check_method("affinity", name, given.method)
    where = f"affinity.{name}.labels"
    options = interface.options("methods", given.method, given.labels, where, function="labels")
    return {"method": given.method, "background": given.background, "options": options}


def refine_config(settings: Settings, name: str) -> dict[str, Any]:
    """Slice of a refinement: method, background threshold, options with defaults."""
    given = settings.refine[name]
    _check_method("refine", name, given.method)
    options = interface.options("methods", given.method, given.options, f"refine.{name}.options", function="refine")
    return given.model_dump(mode="json") | {"options": options}


def walk_config(settings: Settings, affinity: str, name: str) -> dict[str, Any]:
    """Slice of a refinement by a trained network: method, options, and the network that it loads."""
    network = network_config(settings, settings.affinity[affinity], f"affinity.{affinity}")
    return _without(refine_config(settings, name), "background") | {"network": network}


def pseudo_config(settings: Settings, chain: Sequence[str], name: str) -> dict[str, Any]:
    """Slice of the pseudo labels; the threshold counts only when it is still open."""
    background = settings.pseudo[name].background if chains.keeps_scores(settings, chain[-1]) else 0.0
    return {"background": background}


def predict_config(settings: Settings, segment: str, name: str) -> dict[str, Any]:
    """Slice of segmentation inference, with the network that it loads."""
    network = network_config(settings, settings.segment[segment], f"segment.{segment}")
    return settings.predict[name].model_dump(mode="json") | {"network": network}


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
