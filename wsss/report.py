"""The report: one HTML page that needs nothing else, with tables, figures, curves, costs and settings."""

import base64
import csv
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from wsss.costs import Cost
from wsss.curves import in_the_dark, loss_curve, threshold_curve
from wsss.errors import UserError
from wsss.files import write_text
from wsss.table_formats import STYLE, fragment
from wsss.table_layout import RULES
from wsss.thresholds import read_evaluation

TEMPLATES = Path(__file__).parent / "templates"
MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
STATUSES = {
    "run": "cells run",
    "quoted": "cells quoted",
    "not run": "cells not run",
    "failed": "cells failed",
    "needs server": "cells for the server",
}
Labelled = Sequence[tuple[str, Path]]


@dataclass(frozen=True)
class Picture:
    """A figure: an image file (PNG, JPEG or SVG) in the folder of its paper, its title, and what it shows."""

    path: Path
    title: str
    caption: str = ""


def build(
    *,
    title: str,
    out: str | Path,
    tables: Sequence[Path] = (),
    evaluations: Labelled = (),
    histories: Labelled = (),
    figures: Sequence[Picture] = (),
    costs: Sequence[Cost] = (),
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write the report to `out`, atomically; the same inputs give the same bytes, and it fetches nothing.

    `tables` are .html files of wsss.tables (or .md), `evaluations` and `histories` pairs of label and file,
    `meta` what stands under settings and versions: a text per heading, or a nested value shown as YAML.
    Everything but the tables is escaped. Raises UserError that names the file that is missing or wrong.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    contents = [(label, read_evaluation(path)) for label, path in evaluations]
    page = environment.get_template("report.html.j2").render(
        title=title,
        style=Markup(STYLE),
        summary=_summary(tables, costs),
        papers=_by_paper(tables, figures),
        rules=RULES,
        scores=[_scores(label, content) for label, content in contents],
        thresholds=[_threshold_plot(label, content) for label, content in contents if _has_curve(content)],
        losses=[_loss_plot(label, path) for label, path in histories],
        stages=_stages(costs),
        jobs=[_cost_view(cost) for cost in costs],
        meta=[(key, *_meta_view(value)) for key, value in (meta or {}).items()],
    )
    write_text(out, page)


def _summary(tables: Sequence[Path], costs: Sequence[Cost]) -> list[tuple[str, str]]:
    """Counts of the cells' statuses, from the long form beside each table, and what all jobs took."""
    counts = dict.fromkeys(STATUSES, 0)
    for path in dict.fromkeys(Path(table).with_suffix(".csv") for table in tables):
        if path.exists():
            with open(path, encoding="utf-8", newline="") as stream:
                for line in csv.DictReader(stream):
                    plain = "@" not in line["metric"] and not line["metric"].startswith("iou/")
                    counts[line["status"]] += plain
    cards = [(f"{count}", STATUSES[status]) for status, count in counts.items() if count]
    wall = [cost.wall_s for cost in costs if cost.wall_s is not None]
    peaks = [cost.peak_mb for cost in costs if cost.peak_mb is not None]
    cards += [(duration(sum(wall)), f"in {len(costs)} jobs")] if wall else []
    return cards + ([(memory(max(peaks)), "peak memory of a job")] if peaks else [])


def _by_paper(tables: Sequence[Path], figures: Iterable[Picture]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Tables and figures under the name of their folder."""
    papers: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in map(Path, tables):
        text = _read(path)
        content = fragment(text) if path.suffix == ".html" else None
        if path.suffix == ".html" and content is None:
            raise UserError(f"{path}: is not a table of wsss; make it again")
        view = {"name": path.stem, "html": content and Markup(content), "text": text}
        papers.setdefault(path.parent.name, {}).setdefault("tables", []).append(view)
    for figure in figures:
        path = Path(figure.path)
        view = {"name": path.stem, "title": figure.title, "caption": figure.caption, "image": _embed(path)}
        papers.setdefault(path.parent.name, {}).setdefault("figures", []).append(view)
    return papers


def _scores(label: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the threshold rules' table: mIoU in percent and threshold by rule, or why there are none."""
    results = content["rules"]
    first = next(iter(results.values()), None) or {}
    return {
        "label": label,
        "split": content["split"],
        "images": first.get("images", ""),
        "truth": ", ".join(f"{name} {count}" for name, count in sorted((first.get("ground_truth") or {}).items())),
        "rules": [_score(results.get(rule)) for rule in RULES],
        "labels": _score(results.get("labels")),
        "why_empty": content.get("why_empty"),
    }


def _has_curve(content: Mapping[str, Any]) -> bool:
    return bool(content.get("curve")) and not content.get("why_empty")


def _score(result: Mapping[str, Any] | None) -> tuple[str, str]:
    if not result or result.get("miou") is None:
        return "–", ""
    threshold = result.get("threshold")
    return f"{100 * result['miou']:.1f}", "" if threshold is None else f"at {threshold:.3f}"


def _threshold_plot(label: str, content: Mapping[str, Any]) -> dict[str, str]:
    curve, rules = content["curve"], content["rules"]
    return _plot(label, content["split"], lambda to: threshold_curve(curve, rules, to))


def _loss_plot(label: str, path: Path) -> dict[str, str]:
    return _plot(label, "", lambda to: loss_curve(path, to))


def _plot(label: str, detail: str, draw: Callable[[Path], None]) -> dict[str, str]:
    """A plot for light and for dark pages, as data addresses."""
    with tempfile.TemporaryDirectory() as folder:
        light, dark = Path(folder, "light.svg"), Path(folder, "dark.svg")
        draw(light)
        dark.write_text(in_the_dark(light.read_text()))
        return {"label": label, "detail": detail, "light": _embed(light), "dark": _embed(dark)}


def _embed(path: Path) -> str:
    kind = MEDIA.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: cannot be embedded; give one of {', '.join(MEDIA)}")
    try:
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read; make the table again") from None


def _stages(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Jobs, total times and highest memory per stage, with its share of all wall time in percent."""
    whole = sum(cost.wall_s or 0 for cost in costs)
    stages = []
    for name in dict.fromkeys(cost.stage for cost in costs):
        group = [cost for cost in costs if cost.stage == name]
        wall, cpu = sum(cost.wall_s or 0 for cost in group), sum(cost.cpu_s or 0 for cost in group)
        peak = max((cost.peak_mb for cost in group if cost.peak_mb is not None), default=None)
        view = _cost_view(Cost(name, str(len(group)), wall, cpu, peak))
        stages.append(view | {"share": f"{100 * wall / whole if whole else 0:.1f}"})
    return stages


def _cost_view(cost: Cost) -> dict[str, str]:
    times = {"wall": duration(cost.wall_s), "cpu": duration(cost.cpu_s)}
    return {"stage": cost.stage, "job": cost.job, **times, "memory": memory(cost.peak_mb)}


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float | None) -> str:
    """Megabytes as people read them: 850 MB, 3.2 GB."""
    if megabytes is None:
        return "–"
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _meta_view(value: object) -> tuple[str, bool]:
    """Text of a setting, and whether it is a block of several lines."""
    if isinstance(value, Mapping | list | tuple):
        plain = {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else list(value)
        return yaml.safe_dump(plain, sort_keys=True, allow_unicode=True, width=100).rstrip(), True
    return str(value), "\n" in str(value)
