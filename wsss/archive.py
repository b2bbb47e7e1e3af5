"""The archive that VOC's evaluation server takes: predictions of the test split, laid out as it wants them."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from wsss.data.manifest import read_manifest
from wsss.data.pngs import Pngs
from wsss.errors import UserError
from wsss.files import atomic_write

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
"""comp6: trained with more than VOC's own data, which ImageNet weights are."""


def pack(*, data: str | Path, split: str, folders: Sequence[str | Path], out: str | Path) -> None:
    """Write a .tgz with <id>.png for every image of the split; the same predictions give the same bytes.

    UserError when predictions of some images are missing.
    """
    samples = read_manifest(data).split(split)
    files = Pngs(folders)
    absent = [id for id in samples.ids if id not in files]
    if absent:
        raise UserError(f"{folders[0]}: {len(absent)} of {len(samples)} predictions are missing, first {absent[0]}.png")
    with atomic_write(out) as temporary, tarfile.open(temporary, "w:gz", compresslevel=6) as archive:
        for sample in samples:
            content = files[sample.id].read_bytes()
            entry = tarfile.TarInfo(f"{FOLDER}/{sample.id}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    print(f"{len(samples)} predictions", flush=True)
