import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from wsss.published import Number
from wsss.table_formats import COLUMNS, csv_text, fragment, html, latex, markdown
from wsss.table_layout import Cell, Table
from wsss.table_notes import annotate

NASTY = "<script>alert('1')</script> & a_b|c* 50% [x] \\ ~^#${}\"é – ±"


def table(*cells, classes=(), metrics=("miou",), comparable=True, title="T"):
    found = {(cell.row, cell.split, cell.metric): cell for cell in cells}
    rows = tuple(dict.fromkeys(cell.row for cell in cells))
    splits = tuple(dict.fromkeys(cell.split for cell in cells))
    return Table("vwe/t", title, metrics, splits, rows, classes, found, *annotate(found, comparable=comparable))


RUN = Cell("A", "train", "miou", "run", Number(48.3, None, "b-T1"), 49.04, 0.26, 3, 0.74, contract={"crf": "none"})
EMPTY = Cell("B", "train", "miou", "not run", Number(51.1), reason="needs words")


def well_formed(page):
    """Names of all elements; fails where a closing tag does not match."""
    names, open_tags = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            names.append(tag)
            if tag not in ("meta", "img", "source"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert not open_tags
    return names


def test_csv_has_the_long_form_in_full_precision():
    lines = list(csv.DictReader(io.StringIO(csv_text(table(RUN, EMPTY)))))
    assert tuple(lines[0])[:10] == COLUMNS[:10]
    assert COLUMNS[:10] == (
        "table",
        "row",
        "split",
        "metric",
        "published",
        "ours",
        "std",
        "seeds",
        "status",
        "contract",
    )
    assert (lines[0]["published"], lines[0]["ours"], lines[0]["std"], lines[0]["seeds"]) == (
        "48.3",
        "49.04",
        "0.26",
        "3",
    )
    assert (lines[0]["difference"], lines[0]["source"], lines[0]["contract"]) == ("0.74", "b-T1", "crf=none")
    assert (lines[1]["ours"], lines[1]["seeds"], lines[1]["status"], lines[1]["reason"]) == (
        "",
        "",
        "not run",
        "needs words",
    )


def test_markdown_shows_paper_ours_and_difference():
    text = markdown(table(RUN, EMPTY))
    assert "| A | 48.3 | 49.0 ± 0.3 (n=3) | +0.7 |" in text
    assert "| B | 51.1 | not run<sup>a</sup> | – |" in text
    assert "- <sup>a</sup> needs words" in text
    assert len({line.count(" | ") for line in text.splitlines() if line.startswith("| ")}) == 1


def test_a_published_number_within_two_deviations_is_marked():
    near = Cell("A", "train", "miou", "run", Number(48.3), 48.5, 0.2, 3, 0.2)
    assert "+0.2<sup>‡</sup>" in markdown(table(near))
    over_chains = Cell("A", "train", "miou", "run", Number(48.3), 48.5, 0.2, 3, 0.2, over_seeds=False)
    assert "‡" not in markdown(table(over_chains))


@pytest.mark.parametrize(("difference", "text"), [(0.04, "| 0.0"), (-0.04, "| 0.0"), (-1.26, "| −1.3"), (None, "| –")])
def test_differences(difference, text):
    cell = Cell("A", "train", "miou", "run", Number(48.3), 48.5, difference=difference, seeds=1)
    assert text in markdown(table(cell))


def test_rules_and_classes_have_their_own_grids():
    cells = [RUN, Cell("A", "train", "miou@best", "run", ours=50.0, seeds=1)]
    cells += [
        Cell("A", "train", f"iou/{name}", "run", Number(11.1), 22.2, seeds=1) for name in ("background", "diningtable")
    ]
    text = markdown(table(*cells, classes=("background", "diningtable")))
    assert "| A | – | 50.0 | – | – |" in text
    assert "|  | bkg | table | mIoU |" in text
    assert "| A (published) | 11.1 | 11.1 | 48.3 |" in text
    assert "| A (ours) | 22.2 | 22.2 | 49.0 |" in text


def test_html_escapes_everything_and_is_well_formed():
    cell = Cell(NASTY, NASTY, "miou", "not run", Number(1.0, None, NASTY, NASTY), reason=NASTY, contract={"k": NASTY})
    page = html(table(cell, title=NASTY, comparable=False))
    assert "script" not in well_formed(page)
    assert "<script" not in page
    assert "http" not in page
    assert "not run<sup>a</sup>" in page


def test_html_hints_say_what_a_number_is():
    page = html(table(RUN))
    assert '<td class="ours" title="crf=none">49.0 ± 0.3 (n=3)</td>' in page
    assert "<summary>What each number is</summary>" in page


def test_fragment_is_the_part_between_the_marks():
    page = html(table(RUN))
    part = fragment(page)
    assert part.startswith("<h3>T</h3>")
    assert "<body>" not in part
    assert fragment("<p>no table</p>") is None


def test_markdown_escapes_what_would_break_a_table():
    text = markdown(table(Cell("a|b*c_d<e>\nf", "train", "miou", "not run", reason="x")))
    assert r"| a\|b\*c\_d&lt;e&gt; f | –" in text


def test_latex_escapes_and_keeps_the_columns():
    text = latex(table(Cell("50% a_b & c", "train", "miou", "run", Number(48.3), 48.0, 0.2, 3, -0.3)))
    assert r"50\% a\_b \& c & 48.3 & 48.0 $\pm$ 0.2 (n=3) & $-$0.3\textsuperscript{$\ddagger$} \\" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    nasty = Cell(NASTY, "train", "miou", "not run", Number(1.0, 0.5, "", NASTY), reason=NASTY)
    star = Cell("*[x]", "train", "miou", "run", Number(1.0), 2.0, 1.0, 2, 1.0)
    per_class = [
        Cell(NASTY, "train", f"iou/{name}", "run", Number(1.0), 2.0, seeds=1) for name in ("background", NASTY)
    ]
    made = table(nasty, star, *per_class, classes=("background", NASTY), title=NASTY, comparable=False)
    (tmp_path / "table.tex").write_text(latex(made), encoding="utf-8")
    document = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        r"\begin{table}\centering\input{table}\end{table}\end{document}"
    )
    (tmp_path / "main.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
