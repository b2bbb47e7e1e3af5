"""The papers' figures: what they show of hand-made results, down to the pixels, and which settings are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.unit.table_fixture import evaluation
from wsss import slices, targets, words
from wsss.backbones import tiny
from wsss.config import resolve
from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.images import write_mask
from wsss.data.manifest import Manifest, Sample, read_manifest, write_manifest
from wsss.errors import UserError
from wsss.figures import GREEN, RED, overlay, spotlight
from wsss.job import Job
from wsss.methods import vwe
from wsss.ops.palette import voc_palette
from wsss.paper_figures import curve, labels, maps
from wsss.paper_figures import words as word_figure
from wsss.paper_figures.inputs import Inputs
from wsss.paper_figures.maps import map_over_image
from wsss.paper_figures.montage import Scene, chosen, coloured, scene
from wsss.paper_figures.words import Sighting, Word, sightings, spread, word
from wsss.stores import Record, Store, Writer

CLASSES = ("cat", "dog")
CHAIN = ["gap_r50", "ms_irn"]
DEEPLAB = [*CHAIN, "crf_irn", "hard", "deeplabv2_r101", "plain_crf"]
PALETTE = voc_palette()
MONTAGE = {"split": "val", "images": 4, "choose": "fixed", "measures": True, "threshold": "best", "lines": 1}

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 255], [0, 0, 2, 255]], np.uint8)
SCORE = np.zeros((2, 4, 4), np.float16)
SCORE[0, 0, 1:] = 0.9  # cat: the upper row, one pixel too far to the left
SCORE[0, 3, 3] = 0.9  # cat where the truth is ignored
SCORE[1, 2, 2] = 0.8  # dog: one of its two pixels
SCORE[1, 1, 2] = 0.25  # too weak for a threshold of 0.3
SIZE = {"size": [4, 4], "classes": [1, 2]}
AT_HALF = np.array([[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], np.uint8)
"""SCORE at 0.3. Cat: 2 of 3 hit, 2 of 4 found, IoU 2/5; dog: 1, 1/2, IoU 1/2; background: 7 hit of 8 + 3 more, 7/11."""


def grey(value, size=(4, 4)):
    return np.full((*size, 3), value, np.uint8)


def view(truth=TRUTH, focus=1):
    return Scene(Sample("a", Path("a.png"), 4, 4, (1, 2)), grey(100), truth, focus)


def data_folder(folder, images, truths, split="val"):
    """A data folder with images as PNGs: id -> (uint8 image, class ids), id -> mask."""
    samples = {}
    for key, (image_HW3, found) in images.items():
        Image.fromarray(image_HW3).save(folder / f"{key}.png")
        samples[key] = Sample(key, folder / f"{key}.png", image_HW3.shape[1], image_HW3.shape[0], found)
    for key, label_HW in truths.items():
        write_mask(folder / f"{key}.mask.png", label_HW)
    write_manifest(folder, Manifest(samples, CLASSES, {split: tuple(samples)}))
    write_ground_truth(folder, {key: GroundTruth(folder / f"{key}.mask.png", "own") for key in truths})
    return folder


def stored(path, records):
    with Writer(path) as store:
        for key, (array, meta) in records.items():
            store.add(key, array, **meta)
    return [str(path)]


def pixels(path):
    return np.asarray(Image.open(path))


# --- Maps and labels ---------------------------------------------------------------------------------------------


def test_measures_of_a_map_by_hand():
    drawn = map_over_image(view(), Record(SCORE, SIZE), 0.3, 3)
    assert drawn.measures == "IoU 40.0 · P 66.7 · R 50.0"
    assert drawn.labels == frozenset()
    assert np.array_equal(drawn.image_HW3, overlay(grey(100), SCORE[0]))


def test_the_map_and_its_measures_are_those_of_the_class_in_focus():
    drawn = map_over_image(view(focus=2), Record(SCORE, SIZE), 0.3, 3)
    assert drawn.measures == "IoU 50.0 · P 100.0 · R 50.0"
    assert np.array_equal(drawn.image_HW3, overlay(grey(100), SCORE[1]))


def test_a_class_that_is_never_predicted_has_no_precision():
    assert map_over_image(view(), Record(SCORE, SIZE), 0.95, 3).measures == "IoU 0.0 · P – · R 0.0"


@pytest.mark.parametrize(("truth", "threshold"), [(None, 0.3), (TRUTH, None)])
def test_without_truth_or_threshold_a_map_has_no_measures(truth, threshold):
    drawn = map_over_image(view(truth), Record(SCORE, SIZE), threshold, 3)
    assert drawn.measures == ""
    assert np.array_equal(drawn.image_HW3, overlay(grey(100), SCORE[0]))


def test_maps_with_a_background_of_their_own_need_no_threshold():
    whole = np.concatenate([np.full((1, 4, 4), 0.3, np.float16), SCORE])
    drawn = map_over_image(view(), Record(whole, {"size": [4, 4], "classes": [0, 1, 2]}), None, 3)
    assert drawn.measures == "IoU 40.0 · P 66.7 · R 50.0"
    assert np.array_equal(drawn.image_HW3, overlay(grey(100), SCORE[0]))


def test_labels_among_maps_are_coloured_with_their_mean_iou():
    drawn = map_over_image(view(), Record(AT_HALF, {"size": [4, 4]}), None, 3)
    assert drawn.measures == f"mean IoU {100 * (7 / 11 + 2 / 5 + 1 / 2) / 3:.1f}"
    assert drawn.labels == {0, 1, 2}
    assert np.array_equal(drawn.image_HW3, PALETTE[AT_HALF])
    assert coloured(AT_HALF, None, 3).measures == ""


def test_an_image_without_a_class_is_shown_as_it_is():
    drawn = map_over_image(view(focus=None), Record(SCORE[:0], {"size": [4, 4], "classes": []}), 0.3, 3)
    assert np.array_equal(drawn.image_HW3, grey(100))
    assert drawn.measures == ""


def test_in_focus_is_the_class_with_most_pixels_in_the_truth(tmp_path):
    truth_HW = np.array([[1, 2, 2, 2]], np.uint8)
    data_folder(tmp_path, {"a": (grey(9, (1, 4)), (1, 2)), "b": (grey(9, (1, 4)), ())}, {"a": truth_HW})
    samples = read_manifest(tmp_path).samples
    assert scene(samples["a"], GroundTruth(tmp_path / "a.mask.png", "own")).focus == 2
    assert scene(samples["a"], None).focus == 1
    assert scene(samples["b"], None).focus is None


def test_choice_of_images(tmp_path, capsys):
    rows = [("d", 0.5), ("a", 0.9), ("c", 0.5), ("b", 0.1), ("e", ""), ("f", 0.7)]
    file = tmp_path / "i.csv"
    file.write_text("id,miou\n" + "".join(f"{key},{value}\n" for key, value in rows))
    assert chosen("best", "fedcba", 3, file) == ["a", "f", "c"]
    assert chosen("worst", "fedcba", 3, file) == ["b", "c", "d"]
    assert chosen("fixed", "fedcba", 3, None) == ["a", "c", "e"]
    assert chosen("fixed", "abc", 99, None) == ["a", "b", "c"]
    file.write_text("id,miou\na,\n")
    assert chosen("best", "ba", 1, file) == ["a"]
    assert "no image has a score" in capsys.readouterr().out
    file.write_text("name\nx\n")
    with pytest.raises(UserError, match="needs the columns id and miou"):
        chosen("best", "ab", 3, file)


@pytest.fixture
def montage(tmp_path):
    """Four plain grey images, the last without a mask; labels of two chains; the second is ranked."""
    shades = {"a": 10, "b": 60, "c": 110, "d": 160}
    truths = {key: np.full((3, 4), label, np.uint8) for key, label in zip("abc", (1, 2, 2), strict=True)}
    images = {key: (grey(shade, (3, 4)), (1,)) for key, shade in shades.items()}
    data_folder(tmp_path, images, truths)
    stores = [
        stored(tmp_path / f"{n}.store", {key: (np.full((3, 4), n, np.uint8), {"size": [3, 4]}) for key in shades})
        for n in (1, 2)
    ]
    (tmp_path / "i.csv").write_text("id,miou\na,0\nb,1.0\nc,0.5\n")
    cells = {((f"v{n}",), 0, "val"): evaluation(tmp_path / f"{n}.json", {"labels": 0.5}) for n in (1, 2)}
    inputs = Inputs(tmp_path, stores, cells, tmp_path / "i.csv")
    return inputs, [{"caption": f"chain {n}", "chain": [f"v{n}"]} for n in (1, 2)]


def grid(picture, lefts, tops):
    """Colours in the middle of panels of 200 x 150 whose left and top edges are given."""
    return [[tuple(picture[top + 75, left + 100].tolist()) for left in lefts] for top in tops]


def test_a_montage_shows_images_truth_and_results_in_order(tmp_path, montage):
    inputs, columns = montage
    red, green, white = (tuple(PALETTE[1].tolist()), tuple(PALETTE[2].tolist()), (255, 255, 255))
    labels.draw(inputs, tmp_path / "m.png", columns=columns, **MONTAGE)
    picture = pixels(tmp_path / "m.png")
    lefts, tops = [10, 220, 430, 640], [27 + number * (150 + 17 + 14) for number in range(4)]
    assert picture.shape == (tops[-1] + 181 + 27, 850, 3)
    assert grid(picture, lefts, tops) == [
        [(10,) * 3, red, red, green],
        [(60,) * 3, green, red, green],
        [(110,) * 3, green, red, green],
        [(160,) * 3, white, red, green],
    ]


@pytest.mark.parametrize(("choose", "order"), [("best", [60, 110]), ("worst", [10, 110])])
def test_best_and_worst_images_come_in_their_order(tmp_path, montage, choose, order):
    inputs, columns = montage
    labels.draw(inputs, tmp_path / "m.png", columns=columns, **MONTAGE | {"choose": choose, "images": 2})
    shown = grid(pixels(tmp_path / "m.png"), [10], [27, 27 + 181])
    assert [row[0][0] for row in shown] == order


def test_two_lines_begin_with_image_and_truth(tmp_path, montage):
    inputs, columns = montage
    labels.draw(inputs, tmp_path / "m.png", columns=columns, **MONTAGE | {"lines": 2, "images": 1})
    red, green = (tuple(PALETTE[n].tolist()) for n in (1, 2))
    captions = 2 * 17  # "chain 1" and "mean IoU ..."
    assert grid(pixels(tmp_path / "m.png"), [10, 220], [10, 10 + 150 + captions + 14]) == [
        [(10,) * 3, red],
        [red, green],
    ]


def test_the_same_montage_has_the_same_bytes(tmp_path, montage):
    inputs, columns = montage
    for name in ("1.png", "2.png"):
        labels.draw(inputs, tmp_path / name, columns=columns, **MONTAGE)
    labels.draw(inputs, tmp_path / "3.png", columns=columns, **MONTAGE | {"measures": False})
    first, second, third = ((tmp_path / f"{n}.png").read_bytes() for n in (1, 2, 3))
    assert first == second != third


@pytest.fixture
def scored(tmp_path):
    """One image with the score maps and truth from above, and an evaluation that chose the threshold 0.40625."""
    data_folder(tmp_path, {"a": (grey(100), (1, 2))}, {"a": TRUTH})
    store = stored(tmp_path / "s.store", {"a": (SCORE, SIZE)})
    cells = {(tuple(CHAIN), 0, "val"): evaluation(tmp_path / "e.json", {"fixed": 0.4, "best": 0.5})}
    return Inputs(tmp_path, [store], cells), [{"caption": "CAM", "chain": CHAIN}]


def test_maps_are_laid_over_the_image_and_labels_are_thresholded(tmp_path, scored):
    inputs, columns = scored
    maps.draw(inputs, tmp_path / "maps.png", columns=columns, **MONTAGE)
    labels.draw(inputs, tmp_path / "labels.png", columns=columns, **MONTAGE)
    corner = 10 + 2 * 210 + 25  # a cell of 200 x 150 holds a square of 150 x 150, its pixels are 37.5 wide
    places = np.ix_([44 + 18, 44 + 18 + 75], [corner + 18, corner + 18 + 75])
    expected = overlay(grey(100), SCORE[0])[::2, ::2]
    assert np.array_equal(pixels(tmp_path / "maps.png")[places], expected)
    assert np.array_equal(pixels(tmp_path / "labels.png")[places], PALETTE[AT_HALF[::2, ::2]])


def test_labels_of_score_maps_need_ground_truth_once(tmp_path, scored):
    inputs, columns = scored
    evaluation(next(iter(inputs.evaluations.values())), {}, why_empty="no masks")
    with pytest.raises(UserError, match="a: these score maps become labels at a threshold that only ground truth"):
        labels.draw(inputs, tmp_path / "labels.png", columns=columns, **MONTAGE)
    assert not (tmp_path / "labels.png").exists()
    maps.draw(inputs, tmp_path / "maps.png", columns=columns, **MONTAGE)


# --- Visual words ------------------------------------------------------------------------------------------------

WORD_MAP = np.array([[7, 3], [3, 5]], np.uint16)
"""Over TRUTH: word 7 background; word 3 cat (4 of 4 pixels) and background (4); word 5 dog (2) and ignored (2)."""


def test_a_word_has_the_class_of_most_of_its_pixels(tmp_path):
    sample = Sample("a", Path("a.png"), 4, 4, (1, 2))
    truth_HW = TRUTH.copy()
    truth_HW[2, 0] = 1
    write_mask(tmp_path / "m.png", truth_HW)
    assert dict(sightings(sample, GroundTruth(tmp_path / "m.png", "own"), WORD_MAP)) == {
        7: Sighting("a", 0.25, 0),
        3: Sighting("a", 0.5, 1),
        5: Sighting("a", 0.25, 2),
    }


def test_a_word_on_ignored_pixels_only_has_no_class(tmp_path):
    write_mask(tmp_path / "m.png", np.array([[255, 1]], np.uint8))
    found = sightings(Sample("a", Path(), 2, 1, (1,)), GroundTruth(tmp_path / "m.png", "own"), np.array([[4, 2]]))
    assert found == [(2, Sighting("a", 0.5, 1))]


@pytest.mark.parametrize(("found", "labelled"), [((2,), {3: 2, 5: 2, 7: 2}), ((1, 2), {}), ((), {})])
def test_without_a_mask_an_only_label_decides(found, labelled):
    sample = Sample("a", Path(), 4, 4, found)
    assert {number: s.label for number, s in sightings(sample, None, WORD_MAP)} == labelled


def test_a_word_takes_its_largest_images_and_their_most_frequent_class():
    seen = [Sighting(key, share, label) for key, share, label in
            (("a", 0.1, 1), ("b", 0.4, 2), ("c", 0.3, 1), ("d", 0.3, 1), ("e", 0.05, 2), ("f", 0.04, 2))]  # fmt: skip
    found = word(9, seen, 4)
    assert (found.number, found.label, found.right) == (9, 1, 3)
    assert [sighting.id for sighting in found.sightings] == ["c", "d", "a", "b"]
    assert word(9, seen[:2], 4).label == 1  # one each: the smaller class


def of_purity(number, right, label=1, images=10, share=0.1):
    return Word(number, label, tuple(Sighting("a", share, label if i < right else label + 1) for i in range(images)))


def test_words_are_spread_over_their_ranking_by_purity():
    found = [of_purity(number, number) for number in range(1, 10)]
    assert [each.number for each in spread(found, 3, 10)] == [9, 5, 1]
    assert [each.number for each in spread(found, 1, 10)] == [9]
    assert [each.number for each in spread([of_purity(1, 5, share=0.1), of_purity(2, 5, share=0.2)], 2, 10)] == [2, 1]


def test_background_and_rare_words_come_last():
    found = [of_purity(1, 10, label=0), of_purity(2, 3), of_purity(3, 4, images=4), of_purity(4, 9)]
    assert [each.number for each in spread(found, 2, 10)] == [4, 2]
    assert [each.number for each in spread(found, 4, 10)] == [4, 2, 1, 3]


@pytest.fixture
def worded(tmp_path):
    """Three images of 4 x 8, the word 6 on the right of each; it is on cat twice, on dog once."""
    truth_HW = np.zeros((4, 8), np.uint8)
    truths = {
        key: np.where(np.arange(8) >= 4, label, truth_HW).astype(np.uint8)
        for key, label in zip("abc", (1, 2, 1), strict=True)
    }
    data_folder(tmp_path, {key: (grey(40, (4, 8)), (label[0, 7].item(),)) for key, label in truths.items()}, truths)
    widths = {"a": 4, "b": 3, "c": 2}  # columns that hold the word
    maps_of = {key: np.where(np.arange(8) >= 8 - n, 6, 0) * np.ones((4, 1), int) for key, n in widths.items()}
    store = stored(
        tmp_path / "w.store", {key: (map_hw.astype(np.uint16), {"size": [4, 8]}) for key, map_hw in maps_of.items()}
    )
    return Inputs(tmp_path, [store])


def test_frames_say_whether_the_class_is_the_words_own(tmp_path, worded, capsys):
    word_figure.draw(worded, tmp_path / "w.png", split="val", words=1, images=3)
    assert "2 words in use, 1 of them of a foreground class in 3 images" in capsys.readouterr().out
    picture = pixels(tmp_path / "w.png")
    row = picture[10 + 56]
    colours = [tuple(colour) for colour in row.tolist()]
    starts = {
        name: [x for x in range(1, len(row)) if colours[x] == c != colours[x - 1]]
        for name, c in (("green", GREEN), ("red", RED))
    }
    assert len(starts["green"]) == 2 * len(starts["red"]) == 4  # both sides of two green frames and of a red one
    assert min(starts["red"]) > max(starts["green"])  # a and c, of the word's class, stand before b


def test_a_words_panel_is_the_square_around_it_with_its_pixels_bright(worded):
    samples, store = read_manifest(worded.data).samples, Store(worded.maps[0])
    shown = Word(6, 1, (Sighting("a", 0.5, 1), Sighting("b", 0.375, 2)))
    right, wrong = (word_figure.panel(samples[s.id], store[s.id].array, shown, s) for s in shown.sightings)
    assert (right.frame, wrong.frame) == (GREEN, RED)
    assert np.array_equal(right.image_HW3, grey(40))
    mask_HW = np.arange(4) >= np.ones((4, 1), int)
    assert np.array_equal(wrong.image_HW3, spotlight(grey(40), mask_HW))


def test_a_figure_of_words_has_the_same_bytes_and_survives_without_classes(tmp_path, worded, capsys):
    for name in ("1.png", "2.png"):
        word_figure.draw(worded, tmp_path / name, split="val", words=2, images=2)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    samples = {key: (grey(40, (4, 8)), (1, 2)) for key in "abc"}
    data_folder(tmp_path, samples, {})
    word_figure.draw(worded, tmp_path / "3.png", split="val", words=2, images=2)
    assert "the figure is empty" in capsys.readouterr().out


def test_the_stage_stores_the_words_that_the_network_assigns(tmp_path):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = {key: (rng.integers(0, 256, (40, 56, 3), np.uint8), (1,)) for key in "abc"}
    data_folder(tmp_path, images, {})
    model = vwe.build(backbone=tiny.build(output_stride=8), num_classes=2, words=5).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    network = {"method": "vwe", "network": "tiny", "output_stride": 8, "backbone_options": {}, "options": {"words": 5}}
    for shard in ("1-of-1", "1-of-2", "2-of-2"):
        words.assign(
            data=tmp_path,
            split="val",
            shard=shard,
            weights=str(tmp_path / "w.safetensors"),
            out=str(tmp_path / f"{shard}.store"),
            job=Job(tmp_path / "x", "f", 1),
            network=network,
        )
    whole, parts = (Store([tmp_path / f"{s}.store" for s in names]) for names in (["1-of-1"], ["1-of-2", "2-of-2"]))
    assert whole.ids == parts.ids == list("abc")
    mean, std = model.backbone.mean, model.backbone.std
    for key in whole.ids:
        image = torch.from_numpy((images[key][0] / np.float32(255) - np.float32(mean)) / np.float32(std))
        with torch.inference_mode():
            expected = model.word_map(image.permute(2, 0, 1)[None].float())[0].numpy()
        assert whole[key].array.dtype == np.uint16
        assert whole[key].meta["size"] == [40, 56]
        assert whole[key].array.shape == (5, 7)
        assert np.array_equal(whole[key].array, parts[key].array)
        assert (whole[key].array == expected).mean() > 0.9


# --- Curves ------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Scores of three runs under two seeds, and of one that has none."""
    data_folder(tmp_path, {"a": (grey(1), (1,))}, {})
    cells = {}
    for name, miou in (("low", 0.3), ("high", 0.5), ("base", 0.4), ("none", None)):
        for seed in (0, 1):
            rules = {"best": miou + 0.1 * seed} if miou else {}
            why = None if miou else "no masks"
            file = evaluation(tmp_path / f"{name}{seed}.json", rules, split="val", classes=CLASSES, why_empty=why)
            cells[(name,), seed, "val"] = file
    return Inputs(tmp_path, evaluations=cells)


