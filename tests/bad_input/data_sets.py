"""Rows, lists, classes and splits that do not fit, met by `wsss check` and `wsss init`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_input.case import Case, Meeting, check, command
from tests.bad_input.image_files import ROWS, broken, content, sound
from tests.unit.own_fixture import folder_set, photo, voc_set

LABELS = {"a": "cat", "b": "dog", "c": "cat dog", "d": "dog"}
SPLITS = {"train": ["a", "b", "c"], "val": ["d"]}
DOCTYPE = b'<!DOCTYPE x [<!ENTITY e "eeee">]><annotation><object><name>&e;</name></object></annotation>'


def rows(name: str, lines: tuple[str, ...], *says: str, header: str = "image,labels,split") -> Case:
    """A CSV with these rows, beside the four photographs of a sound data set."""
    text = "\n".join([header, *lines]) + "\n"
    return broken(name, lambda root: (root / "labels.csv").write_text(text, encoding="utf-8"), *says)


def voc(name: str, damage: Callable[[Path], object], *says: str) -> Case:
    """A sound data set in VOC layout that `damage` breaks in one place."""

    def given(root: Path) -> Meeting:
        damage(voc_set(root, LABELS, SPLITS))
        return check(root)

    return Case(name, given, says)


def folders(name: str, names: list[str], *says: str, data: dict[str, Any] | None = None) -> Case:
    """A folder per class with these photographs."""
    return Case(name, lambda root: check(folder_set(root, names), **data or {}), says)


def keys(name: str, data: dict[str, Any], *says: str) -> Case:
    """A sound data set with these keys in the section `data`."""
    return Case(name, lambda root: check(sound(root), **data), says)


def init(name: str, arguments: list[str], *says: str, make: Callable[[Path], object] = sound) -> Case:
    """`wsss init own` with these arguments, on a data set that `make` writes."""

    def given(root: Path) -> Meeting:
        make(root)
        return command("init", "own", *arguments)

    return Case(name, given, says)


def occupied(root: Path) -> None:
    sound(root)
    (root.parent / "config").mkdir()
    (root.parent / "config/mine.yaml").write_text("dataset: mine\n")


def undecodable(root: Path) -> None:
    photo(root / "x/a.jpg")
    os.rename(root / "x/a.jpg", os.fsencode(root) + b"/x/\xff\xfe.jpg")


def damaged_names(root: Path) -> Meeting:
    """Names that would forge a line, or colour the terminal, of images that cannot be read."""
    folder_set(root, ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"])
    (root / "dog/all is well\n0 faults \x1b[32m.jpg").write_bytes(b"")
    return check(root)


CASES = [
    rows("image that is not there", (*ROWS, "gone.jpg,cat,train"), "labels.csv row 6: image 'gone.jpg' does not exist"),
    rows("image twice in the CSV", (*ROWS, "a.jpg,dog,val"), "labels.csv row 6: 'a.jpg' is in labels.csv row 2 too"),
    rows("misspelt label", (*ROWS[:3], "d.jpg,dogg,val"), "row 5: unknown label 'dogg'; did you mean 'dog'?"),
    rows("foreign label", (*ROWS[:3], "d.jpg,zebra,val"), "row 5: unknown label 'zebra'; the classes are: cat, dog"),
    rows("labels joined by a semicolon", (*ROWS[:3], "d.jpg,cat;dog,val"), "row 5: label 'cat;dog'", "by spaces"),
    rows("row with a field too many", (*ROWS[:3], "d.jpg,cat,dog,val"), "row 5: has 4 fields where the header has 3"),
    rows("row with a field too few", (*ROWS[:3], "d.jpg"), "row 5: has 1 fields where the header has 3"),
    rows(
        "quote that is never closed",
        (*ROWS[:3], '"d.jpg,dog,val'),
        "labels.csv row 5: is no CSV (unexpected end of data); close every quote",
    ),
    rows("field of a megabyte", (*ROWS[:3], f"d.jpg,{'x' * 10**6},val"), "labels.csv row 5: is no CSV (field larger"),
    rows("CSV without the column labels", ROWS, "must name the columns image,labels", header="image,classes,split"),
    rows("CSV with a header alone", (), "own: holds no images"),
    rows(
        "no image has a label",
        ("a.jpg,,train", "b.jpg,,train", "c.jpg,,train", "d.jpg,dog,val"),
        "split 'train': no image has a la",
    ),
    rows("name of a split with a slash", (*ROWS, "a.jpg,cat,a/b")[1:], "'a/b' cannot name a split; use letters"),
    rows("no split to train on", tuple(r.replace("train", "learn") for r in ROWS), "there is no split 'train' to tr"),
    rows("one image in two splits", ("a.jpg,cat,train val", *ROWS[1:]), "a: stands in train and val; remove it from"),
    rows("mask that is not there", (*ROWS[1:], "a.jpg,cat,train,m.png"), "has 4 fields where the header has 3"),
    rows(
        "mask that the CSV names and nobody has",
        ("a.jpg,cat,train,no.png", "b.jpg,dog,train,", "c.jpg,cat,train,", "d.jpg,dog,val,"),
        "labels.csv row 2: mask 'no.png' does not exist",
        header="image,labels,split,mask",
    ),
    broken("empty CSV", content("labels.csv", b""), "labels.csv: the first row must name the columns image,labels"),
    broken("CSV in Latin-1", content("labels.csv", b"image,labels\n\xe4.jpg,cat\n"), "labels.csv: is not UTF-8 text"),
    broken("classes.txt in Latin-1", content("classes.txt", b"cat\nd\xf6g\n"), "classes.txt: is not UTF-8 text; save"),
    broken("background among the classes", content("classes.txt", b"background\ncat\ndog"), "remove 'background'"),
    broken("class that stands twice", content("classes.txt", b"cat\ndog\ncat\n"), "classes: 'cat' stands twice"),
    broken("empty line among the classes", content("classes.txt", b"cat\n\ndog\n"), "classes: line 2 is empty"),
    broken(
        "more classes than a mask has values",
        content("classes.txt", b"cat\ndog\n" + b"".join(b"c%d\n" % n for n in range(253))),
        "classes: there are 255; 1 to 254 are possible",
    ),
    broken("masks without classes.txt", lambda root: (root / "classes.txt").unlink(), "classes.txt: is missing; masks"),
    broken(
        "two files with the same id",
        lambda root: [
            photo(root / "a.png"),
            (root / "labels.csv").open("a").write("a.png,cat,train\n"),
        ],
        "labels.csv row 6",
        "give the same id 'a'; rename one",
    ),
    broken(
        "names that become the same id",
        lambda root: [
            photo(root / "a b.jpg"),
            photo(root / "a?b.jpg"),
            (root / "labels.csv").open("a").write("a b.jpg,cat,train\na?b.jpg,cat,train\n"),
        ],
        "labels.csv row 7",
        "give the same id 'a_b'; rename one",
    ),
    keys("folder of masks that is not there", {"masks": "m"}, "data.masks:", "/own/m is no folder; give it relative"),
    keys("CSV that is not there", {"csv": "b.csv"}, "data.csv:", "own/b.csv does not exist; give it relative to"),
    keys("layout that the folder has not", {"layout": "voc"}, "own: VOC layout wanted, but there is no folder JPEGIm"),
    keys("scored split that is not there", {"evaluate": {"test": "test"}}, "data.evaluate.test: there is no split"),
    keys("split to train on that is not there", {"train": "most", "evaluate": {"val": "val"}}, "no split 'most'"),
    keys("folder that does not exist", {"root": "owm"}, "owm: does not exist; give the data set's folder"),
    keys("photograph in the place of the CSV", {"root": "own/a.jpg"}, "own/a.jpg: is not UTF-8 text; save it as CSV"),
    keys("class list with a line break", {"classes": ["cat", "dog", "c\no"]}, "'c\\no' holds a line break; rename"),
    voc(
        "list that names an unknown image", lambda r: lists(r, "val", "d\nx\n"), "val.txt line 2: there is no image 'x'"
    ),
    voc("list that names an image twice", lambda r: lists(r, "val", "d\nd\n"), "val.txt line 2: 'd' stands already in"),
    voc("empty list", lambda r: lists(r, "test", "\n"), "split 'test' is empty"),
    voc("list in Latin-1", lambda r: lists(r, "val", "d\nü\n", "latin-1"), "val.txt: is not UTF-8 text; save it"),
    voc("broken XML", lambda r: annotate(r, b"<annotation>"), "Annotations/a.xml: is no valid XML", "correct it"),
    voc("XML with a document type", lambda r: annotate(r, DOCTYPE), "Annotations/a.xml: is no valid XML", "document"),
    voc("XML in an unknown encoding", lambda r: annotate(r, b'<?xml version="1.0" encoding="x"?><a/>'), "a.xml: is no"),
    Case(
        "VOC layout without any labels",
        lambda root: check(photo(root / "JPEGImages/a.jpg").parents[1]),
        ("own: has no labels; add labels.csv (image,labels) or Annotations",),
    ),
    Case(
        "folder without any layout", lambda root: check(photo(root / "a.jpg").parent), ("own: no known layout; wanted",)
    ),
    Case("empty folder", check, ("own: no known layout; wanted: VOC layout",)),
    Case("names that would forge lines", damaged_names, ("all is well\\n0 faults \\x1b[32m.jpg: is empty",)),
    Case(
        "file name that is not UTF-8",
        lambda root: (undecodable(root), check(root, evaluate={"train": "train"}))[1],
        ("\\udcff\\udcfe.jpg: the file's name is not UTF-8; rename it",),
    ),
    folders("class folder with braces", ["{c}/1.jpg", "d/1.jpg"], "own/{c}: Snakemake takes braces for a wildcard"),
    folders("class folder with a line break", ["c\nt/1.jpg", "c\nt/2.jpg", "d/1.jpg", "d/2.jpg"], "'c\\nt' holds a li"),
    folders(
        "everything held out",
        ["c/1.jpg", "d/2.jpg"],
        "no split 'train' to train on",
        data={"val_fraction": 1.0, "evaluate": {"val": "val"}},
    ),
    init(
        "name of a data set that leads elsewhere", ["--name", "../mine"], "--name ../mine: use letters, digits, _ . -"
    ),
    init("name of a built-in data set", ["--name", "voc2012"], "--name voc2012: use letters", "and not voc2012"),
    init(
        "preset that does not exist", ["--name", "mine", "--preset", "huge"], "--preset huge: there is none; known: pa"
    ),
    init("configuration that exists", ["--name", "mine"], "config/mine.yaml: exists already", "--force", make=occupied),
    init(
        "initial weights that are not there",
        ["--name", "m", "--weights", "w.pth"],
        "--weights w.pth: there is no such file",
    ),
    init(
        "initial weights of an unknown kind",
        ["--name", "m", "--weights", "own/labels.csv"],
        "labels.csv: unknown kind; give",
    ),
    init("nothing to begin with", ["--name", "m"], "own: no known layout", make=lambda root: None),
    init(
        "splits without train",
        ["--name", "m"],
        "own: there is no split 'train' among: learn, val; name the training split so",
        make=lambda root: sound(root, tuple(row.replace("train", "learn") for row in ROWS)),
    ),
]


def lists(root: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (root / "ImageSets/Segmentation" / f"{name}.txt").write_text(text, encoding=encoding)


def annotate(root: Path, text: bytes) -> None:
    (root / "Annotations/a.xml").write_bytes(text)
