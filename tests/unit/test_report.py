import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.table_fixture import evaluation
from wsss import tables
from wsss.costs import Cost
from wsss.errors import UserError
from wsss.published import VOC_CLASSES
from wsss.report import Picture, build, duration, memory

ROOT = Path(__file__).resolve().parents[2]
NASTY = "<script>alert(1)</script>&\"'"


@pytest.fixture
def parts(tmp_path):
    """Everything a report can hold, small."""
    chain = ("gap", "ms")
    scores = evaluation(tmp_path / "train.json", {"fixed": 0.4, "best": 0.5})
    empty = evaluation(tmp_path / "val.json", {}, split="val", why_empty=f"no masks {NASTY}")
    tables.build(
        name="vwe/table1",
        definition={
            "title": f"Table {NASTY}",
            "splits": ["train"],
            "rows": [{"row": NASTY, "chain": list(chain)}],
        },
        classes=VOC_CLASSES,
        evaluations={(chain, 0, "train"): scores},
        seeds=[0],
        published=ROOT / "published",
        out_prefix=tmp_path / "vwe" / "table1",
    )
    (tmp_path / "h.csv").write_text("step,epoch,lr,loss,images_per_s\n1,0,0.1,0.5,9\n2,0,0.1,0.4,9\n")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "p.png")
    return {
        "title": f"Results {NASTY}",
        "tables": [tmp_path / "vwe" / "table1.html", tmp_path / "vwe" / "table1.md"],
        "evaluations": [(f"gap {NASTY}", scores), ("empty", empty)],
        "histories": [(f"classify {NASTY}", tmp_path / "h.csv")],
        "figures": [Picture(tmp_path / "p.png", f"title {NASTY}", f"caption {NASTY}")],
        "costs": [Cost(f"cam {NASTY}", "1", 100.0, 90.0, 900.0), Cost("evaluate", "2", None, None, None)],
        "meta": {f"key {NASTY}": NASTY, "settings": {"a": [1, {"b": NASTY}]}},
    }


def elements(page):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


def test_report_stands_alone_and_escapes_everything(tmp_path, parts):
    build(out=tmp_path / "report.html", **parts)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = elements(page)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in found)
    sources = [value for _, attrs in found for key, value in attrs.items() if key in ("src", "srcset")]
    assert len(sources) == 5
    assert all(source.startswith("data:image/") for source in sources)
    assert "url(" not in page
    assert not any(key.startswith("on") for _, attrs in found for key in attrs)


def test_every_link_of_the_contents_has_its_target(tmp_path, parts):
    build(out=tmp_path / "report.html", **parts)
    found = elements((tmp_path / "report.html").read_text(encoding="utf-8"))
    targets = [attrs["id"] for _, attrs in found if "id" in attrs]
    links = {attrs["href"] for tag, attrs in found if tag == "a"}
    assert len(targets) == len(set(targets))
    assert links == {f"#{target}" for target in targets}


def test_report_shows_what_it_was_given(tmp_path, parts):
    build(out=tmp_path / "report.html", **parts)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "40.0 <small>at 0.150</small>" in page
    assert "no masks &lt;script&gt;" in page
    assert "1 min 40 s" in page
    assert "900 MB" in page
    assert "<b>1</b><span>cells run</span>" in page
    picture = base64.b64encode((tmp_path / "p.png").read_bytes()).decode()
    assert picture in page


def test_figures_stand_behind_the_tables_of_their_paper(tmp_path, parts):
    for paper in ("vwe", "spn"):
        (tmp_path / paper).mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / paper / "figure6.png")
    figures = [Picture(tmp_path / paper / "figure6.png", f"Title of {paper}", "why") for paper in ("vwe", "spn")]
    build(out=tmp_path / "report.html", **parts | {"figures": figures})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    ids = [attrs["id"] for _, attrs in elements(page) if attrs.get("id", "").startswith(("table-", "figure-"))]
    assert ids == ["table-1-1", "table-1-2", "figure-1-1", "figure-2-1"]
    assert 'href="#figure-2-1">spn / figure6<' in page
    assert "<h3>Title of vwe</h3>" in page
    assert "<figcaption>why</figcaption>" in page


def test_report_is_the_same_every_time(tmp_path, parts):
    for name in ("1.html", "2.html"):
        build(out=tmp_path / name, **parts)
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


def test_empty_report_has_no_empty_sections(tmp_path):
    build(title="Nothing", out=tmp_path / "report.html")
    assert "<section" not in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tables", ["none.html"], r"none\.html: cannot be read"),
        ("figures", [Picture(Path("none.png"), "")], r"none\.png: cannot be read"),
        ("figures", [Picture(Path("x.tiff"), "")], r"x\.tiff: cannot be embedded"),
        ("evaluations", [("e", Path("none.json"))], r"none\.json: cannot be read"),
        ("histories", [("h", Path("none.csv"))], r"none\.csv: is not a training history"),
    ],
)
def test_missing_files_are_named_and_nothing_is_written(tmp_path, key, value, message):
    with pytest.raises(UserError, match=message):
        build(title="T", out=tmp_path / "report.html", **{key: value})
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.html").write_text("<script>alert(1)</script>")
    with pytest.raises(UserError, match="is not a table of wsss"):
        build(title="T", out=tmp_path / "report.html", tables=[tmp_path / "t.html"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_memory():
    assert [memory(value) for value in (None, 850.4, 3210)] == ["–", "850 MB", "3.2 GB"]


def test_settings_are_shown_as_yaml(tmp_path):
    build(title="T", out=tmp_path / "r.html", meta={"settings": {"b": 1, "a": [json.loads("true")]}})
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert re.search(r"<pre>a:\n- true\nb: 1</pre>", page)
