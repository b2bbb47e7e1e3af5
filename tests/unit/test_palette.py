"""The colours of class ids, against values worked out by hand and against official masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.ops.palette import voc_palette

VOC_MINI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "voc_mini"


@pytest.mark.parametrize(
    ("label", "colour"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (3, (128, 128, 0)),
        (4, (0, 0, 128)),
        (8, (64, 0, 0)),
        (9, (192, 0, 0)),
        (15, (192, 128, 128)),
        (20, (0, 64, 128)),
        (64, (32, 0, 0)),
        (255, (224, 224, 192)),
    ],
)
def test_colour_of_a_label(label, colour):
    assert tuple(voc_palette()[label]) == colour


def test_colours_are_distinct_bytes():
    palette = voc_palette()
    assert palette.dtype == np.uint8
    assert palette.shape == (256, 3)
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="the photographs of ../shared/data/voc_mini are not there")
def test_equals_the_palette_of_official_masks():
    mask = next(iter(sorted((VOC_MINI / "SegmentationClass").glob("*.png"))))
    with Image.open(mask) as image:
        assert bytes(image.getpalette()) == voc_palette().tobytes()
