"""What a number rests on, as far as settings know: it goes with every evaluation, and tables flag what differs."""

from collections.abc import Sequence
from typing import Any

from wsss import chains
from wsss.settings import TRAINED, Settings
from wsss.slices import affinity_labels_config, refine_config


def evaluate_config(settings: Settings, chain: Sequence[str], split: str) -> dict[str, Any]:
    """Slice of an evaluation: the fixed threshold, the held-out subset, the convention, the contract."""
    return {
        "chooses": split == chains.threshold_split(settings),
        "fixed": _fixed_background(settings, chain) if chains.keeps_scores(settings, chain[-1]) else None,
        "holdout": settings.evaluate.holdout,
        "convention": settings.evaluate.convention,
        "contract": contract(settings, chain),
    }


def _fixed_background(settings: Settings, chain: Sequence[str]) -> float:
    """The paper's threshold of these maps: that of the last variant with a number, at the latest of `cam`.

    An affinity network's is that of the maps which its labels came from.
    """
    numbers = [
        background
        for name in chain
        if name not in settings.affinity
        and isinstance(background := getattr(chains.variant(settings, name), "background", None), float | int)
    ]
    return float(numbers[-1])


def contract(settings: Settings, chain: Sequence[str]) -> dict[str, Any]:
    """What a number of this chain rests on, as far as settings know: weights, scales, flips, CRF."""
    stages = {chains.stage_of(settings, name): name for name in chain}
    last = chains.stage_of(settings, chain[-1])
    inference = chains.variant(settings, stages["predict"] if last == "predict" else stages["cam"])
    roles = [
        settings.backbones[chains.variant(settings, stages[stage]).backbone] for stage in TRAINED if stage in stages
    ]
    presets = [_preset(settings, name) for name in chain if name in settings.refine]
    crf = inference.crf if last == "predict" else ", ".join(filter(None, presets))
    label_presets = [_label_preset(settings, name) for name in chain if name in settings.affinity]
    label_presets += [settings.predict[name].crf for name in chain[:-1] if name in settings.predict]
    found = {
        "convention": settings.evaluate.convention,
        "weights": ", ".join(f"{role.network}: {_weights_name(role.weights)}" for role in roles),
        "scales": " ".join(f"{scale:g}" for scale in inference.scales),
        "flip": str(inference.flip).lower(),
        "crf": crf or "none",
        "label_crf": ", ".join(filter(None, presets * (last == "predict") + label_presets)) or "none",
        "labels_at_inference": last != "predict" or inference.labels,
        "supervision": "masks" if "cam" not in stages else "image-level labels",
    }
    if not chains.keeps_scores(settings, chain[-1]) and "cam" in stages:
        found["pseudo_threshold"] = _label_background(settings, chain)
    if last == "predict" and inference.labels:
        found["labels_in_prediction"] = True
    if network := next((name for name in chain if name in settings.affinity), None):
        found["affinity_threshold"] = _affinity_threshold(settings, network)
    return found


def _affinity_threshold(settings: Settings, name: str) -> str:
    """The rule or number behind an affinity network's training labels."""
    return str(settings.affinity[name].background) if chains.uses_threshold(settings, name) else "none"


def _label_preset(settings: Settings, name: str) -> str | None:
    """The CRF preset of an affinity network's training labels."""
    return affinity_labels_config(settings, name)["options"].get("preset")


def _preset(settings: Settings, name: str) -> str | None:
    """The CRF preset of a refinement, or of what follows its walk; None where it has none."""
    options = refine_config(settings, name)["options"]
    return options.get("preset") or options.get("crf")


def _label_background(settings: Settings, chain: Sequence[str]) -> str:
    """The rule or number by which the score maps of a chain became labels."""
    position = max(i for i, name in enumerate(chain) if chains.keeps_scores(settings, name))
    after = chain[position + 1]
    if after in settings.affinity:  # its walk brings a background of its own
        walk = refine_config(settings, chain[position + 2])
        return f"alpha {walk['options'].get('alpha')}"
    return str(chains.variant(settings, after).background)


def _weights_name(weights: str) -> str:
    return {
        "none": "random",
        "IMAGENET1K_V1": "ImageNet",
        "IMAGENET1K_V2": "ImageNet (V2)",
        "ADEMXAPP_A1": "ImageNet",
    }.get(weights, weights)