def drawn_curve(runs, out, lines):
    curve.draw(runs, out, split="val", metric="miou", threshold="best", x="threshold", lines=lines)
    return pixels(out)[..., :3].astype(int)


def places(picture, colour):
    """Pixels (row, column) of a colour left of the legend."""
    return np.argwhere(np.abs(picture[:, :780] - colour).max(axis=2) < 12)


def test_a_single_point_is_a_level_at_its_value(tmp_path, runs, capsys):
    rising = {"caption": "ours", "points": [{"x": 0.4, "chain": ["high"]}, {"x": 0.1, "chain": ["low"]}]}
    level = {"caption": "baseline", "points": [{"x": 0.0, "chain": ["base"]}]}
    picture = drawn_curve(runs, tmp_path / "c.png", [rising, level])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ours, threshold 0.1",
        "ours, threshold 0.4",
        "baseline, threshold 0",
    ]
    assert [float(line.split(": ")[1]) for line in lines] == pytest.approx([35, 55, 45])
    top, bottom = places(picture, (213, 94, 0))[:, 0][[0, -1]]
    rows, counts = np.unique(places(picture, (28, 32, 38))[:, 0], return_counts=True)
    level = rows[(counts > 200) & (rows < bottom)]
    assert 1 <= len(level) <= 3
    assert abs(level.mean() - (top + bottom) / 2) < 3  # 45 lies half way between 35 and 55, whose bars are equal


