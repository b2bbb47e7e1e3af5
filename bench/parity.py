"""Does bf16 change a method's results? `python -m bench.parity` draws docs/figures/parity.png.

The demo's CAM network is trained longer on the built-in data, three times: in float32 (NCHW), in bf16 (channels_last)
from the same seed, and in float32 from another seed, whose differences are those of chance. Maps are inferred in
float32.
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from bench.measure import ROOT
from wsss import slices
from wsss.cam import infer
from wsss.classify import train
from wsss.config import resolve
from wsss.data.shapes import generate
from wsss.evaluate import evaluate
from wsss.job import Job
from wsss.stores import Store

EPOCHS = 24  # enough for every seed to leave the plateau
FAST = {"precision": "bf16", "channels_last": True}
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "float32": (0, {}),
    "bf16, same seed": (0, FAST),
    "float32, another seed": (1, {}),
}
FIRST = next(iter(RUNS))


def run(name: str, data: Path, out: Path) -> tuple[np.ndarray, Store, float]:
    """Losses over the steps, maps of val, and their mean IoU at the best threshold."""
    seed, changes = RUNS[name]
    settings = resolve({"preset": "tiny", "dataset": "shapes", "data": {"source": "shapes"}})
    config = slices.train_config(settings, "classify", "gap_r50")
    config["recipe"] |= {"epochs": EPOCHS} | changes
    job = Job(out / "training.ckpt", name, 1)
    paths = {"weights": out / "weights.safetensors", "history": out / "history.csv"}
    train(data=str(data), split="train", seed=seed, job=job, initial_weights=None, **paths, **config)
    maps, scores = out / "val.store", out / "val.json"
    task = {"split": "val", "shard": "1-of-1", "weights": str(paths["weights"]), "out": str(maps)}
    infer(data=str(data), job=job, **task, **slices.cam_config(settings, "gap_r50", "ms_irn"))
    rules = {"fixed": 0.5, "chooses": True, "train_evaluation": None, "holdout": 40, "convention": "present"}
    evaluate(data=data, maps=maps, split="val", contract={}, out=scores, out_images=out / "val.csv", **rules)
    with paths["history"].open(newline="") as stream:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(stream)])
    return losses, Store(maps), json.loads(scores.read_text())["rules"]["oracle"]["miou"]


def gaps(one: Store, other: Store) -> np.ndarray:
    """Absolute differences of all map values, in [0, 1]."""
    pairs = [(one[id].array, other[id].array) for id in one.ids]
    return np.concatenate([np.abs(a.astype(np.float32) - b).ravel() for a, b in pairs])


def main() -> None:
    """Train, compare, draw."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        generate(data, train=240, val=80, size=(64, 112), seed=0)
        results = {}
        for number, name in enumerate(RUNS):
            out = Path(folder, str(number))
            out.mkdir()
            losses, maps, miou = results[name] = run(name, data, out)
            gap_P = gaps(results[FIRST][1], maps)
            print(
                f"| {name} | {losses[-20:].mean():.4f} | {100 * miou:.1f} | {gap_P.mean():.4f} | "
                f"{np.quantile(gap_P, 0.99):.4f} |",
                flush=True,
            )
            left.plot(losses, linewidth=0.8, label=f"{name} ({100 * miou:.1f} % mIoU)")
            if name != FIRST:
                share = np.linspace(0, 1, 200)
                right.plot(np.quantile(gap_P, share), share, color=f"C{number}", label=name)
    left.set(xlabel="row of the history", ylabel="classification loss", yscale="log")
    right.set(xlabel=f"difference of map values from {FIRST}", ylabel="share of the values")
    right.set_xscale("symlog", linthresh=0.01)
    for axes in (left, right):
        axes.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "figures" / "parity.png", dpi=90)


if __name__ == "__main__":
    main()
