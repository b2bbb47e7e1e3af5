"""The one training loop: SGD with the poly schedule, exact resume, and nothing about any method.

What a model brings stands in wsss/model.py. Everything that a later step depends on is in the checkpoint: model and
optimiser state, step, random states; the loader's position is the step. So a killed run continues, and on the CPU ends
in the same bits as an undisturbed one.

Legend: B images of a batch, C classes, H x W pixels.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from wsss.checkpoint import State, resume, save, termination
from wsss.data.loader import Batches, steps_per_epoch
from wsss.errors import UserError
from wsss.files import atomic_write, write_csv
from wsss.job import Job
from wsss.model import TrainableModel

RECORDS = 200
"""Rows of the loss history of a run."""

CHECKPOINT_SECONDS = float(os.environ.get("WSSS_CHECKPOINT_SECONDS", "300"))


@dataclass(frozen=True)
class Progress:
    """Where training stands: `step` of `total`, both in updates, `epoch` (from 0) of `epochs`, and the run's seed."""

    step: int
    epoch: int
    total: int
    seed: int = 0
    epochs: int | None = None


def poly(base: float, step: int, total: int, *, power: float = 0.9, every: int = 1) -> float:
    """Learning rate of update `step` (from 0): base (1 - step/total)^power, held for `every` updates."""
    position = min(step // every * every, total - 1)
    return float(base * (1 - position / total) ** power)


def optimiser(
    groups: list[dict[str, Any]], *, lr: float, momentum: float | str, weight_decay: float
) -> torch.optim.SGD:
    """SGD over parameter groups; `momentum="weight_decay"`: published PolyOptimizer, whose momentum is its decay."""
    value = weight_decay if momentum == "weight_decay" else float(momentum)
    rows = [
        {
            "params": [p for p in group["params"] if p.requires_grad],
            "lr": lr * group["lr_factor"],
            "base_lr": lr * group["lr_factor"],
            "weight_decay": weight_decay * group["weight_decay_factor"],
            "momentum": value,
        }
        for group in groups
    ]
    return torch.optim.SGD([row for row in rows if row["params"]], lr=lr)


def fit(
    model: TrainableModel,
    sample: Callable[[int, np.random.Generator], dict[str, np.ndarray]],
    length: int,
    *,
    recipe: dict[str, Any],
    seed: int,
    job: Job,
    weights: Path,
    history: Path,
    name: Callable[[int], str] | None = None,
    chance: float | None = None,
) -> None:
    """Train `model` on samples 0..length-1 by `recipe` (see settings.Recipe); write its weights and loss history.

    `name` gives a sample's name for errors; `chance` is the classification loss of a network that sees nothing.
    Continues from the job's checkpoint when that was made by the same settings, code and inputs. Raises UserError when
    the loss is no longer finite.
    """
    device = next(model.parameters()).device
    memory = torch.channels_last if recipe["channels_last"] else torch.contiguous_format
    model.to(memory_format=memory).train()
    sgd = optimiser(model.parameter_groups(), **{key: recipe[key] for key in ("lr", "momentum", "weight_decay")})
    per_epoch = steps_per_epoch(length, recipe["batch"])
    total = recipe["steps"] or recipe["epochs"] * per_epoch
    state = resume(job, model, sgd)
    loading = {
        "batch": recipe["batch"],
        "steps": total,
        "seed": seed,
        "workers": job.threads,
        "start": state.step,
    }
    batches = Batches(sample, length, name=name, **loading)
    clock = _Clock(total, recipe["batch"], state.step)
    with termination() as terminated, batches:
        for batch in batches:
            progress = Progress(state.step, state.step // per_epoch, total, seed, math.ceil(total / per_epoch))
            _schedule(sgd, progress, recipe)
            parts = _update(model, sgd, _to_device(batch, device, memory), progress, recipe)
            state.step += 1
            _record(state, parts, progress, sgd, clock, batches)
            if terminated() or clock.due() or state.step == total:
                save(job, model, sgd, state)
            if terminated():
                raise SystemExit(143)
    if model.calibration_batches:
        first = loading | {"steps": model.calibration_batches, "start": 0}
        _calibrate(model, Batches(sample, length, name=name, **first))
    if message := stuck(state.history, chance and chance * model.classification_weight):
        print(f"warning: {message}", flush=True)
    _write(model, state.history, weights, history)


def _write(model: TrainableModel, rows: list[dict[str, float]], weights: Path, history: Path) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(history, columns, ([row.get(name, "") for name in columns] for row in rows))
    with atomic_write(weights) as path:
        path.write_bytes(serialise(_finite_state(model)))


def _calibrate(model: TrainableModel, batches: Batches) -> None:
    """Let the model gather what inference needs from the run's first batches, without gradients."""
    device = next(model.parameters()).device
    with batches, torch.no_grad():
        model.calibrate(_to_device(batch, device, torch.contiguous_format) for batch in batches)


def _finite_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state on the CPU; UserError when the last update made a weight infinite or NaN."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{len(broken)} weights are not finite after training, first {broken[0]}: lower recipes.<name>.lr"
        )
    return state


def stuck(history: list[dict[str, float]], chance: float | None = None) -> str | None:
    """Why a finished training looks collapsed, or None: its loss is no lower at the end than it was at first, or than
    `chance`, the classification loss of a network that knows only how frequent classes are.

    Where there is a classification loss, that decides: other losses may set in later, or fall below zero.
    """
    losses = [row.get("classification", row["loss"]) for row in history]
    tail = losses[-max(1, len(losses) // 10) :]
    end, start = sum(tail) / len(tail), losses[0]
    if len(history) < 10:
        return None
    if chance is not None and "classification" in history[-1] and end > 0.9 * chance:
        return (
            f"the classification loss ends at chance ({end:.3g}; {chance:.3g} for a network that sees nothing): the "
            "network has collapsed or not begun to learn; change the learning rate, or train longer"
        )
    if end < 0.95 * start:
        return None
    return (
        f"the loss did not fall ({start:.3g} at first, {end:.3g} at the end): lower the learning rate, or train longer"
    )


def _schedule(sgd: torch.optim.SGD, progress: Progress, recipe: dict[str, Any]) -> None:
    for group in sgd.param_groups:
        group["lr"] = poly(
            group["base_lr"], progress.step, progress.total, power=recipe["power"], every=recipe["lr_every"]
        )


def _to_device(batch: dict[str, Tensor], device: torch.device, memory: torch.memory_format) -> dict[str, Tensor]:
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    return moved | {"image": moved["image"].contiguous(memory_format=memory)}


def _update(
    model: TrainableModel,
    sgd: torch.optim.SGD,
    batch: dict[str, Tensor],
    progress: Progress,
    recipe: dict[str, Any],
) -> dict[str, Tensor]:
    """One optimiser step over the batch in `accumulate` passes; returns the detached losses, averaged over passes."""
    sgd.zero_grad(set_to_none=True)
    passes = recipe["accumulate"]
    sums: dict[str, Tensor] = {}
    chunks = {name: value.chunk(passes) for name, value in batch.items()}
    for index in range(passes):
        part = {name: pieces[index] for name, pieces in chunks.items()}
        device = part["image"].device.type
        with torch.autocast(device, torch.bfloat16, enabled=recipe["precision"] == "bf16"):
            losses = model.losses(part, progress)
        loss = torch.stack(list(losses.values())).sum() / passes
        loss.backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0) + value.detach() / passes
    sgd.step()
    model.after_step(progress)
    return sums


def _record(
    state: State,
    parts: dict[str, Tensor],
    progress: Progress,
    sgd: torch.optim.SGD,
    clock: "_Clock",
    batches: Batches,
) -> None:
    """Add the step's losses; every `interval` steps write a row of their means and a line of progress."""
    interval = max(1, progress.total // RECORDS)
    for name, value in parts.items():
        state.sums[name] = state.sums.get(name, 0.0) + float(value)
    if not all(math.isfinite(value) for value in state.sums.values()):
        raise UserError(
            f"the loss is not finite at step {state.step} of {progress.total} "
            f"({', '.join(f'{k} {float(v):.4g}' for k, v in parts.items())}, lr {sgd.param_groups[0]['lr']:.3g}): "
            "lower recipes.<name>.lr, or use precision float32"
        )
    if state.step % interval and state.step != progress.total:
        return
    count = (state.step - 1) % interval + 1
    means = {name: value / count for name, value in state.sums.items()}
    row = {
        "step": state.step,
        "epoch": progress.epoch,
        "lr": sgd.param_groups[0]["lr"],
        "loss": sum(means.values()),
    }
    state.history.append(row | means)
    state.sums = {}
    print(
        f"step {state.step}/{progress.total}  epoch {progress.epoch + 1}  loss {row['loss']:.4f}  "
        f"lr {row['lr']:.3g}  {clock.speed(state.step)}  waited {batches.waited_s:.1f} s for data",
        flush=True,
    )


class _Clock:
    """Images per second, time left, and when the next checkpoint is due."""

    def __init__(self, total: int, batch: int, start: int) -> None:
        self.total, self.batch, self.start = total, batch, start
        self.began = self.saved = time.monotonic()

    def speed(self, step: int) -> str:
        rate = (step - self.start) / max(time.monotonic() - self.began, 1e-9)
        left = (self.total - step) / rate
        return f"{rate * self.batch:.1f} images/s  {int(left // 60)}:{int(left % 60):02d} left"

    def due(self) -> bool:
        if time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return False
        self.saved = time.monotonic()
        return True
