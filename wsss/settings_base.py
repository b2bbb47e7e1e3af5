"""What all settings share: the base of their models, and the types that occur in many."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_truth_value(value: Any) -> Any:
    """YAML reads yes, on and true as truth values, which Python would count as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not a truth value")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Real = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
Metric = Literal["miou", "precision", "recall"]
Threshold = Literal["fixed", "best", "holdout", "oracle"]
Background = Literal["best", "holdout"] | Fraction
Seeds = Annotated[list[Annotated[Whole, Field(ge=0, lt=2**32)]], Field(min_length=1)]


REMEDIES = {
    "missing": "is missing; add it",
    "string_type": "must be text; quote it",
    "list_type": "must be a list; write [a, b]",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "extra_forbidden": "unknown key",
}


def in_words(fault: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words, with the value that was given."""
    text = REMEDIES.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    plain = isinstance(fault["input"], str | int | float) and fault["type"] not in ("value_error", "extra_forbidden")
    return f"{text}, not {fault['input']!r:.60}" if plain else text


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
