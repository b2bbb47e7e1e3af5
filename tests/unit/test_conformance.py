import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conformance import __main__ as runner
from wsss.ops.metrics import (
    confusion,
    frequency_weighted_iou,
    iou,
    mean_accuracy,
    means,
    pixel_accuracy,
    tally,
)

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "conformance"
VECTORS = sorted(path for path in FOLDER.glob("*") if path.suffix in runner.SUFFIXES)
needs_vectors = pytest.mark.skipif(not VECTORS, reason=f"no conformance vectors in {FOLDER}")


@needs_vectors
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path):
    outcome = runner.outcome_of(path, runner.adapters())
    if outcome.status in ("missing", "input"):
        pytest.skip(f"{outcome.status}: {path.name}")
    assert outcome.status == "pass", outcome.text


@needs_vectors
@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("05_psa_crf_alpha", "q", 0.01),
        ("06_cam_merge", "irn_strided", 1e-4),
        ("06_cam_merge_resnet38", "occse_highres", 1e-4),
        ("09_crf_aeft_a", "unary", 1e-5),
        ("09_crf_aeft_a", "q", 0.01),
        ("09_crf_aeft_a", "q_exact", 1e-3),
        ("09_crf_aeft_a", "params", 1),
        ("09_crf_iterations", "q", 0.01),
        ("09_crf_kazuto_asrun_a", "q", 0.01),
        ("10_miou_absent", "confusion", 1),
        ("10_miou_absent", "miou_kazuto", 1e-6),
        ("10_threshold_sweep", "confusion_best", 1),
        ("10_threshold_sweep", "miou_alpha_chainercv", 1e-6),
    ],
)
def test_a_changed_vector_fails(tmp_path, name, key, change):
    arrays = dict(np.load(FOLDER / f"{name}.npz"))
    arrays[key] = (arrays[key] + change).astype(arrays[key].dtype)
    np.savez(tmp_path / f"{name}.npz", **arrays)
    assert [outcome.status for outcome in runner.run(tmp_path)] == ["FAIL"]


def write_miou(path: Path, **changes: np.ndarray) -> None:
    """A vector of the layout of 10_miou, made by hand."""
    truth_HW, prediction_HW = np.array([[0, 1, 1, 255]], np.uint8), np.array([[0, 1, 0, 0]], np.uint8)
    confusion_CC = confusion(truth_HW, prediction_HW, 3)
    counts = tally(confusion_CC)
    arrays = {
        "n_images": np.array(1),
        "gt_0": truth_HW,
        "pred_0": prediction_HW,
        "confusion": np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        "iou_nan": np.array([0.5, 0.5, np.nan]),
        "iou_seam": np.nan_to_num(iou(counts)) * 100,
        "miou_chainercv": np.array(0.5),
        "miou_seam": means(counts, "all").miou * 100,
        "miou_kazuto": np.array(0.5),
        "pixel_accuracy": np.array(pixel_accuracy(confusion_CC)),
        "mean_accuracy": np.array(mean_accuracy(confusion_CC)),
        "freq_weighted_iou": np.array(frequency_weighted_iou(confusion_CC)),
    }
    np.savez(path, **(arrays | changes))


def test_exit_status_and_lines(tmp_path, capsys):
    write_miou(tmp_path / "10_miou_c.npz")
    (tmp_path / "99_unknown_a.npz").touch()
    (tmp_path / "07_resnet38_params.tsv").touch()
    (tmp_path / "README.md").touch()
    assert runner.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["input", "07_resnet38_params"],
        ["pass", "10_miou_c"],
        ["missing", "99_unknown_a"],
    ]
    assert "largest difference 0, tolerance" in lines[1]
    assert lines[-1] == "1 pass, 0 FAIL, 1 missing, 1 input"


@pytest.mark.parametrize(
    "changes",
    [
        {"miou_chainercv": np.array(0.4)},
        {"iou_nan": np.array([0.5, 0.5, 0.0])},
        {"iou_nan": np.array([0.5, 0.5])},
        {"pred_0": np.array([[0, 1, 7, 0]], np.uint8)},
    ],
)
def test_failures_make_the_run_fail(tmp_path, capsys, changes):
    write_miou(tmp_path / "10_miou_c.npz", **changes)
    assert runner.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("FAIL")


def test_damaged_files_fail(tmp_path):
    write_miou(tmp_path / "10_miou_c.npz")
    content = (tmp_path / "10_miou_c.npz").read_bytes()
    (tmp_path / "10_miou_c.npz").write_bytes(content[:200])
    assert runner.main([str(tmp_path)]) == 1


def test_the_longest_prefix_wins():
    known = {"09_crf": lambda path: (0, 0), "09_crf_kazuto_asrun": lambda path: (1, 0)}
    assert runner.adapter_of("09_crf_kazuto_asrun_d", known) is known["09_crf_kazuto_asrun"]
    assert runner.adapter_of("09_crf_kazuto_d", known) is known["09_crf"]
    assert runner.adapter_of("09_crfs_a", known) is None


def test_folders_without_vectors_are_an_error(tmp_path):
    assert runner.main([str(tmp_path)]) == 2
    assert runner.main([str(tmp_path / "none")]) == 2
    assert runner.main([]) == 2


def test_the_command(tmp_path):
    write_miou(tmp_path / "10_miou_c.npz")
    shutil.copy(tmp_path / "10_miou_c.npz", tmp_path / "10_miou_d.npz")
    command = [sys.executable, "-m", "tests.conformance", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.count("pass    10_miou") == 2
