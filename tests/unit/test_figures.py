import math

import numpy as np
import pytest
from PIL import Image

from wsss.curves import loss_curve, read_history, threshold_curve
from wsss.errors import UserError
from wsss.figures import Example, Panel, choose, colour_mask, image_miou, montage, overlay, qualitative
from wsss.ops.palette import voc_palette

GREY = np.full((20, 30, 3), 100, np.uint8)
RULES = {"fixed": {"threshold": 0.15, "miou": 0.4}, "best": {"threshold": None, "miou": None}}
CURVE = {
    "threshold": [0.0, 0.5, 1.0],
    "miou": [0.1, 0.5, None],
    "precision": [0.2, 0.5, None],
    "recall": [0.9, 0.5, 0.0],
}


def test_overlay_leaves_score_zero_and_colours_score_one():
    score_HW = np.zeros((20, 30), np.float16)
    score_HW[:, 15:] = 1
    mixed_HW3 = overlay(GREY, score_HW)
    assert mixed_HW3.dtype == np.uint8
    assert (mixed_HW3[:, :15] == 100).all()
    bright = np.rint(0.75 * np.array([252, 255, 164]) + 0.25 * 100)
    assert np.abs(mixed_HW3[0, -1] - bright).max() <= 1


def test_overlay_bears_nan_and_scores_outside_the_range():
    score_HW = np.array([[np.nan, -1.0, 2.0]], np.float32)
    mixed_HW3 = overlay(np.full((1, 3, 3), 100, np.uint8), score_HW)
    assert (mixed_HW3[0, :2] == 100).all()


def test_overlay_refuses_another_size():
    with pytest.raises(ValueError, match="differ in size"):
        overlay(GREY, np.zeros((5, 5), np.float32))


def test_colour_mask_uses_the_palette():
    assert colour_mask(np.array([[0, 1, 255]], np.uint8), voc_palette()).tolist() == [
        [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
    ]


def test_image_miou_by_hand():
    truth_HW = np.array([[0, 0, 1, 255], [0, 1, 1, 255]], np.uint8)
    label_HW = np.array([[0, 1, 1, 9], [0, 1, 2, 9]], np.uint8)
    # class 0: 2 of 3; class 1: 2 of 4; class 2: 0 of 1
    assert image_miou(label_HW, truth_HW) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert image_miou(label_HW, np.full_like(truth_HW, 255)) is None


def test_choice_of_images(tmp_path):
    rows = [("d", 0.5), ("a", 0.9), ("c", 0.5), ("b", 0.1), ("e", ""), ("f", 0.7)]
    (tmp_path / "i.csv").write_text("id,miou\n" + "".join(f"{key},{value}\n" for key, value in rows))
    chosen = choose(tmp_path / "i.csv", "abcdef", 3)
    assert chosen == {"fixed": ["a", "c", "e"], "best": ["a", "f", "c"], "worst": ["b", "c", "d"]}
    assert choose(tmp_path / "i.csv", "abcdef", 99)["fixed"] == list("abcdef")


def test_choice_needs_the_columns(tmp_path):
    (tmp_path / "i.csv").write_text("name\nx\n")
    with pytest.raises(UserError, match="needs the columns id and miou"):
        choose(tmp_path / "i.csv", "abcdef", 3)


def test_montage_places_every_panel(tmp_path):
    red = np.zeros((40, 80, 3), np.uint8)
    red[..., 0] = 255
    montage([[Panel(red, "one"), Panel(red, "two\nlines")], [Panel(red)]], tmp_path / "m.png", height=32)
    sheet = np.asarray(Image.open(tmp_path / "m.png"))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 3 * 32 * 64


def test_montage_bears_tiny_and_extreme_images_and_long_captions(tmp_path):
    rows = [
        [Panel(np.zeros((1, 1, 3), np.uint8), "x" * 500)],
        [Panel(np.zeros((2, 900, 3), np.uint8), "日本 é")],
    ]
    montage(rows, tmp_path / "m.png", height=64)
    assert Image.open(tmp_path / "m.png").width < 200


@pytest.mark.parametrize("rows", [[], [[]]])
def test_empty_montage_is_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="at least one row"):
        montage(rows, tmp_path / "m.png")


def test_qualitative_panels_are_the_same_every_time(tmp_path):
    label_HW = np.zeros((20, 30), np.uint8)
    scores = {"cat": np.full((20, 30), 0.5, np.float32)}
    examples = [
        Example("a", GREY, label_HW, scores, {"pseudo label": label_HW}),
        Example("b", GREY, None, {}, {"prediction": label_HW}),
    ]
    qualitative(examples, voc_palette(), tmp_path / "1.png")
    qualitative(examples, voc_palette(), tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_curves_are_the_same_every_time(tmp_path, suffix, dark):
    (tmp_path / "h.csv").write_text("step,epoch,lr,loss,part,images_per_s\n1,0,0.1,2.0,1.5,9\n2,0,0.1,0.05,0.01,9\n")
    for number in (1, 2):
        threshold_curve(CURVE, RULES, tmp_path / f"t{number}.{suffix}", dark=dark)
        loss_curve(tmp_path / "h.csv", tmp_path / f"l{number}.{suffix}", dark=dark)
    for name in "tl":
        first, second = ((tmp_path / f"{name}{number}.{suffix}").read_bytes() for number in (1, 2))
        assert first == second


def test_plots_need_no_display_and_no_network(tmp_path):
    threshold_curve(CURVE, RULES, tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    assert "<image" not in text
    assert 'href="http' not in text


def test_history_columns(tmp_path):
    (tmp_path / "h.csv").write_text("step,loss,part\n1,0.5,\n2,0.4,0.1\n")
    columns = read_history(tmp_path / "h.csv")
    assert columns["loss"].tolist() == [0.5, 0.4]
    assert math.isnan(columns["part"][0])


@pytest.mark.parametrize("text", ["", "step,loss\n", "step,loss\n1,high\n", "a,b\n1,2\n", "step,loss\n1\n"])
def test_broken_history_is_refused(tmp_path, text):
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(UserError, match=r"h\.csv"):
        read_history(tmp_path / "h.csv")


def test_long_history_with_nan_is_drawn(tmp_path):
    lines = [f"{step},{'nan' if step == 700 else 1 / (step + 1)}" for step in range(3000)]
    (tmp_path / "h.csv").write_text("step,loss\n" + "\n".join(lines) + "\n")
    loss_curve(tmp_path / "h.csv", tmp_path / "l.svg")
    assert (tmp_path / "l.svg").stat().st_size < 100_000
