import csv
from pathlib import Path

import pytest
import yaml

from tests.unit.table_fixture import evaluation
from wsss.errors import UserError
from wsss.published import VOC_CLASSES, read_published
from wsss.table_runs import Runs
from wsss.tables import assemble, build

ROOT = Path(__file__).resolve().parents[2]
CAM = ["gap", "ms"]
BASELINE = {"method": "ResNet50 baseline", "stage": "cam"}
SCORES = {"fixed": 0.46, "best": 0.5, "holdout": 0.48, "oracle": 0.51}


def table(rows, runs=None, **definition):
    definition = {"splits": ["train"], "rows": rows} | definition
    runs = runs or Runs({}, (0,), VOC_CLASSES)
    return assemble(name="vwe/t", definition=definition, runs=runs, published=read_published(ROOT / "published"))


def scored(tmp_path, *values, split="train", chain=CAM, start=0, **contract):
    """Evaluation files of one chain, one per seed; a number stands for all threshold rules."""
    files = {}
    for seed, value in enumerate(values, start):
        mious = value if isinstance(value, dict) else dict.fromkeys(SCORES, value)
        path = tmp_path / "/".join(chain) / f"seed-{seed}" / f"{split}.json"
        files[tuple(chain), seed, split] = evaluation(path, mious, split=split, **contract)
    return files


def notes(made, row, split="train", metric="miou"):
    """Texts of the notes at ours."""
    texts = dict(made.notes)
    return [texts[mark] for mark in made.marks[row, split, metric][1].split()]


def test_ours_beside_published_with_sample_deviation(tmp_path):
    runs = Runs(scored(tmp_path, 0.47, 0.49, 0.51), (0, 1, 2), VOC_CLASSES)
    cell = table([{"row": "A", "chain": CAM, "published": BASELINE}], runs).cells["A", "train", "miou"]
    assert (cell.status, cell.published.value, cell.seeds) == ("run", 48.3, 3)
    assert (cell.ours, cell.std) == (pytest.approx(49.0), pytest.approx(2.0))
    assert cell.difference == pytest.approx(0.7)
    assert cell.contract["seeds"] == "0,1,2"


def test_one_seed_has_no_deviation(tmp_path):
    cell = table([{"row": "A", "chain": CAM}], Runs(scored(tmp_path, 0.5), (0,), VOC_CLASSES)).cells[
        "A", "train", "miou"
    ]
    assert (cell.std, cell.seeds) == (None, 1)


@pytest.mark.parametrize("rule", SCORES)
def test_main_cell_follows_the_threshold_rule_and_all_rules_are_listed(tmp_path, rule):
    made = table([{"row": "A", "chain": CAM}], Runs(scored(tmp_path, SCORES), (0,), VOC_CLASSES), threshold=rule)
    assert made.cells["A", "train", "miou"].ours == pytest.approx(100 * SCORES[rule])
    listed = {metric: cell.ours for (_, _, metric), cell in made.cells.items() if "@" in metric}
    assert listed == {f"miou@{name}": pytest.approx(100 * value) for name, value in SCORES.items()}
    assert made.cells["A", "train", "miou"].contract["threshold_rule"] == rule


def test_rules_without_a_result_are_left_out(tmp_path):
    made = table([{"row": "A", "chain": CAM}], Runs(scored(tmp_path, {"fixed": 0.4}), (0,), VOC_CLASSES))
    assert [metric for _, _, metric in made.cells] == ["miou", "miou@fixed"]


def test_label_maps_have_one_number_under_any_rule(tmp_path):
    made = table(
        [{"row": "A", "chain": CAM}],
        Runs(scored(tmp_path, {"labels": 0.6}), (0,), VOC_CLASSES),
        threshold="best",
    )
    assert [metric for _, _, metric in made.cells] == ["miou"]
    cell = made.cells["A", "train", "miou"]
    assert cell.ours == 60.0
    assert "threshold" not in cell.contract


def test_several_metrics(tmp_path):
    runs = Runs(scored(tmp_path, 0.5), (0,), VOC_CLASSES)
    made = table([{"row": "A", "chain": CAM}], runs, metric=["precision", "recall", "miou"])
    ours = {metric: cell.ours for (_, _, metric), cell in made.cells.items() if "@" not in metric}
    assert ours == {"precision": pytest.approx(60), "recall": pytest.approx(70), "miou": pytest.approx(50)}


