"""Stage `cam`: class activation maps of the image's own classes, over scales and flips, into a packed store.

Legend: K present classes, C classes, H x W image, h x w the stride-4 grid.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss.backbones.common import Backbone
from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest, shard_of
from wsss.data.prefetch import ahead
from wsss.data.transforms import normalise, resize_image
from wsss.job import Job
from wsss.model import Classifier
from wsss.networks import assemble, load_trained
from wsss.ops.cam_merge import Flip, Order, merge
from wsss.ops.cam_merge import normalise as normalise_maps
from wsss.ops.sizes import scaled
from wsss.stores import Writer
from wsss.training import seed_everything


def infer(
    *,
    data: str,
    split: str,
    shard: str,
    weights: str,
    out: str,
    job: Job,
    scales: list[float],
    flip: Flip,
    order: Order,
    network: dict[str, Any],
) -> None:
    """Write the score maps of one shard of a split: per image float16 (K,h,w) in [0,1], one map per label."""
    manifest = read_manifest(data)
    device = seed_everything(0, job.threads)
    model: Classifier = load_trained(assemble(num_classes=len(manifest.classes), **network), Path(weights)).to(device)
    samples = shard_of(manifest.split(split), shard)

    def load(sample: Sample) -> list[Tensor]:
        return pyramid(read_rgb(sample.image), scales, model.backbone)

    with Writer(out) as store, torch.inference_mode():
        for number, (sample, images) in enumerate(zip(samples, ahead(load, samples, job.threads), strict=True), 1):
            keys = [label - 1 for label in sample.labels]
            raw = raw_maps(model, images, keys, mirrored=flip != "none")
            merged_Khw = merge(raw, (sample.height, sample.width), grid="stride4", flip=flip, order=order)
            score_Khw = normalise_maps(merged_Khw).cpu().numpy().astype(np.float16)
            store.add(sample.id, score_Khw, classes=list(sample.labels), size=[sample.height, sample.width])
            if number % 100 == 0 or number == len(samples):
                print(f"{number}/{len(samples)} images", flush=True)


def pyramid(image_HW3: np.ndarray, scales: list[float], backbone: Backbone) -> list[Tensor]:
    """The normalised image at every scale, float32 (3,h,w), resized by Pillow's bicubic as in the published code."""
    sizes = [scaled(image_HW3.shape[:2], scale) for scale in scales]
    resized = [image_HW3 if s == 1.0 else resize_image(image_HW3, size) for s, size in zip(scales, sizes, strict=True)]
    return [torch.from_numpy(normalise(each, backbone.mean, backbone.std)) for each in resized]


def raw_maps(model: Classifier, images: list[Tensor], keys: list[int], *, mirrored: bool) -> Iterator[Tensor]:
    """Raw maps (2,K,h,w) per scale: of the image and of its mirror image (1,K,h,w without mirroring)."""
    device = next(model.parameters()).device
    for image_3hw in images:
        image_3hw = image_3hw.to(device)
        batch = torch.stack([image_3hw, image_3hw.flip(-1)]) if mirrored else image_3hw[None]
        yield model.class_maps(batch.contiguous(memory_format=torch.channels_last))[:, keys].float()
