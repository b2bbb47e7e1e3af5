"""One finished table as long CSV, Markdown, HTML and LaTeX. All values are percent."""

import html as markup
import re
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise

import pandas as pd

from wsss.published import Number
from wsss.table_layout import NOT_COMPARABLE, WITHIN, Entry, Grid, Table, contract_text, grids

COLUMNS = (
    *("table", "row", "split", "metric", "published", "ours", "std", "seeds", "status", "contract"),
    *("published_std", "difference", "reason", "source"),
)
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"
BODY_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
@media (prefers-color-scheme: dark) { body { background: #15181d; color: #e4e7eb; } }
"""
STYLE = """
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem .5rem; text-align: right; white-space: nowrap; }
th[scope=row], thead th:first-child { text-align: left; } h4 { margin: 1.2rem 0 .4rem; }
thead { border-bottom: 1px solid; } tbody tr + tr { border-top: 1px solid #8883; } th { font-weight: 600; }
th.span { text-align: center; } tbody th { font-weight: 400; } td.ours { font-weight: 600; }
td.status, td.none { color: #888; font-weight: 400; } td.failed { color: #c33; font-weight: 600; }
td sup { position: absolute; margin: .55em 0 0 1px; } sup { line-height: 0; font-weight: 400; }
ul.notes { list-style: none; padding: 0; font-size: .85em; }
.contracts td { text-align: left; white-space: normal; font-size: .85em; }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{style}</style></head>
<body>
{begin}
{content}
{end}
</body></html>
"""


def csv_text(table: Table) -> str:
    """The long form: a line per cell, the columns of `COLUMNS`; numbers in percent, else empty."""
    lines = []
    for cell in table.cells.values():
        paper = cell.published or Number(None)
        values = [_exact(value) for value in (paper.value, cell.ours, cell.std)]
        line = [table.name, cell.row, cell.split, cell.metric, *values, cell.seeds or "", cell.status]
        line += [contract_text(cell.contract)]
        lines.append([*line, _exact(paper.sd), _exact(cell.difference), cell.reason, paper.source])
    return pd.DataFrame(lines, columns=list(COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n")


def markdown(table: Table) -> str:
    """A heading, one pipe table per grid, and the footnotes."""
    blocks = [f"### {_escape_markdown(table.title)}"]
    for grid in grids(table):
        labels = [_escape_markdown(label) for label, width in grid.groups for _ in range(width)]
        columns = [_marked_markdown(column) for column in grid.columns]
        heads = [f"{label} {column}".strip() for label, column in zip(labels, columns, strict=True)]
        lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
        lines += [[_marked_markdown(entry) for entry in row] for row in grid.rows]
        caption = [f"**{_escape_markdown(grid.caption)}**\n"] if grid.caption else []
        blocks.append("\n".join(caption + [f"| {' | '.join(line)} |" for line in lines]))
    notes = [f"- {_superscript(mark)} {_escape_markdown(text)}" for mark, text in table.notes]
    return "\n\n".join([*blocks, "\n".join(notes)]).rstrip() + "\n"


def html(table: Table) -> str:
    """A page that stands alone; `fragment` takes out the part that can be put into another page."""
    title = markup.escape(table.title)
    parts = [f"<h3>{title}</h3>", *map(_html_grid, grids(table))]
    notes = "".join(f"<li>{_superscript(mark)} {markup.escape(text)}</li>\n" for mark, text in table.notes)
    parts += [f'<ul class="notes">\n{notes}</ul>'] if notes else []
    content = "\n".join([*parts, _contracts(table)]).rstrip()
    return PAGE.format(title=title, style=BODY_STYLE + STYLE, begin=BEGIN, content=content, end=END)


def fragment(page: str) -> str | None:
    """The part of an `html` page that can be put into another page, or None when this is no such page."""
    start, end = page.find(BEGIN), page.rfind(END)
    return page[start + len(BEGIN) : end].strip() if 0 <= start < end else None


def latex(table: Table) -> str:
    r"""A tabular per grid but the threshold rules, then the notes; for \input inside a table environment.

    Needs \usepackage{booktabs} and nothing else; names outside Latin script need XeLaTeX or LuaLaTeX.
    """
    lines = [f"% {' '.join(table.title.split())}", r"% needs \usepackage{booktabs}"]
    for grid in grids(table):
        if grid.kind != "rules":
            lines += [*([r"\par\medskip"] if grid.kind == "classes" else []), *_latex_grid(grid)]
    if table.notes:
        notes = [rf"{_latex_mark(mark)}\,{_escape_latex(text)}" for mark, text in table.notes]
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += ["\\\\\n".join(notes), r"\end{minipage}"]
    return "\n".join(lines) + "\n"


def _html_grid(grid: Grid) -> str:
    spans = [f'<th class="span" colspan="{width}">{markup.escape(label)}</th>' for label, width in grid.groups]
    groups = f"<tr>{''.join(spans)}</tr>" if any(label for label, _ in grid.groups) else ""
    heads = "".join(_html_cell("th", column, scope="col") for column in grid.columns)
    lines = [f"<tr>{_html_row(row)}</tr>" for row in grid.rows]
    caption = f"<h4>{markup.escape(grid.caption)}</h4>\n" if grid.caption else ""
    table = f'<table class="{grid.kind}"><thead>{groups}<tr>{heads}</tr></thead>\n<tbody>\n'
    return f'{caption}<div class="scroll">{table}' + "\n".join(lines) + "\n</tbody></table></div>"


def _html_row(row: Iterable[Entry]) -> str:
    first, *others = row
    return _html_cell("th", first, scope="row") + "".join(_html_cell("td", entry) for entry in others)


def _html_cell(tag: str, entry: Entry, *, scope: str = "") -> str:
    scope = f' scope="{scope}"' if scope else ""
    role = f' class="{entry.role}"' if entry.role else ""
    hint = f' title="{markup.escape(entry.hint)}"' if entry.hint else ""
    return f"<{tag}{scope}{role}{hint}>{_marked_html(entry)}</{tag}>"


def _contracts(table: Table) -> str:
    cells = [cell for cell in table.cells.values() if cell.contract and not cell.metric.startswith("iou/")]
    if not cells:
        return ""
    texts = [(cell.row, cell.split, cell.metric, contract_text(cell.contract)) for cell in cells]
    rows = "\n".join(f"<tr>{_html_row(map(Entry, line))}</tr>" for line in texts)
    body = f'<div class="scroll"><table><tbody>\n{rows}\n</tbody></table></div>'
    return f'<details class="contracts"><summary>What each number is</summary>{body}</details>'


def _latex_grid(grid: Grid) -> list[str]:
    small = grid.kind == "classes"
    lines = [r"\begingroup\tiny\setlength{\tabcolsep}{2pt}%"] if small else []
    lines += [f"\\begin{{tabular}}{{l{'r' * (len(grid.columns) - 1)}}}", r"\toprule"]
    if any(label for label, _ in grid.groups):
        lines.append(_latex_row(rf"\multicolumn{{{n}}}{{c}}{{{_escape_latex(text)}}}" for text, n in grid.groups))
        ends = list(accumulate(width for _, width in grid.groups))
        lines.append("".join(rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in pairwise(ends)))
    heads = (Entry(grid.caption), *grid.columns[1:])
    lines += [_latex_row(map(_marked_latex, heads)), r"\midrule"]
    lines += [_latex_row(map(_marked_latex, row)) for row in grid.rows]
    return [*lines, r"\bottomrule", r"\end{tabular}", *([r"\endgroup"] if small else [])]


def _latex_row(entries: Iterable[str]) -> str:
    return " & ".join(entries) + r" \\"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(round(value, 10))


def _superscript(marks: str) -> str:
    return f"<sup>{','.join(marks.split())}</sup>" if marks else ""


def _latex_mark(marks: str) -> str:
    return rf"\textsuperscript{{{_escape_latex(','.join(marks.split()))}}}" if marks else ""


def _marked_html(entry: Entry) -> str:
    return markup.escape(entry.text) + _superscript(entry.marks)


def _marked_markdown(entry: Entry) -> str:
    return _escape_markdown(entry.text) + _superscript(entry.marks)


def _marked_latex(entry: Entry) -> str:
    return _escape_latex(entry.text) + _latex_mark(entry.marks)


def _escape_markdown(text: str) -> str:
    safe = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    **{character: f"{{{character}}}" for character in "[]*"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "–": "--", "…": r"\ldots{}"},
    **{"−": "$-$", "±": r"$\pm$", "×": r"$\times$"},
    **{NOT_COMPARABLE: r"$\dagger$", WITHIN: r"$\ddagger$"},
}
"""LaTeX for characters that mean something to it; a bracket or star after a row's end would be its option."""


def _escape_latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


Renderer = Callable[[Table], str]
RENDERERS: dict[str, Renderer] = {".csv": csv_text, ".md": markdown, ".html": html, ".tex": latex}
