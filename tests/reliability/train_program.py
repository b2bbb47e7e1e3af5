"""A real training of a small network with dropout, run as a process of its own so that tests can kill it.

python -m tests.reliability.train_program FOLDER WORKERS LR
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsss.job import Job
from wsss.model import TrainableModel
from wsss.process import set_up
from wsss.training import fit

RECIPE = {
    "epochs": 5,
    "steps": None,
    "batch": 4,
    "accumulate": 2,
    "momentum": 0.9,
    "weight_decay": 0.001,
    "power": 0.9,
    "lr_every": 1,
    "precision": "float32",
    "channels_last": False,
}


class Net(TrainableModel):
    """Dropout uses torch's random state; `average` is a buffer that every step changes, as an EMA network would."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("average", torch.zeros(5, 12))

    def losses(self, batch, progress):
        logit = self.layer(F.dropout(batch["image"].flatten(1), 0.5, self.training))
        return {"square": (logit - batch["target"]).square().mean(), "size": 0.01 * logit.square().mean()}

    def parameter_groups(self):
        return [{"name": "all", "params": [*self.parameters()], "lr_factor": 1.0, "weight_decay_factor": 1.0}]

    def after_step(self, progress):
        self.average.mul_(0.9).add_(self.layer.weight.detach(), alpha=0.1)


def sample(index, rng):
    return {
        "image": (np.full((3, 2, 2), index / 40) + rng.normal(size=(3, 2, 2))).astype(np.float32),
        "target": rng.normal(size=5).astype(np.float32),
    }


def main(folder: Path, workers: int, lr: float) -> None:
    set_up(7, 1)
    job = Job(folder / "checkpoint" / "run.ckpt", f"lr {lr}", workers)
    fit(
        Net(),
        sample,
        40,
        recipe=RECIPE | {"lr": lr},
        seed=7,
        job=job,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
    )
    job.checkpoint.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
