"""Scores of VOC's test split: read from what the user writes down of the server's answer, and put into the tables."""

import pytest

from wsss import targets
from wsss.config import resolve
from wsss.errors import UserError
from wsss.published import VOC_CLASSES, read_published
from wsss.server_scores import read_server_scores
from wsss.table_runs import Runs
from wsss.tables import assemble

CHAIN = ["gap_r50", "hard", "deeplabv2_r101", "plain"]
VWE = "vwe_hspp_r50/ms_vwe/irn_r50/irn_walk/irn_hard/deeplabv2_r101/plain"


def written(tmp_path, text):
    path = tmp_path / "test.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_are_read_by_chain_and_seed(tmp_path):
    path = written(tmp_path, f"chain,seed,miou,cat\n{'/'.join(CHAIN)},0,66.3,81.5\n{'/'.join(CHAIN)}/,1,67.3,\n")
    found = read_server_scores(path, VOC_CLASSES)
    assert found == {
        (tuple(CHAIN), 0): {"miou": pytest.approx(0.663), "iou/cat": pytest.approx(0.815)},
        (tuple(CHAIN), 1): {"miou": pytest.approx(0.673)},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chain,miou\na,1\n", r"must name the columns chain,miou,seed"),
        ("chain,seed,miou,unicorn\na,0,1,2\n", r"column 'unicorn' is no class"),
        ("chain,seed,miou\na,x,1\n", r"test.csv row 2: seed 'x' is not a whole number"),
        ("chain,seed,miou\na,0,sixty\n", r"row 2: miou 'sixty' is not a number of percent"),
        ("chain,seed,miou\na,0,\n", r"row 2: miou '' is not a number of percent"),
        ("chain,seed,miou\na,0,nan\n", r"row 2: miou 'nan' is not a number of percent"),
        ("chain,seed,miou\na,0,101\n", r"row 2: miou '101' is not a number of percent"),
        ("chain,seed,miou\na,0,1\na,0,2\n", r"row 3: a, seed 0 stands twice"),
        ("chain,seed,miou\na,0\n", r"row 2: has 2 fields where the header has 3"),
    ],
)
def test_faults_name_the_row(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=message):
        read_server_scores(path, VOC_CLASSES)


def test_a_score_fills_its_cell_and_tells_which_seed_has_none(tmp_path):
    path = written(tmp_path, f"chain,seed,miou,cat\n{'/'.join(CHAIN)},0,66,80\n{'/'.join(CHAIN)},1,68,\n")
    runs = Runs({}, (0, 1), VOC_CLASSES, server=read_server_scores(path, VOC_CLASSES))
    definition = {"splits": ["test"], "rows": [{"row": "A", "chain": CHAIN}, {"row": "B", "chain": CHAIN[1:]}]}
    cells = assemble(name="x/y", definition=definition, runs=runs, published=read_published("published")).cells
    cell = cells["A", "test", "miou"]
    assert (cell.status, cell.ours, cell.seeds) == ("run", pytest.approx(67), 2)
    assert cells["B", "test", "miou"].status == "needs server"
    one = runs.measure(CHAIN, "test", "iou/cat", "fixed")
    assert (one.value, one.reason) == (pytest.approx(80), "without seed 1: has no score of the server")


def test_a_score_that_belongs_to_no_row_is_a_fault_of_the_settings(tmp_path):
    good, bad = f"chain,seed,miou\n{VWE},0,66\n", "chain,seed,miou\nvwe_hspp/ms_vwe,0,66\n"

    def faults(text, **data):
        return targets.faults(resolve({"data": {"test_scores": str(written(tmp_path, text))} | data}))

    assert faults(good) == []
    assert any("no table waits for the test split of vwe_hspp/ms_vwe, seed 0" in fault for fault in faults(bad))
    assert any("seed 3" in fault for fault in faults(good.replace(",0,", ",3,")))
