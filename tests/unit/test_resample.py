"""Resampling against the libraries: whole images, and crops against the crop of the full resize."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.test_transforms import PLAIN, Draws, photo
from wsss.data.transforms import Augmentation, resize_image, resize_label

METHODS = ["pillow_bicubic", "cv2_cubic", "cv2_linear"]


@pytest.mark.parametrize("size", [(10, 13), (37, 50), (80, 61), (1, 1)])
def test_resize_image_is_the_library(size):
    image = photo(37, 50)
    pillow = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_image(image, size), pillow)
    linear = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_image(image, size, "cv2_linear"), linear)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_resize_label_is_pillows_nearest(height, width, new_height, new_width):
    label = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width), dtype=np.uint8)
    pillow = Image.fromarray(label).resize((new_width, new_height), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resize_label(label, (new_height, new_width)), np.asarray(pillow))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("long_side", [23, 41, 50, 77, 100])
def test_a_crop_is_that_of_the_full_resize(method, long_side):
    image = photo(37, 50)
    size = (round(37 * long_side / 50), long_side)
    full = resize_image(image, size, method).astype(int)
    crop = Augmentation(
        crop=20, resize="long_side", values=(long_side, long_side), flip=0, interpolation=method, **PLAIN
    )
    top, left = size[0] - 20 if size[0] >= 20 else 0, 2
    found, _ = crop(image, Draws(integers=[long_side, max(0, top), left]))
    rows = min(20, size[0])
    expected = full[max(0, top) : max(0, top) + 20, left : left + 20].transpose(2, 0, 1)
    assert np.abs(found[:, :rows] - expected).max() <= 1.3


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.2, 4))
@settings(max_examples=40)
def test_any_size_matches_the_library(method, height, width, factor):
    assume(height < 1.9 * width)  # Pillow shrinks tall images columns first: other overshoots are cut off
    image = photo(height, width)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    side = max(size)
    augment = Augmentation(
        crop=side,
        resize="choice",
        values=(factor,),
        crop_position="top_left",
        flip=0,
        interpolation=method,
        **PLAIN,
    )
    found, _ = augment(image, np.random.default_rng(0))
    inside = found[:, : size[0], : size[1]].transpose(1, 2, 0)
    assert np.abs(inside - resize_image(image, size, method)).max() <= 1.3
    assert not found[:, size[0] :].any()
    assert not found[:, :, size[1] :].any()