def test_curves_have_the_same_bytes_and_survive_without_scores(tmp_path, runs):
    line = {"caption": "ours", "points": [{"x": x, "chain": [name]} for x, name in ((1, "low"), (2, "none"))]}
    empty = {"caption": "ours", "points": [{"x": 1, "chain": ["none"]}]}
    for name in ("1.png", "2.png"):
        drawn_curve(runs, tmp_path / name, [line])
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    drawn_curve(runs, tmp_path / "3.png", [empty])


# --- Settings ----------------------------------------------------------------------------------------------------


def figure(**change):
    return {"kind": "maps", "title": "t", "split": "val", "columns": [{"caption": "c", "chain": CHAIN}]} | change


def curve_of(*points):
    found = [{"x": x, "chain": chain} for x, chain in points]
    return {"kind": "curve", "title": "t", "x": "x", "lines": [{"caption": "l", "points": found}]}


def with_figure(definition, name="new/figure1", **overlay):
    return resolve({"build": ["new/*"], "figures": {name: definition}} | overlay)


@pytest.mark.parametrize(
    ("name", "definition", "message"),
    [
        ("new/f", figure(kind="map"), "figures.new/f: Input tag 'map' found using 'kind' does not match"),
        ("new/f", figure(colums=[]), "unknown key 'colums'; did you mean 'columns'?"),
        ("new/f", figure(columns=[]), "figures.new/f.columns"),
        ("new/f", figure(lines=2), "1 columns cannot be spread over 2 lines"),
        ("new/f", figure(choose="good"), "figures.new/f.choose"),
        ("new/f", figure(images=0), "figures.new/f.images"),
        ("new/f", figure(threshold="bests"), "figures.new/f.threshold"),
        ("new/f", curve_of((1, CHAIN), (1.0, DEEPLAB)), "two points have the same x"),
        ("new/f", curve_of(), "figures.new/f.lines.0.points"),
        ("figure1", figure(), "figures.figure1"),
    ],
)
def test_wrong_settings_are_named_in_one_line(name, definition, message):
    with pytest.raises(UserError) as caught:
        with_figure(definition, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (
            figure(columns=[{"caption": "c", "chain": ["gap_r51"]}]),
            "figures.new/figure1: there is no variant 'gap_r51'",
        ),
        (
            figure(columns=[{"caption": "c", "chain": ["gap_r50"]}]),
            "figures.new/figure1: ends in gap_r50 (classify), which has",
        ),
        (curve_of((1, ["gap_r50", "hard"])), "figures.new/figure1: 'hard' (pseudo) cannot follow classify"),
        ({"kind": "words", "title": "t", "chain": ["gap_r50"]}, "gap_r50, which is no classifier with visual words"),
        ({"kind": "words", "title": "t", "chain": ["vwe_r50", "ms_vwe"]}, "ms_vwe, which is no classifier with visual"),
    ],
)
def test_impossible_chains_name_the_figure(definition, message):
    assert any(message in fault for fault in targets.faults(with_figure(definition)))


