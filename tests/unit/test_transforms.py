"""Resizing, normalisation, augmentation: hand-computed arrays, reference libraries, label geometry."""

import colorsys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from wsss.data.transforms import (
    MEAN,
    STD,
    Augmentation,
    jitter_colour,
    normalise,
)
from wsss.errors import UserError

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}


class Draws:
    """Stands in for a generator with fixed answers, so that an expected crop can be written down."""

    def __init__(self, *, integers=(), random=1.0, uniform=1.0):
        self._integers, self._random, self._uniform = list(integers), random, uniform

    def integers(self, low, high=None, endpoint=False):
        value = self._integers.pop(0)
        top = (low if high is None else high) - (not endpoint)
        assert (0 if high is None else low) <= value <= top
        return value

    def random(self):
        return self._random

    def uniform(self, low, high):
        assert low <= self._uniform <= high
        return self._uniform


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 5 + 2, width // 5 + 2, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)
    return (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)


def tiny():
    """2 x 3 image with grey levels 1..6."""
    return np.repeat(np.arange(1, 7, dtype=np.uint8).reshape(2, 3, 1), 3, axis=2)


def test_normalise_is_the_formula():
    image = photo(17, 23)
    expected = (image / 255 - np.array(MEAN)) / np.array(STD)
    found = normalise(image)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.shape == (3, 17, 23)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-6)


def test_normalise_takes_views():
    image = photo(20, 30)
    np.testing.assert_array_equal(normalise(image[::-1, 3:20:2]), normalise(image[::-1, 3:20:2].copy()))


def test_larger_image_is_cropped_at_the_drawn_corner():
    augment = Augmentation(crop=2, flip=0, **PLAIN)
    found, label = augment(tiny(), Draws(integers=[0, 1]), tiny()[..., 0])
    np.testing.assert_array_equal(found[0].round(), [[2, 3], [5, 6]])
    np.testing.assert_array_equal(label, [[2, 3], [5, 6]])
    assert label.dtype == np.int64


def test_mirror_is_applied_to_the_whole_crop():
    augment = Augmentation(crop=4, flip=1, **PLAIN)
    found, label = augment(tiny(), Draws(integers=[1, 0], random=0.0), tiny()[..., 0])
    expected = [[0, 0, 0, 0], [0, 3, 2, 1], [0, 6, 5, 4], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found[1].round(), expected)
    np.testing.assert_array_equal(label, np.where(expected, expected, 255))


def test_padding_is_the_mean_colour_and_ignored():
    augment = Augmentation(crop=4, flip=0)
    found, label = augment(tiny(), Draws(integers=[2, 1]), tiny()[..., 0])
    np.testing.assert_array_equal(label, [[255] * 4, [255] * 4, [255, 1, 2, 3], [255, 4, 5, 6]])
    assert not found[:, :2].any()
    assert not found[:, 2:, 0].any()
    np.testing.assert_allclose(found[:, 2:, 1:], normalise(tiny()), atol=0)


def test_top_left_places_small_images_in_the_corner_and_crops_large_ones_at_random():
    augment = Augmentation(crop=4, flip=0, crop_position="top_left", **PLAIN)
    for seed in range(10):
        label = augment(tiny(), np.random.default_rng(seed), tiny()[..., 0])[1]
        np.testing.assert_array_equal(label, [[1, 2, 3, 255], [4, 5, 6, 255], [255] * 4, [255] * 4])
    augment = Augmentation(crop=1, flip=0, crop_position="top_left", **PLAIN)
    seen = {int(augment(tiny(), np.random.default_rng(seed), tiny()[..., 0])[1][0, 0]) for seed in range(60)}
    assert seen == {1, 2, 3, 4, 5, 6}


def test_random_placement_reaches_every_offset():
    augment = Augmentation(crop=4, flip=0)
    corners = set()
    for seed in range(80):
        label = augment(tiny(), np.random.default_rng(seed), tiny()[..., 0])[1]
        corners.add(tuple(int(i) for i in np.argwhere(label == 1)[0]))
    assert corners == {(y, x) for y in range(3) for x in range(2)}


RECIPES = [
    {"resize": "none", "values": ()},
    {"resize": "long_side", "values": (9, 40)},
    {"resize": "factor", "values": (0.4, 1.9)},
    {"resize": "choice", "values": (0.5, 0.75, 1.0, 1.25, 1.5)},
    {"resize": "area", "values": (0.3, 1.3)},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["resize"])
@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 40), st.booleans(), st.integers(0, 10**6))
@settings(max_examples=60)
def test_image_and_label_share_their_geometry(recipe, height, width, crop, corner, seed):
    """Red and green are painted with x and y, the label with the same number: they agree within 1/2."""
    y_HW, x_HW = np.mgrid[:height, :width].astype(np.uint8)
    image_HW3 = np.stack([x_HW, y_HW, np.full_like(x_HW, 200)], axis=2)
    position = "top_left" if corner else "random"
    augment = Augmentation(crop=crop, crop_position=position, interpolation="cv2_linear", **recipe, **PLAIN)
    for channel, label_HW in enumerate((x_HW, y_HW)):
        found_3HW, label_HW = augment(image_HW3, np.random.default_rng(seed), label_HW)
        inside_HW = label_HW != 255
        np.testing.assert_array_equal(inside_HW, found_3HW[2] > 100)
        assert np.abs(found_3HW[channel] - label_HW)[inside_HW].max() <= 0.501


def test_a_label_changes_nothing_in_the_image():
    image, label = photo(30, 40), np.zeros((30, 40), np.uint8)
    for recipe in RECIPES:
        augment = Augmentation(crop=24, jitter=(0.4, 0.4, 0.4, 0.1), jitter_probability=0.8, **recipe)
        with_label = augment(image, np.random.default_rng(3), label)[0]
        without, nothing = augment(image, np.random.default_rng(3))
        np.testing.assert_array_equal(with_label, without)
        assert nothing is None