def test_mean_of_chains_has_the_population_deviation_of_the_paper(tmp_path):
    files, chains = {}, []
    for index, value in enumerate((0.402, 0.470, 0.490, 0.479)):
        chains.append(["gap", f"s{index}"])
        files |= scored(tmp_path, value, chain=chains[-1])
    row = {
        "row": "mean",
        "mean_of": chains,
        "published": {"method": "ResNet38 baseline", "stage": "cam scales mean"},
    }
    cell = table([row], Runs(files, (0,), VOC_CLASSES)).cells["mean", "train", "miou"]
    assert (cell.ours, cell.std) == (pytest.approx(46.025), pytest.approx(3.4368, abs=1e-4))
    assert (cell.published.value, cell.published.sd) == (46.0, 3.4)
    assert cell.contract["std"] == "population, over 4 chains"


def test_mean_of_chains_is_not_run_where_one_is_missing(tmp_path):
    row = {"row": "mean", "mean_of": [CAM, ["gap", "other"]]}
    cell = table([row], Runs(scored(tmp_path, 0.4), (0,), VOC_CLASSES)).cells["mean", "train", "miou"]
    assert (cell.status, cell.ours) == ("not run", None)
    assert "gap/other" in cell.reason


def test_quoted_rows_have_no_number_of_ours():
    made = table([{"row": "Q", "quoted": {"method": "IRNet", "stage": "cam ref"}}], splits=["train", "val"])
    train, val = made.cells["Q", "train", "miou"], made.cells["Q", "val", "miou"]
    assert (train.status, train.published.value, train.ours) == ("quoted", 48.3, None)
    assert (val.published, val.reason) == (None, "no number is published")


def test_pending_rows_say_why_and_keep_the_published_number():
    row = {"row": "P", "pending": "needs words", "published": {"method": "VWE", "stage": "cam"}}
    made = table([row])
    cell = made.cells["P", "train", "miou"]
    assert (cell.status, cell.reason, cell.published.value) == ("not run", "needs words", 51.1)
    assert notes(made, "P") == ["needs words"]


def test_test_split_needs_the_server_for_voc_only(tmp_path):
    rows = [{"row": "P", "pending": "needs words"}, {"row": "C", "chain": CAM}]
    made = table(rows, splits=["test"])
    assert {cell.status for cell in made.cells.values()} == {"needs server"}
    assert made.cells["P", "test", "miou"].reason.endswith("needs words")
    own = table(rows, Runs({}, (0,), ("a",), voc=False), splits=["test"])
    assert {cell.status for cell in own.cells.values()} == {"not run"}


def test_a_scored_test_split_is_a_run(tmp_path):
    runs = Runs(scored(tmp_path, 0.5, split="test"), (0,), VOC_CLASSES)
    assert table([{"row": "C", "chain": CAM}], runs, splits=["test"]).cells["C", "test", "miou"].status == "run"


def test_missing_evaluation_fails_only_where_allowed(tmp_path):
    files = {(tuple(CAM), 0, "train"): tmp_path / "none.json"}
    with pytest.raises(UserError, match=r"none\.json: does not exist"):
        table([{"row": "A", "chain": CAM}], Runs(files, (0,), VOC_CLASSES))
    made = table([{"row": "A", "chain": CAM}], Runs(files, (0,), VOC_CLASSES, allow_missing=True))
    assert made.cells["A", "train", "miou"].status == "failed"


def test_some_seeds_missing_is_said(tmp_path):
    files = scored(tmp_path, 0.4, 0.6)
    files[tuple(CAM), 2, "train"] = tmp_path / "none.json"
    made = table([{"row": "A", "chain": CAM}], Runs(files, (0, 1, 2), VOC_CLASSES, allow_missing=True))
    assert made.cells["A", "train", "miou"].seeds == 2
    assert "without seed 2" in notes(made, "A")[0]


