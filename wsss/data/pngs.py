"""Label maps as <id>.png in one folder or several, found by one listing of each."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Pngs(Mapping[str, Path]):
    """The file of every id, in the first folder that holds one. Looking for each id is slow on network disks."""

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.folders = tuple(map(Path, folders))
        self._folder = {id: folder for folder in reversed(self.folders) for id in _listed(folder)}

    def __getitem__(self, id: str) -> Path:
        return self._folder[id] / f"{id}.png"

    def __contains__(self, id: object) -> bool:
        return id in self._folder

    def __iter__(self) -> Iterator[str]:
        return iter(self._folder)

    def __len__(self) -> int:
        return len(self._folder)


def _listed(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name.removesuffix(".png") for entry in entries if entry.name.endswith(".png"))
