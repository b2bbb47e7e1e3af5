"""Peak memory of a training step, counted without running it: tensors without content flow through the real code.

    python bench/memory.py rcm_mam_r38 [--batch 16] [--float32] [--no-checkpointing]

Counts weights, gradients, momentum and activations of one step of a variant of `classify` at its recipe's batch and
crop, not what a GPU's libraries take for themselves (context and workspaces, about 1 GB).
"""

import argparse
import sys
import weakref
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsss import slices
from wsss.backbones.common import freeze
from wsss.config import resolve
from wsss.networks import assemble
from wsss.training import Progress, optimiser

# A copied network stays in the mode of its original.
FakeTensorMode.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still live, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until it is freed; views count once."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 - torch's own signature
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out


def peak_bytes(variant: str, *, batch: int | None, bf16: bool, checkpointing: bool) -> int:
    """Peak bytes of the second step, when momentum exists; RCM + MAM at an epoch in which all losses are on."""
    config = slices.train_config(resolve({}), "classify", variant)
    recipe = config["recipe"]
    network = {key: config[key] for key in ("method", "network", "output_stride", "backbone_options", "options")}
    count, side = batch or recipe["batch"] // recipe["accumulate"], recipe["augment"]["crop"]
    with FakeTensorMode():
        model = assemble(num_classes=20, **network).train()
        freeze(model.backbone, recipe["freeze"])
        model.backbone.gradient_checkpointing = checkpointing
        keys = {key: recipe[key] for key in ("lr", "momentum", "weight_decay")}
        sgd = optimiser(model.parameter_groups(), **keys)
        images, labels = torch.empty(count, 3, side, side), torch.zeros(count, 20)
        tracker = LiveBytes()
        for tensor in (*model.parameters(), *model.buffers(), images, labels):
            tracker.add(tensor)
        with tracker:
            for step in range(2):
                sgd.zero_grad(set_to_none=True)
                progress = Progress(step, recipe["epochs"] or 0, 2)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    losses = model.losses({"image": images, "labels": labels}, progress)
                torch.stack(list(losses.values())).sum().backward()
                sgd.step()
                model.after_step(progress)
    return tracker.peak


def main() -> None:
    """Print the peak in GiB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--no-checkpointing", action="store_true")
    given = parser.parse_args()
    peak = peak_bytes(
        given.variant, batch=given.batch, bf16=not given.float32, checkpointing=not given.no_checkpointing
    )
    print(f"{given.variant}: {peak / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
