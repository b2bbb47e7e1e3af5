"""What the figures are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Cell = tuple[tuple[str, ...], int, str]
"""A run: its chain, seed and scored split."""


@dataclass(frozen=True)
class Inputs:
    """The data folder; per column the files or folders with its maps; evaluation files by run; an images file."""

    data: Path
    maps: Sequence[Sequence[str]] = ()
    evaluations: Mapping[Cell, Path] = field(default_factory=dict)
    images: Path | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in their order."""
        return tuple(dict.fromkeys(seed for _, seed, _ in self.evaluations))