def test_long_side_is_uniform_over_both_ends():
    augment = Augmentation(crop=8, resize="long_side", values=(4, 7), flip=0, crop_position="top_left")
    image, label = photo(10, 20), np.zeros((10, 20), np.uint8)
    widths = [(augment(image, np.random.default_rng(s), label)[1][0] != 255).sum() for s in range(200)]
    counts = np.bincount(widths, minlength=8)
    assert counts[:4].sum() == 0
    assert (counts[4:] > 25).all()


def test_flip_probability():
    augment = Augmentation(crop=3, flip=0.5, crop_position="top_left")
    label = np.arange(9, dtype=np.uint8).reshape(3, 3)
    image = np.zeros((3, 3, 3), np.uint8)
    flips = sum(augment(image, np.random.default_rng(s), label)[1][0, 0] == 2 for s in range(400))
    assert 150 < flips < 250


@given(st.integers(5, 200), st.integers(5, 200), st.integers(0, 1000))
def test_area_boxes_keep_share_and_aspect(height, width, seed):
    rows, cols = Augmentation(crop=10, resize="area", values=(0.5, 1.0))._axes(
        height, width, np.random.default_rng(seed)
    )
    assert 0 <= rows.origin <= height - rows.part
    assert 0 <= cols.origin <= width - cols.part
    assert (rows.size, rows.count, rows.at, cols.size) == (10, 10, 0, 10)
    aspect = cols.part / rows.part
    assert 3 / 4 * (1 - 1 / rows.part) - 0.15 <= aspect <= 4 / 3 * (1 + 1 / rows.part) + 0.25


def test_area_that_never_fits_takes_the_central_box():
    rows, cols = Augmentation(crop=4, resize="area", values=(1.2, 1.3))._axes(30, 90, np.random.default_rng(0))
    assert (rows.origin, rows.part, cols.origin, cols.part) == (0, 30, 25, 40)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.5])
@pytest.mark.parametrize(("step", "enhancer"), [(0, "Brightness"), (1, "Contrast"), (2, "Color")])
def test_jitter_blends_as_pillow(step, enhancer, factor):
    from wsss.data.transforms import _blend

    image = photo(40, 50)
    pillow = np.asarray(getattr(ImageEnhance, enhancer)(Image.fromarray(image)).enhance(factor))
    assert np.abs(_blend(image, step, factor).astype(int) - pillow).max() <= 2


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.1, 1 / 3, 0.5])
def test_hue_turns_by_the_given_part_of_the_circle(shift):
    from wsss.data.transforms import _turn_hue

    colours = np.array([[[200, 30, 30], [30, 180, 90], [90, 90, 90], [250, 240, 10]]], np.uint8)
    for before, after in zip(colours[0], _turn_hue(colours, shift)[0], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
        assert np.abs(after - expected).max() <= 6


def test_jitter_without_strength_keeps_the_image():
    image = photo(20, 20)
    found = jitter_colour(image, (0.0, 0.0, 0.0, 0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(found, image)


def test_jitter_stays_in_its_range():
    grey = np.full((8, 8, 3), 100, np.uint8)
    brightness = [jitter_colour(grey, (0.3, 0, 0, 0), np.random.default_rng(s))[0, 0, 0] for s in range(100)]
    assert 69 <= min(brightness) < 75
    assert 125 < max(brightness) <= 131


def test_jitter_probability():
    image = photo(10, 10)
    augment = Augmentation(crop=10, flip=0, jitter=(0.4, 0.4, 0.4, 0.1), jitter_probability=0.25)
    plain = normalise(image)
    changed = sum(not np.array_equal(augment(image, np.random.default_rng(s))[0], plain) for s in range(200))
    assert 25 < changed < 75


def test_from_settings():
    section = {
        "resize": {"kind": "long_side", "values": [320.0, 640.0]},
        "crop": 512,
        "crop_position": "random",
        "flip": 0.5,
        "jitter": [0.3, 0.3, 0.3, 0.1],
        "jitter_probability": 1.0,
    }
    augment = Augmentation.from_settings(section, mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])
    assert augment == Augmentation(
        crop=512,
        resize="long_side",
        values=(320.0, 640.0),
        jitter=(0.3, 0.3, 0.3, 0.1),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    )
    assert Augmentation.from_settings({"crop": 8}) == Augmentation(crop=8)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resize": "longside"}, "long_side"),
        ({"resize": "long_side", "values": (640, 320)}, "low <= high"),
        ({"resize": "factor", "values": (0.5,)}, "two values"),
        ({"resize": "choice"}, "positive factors"),
        ({"values": (1, 2)}, "no values"),
        ({"interpolation": "cubic"}, "cv2_cubic"),
        ({"jitter": (0.1, 0.1, 0.1)}, "four strengths"),
        ({"jitter": (0.1, 0.1, 0.1, 0.7)}, "at most 0.5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, text):
    with pytest.raises(UserError, match=text):
        Augmentation(crop=8, **options)


def test_sizes_of_image_and_label_must_agree():
    with pytest.raises(ValueError, match=r"\[4, 5\] and \[5, 4\]"):
        Augmentation(crop=8)(np.zeros((5, 4, 3), np.uint8), np.random.default_rng(0), np.zeros((4, 5), np.uint8))


def test_the_input_stays_as_it_is():
    image = photo(30, 40)
    before = image.copy()
    augment = Augmentation(crop=24, jitter=(0.4, 0.4, 0.4, 0.1), resize="factor", values=(0.7, 1.3))
    augment(image, np.random.default_rng(0))
    np.testing.assert_array_equal(image, before)
