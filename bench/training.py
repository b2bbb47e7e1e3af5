"""Training steps of the networks at the papers' crops: bf16 + channels_last against plain float32."""

import time
from typing import Any

import torch

from bench.measure import Row
from wsss import slices
from wsss.backbones.common import freeze
from wsss.config import resolve
from wsss.networks import assemble
from wsss.ops.slic import slic
from wsss.training import Progress, optimiser

NETWORKS = (
    ("classify", "gap_r50"),
    ("classify", "rcm_mam_r38"),
    ("classify", "spn_vgg16"),
    ("segment", "deeplabv2_r101"),
)


def rows() -> list[Row]:
    """One image per step, forward, backward and update; the first step of each is not timed."""
    return [_step(stage, variant) for stage, variant in NETWORKS]


def _step(stage: str, variant: str) -> Row:
    config = slices.train_config(resolve({}), stage, variant)
    recipe = config["recipe"]
    side = recipe["augment"]["crop"]
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "labels": torch.eye(20)[:1]}
    if stage == "segment":
        batch["label"] = torch.randint(0, 21, (1, side, side), generator=torch.Generator().manual_seed(0))
    if config["method"] == "spn":
        picture_HW3 = ((image[0].permute(1, 2, 0) * 40 + 128).clamp(0, 255)).byte().numpy()
        batch["guide"] = torch.from_numpy(slic(picture_HW3)).long()[None]
    (plain_ms, plain), (fast_ms, fast) = (_run(config, batch, bf16=bf16) for bf16 in (False, True))
    gap = abs(fast - plain) / abs(plain)
    name = f"training step, {variant}, batch 1 at {side}"
    return Row(name, "float32, NCHW", fast_ms, plain_ms, 1.8, f"first loss differs by {100 * gap:.2f} %")


def _run(config: dict[str, Any], batch: dict[str, torch.Tensor], *, bf16: bool) -> tuple[float, float]:
    """Milliseconds of processor time of the second step, and the loss of the first."""
    torch.manual_seed(0)
    network = {key: config[key] for key in ("method", "network", "output_stride", "backbone_options", "options")}
    memory = torch.channels_last if bf16 else torch.contiguous_format
    model = assemble(num_classes=20, **network).train().to(memory_format=memory)
    recipe = config["recipe"]
    freeze(model.backbone, recipe["freeze"])
    sgd = optimiser(model.parameter_groups(), **{key: recipe[key] for key in ("lr", "momentum", "weight_decay")})
    batch = batch | {"image": batch["image"].contiguous(memory_format=memory)}
    losses = []
    for _ in range(2):
        start = time.process_time()
        sgd.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            parts = model.losses(batch, Progress(0, recipe["epochs"] or 0, 2))
        loss = torch.stack([part.float() for part in parts.values()]).sum()
        loss.backward()
        sgd.step()
        elapsed = 1000 * (time.process_time() - start)
        losses.append(float(loss))
    return elapsed, losses[0]
