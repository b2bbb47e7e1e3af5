from pathlib import Path

import pytest
import yaml

from wsss.errors import UserError
from wsss.published import VOC_CLASSES, VOC_SHORT, read_published

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "published"


@pytest.fixture(scope="module")
def published():
    return read_published(ROOT / "published")


def lines(path):
    import csv

    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_numbers_of_all_three_files_are_found(published):
    cam = {"method": "ResNet38 baseline", "stage": "cam"}
    assert published.find(cam, "train", "miou").value == 48.4
    assert published.find(cam, "train", "precision").value == 60.8
    assert published.find({"method": "BES", "stage": "seg ref"}, "val", "iou/motorbike").value == 72.2
    assert published.find(cam, "val", "miou") is None


def test_spread_note_and_missing_number_are_kept(published):
    mean = published.find({"method": "SEAM", "stage": "cam ref scales mean"}, "train", "miou")
    assert (mean.value, mean.sd) == (50.7, 1.2)
    spn = published.find({"method": "SPN+DecoupledNet", "stage": "seg round 1"}, "val", "miou")
    assert (spn.value, spn.note) == (None, "number not obtainable")


def test_unlike_numbers_for_one_reference_need_a_source(published):
    reference = {"method": "IRNet user", "stage": "refined IRNet"}
    with pytest.raises(UserError, match="several miou for train; add source"):
        published.find(reference, "train", "miou")
    assert published.find(reference | {"source": "irn issue 26"}, "train", "miou").value == 66.0


def test_unknown_reference_names_the_nearest(published):
    with pytest.raises(UserError, match=r"here: .* has no 'ResNet50 base / cam'; nearest: 'ResNet50 baseline / cam'"):
        published.check({"method": "ResNet50 base", "stage": "cam"}, "here")
    with pytest.raises(UserError, match="give the keys method and stage"):
        published.check({"method": "SEAM"}, "here")


def test_voc_names_are_in_class_id_order():
    assert len(VOC_CLASSES) == 20
    assert (VOC_CLASSES[0], VOC_CLASSES[-1], VOC_SHORT["bkg"]) == ("aeroplane", "tvmonitor", "background")


def test_per_class_means_agree_with_the_printed_mean():
    for row in lines(ROOT / "published" / "per_class.csv"):
        values = [float(row[short]) for short in VOC_SHORT]
        assert abs(sum(values) / 21 - float(row["mIoU"])) < 0.06


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,stage,split,mIoU,source,note\n", "column 'sd' is missing"),
        (
            "method,stage,split,mIoU,source,sd,note\na,b,val,x,s,,\n",
            r"results.csv, line 2: mIoU 'x' is not a number",
        ),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, message):
    (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_published(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_published(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the source of the published numbers is not beside this project")
@pytest.mark.parametrize("name", ["results.csv", "per_class.csv", "precision_recall.csv", "figures.csv"])
def test_numbers_are_those_of_the_source(name):
    source, ours = lines(SHARED / name), lines(ROOT / "published" / name)
    told_otherwise = {"source", "paper"}  # papers by name instead of letter
    kept = [key for key in source[0] if key not in told_otherwise]
    assert [[row[key] for key in kept] for row in ours] == [[row[key] for key in kept] for row in source]


def test_every_printed_number_of_a_paper_stands_in_one_of_its_tables():
    tables = yaml.safe_load((ROOT / "config" / "tables.yaml").read_text(encoding="utf-8"))["tables"]
    shown = {}
    for name, table in tables.items():
        for row in table["rows"]:
            reference = row.get("quoted") or row.get("published") or {}
            for split in row.get("splits", table.get("splits")):
                key = (reference.get("method"), reference.get("stage"), split)
                shown.setdefault(name.partition("/")[0], set()).add(key)
    for file in ("results.csv", "per_class.csv", "precision_recall.csv"):
        for row in lines(ROOT / "published" / file):
            for paper in row["paper"].split():
                if "Fig" not in row["source"]:
                    assert (row["method"], row["stage"], row["split"]) in shown[paper]


def test_every_numbered_figure_of_a_paper_can_be_made():
    figures = yaml.safe_load((ROOT / "config" / "figures.yaml").read_text(encoding="utf-8"))["figures"]
    numbered = [row for row in lines(ROOT / "published" / "figures.csv") if row["figure"].startswith("Fig ")]
    assert len(numbered) == 10
    for row in numbered:
        assert f"{row['paper']}/figure{row['figure'].removeprefix('Fig ')}" in figures