def test_data_without_masks_say_why(tmp_path):
    why = "no ground truth masks for split train"
    path = evaluation(tmp_path / "e.json", {}, why_empty=why)
    made = table([{"row": "A", "chain": CAM}], Runs({(tuple(CAM), 0, "train"): path}, (0,), VOC_CLASSES))
    assert (made.cells["A", "train", "miou"].status, notes(made, "A")) == ("not run", [why])


def test_rule_that_could_not_choose_says_why(tmp_path):
    files = scored(tmp_path, {"fixed": 0.4, "holdout": None})
    path = next(iter(files.values()))
    path.write_text(path.read_text().replace('"recall_per_class": [null', '"why_empty": "too few masks", "x": [null'))
    made = table([{"row": "A", "chain": CAM}], Runs(files, (0,), VOC_CLASSES), threshold="holdout")
    assert (made.cells["A", "train", "miou"].status, notes(made, "A")) == ("not run", ["too few masks"])
    assert ("A", "train", "miou@holdout") not in made.cells


@pytest.mark.parametrize("text", ["{", "[]", '{"split": "train"}'])
def test_broken_evaluation_is_refused(tmp_path, text):
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(UserError, match=r"e\.json: is not an evaluation file"):
        table(
            [{"row": "A", "chain": CAM}],
            Runs({(tuple(CAM), 0, "train"): tmp_path / "e.json"}, (0,), VOC_CLASSES),
        )


def test_evaluation_of_other_classes_is_refused(tmp_path):
    with pytest.raises(UserError, match="made with other classes"):
        table([{"row": "A", "chain": CAM}], Runs(scored(tmp_path, 0.5), (0,), ("cat",)))


def test_unlike_contracts_get_a_footnote(tmp_path):
    files = scored(tmp_path, 0.5) | scored(tmp_path, 0.5, chain=["b"])
    files |= scored(tmp_path, 0.5, chain=["c"], crf="irn", labels_at_inference=False)
    rows = [{"row": name, "chain": chain} for name, chain in (("A", CAM), ("B", ["b"]), ("C", ["c"]))]
    made = table(rows, Runs(files, (0,), VOC_CLASSES))
    assert notes(made, "A") == notes(made, "B") == []
    assert notes(made, "C") == [
        "dense CRF: irn (elsewhere in this column: none)",
        "image-level labels at inference: no (elsewhere in this column: yes)",
    ]


def test_like_contracts_get_none(tmp_path):
    files = scored(tmp_path, 0.5, weights="resnet50: ImageNet")
    files |= scored(tmp_path, 0.5, chain=["b"], weights="resnet50: ImageNet, resnet101: ImageNet")
    made = table([{"row": "A", "chain": CAM}, {"row": "B", "chain": ["b"]}], Runs(files, (0,), VOC_CLASSES))
    assert made.notes == ()


@pytest.mark.parametrize(
    ("rule", "contract", "text"),
    [
        ("best", {}, "background threshold chosen on the train ground truth"),
        ("oracle", {}, "background threshold chosen on the ground truth of the scored split itself"),
        ("fixed", {"weights": "resnet101: coco.pth"}, "initial weights have seen the pixel labels of COCO"),
        ("fixed", {"images": 1364}, "scored on 1364 images instead of VOC's 1464"),
    ],
)
def test_use_of_ground_truth_and_subsets_is_always_said(tmp_path, rule, contract, text):
    runs = Runs(scored(tmp_path, 0.5, **contract), (0,), VOC_CLASSES)
    assert notes(table([{"row": "A", "chain": CAM}], runs, threshold=rule), "A") == [text]


def test_other_data_are_not_comparable(tmp_path):
    rows = [{"row": "A", "chain": CAM, "published": BASELINE}]
    classes = ("cat", "dog")
    made = table(rows, Runs(scored(tmp_path, 0.5, classes=classes), (0,), classes, voc=False))
    cell = made.cells["A", "train", "miou"]
    assert (cell.published.value, cell.ours, cell.difference) == (48.3, 50.0, None)
    assert made.notes[0][0] == "†"
    own = table(rows, Runs(scored(tmp_path, 0.5), (0,), VOC_CLASSES, voc=False))
    assert own.notes[0][0] == "†"
    assert own.cells["A", "train", "miou"].difference == pytest.approx(1.7)


