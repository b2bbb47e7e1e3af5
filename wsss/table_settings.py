"""Settings of the papers' tables: rows, the chains that fill them, and their published numbers (config/tables.yaml)."""

from typing import Annotated

from pydantic import Field, model_validator

from wsss.figure_settings import Chain
from wsss.settings_base import Metric, Model, Rounds, Seeds, Threshold


class Row(Model):
    """One row of a table: a run (`chain`), a quoted number, or a method that is pending."""

    row: str
    chain: Chain | None = None
    rounds: Rounds | None = None
    published: dict[str, str] | None = None
    quoted: dict[str, str] | None = None
    pending: str | None = None
    mean_of: Annotated[list[Chain], Field(min_length=1)] | None = None
    splits: list[str] | None = None
    metric: Metric | list[Metric] | None = None
    threshold: Threshold | None = None

    def with_rounds(self, count: int) -> list["Row"]:
        """One row per round of `rounds`, or the row of the last."""
        assert self.rounds is not None
        rows = []
        for number, chain in self.rounds.chains(self.chain or [], count):
            name = self.row.replace("{round}", str(number))
            known = {key: text.replace("{round}", str(number)) for key, text in (self.published or {}).items()}
            rows.append(self.model_copy(update={"row": name, "chain": chain, "published": known or None}))
        return rows

    @model_validator(mode="after")
    def _one_kind(self) -> "Row":
        kinds = [kind for kind in ("chain", "mean_of", "quoted", "pending") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"row '{self.row}' needs exactly one of chain, mean_of, quoted, pending")
        if self.rounds and not self.chain:
            raise ValueError(f"row '{self.row}': rounds need a chain to start from")
        if self.rounds and self.rounds.every and "{round}" not in self.row:
            raise ValueError(f"row '{self.row}': with rounds.every its name must hold {{round}}")
        return self


class Table(Model):
    """A table: its rows, the scored splits, the metrics, and which threshold rule fills the main cell."""

    title: str
    metric: Metric | list[Metric] = "miou"
    threshold: Threshold = "fixed"
    splits: list[str] = ["train", "val"]
    seeds: Seeds | None = None
    """Seeds of this table; without them those of the whole configuration."""
    rows: list[Row]
    per_class: bool = False

    def with_rounds(self, count: int) -> "Table":
        """The table with its rounds written out as chains."""
        rows = [row for given in self.rows for row in (given.with_rounds(count) if given.rounds else [given])]
        return Table.model_validate(self.model_dump() | {"rows": [row.model_dump(exclude={"rounds"}) for row in rows]})

    @model_validator(mode="after")
    def _distinct(self) -> "Table":
        names = [row.row for row in self.rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"row '{twice}' stands twice; give every row its own name")
        return self
