from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data
from skimage.color import rgb2lab
from skimage.segmentation import slic as skimage_slic

from wsss.errors import UserError
from wsss.ops.connectivity import connected
from wsss.ops.slic import _TABLES, _buffers, _cluster, _lab, _seeds, slic

VOC = Path(__file__).parents[3] / "shared" / "data" / "voc_mini"
SHAPES = [(1, 1), (1, 2), (2, 1), (3, 3), (5, 7), (1, 500), (300, 2), (10, 900), (37, 50), (120, 161)]


def images(height, width):
    ramp_HW = np.linspace(0, 255, height * width).reshape(height, width)
    return {
        "noise": np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8),
        "one colour": np.full((height, width, 3), 137, np.uint8),
        "ramp": np.repeat(ramp_HW[..., None], 3, 2).astype(np.uint8),
    }


def colours(image_HW3):
    """Lab, its running sums, and two arrays for `_cluster`."""
    arrays = _buffers(*image_HW3.shape[:2])
    _lab(np.ascontiguousarray(image_HW3), *_TABLES, *arrays[:2])
    return arrays


def assert_segments(label_HW):
    values, first = np.unique(label_HW, return_index=True)
    assert label_HW.dtype == np.int32
    assert (values == np.arange(len(values))).all()
    assert (np.diff(first) > 0).all()
    assert all(ndimage.label(label_HW == value)[1] == 1 for value in values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("segments", [1, 7, 40])
def test_segments_are_connected_and_as_many_as_wanted(shape, segments):
    pixels = shape[0] * shape[1]
    for image_HW3 in images(*shape).values():
        label_HW = slic(image_HW3, segments=segments)
        assert label_HW.shape == shape
        assert_segments(label_HW)
        count = label_HW.max() + 1
        assert count <= min(segments, pixels)
        assert count >= 0.9 * min(segments, pixels) or pixels < 4 * segments


@pytest.mark.parametrize("iterations", [0, 10])
@pytest.mark.parametrize("subsample", [1, 3])
def test_one_colour_gives_the_grid(iterations, subsample):
    image_HW3 = np.full((60, 80, 3), (200, 30, 90), np.uint8)
    label_HW = slic(image_HW3, segments=12, iterations=iterations, subsample=subsample)
    expected_HW = np.arange(60)[:, None] // 20 * 4 + np.arange(80) // 20
    assert (label_HW == expected_HW).all()


def test_edges_of_an_object_are_kept():
    image_HW3 = np.zeros((60, 60, 3), np.uint8)
    image_HW3[13:44, 17:52] = (250, 240, 20)
    inside_HW = image_HW3[..., 0] > 0
    label_HW = slic(image_HW3, segments=16)
    assert not set(label_HW[inside_HW]) & set(label_HW[~inside_HW])


def test_same_labels_every_time_and_for_every_memory_layout():
    image_HW3 = data.astronaut()[:200, :300]
    first_HW = slic(image_HW3)
    assert (slic(image_HW3) == first_HW).all()
    assert (slic(np.asfortranarray(image_HW3)) == first_HW).all()


def test_results_outlive_the_next_image():
    first_HW, second_HW = (slic(data.astronaut()[:90, start : start + 120]) for start in (0, 200))
    assert (first_HW == slic(data.astronaut()[:90, :120])).all()
    assert (second_HW == slic(data.astronaut()[:90, 200:320])).all()
    slic(data.astronaut()[:50, :70])
    assert (slic(data.astronaut()[:90, :120]) == first_HW).all()


def test_lab_is_that_of_skimage():
    image_HW3 = np.random.default_rng(0).integers(0, 256, (90, 70, 3)).astype(np.uint8)
    lab_H3M, sum_HW3, *_ = colours(image_HW3)
    lab_HW3 = lab_H3M[:, :, :70].transpose(0, 2, 1)
    assert np.abs(lab_HW3 / 4 - rgb2lab(image_HW3)).max() < 0.7
    np.testing.assert_array_equal(np.diff(sum_HW3, axis=1), lab_HW3)


def test_assignment_is_the_nearest_centre_in_reach():
    image_HW3 = data.astronaut()[:60, 100:190]
    lab_H3M, sum_HW3, best_HM, label_HM = colours(image_HW3)
    centre_K5, spacing = _seeds(60, 90, 24)
    weight = (40 / spacing) ** 2
    _cluster(lab_H3M, sum_HW3, centre_K5, spacing, weight, 4, 1, best_HM, label_HM)
    label_HW = label_HM[:, :90]
    lab_1HW3 = lab_H3M[:, :, :90].transpose(0, 2, 1)[None].astype(np.float64)
    colour_KHW = ((lab_1HW3 - centre_K5[:, None, None, 2:]) ** 2).sum(3)
    down_KH1 = np.abs(np.arange(60) - centre_K5[:, :1])[..., None]
    right_K1W = np.abs(np.arange(90) - centre_K5[:, 1:2])[:, None]
    distance_KHW = colour_KHW + weight * (down_KH1**2 + right_K1W**2)
    distance_KHW[(down_KH1 > spacing) | (right_K1W > spacing)] = np.inf
    chosen_HW = np.take_along_axis(distance_KHW, np.minimum(label_HW, 23)[None], 0)[0]
    # distances are compared in steps of 1/4
    assert (chosen_HW <= distance_KHW.min(0) + 1)[label_HW < 24].all()
    assert np.isinf(distance_KHW.min(0))[label_HW == 24].all()


def test_small_pieces_join_the_most_similar_neighbour():
    # a grey piece in the larger black area, touching the smaller white one as well
    image_HW3 = np.zeros((6, 12, 3), np.uint8)
    image_HW3[:, 8:] = 255
    image_HW3[2:4, 6:8] = 180
    label_HW = (image_HW3[..., 0] == 255) + 2 * (image_HW3[..., 0] == 180).astype(np.int32)
    label_HM = np.pad(label_HW, ((0, 0), (0, 8))).astype(np.int32)
    _, sum_HW3, *_ = colours(image_HW3)
    np.testing.assert_array_equal(connected(label_HM, sum_HW3, 2), image_HW3[..., 0] > 0)
    assert connected(label_HM, sum_HW3, 3).max() == 2
    assert connected(label_HM, sum_HW3, 1).max() == 0


def explained(image_HW3, label_HW):
    """Share of the colour variance that lies between segments."""
    lab_P3, label_P = rgb2lab(image_HW3).reshape(-1, 3), label_HW.ravel()
    count_N = np.bincount(label_P)
    mean_N3 = np.stack([np.bincount(label_P, c) / count_N for c in lab_P3.T], 1)
    return ((mean_N3[label_P] - lab_P3.mean(0)) ** 2).sum() / ((lab_P3 - lab_P3.mean(0)) ** 2).sum()


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_explains_a_photograph_as_well_as_skimage(name):
    image_HW3 = getattr(data, name)()[:300, :400]
    reference_HW = skimage_slic(image_HW3, 300, compactness=20, min_size_factor=0.25, start_label=0)
    own_HW = slic(image_HW3, segments=int(reference_HW.max() + 1))
    assert own_HW.max() == reference_HW.max()
    assert explained(image_HW3, own_HW) > explained(image_HW3, reference_HW)


@pytest.mark.skipif(not VOC.exists(), reason=f"{VOC} with photographs and masks is not here")
def test_objects_are_as_separable_as_with_skimage():
    reached = []
    for mask in sorted((VOC / "SegmentationClass").glob("*.png"))[::150]:
        image_HW3 = np.asarray(Image.open(VOC / "JPEGImages" / f"{mask.stem}.jpg"))
        truth_HW = np.asarray(Image.open(mask))
        reference_HW = skimage_slic(image_HW3, 300, compactness=20, min_size_factor=0.25, start_label=0)
        reached.append([separable(truth_HW, label_HW) for label_HW in (slic(image_HW3), reference_HW)])
    own, reference = np.mean(reached, 0)
    assert own > reference - 0.001


def separable(truth_HW, label_HW):
    """Achievable segmentation accuracy: share of pixels right when every segment gets its most frequent class."""
    pair_P = (label_HW.astype(np.int64) * 256 + truth_HW)[truth_HW != 255]
    return np.bincount(pair_P, minlength=(label_HW.max() + 1) * 256).reshape(-1, 256).max(1).sum() / len(pair_P)


@pytest.mark.parametrize(
    ("setting", "value"), [("segments", 0), ("iterations", -1), ("subsample", 0), ("compactness", 0.0)]
)
def test_settings_outside_their_range_are_refused(setting, value):
    with pytest.raises(UserError, match=setting):
        slic(np.zeros((4, 4, 3), np.uint8), **{setting: value})


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="uint8 image"):
        slic(image)
