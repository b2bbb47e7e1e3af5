"""Adapters for entry 06 of the visual words network: pooling, encoding, losses with their gradients."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.conformance.arrays import Check, largest, worst
from tests.conformance.networks import relative
from wsss.methods.vwe import Vwe, build
from wsss.ops.hspp import hspp

GRADIENT_TOLERANCE = 1e-6


class Features(nn.Module):
    """A backbone that hands its input on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = (channels,)

    def forward(self, feature_BDhw: Tensor) -> tuple[Tensor, ...]:
        return (feature_BDhw,)


def network(data: np.lib.npyio.NpzFile, num_classes: int) -> Vwe:
    """The whole network behind the backbone, with the codebook of the file."""
    words, channels = data["codebook"].shape
    model = build(backbone=Features(channels), num_classes=num_classes, words=words)
    fill(model.words.codebook, data["codebook"])
    return model


@torch.no_grad()
def fill(parameter: nn.Parameter, value: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(value).reshape(parameter.shape))


@torch.inference_mode()
def pooling(path: Path) -> Check:
    data = np.load(path)
    cases = range(int(data["n_cases"]))
    return worst(*(largest(hspp(torch.from_numpy(data[f"x{i}"])).numpy(), data[f"y{i}"], 1e-6) for i in cases))


@torch.inference_mode()
def encoding(path: Path) -> Check:
    """Cosines, softmax, histogram, the words present; and the nearest word of every pixel."""
    data = np.load(path)
    feature_BDhw = torch.from_numpy(data["x"])
    words = network(data, num_classes=1).words
    similarity_BNhw = words.similarity(feature_BDhw)
    probability_BNhw = words.probability(similarity_BNhw)
    present_BN = words.logits(feature_BDhw)[2].numpy()
    nearest_Bhw = words.assignment(feature_BDhw).numpy()
    return worst(
        largest(similarity_BNhw.numpy(), data["similarity"], 1e-6),
        largest(probability_BNhw.numpy(), data["prob"], 1e-6),
        largest(words.counts(probability_BNhw).flatten(1).numpy(), data["hist"], 1e-4),
        largest(present_BN, data["y_word"], 0),
        largest(nearest_Bhw, data["prob"].argmax(1), 0),
    )


def losses(path: Path) -> Check:
    """The three losses of the file, their logits, and the gradients of their sum."""
    data = np.load(path)
    model = network(data, num_classes=data["labels"].shape[1])
    weights = {
        "w_img": model.classifier.weight,
        "w_w2i": model.words.to_image.weight,
        "w_word": model.words.to_words.weight,
        "codebook": model.words.codebook,
    }
    for name, weight in weights.items():
        fill(weight, data[name])
    feature_BDhw = torch.from_numpy(data["x"]).requires_grad_()
    found = model.losses({"image": feature_BDhw, "labels": torch.from_numpy(data["labels"])}, None)
    torch.stack([*found.values()]).sum().backward()
    names = ("classification", "words_to_image", "image_to_words")
    checks = [(relative([found[name].item() for name in names], data["losses"]), 1e-5)]
    checks += logits(data, model)
    for name, tensor in {**weights, "x": feature_BDhw}.items():
        gradient = tensor.grad.numpy().reshape(data[name].shape)
        checks.append(largest(gradient, data[f"grad_{name}"], GRADIENT_TOLERANCE))
    return worst(*checks)


@torch.inference_mode()
def logits(data: np.lib.npyio.NpzFile, model: Vwe) -> Iterable[Check]:
    feature_BDhw = torch.from_numpy(data["x"])
    class_BC, word_BN, present_BN = model.words.logits(feature_BDhw)
    return [
        (relative(model.logits(feature_BDhw), data["logits_img"]), 1e-5),
        (relative(class_BC, data["logits_w2i"]), 1e-5),
        (relative(word_BN, data["logits_word"]), 1e-5),
        largest(present_BN.numpy(), data["y_word"], 0),
    ]


ADAPTERS = {"06_vwe_hspp": pooling, "06_vwe_encode": encoding, "06_vwe_losses": losses}
