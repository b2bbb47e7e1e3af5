"""GPU-hours of the trainings behind every table and the figures, projected from operation counts: nothing is run.

    python -m bench.projection [--tflops 60]

Operations of one step of each network at its recipe's crop are counted on tensors without content, two per product and
sum, forward and backward; times steps, over the TFLOP/s that a GPU is assumed to achieve on them. Inference, loading
and everything on processors come on top. Trainings that tables share count in each table, and once in the last line.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.memory import FakeTensorMode
from wsss import chains, slices, targets
from wsss.backbones.common import freeze
from wsss.config import resolve
from wsss.networks import assemble
from wsss.settings import TRAINED, Settings
from wsss.training import Progress

CLASSES, IMAGES = 20, 10_582
Training = tuple[str, ...]


class _NoModules(nullcontext[None]):
    """Counts for the whole network, not for its parts: what follows parts fails where losses take gradients."""

    parents: ClassVar = {"Global"}
    is_bw = False


def trainings(settings: Settings, results: Iterable[Sequence[str]]) -> set[Training]:
    """Chains up to every network that the chains of results train, and the classifiers that these start from."""
    found: set[Training] = set()
    for chain in results:
        for end, name in enumerate(chain, 1):
            stage = chains.stage_of(settings, name)
            if stage in TRAINED:
                found.add(tuple(chain[:end]))
                if start := getattr(settings, stage)[name].start:
                    found.add((start,))
    return found


def wanted(settings: Settings) -> Iterator[tuple[str, list[list[str]]]]:
    """The chains of each table, and of all figures together."""
    for name, table in targets.built_tables(settings).items():
        yield name, [chain for row in table.rows for chain in targets.chains_of_row(row)]
    yield "figures", [chain for figure in targets.built_figures(settings).values() for chain in figure.chains]


def operations(settings: Settings, variant: str) -> float:
    """Floating-point operations of a whole training of a variant, by its recipe."""
    stage = chains.stage_of(settings, variant)
    config = slices.train_config(settings, stage, variant)
    recipe = config["recipe"]
    steps = recipe["steps"] or recipe["epochs"] * (IMAGES // recipe["batch"])
    return steps * recipe["batch"] * _per_image(config, stage)


def _per_image(config: dict[str, Any], stage: str) -> float:
    """Operations of one image, forward and backward.

    Of SPN its features only, as its pooling needs real superpixels.
    """
    recipe, side = config["recipe"], config["recipe"]["augment"]["crop"]
    network = {key: config[key] for key in ("method", "network", "output_stride", "backbone_options", "options")}
    grid = -(-side // config["output_stride"]) if config["method"] == "affinitynet" else side
    with FakeTensorMode():
        model = assemble(num_classes=CLASSES, **network).train()
        freeze(model.backbone, recipe["freeze"])
        batch = {
            "image": torch.empty(2, 3, side, side),
            "labels": torch.zeros(2, CLASSES),
            "label": torch.zeros(2, grid, grid, dtype=torch.long),
            "class": torch.zeros(2, dtype=torch.long),
        }
        late = Progress(recipe["epochs"] or 0, recipe["epochs"] or 0, 1)  # all losses are on
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = _NoModules()  # type: ignore[assignment]
        with counter:
            if config["method"] == "spn":
                results = model.features(batch["image"])
            else:
                results = model.losses(batch, late).values()
            torch.stack([result.sum() for result in results]).sum().backward()
    return counter.get_total_flops() / 2


def main() -> None:
    """Print one line per table, one for the figures, and the total."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=60.0)
    given = parser.parse_args()
    settings = resolve({})
    per_hour = given.tflops * 1e12 * 3600
    hours: dict[str, float] = {}
    every: set[Training] = set()
    for table, results in wanted(settings):
        needed = trainings(settings, results)
        every |= needed
        for training in needed:
            if training[-1] not in hours:
                hours[training[-1]] = operations(settings, training[-1]) / per_hour
        print(f"| {table} | {len(needed)} | {sum(hours[one[-1]] for one in needed):.1f} |", flush=True)
    print(f"| all, shared trainings once | {len(every)} | {sum(hours[one[-1]] for one in every):.1f} |")


if __name__ == "__main__":
    main()
