"""Evaluation files and table definitions made up for tests; every number can be checked by hand."""

import json

from wsss.published import VOC_CLASSES

CONTRACT = {
    "crf": "none",
    "scales": "1",
    "flip": "sum",
    "weights": "resnet50: ImageNet",
    "labels_at_inference": True,
}


def result(miou, *, threshold=0.15, images=1464, classes=21, truth="VOC"):
    """One rule's scores: every class has the IoU `miou`, precision is 0.1 higher, recall 0.2."""
    return {
        "threshold": threshold,
        "images": images,
        "ground_truth": {truth: images},
        "miou": miou,
        "precision": None if miou is None else miou + 0.1,
        "recall": None if miou is None else miou + 0.2,
        "iou": [miou] * classes,
        "precision_per_class": [miou] * classes,
        "recall_per_class": [miou] * classes,
    }


def evaluation(path, mious, *, split="train", classes=VOC_CLASSES, images=None, why_empty=None, **contract):
    """Write an evaluation file; `mious` maps threshold rules (or "labels") to mIoU."""
    images = images or {"train": 1464, "val": 1449}.get(split, 10)
    thresholds = {"fixed": 0.15, "best": 0.40625, "holdout": 0.375, "oracle": 0.4375, "labels": None}
    rules = {
        rule: result(miou, threshold=thresholds[rule], images=images, classes=len(classes) + 1)
        for rule, miou in mious.items()
    }
    grid = [index / 10 for index in range(11)]
    curve = {
        "threshold": grid,
        **{name: [0.5 * x for x in grid[:-1]] + [None] for name in ("miou", "precision", "recall")},
    }
    content = {
        "split": split,
        "kind": "labels" if "labels" in mious else "scores",
        "classes": ["background", *classes],
        "rules": rules,
        "curve": None if "labels" in mious else curve,
        "why_empty": why_empty,
        "contract": CONTRACT | {"split": split} | contract,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
