"""Stage `predict`: label maps from a trained segmentation network, over scales and flips, with a dense CRF or without.

Image-level labels are used only where the settings say so (`labels`: masks that a further round learns from).

Legend: L = C + 1 labels, H x W image, h x w logits.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.cam import pyramid
from wsss.data.images import encode_mask, read_rgb
from wsss.data.manifest import Sample, read_manifest, shard_of
from wsss.data.prefetch import ahead
from wsss.files import atomic_folder
from wsss.job import Job
from wsss.model import Segmenter
from wsss.networks import assemble, load_trained
from wsss.ops.crf import PRESETS, unary_from_scores
from wsss.ops.crf import crf as dense_crf
from wsss.process import set_up


def infer(
    *,
    data: str,
    split: str,
    shard: str,
    weights: str,
    out: str,
    job: Job,
    scales: list[float],
    flip: bool,
    merge: str,
    labels: bool,
    crf: str | None,
    network: dict[str, Any],
) -> None:
    """Write <id>.png (class ids, 0 for background) for one shard of a split."""
    manifest = read_manifest(data)
    device = set_up(0, job.threads)
    model: Segmenter = load_trained(assemble(num_classes=len(manifest.classes), **network), Path(weights)).to(device)
    samples = shard_of(manifest.split(split), shard)

    def load(sample: Sample) -> tuple[np.ndarray, list[Tensor]]:
        image_HW3 = read_rgb(sample.image)
        return image_HW3, pyramid(image_HW3, scales, model.backbone)

    foreground = 0
    with atomic_folder(out) as folder, torch.inference_mode():
        loaded = ahead(load, samples, job.threads)
        for number, (sample, (image_HW3, images)) in enumerate(zip(samples, loaded, strict=True), 1):
            known = list(sample.labels) if labels else []
            if model.own_inference:
                prob_LHW = model.image_probabilities(images[0].to(device), known)
            else:
                prob_LHW = probabilities(model, images, image_HW3.shape[:2], flip=flip, merge=merge)
            if labels:
                prob_LHW[[c for c in range(1, len(prob_LHW)) if c not in known]] = 0
            label_HW = label_map(prob_LHW.cpu().numpy(), image_HW3, crf)
            foreground += bool(label_HW.any())
            (folder / f"{sample.id}.png").write_bytes(encode_mask(label_HW))
            if number % 100 == 0 or number == len(samples):
                print(f"{number}/{len(samples)} images", flush=True)
    if samples and not foreground:
        print(
            f"warning: all {len(samples)} predictions are nothing but background: the network has collapsed; lower "
            "recipes.<name>.lr, or look at its loss and its pseudo labels",
            flush=True,
        )


def probabilities(model: Segmenter, images: list[Tensor], size: tuple[int, int], *, flip: bool, merge: str) -> Tensor:
    """Class probabilities (L,H,W), merged over scales (and mirror images).

    `merge`: mean or maximum (max) of the softmax, or the softmax of the mean logits (mean_logits).
    """
    device = next(model.parameters()).device
    merged_LHW, count = torch.zeros((), device=device), len(images) * (1 + flip)
    for image_3hw in images:
        batch = torch.stack([image_3hw, image_3hw.flip(-1)]) if flip else image_3hw[None]
        logit_BLhw = model.logits(batch.to(device, memory_format=torch.channels_last)).float()
        value_BLHW = F.interpolate(logit_BLhw, size, mode="bilinear")
        if merge != "mean_logits":
            value_BLHW = value_BLHW.softmax(1)
        for value_LHW in [value_BLHW[0], value_BLHW[1].flip(-1)] if flip else [value_BLHW[0]]:
            # Probabilities are positive, so zero is neutral for the maximum too.
            merged_LHW = torch.maximum(merged_LHW, value_LHW) if merge == "max" else merged_LHW + value_LHW
    return (merged_LHW / count).softmax(0) if merge == "mean_logits" else merged_LHW / merged_LHW.sum(0)


def label_map(prob_LHW: np.ndarray, image_HW3: np.ndarray, preset: str | None) -> np.ndarray:
    """Most probable class ids, uint8 (H,W), after the dense CRF of `preset` when one is named."""
    if preset is not None:
        prob_LHW = dense_crf(image_HW3, unary_from_scores(prob_LHW), PRESETS[preset])
    return prob_LHW.argmax(0).astype(np.uint8)