def test_per_class_numbers(tmp_path):
    rows = [
        {"row": "A", "chain": CAM},
        {"row": "BES", "quoted": {"method": "BES", "stage": "seg ref"}},
        {"row": "P", "pending": "needs it"},
    ]
    runs = Runs(scored(tmp_path, 0.5, split="val"), (0,), VOC_CLASSES)
    made = table(rows, runs, splits=["val"], per_class=True)
    assert made.cells["A", "val", "iou/motorbike"].ours == 50.0
    assert made.cells["BES", "val", "iou/motorbike"].published.value == 72.2
    assert sum(metric.startswith("iou/") for _, _, metric in made.cells) == 42


def test_class_without_a_score_is_left_undefined(tmp_path):
    files = scored(tmp_path, 0.5)
    path = next(iter(files.values()))
    path.write_text(path.read_text().replace('"iou": [0.5,', '"iou": [null,'))
    cell = table([{"row": "A", "chain": CAM}], Runs(files, (0,), VOC_CLASSES), per_class=True)
    assert cell.cells["A", "train", "iou/background"].ours is None
    assert cell.cells["A", "train", "iou/aeroplane"].ours == 50.0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"row": "A", "pending": "x"}, {"row": "A", "pending": "x"}], "row 'A': stands twice"),
        ([{"row": "A"}], "needs exactly one of chain, mean_of, quoted, pending, not none"),
        ([{"row": "A", "chain": CAM, "pending": "x"}], "not chain and pending"),
        ([{"row": "A", "pending": "x", "metric": "iou"}], "metric 'iou' is unknown"),
        ([{"row": "A", "pending": "x", "threshold": "0.3"}], "threshold '0.3' is unknown"),
        ([{"row": "A", "quoted": {"method": "IRnet", "stage": "cam ref"}}], "nearest: 'IRNet / cam ref'"),
    ],
)
def test_contradictions_name_table_and_row(rows, message):
    with pytest.raises(UserError, match=message) as fault:
        table(rows)
    assert "tables.vwe/t, row 'A'" in str(fault.value)


def test_empty_keys_of_validated_settings_are_ignored():
    empty = dict.fromkeys(("chain", "mean_of", "quoted", "published", "metric", "threshold", "splits"))
    assert table([empty | {"row": "A", "pending": "x"}]).cells["A", "train", "miou"].status == "not run"


def test_files_are_complete_and_the_same_every_time(tmp_path):
    arguments = {
        "name": "vwe/table1",
        "definition": {
            "title": "T",
            "splits": ["train"],
            "per_class": True,
            "rows": [{"row": "A", "chain": CAM}],
        },
        "classes": VOC_CLASSES,
        "evaluations": scored(tmp_path, 0.5, 0.6),
        "seeds": [0, 1],
        "published": ROOT / "published",
    }
    for number in (1, 2):
        build(**arguments, out_prefix=tmp_path / str(number) / "table1")
    names = {"table1.csv", "table1.md", "table1.html", "table1.tex"}
    assert {path.name for path in (tmp_path / "1").iterdir()} == names
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in names)
    with open(tmp_path / "1" / "table1.csv", encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert (first["table"], first["row"], first["metric"], first["ours"]) == (
        "vwe/table1",
        "A",
        "miou",
        "55.0",
    )
    assert (first["std"], first["seeds"], first["status"]) == ("7.0710678119", "2", "run")


def definitions():
    return yaml.safe_load((ROOT / "config" / "tables.yaml").read_text(encoding="utf-8"))["tables"]


@pytest.mark.parametrize("name", definitions())
def test_every_table_of_the_papers_can_be_made_without_any_run(tmp_path, name):
    definition = definitions()[name]
    arguments = {"classes": VOC_CLASSES, "evaluations": {}, "seeds": [0], "published": ROOT / "published"}
    build(name=name, definition=definition, out_prefix=tmp_path / "t", **arguments)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert {line["row"] for line in found} == {row["row"] for row in definition["rows"]}
    assert {line["status"] for line in found} <= {"quoted", "not run", "needs server"}
    assert all(line["reason"] for line in found if line["status"] != "quoted")
