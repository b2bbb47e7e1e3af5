"""Footnotes of a table: why a cell is empty, and which numbers of one column do not mean the same."""

from collections import Counter
from collections.abc import Mapping
from string import ascii_lowercase

from wsss.table_layout import METRICS, NOT_COMPARABLE, WITHIN, Cell, within

Key = tuple[str, str, str]
VOC_IMAGES = {"train": "1464", "val": "1449"}
ALWAYS_OWN = {"seed", "seeds", "split", "threshold", "std"}
"""Contract keys that may differ within a column without a word."""

NAMES = {
    "images": "images scored",
    "ground_truth": "ground truth",
    "threshold_rule": "background threshold",
    "crf": "dense CRF",
    "weights": "initial weights",
    "labels_at_inference": "image-level labels at inference",
    "convention": "classes in the mean",
}
FLAGGED = {
    ("supervision", "masks"): "full supervision: trained on ground truth masks",
    ("labels_in_prediction", "yes"): "predictions restricted to the image-level labels",
    (
        "affinity_threshold",
        "best",
    ): "labels of the affinity network made at the threshold best on the train ground truth",
    (
        "affinity_threshold",
        "holdout",
    ): "labels of the affinity network made at a threshold chosen on held-out ground truth",
    ("pseudo_threshold", "holdout"): "pseudo labels made at a threshold chosen on held-out ground truth",
    ("threshold_rule", "best"): "background threshold chosen on the train ground truth",
    (
        "threshold_rule",
        "oracle",
    ): "background threshold chosen on the ground truth of the scored split itself",
    (
        "pseudo_threshold",
        "best",
    ): "pseudo labels made at the threshold that is best on the train ground truth",
}
"""Contract values that use ground truth: they are flagged whatever else stands in the column."""


def annotate(
    cells: Mapping[Key, Cell], *, comparable: bool
) -> tuple[dict[Key, tuple[str, str]], tuple[tuple[str, str], ...]]:
    """Marks of every main cell (at the published number, at ours), and the notes (mark, text) by first use.

    `comparable`: the images and classes are those of VOC 2012, for which the published numbers hold.
    """
    shown = {key: cell for key, cell in cells.items() if key[2] in METRICS}
    letters: dict[str, str] = {}
    marks = {}
    for key, cell in shown.items():
        column = [shown[other] for other in shown if other[1:] == key[1:]]
        above = [cell.published.note] if cell.published and cell.published.note else []
        beside = [cell.reason] if cell.reason and cell.status != "quoted" else []
        beside += [*_flags(cell), *_unlike(cell, column), *(_subset(cell) if comparable else [])]
        marks[key] = (_marks(above, letters), _marks(beside, letters))
    notes = [(letter, text) for text, letter in letters.items()]
    if any(within(cell) for cell in shown.values()):
        notes.insert(0, (WITHIN, "published number within two standard deviations of ours"))
    if not comparable:
        text = "published numbers are for PASCAL VOC 2012 and not comparable with this data set"
        notes.insert(0, (NOT_COMPARABLE, text))
    return marks, tuple(notes)


def _marks(texts: list[str], letters: dict[str, str]) -> str:
    return " ".join(letters.setdefault(text, _letter(len(letters))) for text in dict.fromkeys(texts))


def _letter(index: int) -> str:
    """a..z, aa..az, ba.."""
    more, last = divmod(index, len(ascii_lowercase))
    return (_letter(more - 1) if more else "") + ascii_lowercase[last]


def _flags(cell: Cell) -> list[str]:
    weights = cell.contract.get("weights", "")
    flags = [text for (key, rule), text in FLAGGED.items() if cell.contract.get(key) == rule]
    return flags + (["initial weights have seen the pixel labels of COCO"] if "coco" in weights.lower() else [])


def _subset(cell: Cell) -> list[str]:
    images, whole = cell.contract.get("images"), VOC_IMAGES.get(cell.split)
    if not images or not whole or images == whole:
        return []
    return [f"scored on {images} images instead of VOC's {whole}"]


def _unlike(cell: Cell, column: list[Cell]) -> list[str]:
    """A note for every contract key in which the cell departs from most cells of its column."""
    notes = []
    for key in sorted(set(cell.contract) - ALWAYS_OWN):
        texts = Counter(_comparable(other, key) for other in column if key in other.contract)
        usual, own = texts.most_common(1)[0][0], _comparable(cell, key)
        if own != usual and (key, own) not in FLAGGED:
            others = " or ".join(text for text in texts if text != own)
            notes.append(f"{NAMES.get(key, key.replace('_', ' '))}: {own} (elsewhere in this column: {others})")
    return notes


def _comparable(cell: Cell, key: str) -> str:
    """Text of a contract key; of the initial weights only what they were trained on, not in which network."""
    text = cell.contract[key]
    if key == "weights":
        return ", ".join(sorted({part.rpartition(": ")[2] for part in text.split(", ")}))
    return text
