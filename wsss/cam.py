"""Stage `cam`: class activation maps of the image's own classes, over scales and flips, into a packed store.

Legend: K present classes, C classes, H x W image, h x w the stride-4 grid.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wsss.backbones.common import Backbone
from wsss.data.images import read_rgb
from wsss.data.manifest import Sample, read_manifest, shard_of
from wsss.data.prefetch import ahead
from wsss.data.transforms import normalise, resize_image
from wsss.errors import UserError
from wsss.job import Job
from wsss.model import Classifier
from wsss.networks import assemble, load_trained
from wsss.ops.cam_merge import Flip, Order, merge
from wsss.ops.cam_merge import normalise as normalise_maps
from wsss.ops.sizes import scaled
from wsss.process import set_up
from wsss.stores import Writer

Branch = Literal["img", "word", "max_raw", "max_norm"]


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
    branch: Branch,
    network: dict[str, Any],
) -> None:
    """Write the score maps of one shard of a split: per image float16 (K,h,w) in [0,1], one map per label."""
    manifest = read_manifest(data)
    device = set_up(0, job.threads)
    model: Classifier = load_trained(assemble(num_classes=len(manifest.classes), **network), Path(weights)).to(device)
    samples = shard_of(manifest.split(split), shard)

    def load(sample: Sample) -> tuple[np.ndarray, list[Tensor]]:
        rgb_HW3 = read_rgb(sample.image)
        return rgb_HW3, [] if model.own_inference else pyramid(rgb_HW3, scales, model.backbone)

    with Writer(out) as store, torch.inference_mode():
        loaded = ahead(load, samples, job.threads)
        for number, (sample, (rgb_HW3, images)) in enumerate(zip(samples, loaded, strict=True), 1):
            keys, size = [label - 1 for label in sample.labels], (sample.height, sample.width)
            if model.own_inference:
                score_Khw = normalise_maps(model.image_maps(rgb_HW3, keys, scales))
            else:
                raw = raw_maps(model, images, keys, branch=branch, mirrored=flip != "none")
                merge_scales = partial(merge, size=size, grid="stride4", flip=flip, order=order)
                score_Khw = torch.stack([normalise_maps(merge_scales(maps)) for maps in raw]).amax(0)
            half_Khw = score_Khw.cpu().numpy().astype(np.float16)
            store.add(sample.id, half_Khw, compress=model.own_inference, classes=list(sample.labels), size=list(size))
            if number % 100 == 0 or number == len(samples):
                print(f"{number}/{len(samples)} images", flush=True)


def pyramid(image_HW3: np.ndarray, scales: list[float], backbone: Backbone) -> list[Tensor]:
    """The normalised image at every scale, float32 (3,h,w), resized by Pillow's bicubic as in the published code."""
    sizes = [scaled(image_HW3.shape[:2], scale) for scale in scales]
    resized = [image_HW3 if s == 1.0 else resize_image(image_HW3, size) for s, size in zip(scales, sizes, strict=True)]
    return [torch.from_numpy(normalise(each, backbone.mean, backbone.std)) for each in resized]


def raw_maps(
    model: Classifier, images: list[Tensor], keys: list[int], *, branch: Branch, mirrored: bool
) -> list[list[Tensor]]:
    """Raw maps (2,K,h,w) per scale: of the image and of its mirror image (1,K,h,w without mirroring).

    One list for most values of `branch`; for max_norm one list per branch, of which the maximum is due after
    normalisation.
    """
    device = next(model.parameters()).device
    found: list[list[Tensor]] = []
    for image_3hw in images:
        image_3hw = image_3hw.to(device)
        batch = torch.stack([image_3hw, image_3hw.flip(-1)]) if mirrored else image_3hw[None]
        maps = model.branches(batch.contiguous(memory_format=torch.channels_last))
        found.append([raw_PChw[:, keys].float() for raw_PChw in chosen_branches(maps, branch)])
    return [list(scales) for scales in zip(*found, strict=True)]


def chosen_branches(maps: dict[str, Tensor], branch: Branch) -> list[Tensor]:
    """The branch of this name, the larger raw map of all branches (max_raw), or all of them (max_norm).

    VWE (Section 3.4, equations 10 to 12) takes the maximum of both branches; its code uses the first alone.
    """
    if branch in maps:
        return [maps[branch]]
    if branch == "max_raw":
        return [torch.stack(list(maps.values())).amax(0)]
    if branch == "max_norm":
        return list(maps.values())
    raise UserError(f"cam.<name>.branch: this network has no branch '{branch}', only {', '.join(maps)}")
