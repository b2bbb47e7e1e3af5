"""Names of images and classes are text wherever they appear: pages, tables, plots, the terminal, the workflow."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.own_fixture import folder_set, mask
from tests.unit.table_fixture import evaluation
from wsss import tables
from wsss.curves import Series, loss_curve, value_curve
from wsss.data.own import build
from wsss.errors import UserError
from wsss.report import build as build_report

ROOT = Path(__file__).resolve().parents[2]
CLASS = "<script>alert(1)<∕script> $x^$ \"'&|"


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_class_names_of_folders_reach_the_report_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = folder_set(tmp_path / "own", [f"{CLASS}/{number}.jpg" for number in range(4)])
    build(tmp_path / "data", root=root, val_fraction=0)
    classes = (tmp_path / "data/classes.txt").read_text().splitlines()
    assert classes == [CLASS]
    scores = evaluation(tmp_path / "e.json", {"fixed": 0.4}, classes=classes, images=4)
    chain = ("gap", "ms")
    definition = {
        "title": CLASS,
        "splits": ["train"],
        "per_class": True,
        "rows": [{"row": CLASS, "chain": list(chain)}],
    }
    tables.build(
        name="x/t",
        definition=definition,
        classes=classes,
        evaluations={(chain, 0, "train"): scores},
        seeds=[0],
        published=ROOT / "published",
        out_prefix=tmp_path / "x/t",
        voc=False,
    )
    (tmp_path / "h.csv").write_text("step,loss\n1,2\n2,1\n")
    labels = {"evaluations": [(CLASS, scores)], "histories": [(CLASS, tmp_path / "h.csv")], "meta": {CLASS: CLASS}}
    build_report(title=CLASS, out=tmp_path / "report.html", tables=[tmp_path / "x/t.html"], **labels)
    for name in ("x/t.html", "report.html"):
        page = (tmp_path / name).read_text()
        found = Tags(page)
        assert "&lt;script&gt;alert(1)" in page
        assert "script" not in found.tags
        assert not [name for name in found.attributes if name.startswith("on")]
    assert "<script>" not in (tmp_path / "x/t.md").read_text()


@pytest.mark.parametrize("caption", [CLASS, r"$\frac$", "100 %", "_hidden", "a\nb"])
def test_captions_are_no_formulas(tmp_path, caption):
    value_curve([Series(caption, points=[(0, 1, 0), (1, 2, 0)])], tmp_path / "v.svg", x=caption, y=caption)
    (tmp_path / "h.csv").write_text(f'step,loss,"{caption}"\n1,2,3\n2,1,3\n')
    loss_curve(tmp_path / "h.csv", tmp_path / "l.svg")
    assert (tmp_path / "v.svg").stat().st_size > (tmp_path / "l.svg").stat().st_size / 10 > 100


def test_errors_cannot_colour_the_terminal_or_add_lines():
    error = UserError("image '\x1b[2J\x07\nfault: none\u2028\udcff.jpg' is empty")
    assert str(error).isprintable()
    assert str(error) == r"image '\x1b[2J\x07\nfault: none\u2028\udcff.jpg' is empty"
    assert str(UserError("two faults", "a", "b")).splitlines() == ["two faults", "  a", "  b"]


def test_names_of_images_cannot_leave_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a..b.jpg", "~root.jpg", "$(touch made).jpg", "`touch made`.jpg", "a;touch made.jpg", "-rf.jpg"]
    root = folder_set(tmp_path / "own", [f"x/{name}" for name in names])
    mask(root / "masks/x/-rf.png", [1])
    (root / "classes.txt").write_text("x\n")
    build(tmp_path / "data", root=root, val_fraction=0)
    lines = (tmp_path / "data/splits.csv").read_text().splitlines()[1:]
    ids = [line.partition(",")[2] for line in lines]
    assert len(ids) == len(set(ids)) >= 5
    assert not [id for id in ids if set(id) & set("/\\;$`() ~") or id.startswith((".", "-"))]
    assert not (tmp_path / "made").exists()
