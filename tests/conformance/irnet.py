"""Adapters for IRNet: its label rule (02), losses (03), training labels (04) and network (08)."""

from pathlib import Path

import numpy as np
import torch

from tests.conformance.arrays import Check, largest, worst
from tests.conformance.networks import official_weight, rows
from wsss.backbones import resnet
from wsss.methods import irnet
from wsss.ops import pairs
from wsss.ops.scores import enlarge, labels_at
from wsss.stores import Record

MODULES = {
    **{f"fc_edge{i}": f"boundary_branch.layers.{i - 1}" for i in range(1, 6)},
    "fc_edge6": "boundary_branch.last",
    **{f"fc_dp{i}": f"displacement_branch.layers.{i - 1}" for i in range(1, 6)},
    "fc_dp6": "displacement_branch.deep",
    "fc_dp7": "displacement_branch.all",
    "mean_shift": "displacement_branch",
}
PARTS = {"0.": "conv.", "1.": "norm."}


def ours(name: str) -> str:
    """Our state-dict name for an official one."""
    if name == "fc_dp7.3.weight":
        return "displacement_branch.last.weight"
    module, _, rest = name.partition(".")
    if module not in MODULES:
        return f"backbone.{name}"
    rest = PARTS.get(rest[:2], rest[:2]) + rest[2:]
    return f"{MODULES[module]}.{rest.replace('running_mean', 'mean_2')}"


def network(folder: Path) -> irnet.IRNet:
    """ResNet50 at output stride 16 with both branches and the weights of the tables."""
    table = [*rows(folder / "08_resnet50_params.tsv"), *rows(folder / "08_irnet_head_params.tsv")]
    state = {
        ours(row["name"]): official_weight(row["name"], tuple(map(int, row["shape"].split("x"))), row["kind"])
        for row in table
        if not row["name"].startswith("classifier.")
    }
    model = irnet.build(backbone=resnet.build(output_stride=16, dilate=False), num_classes=20)
    model.load_state_dict(state)
    return model.eval()


@torch.inference_mode()
def forward(path: Path) -> Check:
    """Boundary logits of both padded images, boundary, displacement."""
    data = np.load(path)
    model = network(path.parent)
    image_3HW, crop_size = torch.from_numpy(data["x"]), int(data["crop_size"])
    pair_23HW = torch.stack([image_3HW, image_3HW.flip(-1)])
    logit_2hw = model.boundary_branch(model.taps(irnet.squared(pair_23HW, crop_size)))
    return worst(
        largest(logit_2hw.numpy(), data["edge_logit_padded"], 1e-4),
        largest(model.boundary(image_3HW, crop_size=crop_size).numpy(), data["edge"][0], 1e-5),
        largest(model.displacement(image_3HW, crop_size=crop_size).numpy(), data["displacement"], 1e-4),
    )


def label_rule(path: Path) -> Check:
    """Scores in float32 and the labels of the stored half numbers; labels differ in 0.1 % of the pixels at most."""
    data = np.load(path)
    size, grid = data["size"].tolist(), [4 * n for n in data["rw"].shape[1:]]
    score_Khw = irnet.normalised(data["rw"], size, grid)
    large_KHW = torch.nn.functional.interpolate(torch.from_numpy(score_Khw)[None], grid, mode="bilinear")[0]
    stored_KHW = enlarge(score_Khw.astype(np.float16), size, grid)
    label_HW = labels_at(stored_KHW, (data["keys"] + 1).tolist(), float(data["bg_threshold"]))
    return worst(
        largest(large_KHW[:, : size[0], : size[1]].numpy(), data["score"], 1e-5),
        differing(label_HW, data["label"]),
    )


def training_labels(path: Path) -> Check:
    """Argmax at both thresholds, and the labels of pixels where the CAMs are sure."""
    data = np.load(path)
    maps = Record(data["cams"], {"classes": (data["keys"] + 1).tolist(), "size": data["cams"].shape[1:]})
    numbers = {key: float(data[key]) for key in ("fg_threshold", "bg_threshold", "gt_prob")}
    positions = range(1, len(data["keys"]) + 1)
    argmax = {name: labels_at(data["cams"], positions, numbers[f"{name}_threshold"]) for name in ("fg", "bg")}
    return worst(
        *(largest(position_HW, data[f"{name}_argmax"], 0) for name, position_HW in argmax.items()),
        differing(irnet.labels(maps, data["rgb"], 0.15, **numbers), data["ir_label"]),
    )


def differing(label_HW: np.ndarray, reference_HW: np.ndarray) -> Check:
    """Share of pixels with another label, at most 0.1 %."""
    return float((label_HW != reference_HW).mean()) if label_HW.shape == reference_HW.shape else np.inf, 1e-3


def losses(path: Path) -> Check:
    """Reduced labels, numbers of pairs, the four losses and their total; their gradients in float64."""
    data = np.load(path)
    radius = int(data["radius"])
    label_Bhw = irnet.reduced(torch.from_numpy(data["label_full"]), 4)
    counts = [int(kind.sum()) for kind in pairs.kinds(label_Bhw, radius)]
    logit_B1hw, displacement_B2hw = (
        torch.from_numpy(data[key]).double().requires_grad_() for key in ("edge_logit", "displacement")
    )
    double = totalled(irnet.pair_losses(logit_B1hw[:, 0], displacement_B2hw, label_Bhw, radius))
    double[-1].backward()
    single = totalled(irnet.pair_losses(logit_B1hw[:, 0].float(), displacement_B2hw.float(), label_Bhw, radius))
    scale = np.maximum(data["losses"], 1)
    return worst(
        largest(label_Bhw.numpy(), data["label_small"], 0),
        largest(counts, data["pair_counts"], 0),
        largest(double.detach().numpy() / scale, data["losses"] / scale, 1e-10),
        largest(single.detach().numpy() / scale, data["losses"] / scale, 1e-5),
        largest(logit_B1hw.grad.numpy(), data["grad_edge_logit"], 1e-7),
        largest(displacement_B2hw.grad.numpy(), data["grad_displacement"], 1e-7),
    )


def totalled(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """The four published losses, which enter the total by one half, and the total."""
    part_4 = torch.stack([*parts.values()])
    return torch.cat([2 * part_4, part_4.sum(0, keepdim=True)])


ADAPTERS = {
    "02_irn_semseg": label_rule,
    "03_irn_losses": losses,
    "04_irn_ir_label": training_labels,
    "08_irnet": forward,
}
