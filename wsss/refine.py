"""Stage `refine`: turn score maps into better ones, or into label maps, shard by shard."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from wsss.data.images import read_rgb
from wsss.data.manifest import read_manifest, shard_of
from wsss.stores import Record, Store, Writer
from wsss.thresholds import chosen

Refinement = Callable[[Record, np.ndarray], np.ndarray | tuple[np.ndarray, dict[str, Any]]]


def apply(
    *,
    data: str,
    split: str,
    shard: str,
    scores: str,
    evaluation: str | None,
    out: str,
    method: str,
    background: float | str,
    options: dict[str, Any],
) -> None:
    """Refine one shard: per image the method sees the stored maps, the image, and the background threshold."""
    threshold = chosen(background, evaluation)
    print(f"background threshold {threshold:.4f} ({background})", flush=True)
    refine = importlib.import_module(f"wsss.methods.{method}").refine
    write(
        data=data,
        split=split,
        shard=shard,
        scores=scores,
        out=out,
        refine=partial(refine, background=threshold, **options),
    )


def write(*, data: str, split: str, shard: str, scores: str, out: str, refine: Refinement) -> None:
    """Write what `refine` makes of every record of a shard and its RGB image.

    It answers with a uint8 (H,W) label map or float16 (K,h,w) score maps, and with what changes of the record's meta
    where anything does.
    """
    source = Store(scores)
    samples = shard_of(read_manifest(data).split(split), shard)
    with Writer(out) as store:
        for number, sample in enumerate(samples, 1):
            record = source[sample.id]
            answer = refine(record, read_rgb(sample.image))
            refined, changes = answer if isinstance(answer, tuple) else (answer, {})
            store.add(sample.id, refined, compress=refined.dtype == np.uint8, **record.meta | changes)
            if number % 100 == 0 or number == len(samples):
                print(f"{number}/{len(samples)} images", flush=True)
