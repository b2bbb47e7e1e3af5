"""What all settings share: the base of their models, and the types that occur in many."""

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Metric = Literal["miou", "precision", "recall"]
Threshold = Literal["fixed", "best", "holdout", "oracle"]
Background = Literal["best", "holdout"] | Fraction


class Model(BaseModel):
    """Base of all settings: immutable, and an unknown key is refused together with the nearest valid one."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                    hint = f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(cls.model_fields)}"
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return values


class Rounds(Model):
    """Rounds of iterative learning behind a chain: `each` one but the last, and the `last`.

    With `every` they make a row or column per round (its name holds {round}), else one of the last round.
    """

    each: list[str]
    last: list[str]
    every: bool = False

    def chains(self, start: list[str], count: int) -> list[tuple[int, list[str]]]:
        """The chain behind every round, or behind the last of `count`, with the round's number (from 1)."""
        first = 1 if self.every else count
        return [(number, [*start, *self.each * (number - 1), *self.last]) for number in range(first, count + 1)]
