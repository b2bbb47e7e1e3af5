"""Curves of results: scores over the background threshold, losses over training. Same input, same bytes."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from wsss.errors import UserError
from wsss.files import atomic_write

COLOURS = {"miou": "#0072b2", "precision": "#d55e00", "recall": "#009e73"}
INK, PAPER = "#1c2026", "#ffffff"
IN_THE_DARK = {INK: "#d7dce2", PAPER: "#1b1f26", "#0072b2": "#6fc0f5", "#d55e00": "#f0a35e", "#009e73": "#4cc9a0"}
MARKS = {"fixed": "o", "best": "*", "holdout": "D", "oracle": "^"}
NAMES = {"miou": "mIoU", "precision": "precision", "recall": "recall"}
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
STYLE: dict[Any, Any] = {
    **{"font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False},
    **{"text.parse_math": False, "svg.fonttype": "path", "svg.hashsalt": "wsss", "axes.grid": True, "grid.alpha": 0.25},
    **dict.fromkeys(INKED, INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), PAPER),
    "axes.prop_cycle": cycler(color=[*COLOURS.values(), "#cc79a7", "#8c8c8c"]),
}
# Fixed places: a report has a hundred curves, and matplotlib takes twice as long where it looks for the layout.
AXES = (0.09, 0.17, 0.62, 0.79)
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.03), "frameon": False, "fontsize": 8}


@dataclass(frozen=True)
class Series:
    """A line of values: points (x, value, standard deviation), or one value that holds everywhere (`level`)."""

    caption: str
    level: bool = False
    points: list[tuple[float, float, float]] = field(default_factory=list)


def threshold_curve(
    curve: Mapping[str, Sequence[float | None]],
    rules: Mapping[str, Mapping[str, Any]],
    out: str | Path,
) -> None:
    """Plot mIoU, precision and recall (in [0, 1], shown in percent) over the background threshold.

    `curve` and `rules` are those of an evaluation file; every rule's threshold is marked. The format follows
    the suffix of `out` (.svg, .png, .pdf).
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.1))
        axes = figure.add_axes(AXES)
        grid = np.array(curve["threshold"], np.float64)
        for name, colour in COLOURS.items():
            if name in curve:
                axes.plot(grid, _percents(curve[name]), color=colour, label=NAMES[name], linewidth=1.6)
        for rule, marker in MARKS.items():
            result = rules.get(rule) or {}
            if result.get("threshold") is not None and result.get("miou") is not None:
                point, value = result["threshold"], 100 * result["miou"]
                label = f"{rule}: {value:.1f} at {point:.3f}"
                axes.plot(point, value, marker, color=COLOURS["miou"], markersize=7, label=label, linestyle="none")
        axes.set(xlabel="background threshold", ylabel="%", xlim=(0, 1), ylim=(0, 100))
        axes.legend(**BESIDE)
        _save(figure, out)


def loss_curve(history: str | Path, out: str | Path) -> None:
    """Plot the loss and its parts over the steps of a training history (columns step, loss, parts, ...).

    Long histories are averaged down to at most 400 points; a logarithmic axis serves losses that fall a lot.
    """
    columns = read_history(history)
    parts = [name for name in columns if name not in ("step", "epoch", "lr", "loss", "images_per_s")]
    parts = [name for name in parts if not np.array_equal(columns[name], columns["loss"], equal_nan=True)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.6))
        axes = figure.add_axes(AXES)
        for name in ["loss", *parts]:
            step, value = _averaged(columns["step"]), _averaged(columns[name])
            axes.plot(step, value, label=name, linewidth=1.8 if name == "loss" else 1.1)
        loss = _averaged(columns["loss"])
        if len(loss) and np.nanmin(loss) > 0 and np.nanmax(loss) > 20 * np.nanmin(loss):
            axes.set_yscale("log")
        axes.set(xlabel="step", ylabel="loss")
        if len(axes.get_lines()) > 1:
            axes.legend(**BESIDE)
        _save(figure, out)


def in_the_dark(svg: str) -> str:
    """The same plot for a dark page: an SVG of this module in other colours."""
    return re.sub("|".join(IN_THE_DARK), lambda found: IN_THE_DARK[found[0]], svg)


def value_curve(lines: Sequence[Series], out: str | Path, *, x: str, y: str) -> None:
    """Plot values over a number, levels as black horizontal lines; bars show standard deviations above zero."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        dashes, colours = cycle(("--", ":", "-.")), cycle(("#d55e00", "#0072b2", "#009e73", "#cc79a7"))
        for line in lines:
            place, value, spread = np.array(line.points, np.float64).reshape(-1, 3).T
            if line.level and len(value):
                axes.axhline(value[0], color="#1c2026", linestyle=next(dashes), linewidth=1.4, label=line.caption)
            elif len(value):
                colour, bars = next(colours), spread if spread.any() else None
                axes.errorbar(place, value, bars, fmt="o-", color=colour, lw=1.8, capsize=3, label=line.caption)
        if not any(line.points for line in lines):
            axes.text(0.5, 0.5, "no scores: there is no ground truth", transform=axes.transAxes, ha="center")
        axes.set(xlabel=x, ylabel=y)
        axes.margins(y=0.15)
        if len(axes.get_lines()) > 1:
            figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        _save(figure, out)


def read_history(path: str | Path) -> dict[str, np.ndarray]:
    """Columns of a training history as float64, empty fields NaN; UserError when it is no such file."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = {
            name: np.array([float("nan" if row[name] == "" else row[name]) for row in rows])
            for name in (rows[0] if rows else ())
        }
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is not a training history ({error}); train again") from None
    if not {"step", "loss"} <= set(columns):
        raise UserError(f"{path}: a training history needs rows and the columns step and loss; train again")
    return columns


def _percents(values: Sequence[float | None]) -> np.ndarray:
    return 100 * np.array([np.nan if value is None else value for value in values], np.float64)


def _averaged(values: np.ndarray, most: int = 400) -> np.ndarray:
    block = -(-len(values) // most)
    return np.array([values[start : start + block].mean() for start in range(0, len(values), max(block, 1))])


def _save(figure: Figure, out: str | Path) -> None:
    """Write without date and program name, so that the same plot gives the same bytes."""
    kind = Path(out).suffix.lstrip(".") or "png"
    unstamped = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    stamps = unstamped.get(kind, {"CreationDate": None, "Producer": None, "Creator": None})
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format=kind, dpi=144, metadata=stamps)
