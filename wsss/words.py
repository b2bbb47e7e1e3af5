"""Stage `words`: the nearest visual word of every position of an image, by a trained network with a codebook.

Legend: B batch, H x W image, h x w features.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss.cam import pyramid
from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest, shard_of
from wsss.data.prefetch import ahead
from wsss.job import Job
from wsss.networks import assemble, load_trained
from wsss.process import set_up
from wsss.stores import Writer


def assign(
    *, data: str | Path, split: str, shard: str, weights: str, out: str, job: Job, network: dict[str, Any]
) -> None:
    """Write the word maps of one shard of a split: per image uint16 (h,w), word numbers from 0, at the image's scale.

    The network's method defines word_map(image_BCHW) -> int64 (B,h,w).
    """
    manifest = read_manifest(data)
    device = set_up(0, job.threads)
    model = load_trained(assemble(num_classes=len(manifest.classes), **network), Path(weights)).to(device)
    samples = shard_of(manifest.split(split), shard)

    def load(sample: Sample) -> Tensor:
        return pyramid(read_rgb(sample.image), [1.0], model.backbone)[0]

    with Writer(out, compress=True) as store, torch.inference_mode():
        for sample, image_3HW in zip(samples, ahead(load, samples, job.threads), strict=True):
            batch = image_3HW[None].to(device).contiguous(memory_format=torch.channels_last)
            word_hw = model.word_map(batch)[0].cpu().numpy().astype(np.uint16)
            store.add(sample.id, word_hw, size=[sample.height, sample.width])
    print(f"{len(samples)} images", flush=True)
