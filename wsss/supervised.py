"""The fully supervised reference: ground truth masks in the place of pseudo labels. No other chain may use it."""

from pathlib import Path

from wsss.data.ground_truth import read_ground_truth
from wsss.data.images import encode_mask, read_mask
from wsss.data.manifest import read_manifest
from wsss.errors import UserError
from wsss.files import atomic_folder


def write(*, data: str | Path, split: str, out: str | Path) -> None:
    """Write the mask of every image of a split as <id>.png; UserError when images have none."""
    samples, truth = read_manifest(data).split(split), read_ground_truth(data)
    absent = [id for id in samples.ids if id not in truth]
    if absent:
        raise UserError(
            f"{data}: {len(absent)} of {len(samples)} images of split {split} have no ground truth mask, first "
            f"'{absent[0]}'; full supervision needs them all: take the fully supervised rows off `build`"
        )
    with atomic_folder(out) as folder:
        for sample in samples:
            (folder / f"{sample.id}.png").write_bytes(encode_mask(read_mask(truth[sample.id].mask)))
    print(f"{len(samples)} ground truth masks", flush=True)
