"""Stage `evaluate`: scores of stored maps or of predicted label maps against the masks of a split.

Letters: C classes including background, T thresholds, H W pixels.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from wsss.data.ground_truth import GroundTruth, read_ground_truth
from wsss.data.images import read_mask
from wsss.data.manifest import read_manifest
from wsss.errors import UserError
from wsss.files import write_csv, write_text
from wsss.ops.metrics import Convention, Tally, confusion, iou, means, precision, recall, tally
from wsss.ops.scores import enlarge, labels_at
from wsss.ops.sweep import ImageCounts, Sweep
from wsss.sources import Folders, full_size, kind_of, open_source
from wsss.stores import Store
from wsss.thresholds import read_evaluation

RULES = {"scores": ("fixed", "best", "holdout", "oracle"), "labels": ("labels",)}
CURVE = tuple(percent / 100 for percent in range(100))
BATCH = 32  # images in flight; each holds histograms of about 0.4 MB

Rule = dict[str, Any]
ImageScores = list[tuple[str, float | None]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Task:
    source: Store | Folders
    truth: Mapping[str, GroundTruth]
    ids: list[str]
    classes: int
    convention: Convention
    threads: int


def evaluate(
    *,
    data: str | Path,
    maps: str | Path | Sequence[str | Path],
    split: str,
    fixed: float | None,
    chooses: bool,
    train_evaluation: str | Path | None,
    holdout: int,
    convention: Convention,
    contract: dict[str, Any],
    out: str | Path,
    out_images: str | Path,
    threads: int = 1,
) -> None:
    """Write the scores of a split as JSON, and the mean IoU of every image as CSV (id, miou).

    data: the data folder; maps: store files, or folders with <id>.png. Score maps (float, without a
    background channel) are scored at four thresholds: `fixed`; `best` and `holdout`, chosen on the train
    split (here when split is "train", else read from its JSON, `train_evaluation`); `oracle`, the best of
    this split. The `holdout` train images whose ids have the lowest SHA-256 choose the third; its train
    score leaves them out. Label maps, and float maps with a background channel, have one score. Fractions
    0..1, null where undefined. Images without a mask are not scored. Threads change the time only.

    UserError: ids missing from the maps, sizes that differ, values that are no class ids, masks given as
    predictions, `fixed` missing or outside 0..1.
    """
    manifest, truth = read_manifest(data), read_ground_truth(data)
    split_ids = manifest.split(split).ids
    ids = [id for id in split_ids if id in truth]
    task = _Task(open_source(maps, truth), truth, ids, len(manifest.classes) + 1, convention, threads)
    _refuse_missing(task, split)
    kind = next((kind_of(task.source[id]) for id in ids or split_ids if id in task.source), "labels")
    result: dict[str, Any] = {"split": split, "kind": kind, "classes": ["background", *manifest.classes]}
    reason = None if ids else f"no ground truth masks for split {split}"
    images: ImageScores = []
    if reason is not None:
        result["rules"] = {name: _empty(reason) for name in RULES[kind]}
        result["curve"] = _curve(Sweep(task.classes), (), convention) if kind == "scores" else None
    elif kind == "scores":
        chosen = None if chooses else _chosen(train_evaluation)
        result["rules"], result["curve"], images = _score_maps(task, fixed, chosen, holdout)
    else:
        result["rules"], images = _score_labels(task)
        result["curve"] = None
    result |= {"why_empty": reason, "contract": contract}
    write_text(out, json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    write_csv(out_images, ("id", "miou"), images)


def held_out(ids: Collection[str], count: int) -> set[str]:
    """The `count` ids with the lowest SHA-256: a choice that depends on the ids alone, not on their order."""
    return set(sorted(ids, key=lambda id: hashlib.sha256(id.encode()).digest())[:count])


def _refuse_missing(task: _Task, split: str) -> None:
    missing = [id for id in task.ids if id not in task.source]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        where = ", ".join(str(path) for path in task.source.paths[:3])
        raise UserError(
            f"{where}: {len(missing)} of {len(task.ids)} images of split {split} are missing: {some}; "
            "run the stage that makes them for the whole split"
        )


def _chosen(train_evaluation: str | Path | None) -> dict[str, float | None]:
    """Thresholds that the evaluation of the train split chose; None where it could not."""
    if not train_evaluation:
        return {}
    rules = read_evaluation(train_evaluation)["rules"]
    return {name: rules.get(name, {}).get("threshold") for name in ("best", "holdout")}


def _score_maps(
    task: _Task, fixed: float | None, chosen: dict[str, float | None] | None, holdout: int
) -> tuple[dict[str, Rule], dict[str, Any], ImageScores]:
    """All rules, the curve, and the images at the fixed threshold; `chosen` is None on the train split."""
    if fixed is None:
        raise UserError("score maps need a fixed threshold; set `background` of the stage that made them")
    total, held = Sweep(task.classes), Sweep(task.classes)
    index = total.index(fixed)
    apart = held_out(task.ids, holdout) if chosen is None and holdout < len(task.ids) else set()
    images: ImageScores = []

    def count(id: str) -> tuple[ImageCounts, float | None]:
        counts = _count_maps(task, id, total)
        return counts, _number(means(counts.at(index)).miou)

    for id, (counts, miou) in _each(task, count):
        total.add(counts)
        if id in apart:
            held.add(counts)
        images.append((id, miou))
    oracle = total.best(task.convention)
    if chosen is None:
        chosen = {"best": oracle, "holdout": held.best(task.convention) if apart else None}
    rules = {
        "fixed": _rule(task, fixed, total),
        "best": _rule(task, chosen.get("best"), total),
        "holdout": _rule(task, chosen.get("holdout"), total, held, apart),
        "oracle": _rule(task, oracle, total),
    }
    return rules, _curve(total, CURVE, task.convention), images


def _count_maps(task: _Task, id: str, sweep: Sweep) -> ImageCounts:
    record, truth_HW = task.source[id], read_mask(task.truth[id].mask)
    if kind_of(record) != "scores":
        raise UserError("the record holds labels, but the first one scores; write all in one form")
    size = full_size(record, truth_HW, task.truth[id].mask)
    score_KHW = enlarge(record.array, size, record.meta.get("grid"))
    return sweep.count(score_KHW, record.meta["classes"], truth_HW)


def _score_labels(task: _Task) -> tuple[dict[str, Rule], ImageScores]:
    total = Tally(*np.zeros((3, task.classes), np.int64))
    images: ImageScores = []

    def count(id: str) -> tuple[Tally, float | None]:
        counts = tally(_count_labels(task, id))
        return counts, _number(means(counts).miou)

    for id, (counts, miou) in _each(task, count):
        total += counts
        images.append((id, miou))
    return {"labels": _scored(task, None, total, task.ids)}, images


def _count_labels(task: _Task, id: str) -> np.ndarray:
    mask = task.truth[id].mask
    file = task.source.files.get(id) if isinstance(task.source, Folders) else None
    if file is not None and os.path.samefile(file, mask):
        raise UserError(f"{file} is the ground truth mask itself; give predictions")
    record, truth_HW = task.source[id], read_mask(mask)
    if kind_of(record) != "labels":
        raise UserError("the record holds scores, but the first one labels; write all in one form")
    size = full_size(record, truth_HW, mask)
    label_HW = record.array
    if label_HW.dtype.kind == "f":
        score_KHW = enlarge(label_HW, size, record.meta.get("grid"))
        label_HW = labels_at(score_KHW, record.meta["classes"], None)
    return confusion(truth_HW, label_HW, task.classes)


def _each(task: _Task, work: Callable[[str], Result]) -> Iterator[tuple[str, Result]]:
    """Results in the order of the ids; few at a time, so that memory does not grow with the split."""

    def named(id: str) -> Result:
        try:
            return work(id)
        except UserError as error:
            raise UserError(f"image '{id}': {error}") from error

    with ThreadPoolExecutor(task.threads) as pool:
        for start in range(0, len(task.ids), BATCH):
            batch = task.ids[start : start + BATCH]
            yield from zip(batch, pool.map(named, batch), strict=True)


def _rule(
    task: _Task,
    threshold: float | None,
    total: Sweep,
    held: Sweep | None = None,
    apart: Collection[str] = (),
) -> Rule:
    """Scores at a threshold over the images that are not `apart` (whose counts are in `held`)."""
    if threshold is None:
        return _empty("no threshold: choosing it needs ground truth masks of more than `holdout` train images")
    counts = total.at(threshold)
    if held is not None and apart:
        counts -= held.at(threshold)
    return _scored(task, threshold, counts, [id for id in task.ids if id not in apart])


def _scored(task: _Task, threshold: float | None, counts: Tally, ids: Sequence[str]) -> Rule:
    average = means(counts, task.convention)
    return {
        "threshold": threshold,
        "images": len(ids),
        "ground_truth": dict(sorted(Counter(task.truth[id].source for id in ids).items())),
        "miou": _number(average.miou),
        "precision": _number(average.precision),
        "recall": _number(average.recall),
        "iou": _numbers(iou(counts)),
        "precision_per_class": _numbers(precision(counts)),
        "recall_per_class": _numbers(recall(counts)),
    }


def _empty(reason: str) -> Rule:
    keys = ("miou", "precision", "recall", "iou", "precision_per_class", "recall_per_class")
    return {"threshold": None, "images": 0, "ground_truth": {}, **dict.fromkeys(keys), "why_empty": reason}


def _curve(sweep: Sweep, thresholds: Sequence[float], convention: Convention) -> dict[str, Any]:
    columns = [sweep.index(threshold) for threshold in thresholds]
    all_CT = sweep.at_all()
    some_CT = Tally(all_CT.hit[:, columns], all_CT.truth[:, columns], all_CT.predicted[:, columns])
    average = means(some_CT, convention)
    scores = {name: _numbers(getattr(average, name)) for name in ("miou", "precision", "recall")}
    return {"threshold": list(thresholds), **scores}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: np.ndarray | float) -> float | None:
    return None if math.isnan(value) else float(value)
