"""Measured values of table cells: evaluation files of several seeds in, mean, spread and contract out."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.errors import UserError
from wsss.server_scores import Run
from wsss.table_layout import RULES
from wsss.thresholds import read_evaluation

Evaluations = Mapping[tuple[tuple[str, ...], int, str], Path]
Content = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A measured value in percent with its standard deviation, or why there is none.

    `seeds` counts the seeds behind it; `over_seeds` is False where the deviation is over chains instead.
    """

    status: str
    reason: str = ""
    value: float | None = None
    std: float | None = None
    seeds: int = 0
    over_seeds: bool = True
    contract: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Runs:
    """The evaluation files at hand, read once each.

    `voc` says whether the images are those of VOC 2012, whose test split only its server can score. A file
    that does not exist makes a measure failed with `allow_missing`, else a UserError. `server` holds its answers.
    """

    files: Evaluations
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    voc: bool = True
    allow_missing: bool = False
    server: Mapping[Run, Mapping[str, float]] = field(default_factory=dict)
    _read: dict[Path, Content] = field(default_factory=dict)

    def rules(self, chain: Sequence[str], split: str) -> list[str]:
        """Threshold rules that all evaluations of a chain have; none for label maps."""
        contents, _ = self._contents(chain, split)
        return [rule for rule in RULES if contents and all(_scored(c["rules"].get(rule)) for _, c in contents)]

    def measure(self, chain: Sequence[str], split: str, metric: str, rule: str) -> Measure:
        """Mean and sample standard deviation of a metric over the seeds; `rule` is moot for label maps."""
        if split == "test" and (answers := self._answers(chain, metric)):
            absent = [str(seed) for seed in self.seeds if seed not in answers]
            contract = {"ground_truth": "VOC server", "split": split, "seeds": ",".join(map(str, answers))}
            return _over_seeds([*answers.values()], absent, "has no score of the server", contract)
        contents, empty = self._contents(chain, split)
        if empty is not None:
            return empty
        results = [content["rules"].get("labels") or content["rules"].get(rule) for _, content in contents]
        for (_, content), result in zip(contents, results, strict=True):
            if not _scored(result):
                why = (result or content).get("why_empty") or f"the threshold rule '{rule}' was not evaluated"
                return self.unscored(split, why)
        found = [100 * value for result in results if (value := self._value(result, metric)) is not None]
        seeds = [seed for seed, _ in contents]
        contract = merge(_contract(content, result) for (_, content), result in zip(contents, results, strict=True)) | {
            "seeds": ",".join(map(str, seeds))
        }
        if not found:
            return Measure("run", "undefined: there is nothing to score", contract=contract)
        absent = [str(seed) for seed in self.seeds if seed not in seeds]
        return _over_seeds(found, absent, "the job failed or was not finished", contract)

    def _answers(self, chain: Sequence[str], metric: str) -> dict[int, float]:
        """The server's percentages by seed."""
        known = {seed: self.server.get((tuple(chain), seed), {}) for seed in self.seeds}
        return {seed: 100 * scores[metric] for seed, scores in known.items() if metric in scores}

    def mean(self, chains: Sequence[Sequence[str]], split: str, metric: str, rule: str) -> Measure:
        """Mean and population standard deviation over chains, each a mean over seeds (RCM+MAM, Table 5)."""
        parts = [self.measure(chain, split, metric, rule) for chain in chains]
        values = [part.value for part in parts if part.value is not None]
        if len(values) < len(parts):
            lacking = next(part for part in parts if part.value is None)
            return Measure(lacking.status, lacking.reason)
        reason = next((part.reason for part in parts if part.reason), "")
        contract = merge(part.contract for part in parts) | {"std": f"population, over {len(parts)} chains"}
        count = min(part.seeds for part in parts)
        return Measure("run", reason, statistics.fmean(values), statistics.pstdev(values), count, False, contract)

    def unscored(self, split: str, reason: str, why_test: str = "") -> Measure:
        """A cell without a run: VOC's test split waits for its server, the rest is not run for `reason`."""
        if split == "test" and self.voc:
            server = "the masks of this split are not public; the evaluation server of VOC scores it"
            return Measure("needs server", "; ".join(filter(None, (server, why_test))))
        return Measure("not run", reason)

    def _contents(self, chain: Sequence[str], split: str) -> tuple[list[tuple[int, Content]], Measure | None]:
        """Evaluations by seed, or the measure that says why there are none."""
        keys = {seed: (tuple(chain), seed, split) for seed in self.seeds}
        planned = {seed: Path(self.files[key]) for seed, key in keys.items() if key in self.files}
        if not planned:
            return [], self.unscored(split, f"this configuration does not score {'/'.join(chain)} on {split}")
        missing = [path for path in planned.values() if not path.exists()]
        if missing and not self.allow_missing:
            raise UserError(f"{missing[0]}: does not exist; run the evaluation first")
        if len(missing) == len(planned):
            return [], Measure("failed", "there is no evaluation file: the job failed or was not finished")
        return [(seed, self._content(path)) for seed, path in planned.items() if path not in missing], None

    def _content(self, path: Path) -> Content:
        if path not in self._read:
            self._read[path] = read_evaluation(path)
            if self._read[path]["classes"] != ["background", *self.classes]:
                raise UserError(f"{path}: was made with other classes; delete it and run the evaluation again")
        return self._read[path]

    def _value(self, result: Content, metric: str) -> float | None:
        if not metric.startswith("iou/"):
            return result[metric]
        return result["iou"][("background", *self.classes).index(metric.removeprefix("iou/"))]


def _over_seeds(found: list[float], absent: list[str], why: str, contract: Mapping[str, str]) -> Measure:
    reason = f"without seed {' '.join(absent)}: {why}" if absent else ""
    std = statistics.stdev(found) if len(found) > 1 else None
    return Measure("run", reason, statistics.fmean(found), std, len(found), contract=contract)


def merge(contracts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """One contract from several: every key with its unlike values joined by a slash."""
    values: dict[str, dict[str, None]] = {}
    for contract in contracts:
        for key, text in contract.items():
            values.setdefault(key, {})[text] = None
    return {key: "/".join(texts) for key, texts in values.items()}


def _scored(result: Content | None) -> bool:
    return result is not None and not result.get("why_empty")


def _contract(content: Content, result: Content) -> dict[str, str]:
    """Contract of one result as text: the file's, with what the threshold rule decides filled in."""
    rule = next(name for name, found in content["rules"].items() if found is result)
    contract = content["contract"] | {"split": content["split"]}
    contract |= {key: result[key] for key in ("images", "ground_truth") if key in result}
    if rule != "labels":
        contract |= {"threshold_rule": rule, "threshold": result.get("threshold")}
    empty = {key for key in ("threshold_rule", "threshold") if contract.get(key) is None}
    return {key: _text(value) for key, value in contract.items() if key not in empty | {"seed"}}


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_text(value[key])}" for key in sorted(value))
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return " ".join(str(value).replace(";", ",").split())
