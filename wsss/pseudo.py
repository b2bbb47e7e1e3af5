"""Stage `pseudo`: the final pseudo labels of the train split, as palette PNGs that other tools read too."""

from pathlib import Path

import numpy as np

from wsss.data.images import encode_mask
from wsss.data.manifest import read_manifest
from wsss.errors import UserError
from wsss.files import atomic_folder
from wsss.ops.scores import enlarge, labels_at
from wsss.stores import Record, Store
from wsss.thresholds import chosen


def write(
    *, data: str, split: str, stores: list[str], evaluation: str | None, out: str, background: float | str
) -> None:
    """Write <id>.png for every image of the split: class ids, 0 for background, 255 where the refinement is unsure.

    Raises UserError when no image has any foreground: such labels would teach a network that all is background.
    """
    manifest = read_manifest(data)
    source = Store(stores)
    threshold = chosen(background, evaluation) if evaluation or not isinstance(background, str) else None
    empty = 0
    with atomic_folder(out) as folder:
        for sample in manifest.split(split):
            label_HW = label_map(source[sample.id], threshold)
            empty += bool(sample.labels) and not ((label_HW > 0) & (label_HW < 255)).any()
            (folder / f"{sample.id}.png").write_bytes(encode_mask(label_HW))
        _guard(empty, sum(bool(sample.labels) for sample in manifest.split(split)), Path(out))


def label_map(record: Record, threshold: float | None) -> np.ndarray:
    """Class ids uint8 (H,W) of a stored label map, or of stored scores at a background threshold."""
    if record.array.dtype == np.uint8:
        return record.array
    score_KHW = enlarge(record.array, record.meta["size"], record.meta.get("grid"))
    classes = tuple(record.meta["classes"])
    if 0 in classes:
        return np.array(classes, np.uint8)[score_KHW.argmax(0)]
    return labels_at(score_KHW, classes, threshold)


def _guard(empty: int, count: int, out: Path) -> None:
    print(f"{count} pseudo labels of images with classes, {empty} of them all background", flush=True)
    if empty == count > 0:
        raise UserError(
            f"{out}: every pseudo label is all background; the maps before it are empty or the background threshold "
            "is too high (see the evaluation's curve)"
        )
    if empty > count / 2:
        print(f"warning: {empty} of {count} pseudo labels are all background", flush=True)
