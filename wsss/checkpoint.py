"""The state of a training between two steps: written atomically, read back only for the very same work."""

import io
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from wsss.errors import UserError
from wsss.files import atomic_write
from wsss.job import Job


@dataclass
class State:
    """What a checkpoint holds besides model and optimiser."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)


def save(job: Job, model: nn.Module, sgd: torch.optim.SGD, state: State) -> None:
    """Write the job's checkpoint, atomically."""
    content = {
        "fingerprint": job.fingerprint,
        "model": model.state_dict(),
        "optimiser": sgd.state_dict(),
        "step": state.step,
        "history": state.history,
        "sums": state.sums,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    data = io.BytesIO()
    torch.save(content, data)  # into memory, as its own writer hides what a full disk says
    with atomic_write(job.checkpoint) as path:
        path.write_bytes(data.getbuffer())
    print(f"checkpoint at step {state.step}", flush=True)


def resume(job: Job, model: nn.Module, sgd: torch.optim.SGD) -> State:
    """Load the checkpoint when it belongs to this very work; else say why not and start afresh."""
    if not job.checkpoint.exists():
        return State()
    try:
        content = torch.load(job.checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way; the remedy is the same
        print(
            f"checkpoint {job.checkpoint} cannot be read ({type(error).__name__}): starting afresh",
            flush=True,
        )
        return State()
    if not isinstance(content, dict) or content.get("fingerprint") != job.fingerprint:
        print(
            f"checkpoint {job.checkpoint} belongs to other settings, code or inputs: starting afresh",
            flush=True,
        )
        return State()
    try:
        state = State(content["step"], content["history"], content["sums"])
        model.load_state_dict(content["model"])
        sgd.load_state_dict(content["optimiser"])
        torch.set_rng_state(content["random"])
        if torch.cuda.is_available() and content["random_cuda"]:
            torch.cuda.set_rng_state_all(content["random_cuda"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{job.checkpoint}: is damaged ({' '.join(str(error).split())[:200]}); delete it, run again"
        ) from None
    print(f"continuing from step {state.step}", flush=True)
    return state


@contextmanager
def termination() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM (preemption, time limit) and SIGINT (Ctrl-C) into a flag that the loop looks at after each step."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = [signal.signal(number, lambda number, frame: received.append(number)) for number in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
