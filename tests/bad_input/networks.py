"""Weights and checkpoints that are damaged, foreign or hostile, met by what loads them."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.bad_input.case import Case, Meeting, function
from tests.unit.test_mxnet_params import params_bytes
from wsss.backbones import tiny
from wsss.backbones.weights import load_weights, read_weights
from wsss.checkpoint import State, resume, save
from wsss.job import Job
from wsss.networks import load_trained

WEIGHTS = Path("w.pth")
State_ = dict[str, Tensor]


class Command:
    """What a hostile pickle holds: a call that makes a folder when it is read."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("made",)


def state() -> State_:
    """The weights of a small network."""
    return {key: torch.ones_like(value) for key, value in tiny.build().state_dict().items()}


def load(path: Path = WEIGHTS) -> Meeting:
    """Initial weights go into a backbone."""
    return function(lambda: load_weights(tiny.build(), read_weights(path)))


def keys(name: str, change: Callable[[State_], object], *says: str) -> Case:
    """A state dict with other keys or values."""

    def given(root: Path) -> Meeting:
        content = state()
        change(content)
        torch.save(content, WEIGHTS)
        return load()

    return Case(name, given, says)


def file(name: str, path: str, content: Any, *says: str) -> Case:
    """A file of weights with this content, given as bytes or as what torch saves."""

    def given(root: Path) -> Meeting:
        Path(path).write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        return load(Path(path))

    return Case(name, given, says)


def cut(path: str) -> Callable[[Path], Meeting]:
    """Sound weights in the format of the file's suffix, of which the second half is missing."""

    def given(root: Path) -> Meeting:
        content = state()
        if path.endswith(".params"):
            Path(path).write_bytes(params_bytes([value.numpy() for value in content.values()], list(content)))
        else:
            save_file(content, path) if path.endswith(".safetensors") else torch.save(content, path)
        os.truncate(path, os.path.getsize(path) // 2)
        return load(Path(path))

    return given


def trained(content: State_ | bytes) -> Callable[[Path], Meeting]:
    """A network's own weights, as inference reads them."""

    def given(root: Path) -> Meeting:
        path = Path("weights.safetensors")
        path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
        return function(load_trained, model=tiny.build(), weights=path)

    return given


def checkpoint(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Meeting]:
    """A checkpoint of this very work whose content was changed."""

    def given(root: Path) -> Meeting:
        model, job = tiny.build(), Job(Path("c.ckpt"), "the same work", 1)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        save(job, model, sgd, State(step=3))
        content = torch.load(job.checkpoint, weights_only=True)
        change(content)
        torch.save(content, job.checkpoint)
        return function(resume, job=job, model=model, sgd=sgd)

    return given


HTML = b"<html>not found</html>" * 10
AGAIN = "get the file again"
CASES = [
    Case("weights that are not there", lambda root: load(Path("no.pth")), ("no.pth: there is no such file; put the",)),
    file("weights of an unknown format", "w.h5", b"x", "w.h5: unknown kind of weights; give a file ending in"),
    *(
        file(f"web page named as weights{kind}", f"w{kind}", HTML, f"w{kind}: ", AGAIN)
        for kind in (".pth", ".pt", ".safetensors", ".params")
    ),
    *(
        file(f"empty weights{kind}", f"w{kind}", b"", f"w{kind}: ", AGAIN)
        for kind in (".pth", ".safetensors", ".params")
    ),
    *(
        Case(f"weights{kind} cut in half", cut(f"w{kind}"), (f"w{kind}: ", AGAIN))
        for kind in (".pth", ".safetensors", ".params")
    ),
    file("weights that would run code", "w.pth", {"stem.weight": Command()}, "w.pth: cannot be read as plain tensors"),
    file(
        "old pickle that would run code", "w.pth", pickle.dumps(Command(), 2), "w.pth: cannot be read as plain tensors"
    ),
    file(
        "tensor instead of weights", "w.pth", torch.zeros(3), "w.pth: holds no state dict but Tensor; save `model.sta"
    ),
    file("checkpoint without weights", "w.pth", {"epoch": 3}, "w.pth: 'epoch' is no dense tensor; save `model.state"),
    file("nothing as weights", "w.pth", {}, "w.pth: holds no state dict but dict; save `model.state_dict()`"),
    file("sparse weights", "w.pth", {"a": torch.eye(2).to_sparse()}, "w.pth: 'a' is no dense tensor"),
    file(
        "weights without names", "w.params", params_bytes([np.ones(2, np.float32)], []), "weights do not fit the netw"
    ),
    keys("weights without a key", lambda s: s.pop("norm.bias"), "weights do not fit the network", "missing: norm.bias"),
    keys("weights with a foreign key", lambda s: s.update(x=torch.ones(1)), "weights do not fit", "unexpected: x"),
    keys(
        "weights of another shape",
        lambda s: s.update({"norm.bias": torch.ones(5)}),
        "mismatch: norm.bias (file (5,), net",
    ),
    keys(
        "weights that hold NaN", lambda s: s["norm.bias"].fill_(torch.nan), "w.pth: 'norm.bias' holds values that are"
    ),
    keys(
        "weights that hold infinity", lambda s: s["norm.bias"].fill_(torch.inf), "w.pth: 'norm.bias' holds values that"
    ),
    keys("two keys for one weight", lambda s: s.update({"module.norm.bias": torch.ones(96)}), "both mean 'norm.bias'"),
    Case(
        "trained weights of another network",
        trained({"x": torch.ones(1)}),
        ("weights.safetensors: does not hold this network's weights", "train it again"),
    ),
    Case("trained weights that were damaged", trained(HTML), ("weights.safetensors: cannot be read as weights", AGAIN)),
    Case(
        "trained weights that hold NaN", trained({"x": torch.full((1,), torch.nan)}), ("'x' holds values that are not",)
    ),
    Case(
        "checkpoint without its model",
        checkpoint(lambda c: c.pop("model")),
        ("c.ckpt: is damaged", "delete it, run again"),
    ),
    Case(
        "checkpoint of another shape",
        checkpoint(lambda c: c["model"].update({"norm.bias": torch.ones(5)})),
        ("c.ckpt: is damaged", "norm.bias", "delete it"),
    ),
    Case(
        "checkpoint with another optimiser",
        checkpoint(lambda c: c["optimiser"].update(param_groups=[])),
        ("c.ckpt: is damaged", "delete it"),
    ),
]
