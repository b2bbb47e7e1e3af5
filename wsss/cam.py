"""Stage `cam`: class activation maps of the image's own classes, over scales and flips, into a packed store.

Legend: G images of one size, B of them at once, P an image and its mirror image, K present classes, C classes, H x W
image, h x w the stride-4 grid or that of a scale.
"""

from collections.abc import Sequence
from itertools import chain
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

TOGETHER = 16
"""Images of one size that a GPU gets at once; a processor gains nothing by it."""
PIXELS = 1 << 21
"""Most pixels in one pass, mirror images included: enough for a GPU to be busy, at the largest scale one image."""


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
    """Write the score maps of one shard of a split: per image float16 (K,h,w) in [0,1], one map per label.

    Images of one size follow each other, and on a GPU go through the network together.
    """
    manifest = read_manifest(data)
    device = set_up(0, job.threads)
    model: Classifier = load_trained(assemble(num_classes=len(manifest.classes), **network), Path(weights)).to(device)
    samples = shard_of(manifest.split(split), shard)

    def load(sample: Sample) -> tuple[np.ndarray, list[Tensor]]:
        rgb_HW3 = read_rgb(sample.image)
        return rgb_HW3, [] if model.own_inference else pyramid(rgb_HW3, scales, model.backbone)

    together = TOGETHER if device.type == "cuda" and not model.own_inference else 1
    groups = alike(samples, together)
    with Writer(out) as store, torch.inference_mode():
        loaded, done = ahead(load, chain.from_iterable(groups), job.threads), 0
        for group in groups:
            images, pyramids = zip(*(next(loaded) for _ in group), strict=True)
            if model.own_inference:
                found = [normalise_maps(model.image_maps(images[0], _keys(group[0]), scales))]
            else:
                found = merged_maps(model, group, pyramids, branch=branch, flip=flip, order=order)
            for sample, score_Khw in zip(group, found, strict=True):
                half_Khw, size = score_Khw.cpu().numpy().astype(np.float16), [sample.height, sample.width]
                store.add(sample.id, half_Khw, compress=model.own_inference, classes=list(sample.labels), size=size)
            done += len(group)
            if done % 100 < len(group) or done == len(samples):
                print(f"{done}/{len(samples)} images", flush=True)


def alike(samples: Sequence[Sample], most: int) -> list[list[Sample]]:
    """Groups of at most `most` images of one size; sizes, and images within them, in the order of `samples`."""
    by_size: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        by_size.setdefault((sample.height, sample.width), []).append(sample)
    return [group[first : first + most] for group in by_size.values() for first in range(0, len(group), most)]


def pyramid(image_HW3: np.ndarray, scales: list[float], backbone: Backbone) -> list[Tensor]:
    """The normalised image at every scale, float32 (3,h,w), resized by Pillow's bicubic as in the published code."""
    sizes = [scaled(image_HW3.shape[:2], scale) for scale in scales]
    resized = [image_HW3 if s == 1.0 else resize_image(image_HW3, size) for s, size in zip(scales, sizes, strict=True)]
    return [torch.from_numpy(normalise(each, backbone.mean, backbone.std)) for each in resized]


def merged_maps(
    model: Classifier,
    samples: Sequence[Sample],
    pyramids: Sequence[Sequence[Tensor]],
    *,
    branch: Branch,
    flip: Flip,
    order: Order,
) -> list[Tensor]:
    """Score maps (K,h,w) in [0,1) of images of one size, from their pyramids, for their own labels."""
    size = (samples[0].height, samples[0].width)
    at_scale = [torch.stack(images) for images in zip(*pyramids, strict=True)]
    scales = [raw_maps(model, image_G3hw, branch=branch, mirrored=flip != "none") for image_G3hw in at_scale]
    found = []
    for number, sample in enumerate(samples):
        keys = _keys(sample)
        by_branch = [[raw_GPChw[number][:, keys].float() for raw_GPChw in maps] for maps in zip(*scales, strict=True)]
        merged = [merge(raw, size=size, grid="stride4", flip=flip, order=order) for raw in by_branch]
        found.append(torch.stack([normalise_maps(maps) for maps in merged]).amax(0))
    return found


def _keys(sample: Sample) -> list[int]:
    return [label - 1 for label in sample.labels]


def raw_maps(model: Classifier, image_G3hw: Tensor, *, branch: Branch, mirrored: bool) -> list[Tensor]:
    """Raw maps (G,P,C,h,w) of images of one size: P = 2 with their mirror images, else 1.

    One for most values of `branch`; for max_norm one per branch, of which the maximum is due after normalisation.
    """
    device = next(model.parameters()).device
    pair_GP3hw = torch.stack([image_G3hw, image_G3hw.flip(-1)][: 1 + mirrored], 1)
    most = max(1, PIXELS // pair_GP3hw[0, :, 0].numel())
    found: list[list[Tensor]] = []
    for pair_BP3hw in pair_GP3hw.to(device).split(most):
        maps = model.branches(pair_BP3hw.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        found.append([raw.unflatten(0, pair_BP3hw.shape[:2]) for raw in chosen_branches(maps, branch)])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


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
