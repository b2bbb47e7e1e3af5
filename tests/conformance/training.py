"""Adapters for entry 11: the poly schedule and the optimiser with its momentum quirk."""

from pathlib import Path

import numpy as np
import torch

from wsss.training import optimiser, poly


def poly_lr(path: Path) -> tuple[float, float]:
    data = np.load(path)
    worst = 0.0
    for name in (key.removesuffix("_max_step") for key in data if key.endswith("_max_step")):
        total = int(data[f"{name}_max_step"])
        for step, row in zip(data[f"{name}_steps"], data[f"{name}_lr"], strict=True):
            ours = [poly(base, int(step), total) for base in data[f"{name}_base_lr"]]
            worst = max(worst, float(np.abs(ours - row).max()))
    total, every = int(data["deeplab_iter_max"]), int(data["deeplab_step_size"])
    for iteration, row in zip(data["deeplab_iterations"], data["deeplab_lr"], strict=True):
        ours = [poly(base, int(iteration) - 1, total, every=every) for base in data["deeplab_base_lr"]]
        worst = max(worst, float(np.abs(ours - row).max()))
    return worst, 1e-12


def toy_trajectory(path: Path) -> tuple[float, float]:
    data = np.load(path)
    names = sorted(key.removesuffix("_trajectory") for key in data if key.endswith("_trajectory"))
    return max(_trajectory(data, name) for name in names), 1e-10


def _trajectory(data: np.lib.npyio.NpzFile, name: str) -> float:
    """Largest deviation of eight updates of three parameters on the quadratic of the file."""
    start, curvature, target = (torch.from_numpy(data[f"{name}_{key}"]) for key in ("start", "curvature", "target"))
    parameters = [torch.nn.Parameter(value.clone()) for value in start]
    base, decay = data[f"{name}_base_lr"], data[f"{name}_weight_decay"]
    quirk = float(data[f"{name}_momentum"])
    groups = [
        {"params": [p], "lr_factor": float(lr), "weight_decay_factor": float(wd) / quirk}
        for p, lr, wd in zip(parameters, base, decay, strict=True)
    ]
    sgd = optimiser(groups, lr=1.0, momentum="weight_decay", weight_decay=quirk)
    rows = [[p.item() for p in parameters]]
    for step in range(len(data[f"{name}_lr"])):
        for group in sgd.param_groups:
            group["lr"] = poly(group["base_lr"], step, int(data[f"{name}_max_step"]))
        sgd.zero_grad()
        loss = sum(0.5 * c * (p - t) ** 2 for p, c, t in zip(parameters, curvature, target, strict=True))
        loss.backward()
        sgd.step()
        rows.append([p.item() for p in parameters])
    return float(np.abs(np.array(rows) - data[f"{name}_trajectory"]).max())


ADAPTERS = {"11_poly_lr": poly_lr, "11_toy_trajectory": toy_trajectory}