def test_figures_are_selected_as_tables_are_and_only_of_scored_splits():
    settings = with_figure(figure())
    assert list(targets.built_figures(settings)) == ["new/figure1"]
    assert targets.built_tables(settings) == {}
    assert "new/figure1" not in targets.built_figures(settings.model_copy(update={"build": ["vwe/*"]}))
    assert targets.built_figures(with_figure(figure(split="test"))) == {}


def test_curves_ask_for_all_seeds_and_pictures_for_the_first():
    points = curve_of((1, CHAIN), (2, DEEPLAB))
    for definition, expected in (
        (
            points,
            [
                (tuple(CHAIN), 3, "train"),
                (tuple(CHAIN), 5, "train"),
                (tuple(DEEPLAB), 3, "train"),
                (tuple(DEEPLAB), 5, "train"),
            ],
        ),
        (figure(), [(tuple(CHAIN), 3, "val")]),
        ({"kind": "words", "title": "t", "chain": ["vwe_r50"]}, []),
    ):
        settings = with_figure(definition, seeds=[3, 5])
        assert targets.figure_evaluations(settings, settings.figures["new/figure1"]) == expected


def test_what_a_figure_shows_can_be_read_below_it():
    shown = with_figure(figure(choose="worst")).figures["new/figure1"]
    assert "lowest mean IoU" in shown.caption
    assert "IoU, precision (P) and recall (R) of that class at the threshold rule 'best'" in shown.caption
    assert "IoU" not in with_figure(figure(measures=False)).figures["new/figure1"].caption


def test_the_slice_of_a_figure_is_plain(tmp_path):
    settings = with_figure(curve_of((1, CHAIN)))
    definition = settings.figures["new/figure1"].model_dump(mode="json", exclude={"kind", "title", "chain"})
    assert json.loads(json.dumps(definition)) == definition
    config = slices.words_config(settings, "vwe_r50")
    assert config["network"]["method"] == "vwe"
    assert config["network"]["options"]["words"] == 256
