"""The data set as every stage after `data` sees it: images, image-level labels, splits and classes. No masks."""

from dataclasses import dataclass
from pathlib import Path

from wsss.errors import UserError
from wsss.files import read_csv, write_csv, write_text

FILES = ("manifest.csv", "splits.csv", "classes.txt")
COLUMNS = ("id", "image", "width", "height", "labels")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: its size in pixels (after EXIF orientation) and its image-level labels (class ids 1..C)."""

    id: str
    image: Path
    width: int
    height: int
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """All samples by id, the foreground classes (class id = position + 1), and the ids of every split."""

    samples: dict[str, Sample]
    classes: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]

    def split(self, name: str) -> list[Sample]:
        """Samples of a split in its order; UserError when the split is unknown or empty."""
        if not self.splits.get(name):
            known = ", ".join(sorted(self.splits)) or "none"
            raise UserError(f"split '{name}' is empty or unknown; this data set has: {known}")
        return [self.samples[key] for key in self.splits[name]]


def read_manifest(folder: str | Path) -> Manifest:
    """Read manifest.csv, splits.csv and classes.txt of a data folder; ids stay text."""
    folder = Path(folder)
    samples = {
        key: Sample(key, Path(image), int(width), int(height), tuple(int(label) for label in labels.split()))
        for key, image, width, height, labels in read_csv(folder / "manifest.csv", COLUMNS)
    }
    splits: dict[str, list[str]] = {}
    for name, key in read_csv(folder / "splits.csv", ("split", "id")):
        splits.setdefault(name, []).append(key)
    classes = tuple((folder / "classes.txt").read_text(encoding="utf-8").splitlines())
    return Manifest(samples, classes, {name: tuple(ids) for name, ids in splits.items()})


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write the three files, each atomically; image paths below the working directory become relative."""
    folder = Path(folder)
    rows = (
        (s.id, portable(s.image), s.width, s.height, " ".join(map(str, s.labels))) for s in manifest.samples.values()
    )
    write_csv(folder / "manifest.csv", COLUMNS, rows)
    pairs = ((name, key) for name, keys in manifest.splits.items() for key in keys)
    write_csv(folder / "splits.csv", ("split", "id"), pairs)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in manifest.classes))


def portable(path: Path) -> str:
    """A path as text: relative to the working directory when below it, else absolute."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def shard_of(samples: list[Sample], shard: str) -> list[Sample]:
    """The samples of shard 'i-of-n' (i from 1): contiguous parts whose sizes differ by at most one."""
    index, count = (int(number) for number in shard.split("-of-"))
    return samples[(index - 1) * len(samples) // count : index * len(samples) // count]
