import math
import re

import numpy as np
import pytest
from PIL import Image

from wsss.curves import IN_THE_DARK, in_the_dark, loss_curve, read_history, threshold_curve
from wsss.errors import UserError
from wsss.figures import GREEN, Panel, colour_mask, overlay, sheet, spotlight
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


def test_spotlight_keeps_the_mask_and_pales_the_rest():
    image_HW3 = np.full((1, 2, 3), (90, 30, 0), np.uint8)
    bright, pale = spotlight(image_HW3, np.array([[True, False]]), strength=0.5)[0].tolist()
    assert bright == [90, 30, 0]
    assert pale == [148, 148, 148]  # half of the mean 40, half of white, 147.5 to the nearest even


def test_sheet_places_every_panel(tmp_path):
    red = np.zeros((40, 80, 3), np.uint8)
    red[..., 0] = 255
    sheet([[Panel(red, "one"), Panel(red, "two\nlines")], [Panel(red)]], tmp_path / "m.png", cell=(64, 40))
    pixels = np.asarray(Image.open(tmp_path / "m.png"))
    hits = np.argwhere((pixels == (255, 0, 0)).all(axis=2))
    assert len(hits) == 3 * 32 * 64  # 80 x 40 fits into 64 x 40 as 64 x 32
    assert hits.min(axis=0).tolist() == [10, 10]
    assert hits[:, 1].max() == 10 + 64 + 10 + 64 - 1


def test_frames_headers_labels_and_keys(tmp_path):
    panels = [[Panel(GREY, frame=GREEN), Panel(GREY)]]
    sheet(panels, tmp_path / "p.png", cell=(60, 40))
    sheet(
        panels,
        tmp_path / "m.png",
        header=["left\nsmall", "right"],
        labels=["word 1\ncat"],
        legend=[((1, 2, 3), "void")] * 9,
        cell=(60, 40),
    )
    plain, full = (np.asarray(Image.open(tmp_path / name)) for name in ("p.png", "m.png"))
    ring = 62 * 42 - 52 * 32  # a pixel around the picture and four inside it
    for pixels in (plain, full):
        assert (pixels == GREEN).all(axis=2).sum() == ring
        assert (pixels == 100).all(axis=2).sum() == 52 * 32 + 60 * 40
    assert full.shape[0] > plain.shape[0]
    assert full.shape[1] > plain.shape[1]
    assert (full == (1, 2, 3)).all(axis=2).sum() == 9 * 11 * 11


def test_rows_of_a_group_stand_closer(tmp_path):
    rows = [[Panel(GREY)] for _ in range(4)]
    heights = []
    for group in (1, 2):
        sheet(rows, tmp_path / "m.png", group=group, cell=(60, 40))
        grey = (np.asarray(Image.open(tmp_path / "m.png")) == 100).all(axis=2).any(axis=1)
        starts = np.flatnonzero(np.diff(grey.astype(int)) == 1)
        heights.append(np.diff(starts).tolist())
    assert heights == [[54, 54, 54], [54, 70, 54]]


def test_sheet_bears_tiny_and_extreme_images_and_long_captions(tmp_path):
    rows = [
        [Panel(np.zeros((1, 1, 3), np.uint8), "x" * 500)],
        [Panel(np.zeros((2, 900, 3), np.uint8), "日本 é")],
    ]
    sheet(rows, tmp_path / "m.png", cell=(64, 64))
    assert Image.open(tmp_path / "m.png").width == 84


@pytest.mark.parametrize("rows", [[], [[]]])
def test_empty_sheet_is_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="at least one row"):
        sheet(rows, tmp_path / "m.png")


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_curves_are_the_same_every_time(tmp_path, suffix):
    (tmp_path / "h.csv").write_text("step,epoch,lr,loss,part,images_per_s\n1,0,0.1,2.0,1.5,9\n2,0,0.1,0.05,0.01,9\n")
    for number in (1, 2):
        threshold_curve(CURVE, RULES, tmp_path / f"t{number}.{suffix}")
        loss_curve(tmp_path / "h.csv", tmp_path / f"l{number}.{suffix}")
    for name in "tl":
        first, second = ((tmp_path / f"{name}{number}.{suffix}").read_bytes() for number in (1, 2))
        assert first == second


def test_a_plot_for_dark_pages_differs_in_colours_alone(tmp_path):
    threshold_curve(CURVE, RULES, tmp_path / "t.svg")
    light = (tmp_path / "t.svg").read_text()
    dark = in_the_dark(light)
    colour = re.compile("#[0-9a-f]{6}")
    assert colour.sub("", dark) == colour.sub("", light)
    assert {"#ffffff", "#0072b2"} <= set(colour.findall(light))
    assert not set(IN_THE_DARK) & set(colour.findall(dark))
    assert in_the_dark(dark) == dark


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
