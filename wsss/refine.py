"""Stage `refine`: turn score maps into better ones, or into label maps, shard by shard."""

import importlib
from typing import Any

import numpy as np

from wsss.data.images import read_rgb
from wsss.data.manifest import read_manifest, shard_of
from wsss.stores import Store, Writer
from wsss.thresholds import chosen


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
    """Refine one shard: per image the method sees the stored maps, the image, and the background threshold.

    A uint8 (H,W) answer is stored as a label map, float16 (K,h,w) as score maps of the same classes.
    """
    manifest = read_manifest(data)
    refine = importlib.import_module(f"wsss.methods.{method}").refine
    threshold = chosen(background, evaluation)
    print(f"background threshold {threshold:.4f} ({background})", flush=True)
    source = Store(scores)
    with Writer(out) as store:
        for sample in shard_of(manifest.split(split), shard):
            record = source[sample.id]
            refined = refine(record, read_rgb(sample.image), threshold, **options)
            store.add(sample.id, refined, compress=refined.dtype == np.uint8, **record.meta)
