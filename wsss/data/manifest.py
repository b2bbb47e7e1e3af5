"""The data set as every stage after `data` sees it: images, image-level labels, splits and classes. No masks."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from wsss.data.rows import AGAIN, Rows, damaged, numbers, read_rows
from wsss.errors import UserError
from wsss.files import write_csv, write_text

FILES = ("manifest.csv", "splits.csv", "classes.txt")
COLUMNS = ("id", "image", "width", "height", "labels")
SPLIT_COLUMNS = ("split", "id")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: its size in pixels (after EXIF orientation) and its image-level labels (class ids 1..C)."""

    id: str
    image: Path
    width: int
    height: int
    labels: tuple[int, ...]


class Samples(Sequence[Sample]):
    """Samples in the order of `ids`; slices are views, and each sample is made when it is asked for."""

    def __init__(self, samples: Mapping[str, Sample], ids: Sequence[str]) -> None:
        self.ids = ids
        self._samples = samples

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        if isinstance(index, slice):
            return Samples(self._samples, self.ids[index])
        return self._samples[self.ids[index]]

    def __iter__(self) -> Iterator[Sample]:
        return (self._samples[id] for id in self.ids)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Manifest:
    """All samples by id, the foreground classes (class id = position + 1), and the ids of every split."""

    samples: Mapping[str, Sample]
    classes: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]

    def split(self, name: str) -> Samples:
        """Samples of a split in its order; UserError when it is unknown, empty, or names an unknown image."""
        if not self.splits.get(name):
            known = ", ".join(sorted(self.splits)) or "none"
            raise UserError(f"split '{name}' is empty or unknown; this data set has: {known}")
        stray = next((id for id in self.splits[name] if id not in self.samples), None)
        if stray is not None:
            raise UserError(f"splits.csv, {name}: '{stray}' is not in manifest.csv; {AGAIN}")
        return Samples(self.samples, self.splits[name])


def read_manifest(folder: str | Path) -> Manifest:
    """Read manifest.csv, splits.csv and classes.txt of a data folder; ids stay text.

    UserError that names the file and line when one is missing or was damaged.
    """
    folder = Path(folder)
    classes = _read_classes(folder / "classes.txt")
    samples = _read_samples(folder / "manifest.csv", len(classes))
    same = {id: id for id in samples}
    splits: dict[str, list[str]] = {}
    for _, (name, id) in read_rows(folder / "splits.csv", SPLIT_COLUMNS):
        splits.setdefault(name, []).append(same.get(id, id))
    return Manifest(samples, classes, {name: tuple(ids) for name, ids in splits.items()})


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {AGAIN}") from None


def _read_samples(path: Path, classes: int) -> Rows[Sample]:
    """Samples whose columns are packed: texts, numbers, and each combination of labels once."""
    images: list[str] = []
    ids: dict[str, None] = {}
    sizes, labels = array("q"), []
    known: dict[str, tuple[int, ...] | None] = {}
    for line, (id, image, width, height, text) in read_rows(path, COLUMNS):
        size = numbers((width, height))
        if text not in known:
            found = numbers(text.split())
            known[text] = found if found is not None and all(0 < label <= classes for label in found) else None
        if id in ids:
            raise damaged(path, line, f"id '{id}' stands already above")
        if size is None or min(size) < 1:
            raise damaged(path, line, f"{width} x {height} is no size")
        if (present := known[text]) is None:
            raise damaged(path, line, f"labels '{text}' are no class ids 1..{classes}")
        ids[id] = None
        images.append(image)
        sizes.extend(size)
        labels.append(present)
    order = list(ids)

    def make(n: int) -> Sample:
        return Sample(order[n], Path(images[n]), sizes[2 * n], sizes[2 * n + 1], labels[n])

    return Rows(order, make)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write the three files, each atomically; image paths below the working directory become relative."""
    folder = Path(folder)
    samples = manifest.samples.values()
    rows = ((s.id, portable(s.image), s.width, s.height, " ".join(map(str, s.labels))) for s in samples)
    write_csv(folder / "manifest.csv", COLUMNS, rows)
    pairs = ((name, id) for name, ids in manifest.splits.items() for id in ids)
    write_csv(folder / "splits.csv", SPLIT_COLUMNS, pairs)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in manifest.classes))


def portable(path: Path) -> str:
    """A path as text: relative to the working directory when below it, else absolute."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def shard_of(samples: Samples, shard: str) -> Samples:
    """The samples of shard 'i-of-n' (i from 1): contiguous parts whose sizes differ by at most one."""
    index, count = (int(number) for number in shard.split("-of-"))
    return samples[(index - 1) * len(samples) // count : index * len(samples) // count]
