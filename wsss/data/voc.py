"""PASCAL VOC 2012, alone or with SBD: from an unpacked VOCdevkit to the four files of the data stage."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from xml.parsers import expat

from wsss.data import sbd as sbd_files
from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.images import read_size
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.data.prefetch import ahead
from wsss.data.voc_constants import CLASSES, SPLITS
from wsss.errors import UserError

_CLASS_IDS = {name: number for number, name in enumerate(CLASSES, start=1)}
_READERS = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def build(
    devkit: str | Path,
    out: str | Path,
    *,
    sbd: str | Path | None = None,
    sbd_masks: str | Path | None = None,
    test: str | Path | None = None,
    verify_counts: bool = True,
) -> None:
    """Write manifest.csv, splits.csv, classes.txt and ground_truth.csv of VOC 2012 to the folder `out`.

    `devkit`: the unpacked VOC2012 folder, VOCdevkit, or its parent. `sbd`: unpacked SBD; adds the split
    train_aug = SBD train + SBD val + VOC train - VOC val. `sbd_masks`: folder of `wsss.data.sbd.build_masks`;
    adds ground truth for the images of train_aug without an official mask. `test`: the unpacked test archive;
    its images have no labels. Official masks always win, so that scores on train are scores on VOC's 1,464
    masks. `verify_counts` compares size and digest of every list with the published ones. Raises UserError.
    """
    root = locate(devkit)
    test_root = locate(test) if test is not None else None
    splits = read_splits(root, sbd=sbd, test=test_root)
    if verify_counts:
        check_splits(splits)
    unlabelled = frozenset(splits.get("test", ()))
    ids = sorted(set().union(*splits.values()))

    def sample(key: str) -> Sample:
        image = (test_root if key in unlabelled and test_root else root) / "JPEGImages" / f"{key}.jpg"
        labels = () if key in unlabelled else read_labels(root / "Annotations" / f"{key}.xml")
        return Sample(key, image, *read_size(image), labels)

    samples = dict(zip(ids, _map(sample, ids), strict=True))
    masks = _ground_truth(root, splits, Path(sbd_masks) if sbd_masks is not None else None)
    _check_sizes(samples, masks)
    write_ground_truth(out, masks)
    write_manifest(out, Manifest(samples, CLASSES, splits))


def locate(devkit: str | Path) -> Path:
    """The VOC2012 folder, given it, VOCdevkit, or the folder that holds VOCdevkit."""
    devkit = Path(devkit)
    for candidate in (devkit / "VOCdevkit" / "VOC2012", devkit / "VOC2012", devkit):
        if (candidate / "ImageSets" / "Segmentation").is_dir() and (candidate / "JPEGImages").is_dir():
            return candidate
    raise UserError(
        f"{devkit}: holds no VOCdevkit/VOC2012 with ImageSets/Segmentation and JPEGImages; unpack VOC there"
    )


def read_splits(root: Path, *, sbd: str | Path | None = None, test: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Sorted ids of train_aug (with SBD only), train, val and test (with the test archive only)."""
    train, val = _read_list(root, "train"), _read_list(root, "val")
    splits = {"train": train, "val": val}
    if sbd is not None:
        splits = {"train_aug": tuple(sorted({*sbd_files.read_ids(sbd), *train} - {*val})), **splits}
    if test is not None:
        splits["test"] = _read_list(test, "test")
    for one, other in (("train", "val"), ("test", "train"), ("test", "val"), ("test", "train_aug")):
        shared = set(splits.get(one, ())) & set(splits.get(other, ()))
        if shared:
            raise UserError(f"{root}: image {min(shared)} stands in both {one} and {other}; unpack VOC again")
    return splits


def check_splits(splits: Mapping[str, Sequence[str]]) -> None:
    """Compare size and digest of each list with the published ones; UserError names all that differ."""
    faults = []
    for name, ids in splits.items():
        count, digest = SPLITS[name]
        if len(ids) != count:
            faults.append(f"{name} has {len(ids)} images instead of {count}")
        elif list_digest(ids) != digest:
            faults.append(f"{name} has {count} images but not the published ones (sha256 {list_digest(ids)})")
    if faults:
        raise UserError(f"VOC 2012 image lists: {'; '.join(faults)}; unpack the original archives again")


def list_digest(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, each followed by a newline."""
    return hashlib.sha256("".join(f"{key}\n" for key in sorted(ids)).encode()).hexdigest()


def read_labels(path: Path) -> tuple[int, ...]:
    """Class ids 1..20, ascending, of all `name` elements of an annotation, of whatever kind the object is.

    Difficult and truncated objects count, as in jiwoon-ahn/irn, voc12/make_cls_labels.py. UserError when the
    file is missing, malformed, names no class, or has a document type: entities would be declared there, and
    VOC's files have none.
    """
    texts: list[str] = []
    depth = 0

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal depth
        if tag == "name":
            depth += 1
            texts.append("")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= tag == "name"

    def text(data: str) -> None:
        if depth:
            texts[-1] += data

    def refuse(*_: object) -> None:
        raise UserError(f"{path}: has a document type declaration; remove it")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); unpack VOC again") from None
    except expat.ExpatError as error:
        raise UserError(f"{path}: is not valid XML ({error}); unpack VOC again") from None
    labels = {_CLASS_IDS[name] for name in map(str.strip, texts) if name in _CLASS_IDS}
    if not labels:
        raise UserError(f"{path}: names none of VOC's 20 classes; unpack VOC again")
    return tuple(sorted(labels))


def _ground_truth(root: Path, splits: Mapping[str, Sequence[str]], sbd_masks: Path | None) -> dict[str, GroundTruth]:
    official = {*splits["train"], *splits["val"]}
    masks = {key: GroundTruth(root / "SegmentationClass" / f"{key}.png", "VOC") for key in official}
    if sbd_masks is not None:
        others = set(splits.get("train_aug", ())) - official
        masks |= {key: GroundTruth(sbd_masks / f"{key}.png", "SBD") for key in others}
    return dict(sorted(masks.items()))


def _check_sizes(samples: Mapping[str, Sample], masks: Mapping[str, GroundTruth]) -> None:
    sizes = _map(lambda truth: read_size(truth.mask), list(masks.values()))
    for (key, truth), size in zip(masks.items(), sizes, strict=True):
        image = samples[key]
        if size != (image.width, image.height):
            raise UserError(
                f"{truth.mask}: is {size[0]}x{size[1]}, its image {image.width}x{image.height}; unpack both again"
            )


def _read_list(root: Path, name: str) -> tuple[str, ...]:
    path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
    try:
        ids = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); unpack VOC again") from None
    if not ids:
        raise UserError(f"{path}: is empty; unpack VOC again")
    return tuple(sorted(set(ids)))


def _map(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Threads hide the latency of small files on network disks; the order is kept."""
    return list(ahead(function, items, _READERS))
