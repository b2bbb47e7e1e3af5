import numpy as np
import pydensecrf.densecrf as densecrf
import pytest
from skimage import data

from wsss.ops.crf import PRESETS, CrfParameters, DenseCrf, crf, crf_exact, unary_from_labels, unary_from_scores


def picture(height: int = 24, width: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of unlike colour with a little noise, and energies that lean to the left-right split."""
    rng = np.random.default_rng(0)
    left = np.arange(width) < width // 2
    rgb_HW3 = np.where(left[None, :, None], [200, 60, 40], [30, 90, 180]) + rng.integers(-4, 5, (height, width, 3))
    score_HW = np.clip(np.where(left, 0.7, 0.3) + rng.normal(0, 0.25, (height, width)), 0.01, 0.99)
    return rgb_HW3.astype(np.uint8), unary_from_scores(np.stack([score_HW, 1 - score_HW]))


def test_energies_from_labels_by_hand():
    unary_nHW = unary_from_labels(np.array([[0, 2]]), 3, 0.7)
    assert unary_nHW.dtype == np.float32
    np.testing.assert_allclose(unary_nHW[:, 0, 0], -np.log([0.7, 0.15, 0.15]), rtol=1e-6)
    np.testing.assert_allclose(unary_nHW[:, 0, 1], -np.log([0.15, 0.15, 0.7]), rtol=1e-6)


def test_energies_from_scores_by_hand():
    unary_nHW = unary_from_scores(np.array([[[0.0, 0.5, 2.0]]]))
    np.testing.assert_allclose(unary_nHW, -np.log([[[1e-5, 0.5, 1]]]), atol=1e-6)


@pytest.mark.parametrize("labels", [[[0, 3]], [[-1, 0]]])
def test_labels_outside_are_refused(labels):
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        unary_from_labels(np.array(labels), 3, 0.7)


@pytest.mark.parametrize("gt_prob", [0, 1, 1.2])
def test_confidence_outside_is_refused(gt_prob):
    with pytest.raises(ValueError, match="gt_prob"):
        unary_from_labels(np.zeros((2, 2), int), 2, gt_prob)


def test_presets_are_the_published_ones():
    irn = PRESETS["irn_labels"]
    assert (irn.s_g, irn.w_g, irn.s_xy, irn.s_rgb, irn.w_b, irn.iterations) == (3, 3, 50, 5, 10, 10)
    assert PRESETS["aeft"].iterations == PRESETS["seam_seg"].iterations == 1
    assert [name for name, preset in PRESETS.items() if preset.guide != "rgb"] == ["kazuto_asrun"]


def test_noise_is_cleaned_along_the_colour_edge():
    rgb_HW3, unary_nHW = picture()
    q_nHW = crf(rgb_HW3, unary_nHW, PRESETS["psa"])
    assert q_nHW.shape == unary_nHW.shape
    assert q_nHW.dtype == np.float32
    np.testing.assert_allclose(q_nHW.sum(0), 1, atol=1e-5)
    expected_HW = np.broadcast_to(np.arange(31) >= 15, (24, 31))
    assert (unary_nHW.argmin(0) != expected_HW).any()
    assert (q_nHW.argmax(0) == expected_HW).all()


def test_without_updates_it_is_the_softmax():
    rgb_HW3, unary_nHW = picture()
    parameters = CrfParameters(3, 3, 80, 13, 10, 0)
    expected = np.exp(-unary_nHW) / np.exp(-unary_nHW).sum(0)
    np.testing.assert_allclose(crf(rgb_HW3, unary_nHW, parameters), expected, atol=1e-6)
    np.testing.assert_allclose(crf_exact(rgb_HW3, unary_nHW, parameters), expected, atol=1e-6)


def test_exact_by_hand():
    # two pixels, one apart, same colour; both kernels are k = exp(-1/2) beside 1 on the diagonal, normalised
    # by 1 + k; so the message of pixel 0 is ((w_g + w_b) / (1 + k)) (q_0 + k q_1)
    k = np.exp(-0.5)
    unary_nHW = np.array([[[0.0, 1.0]], [[0.5, 0.0]]], np.float32)
    q_nP = np.exp(-unary_nHW[:, 0]) / np.exp(-unary_nHW[:, 0]).sum(0)
    logit_nP = -unary_nHW[:, 0] + (2 + 3) / (1 + k) * (q_nP + k * q_nP[:, ::-1])
    expected = np.exp(logit_nP) / np.exp(logit_nP).sum(0)
    q_nHW = crf_exact(np.zeros((1, 2, 3), np.uint8), unary_nHW, CrfParameters(1, 2, 1, 5, 3, 1))
    np.testing.assert_allclose(q_nHW[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["irn_labels", "psa", "kazuto"])
def test_lattice_is_near_the_exact_kernels(name):
    rgb_HW3, unary_nHW = picture()
    q_nHW, exact_nHW = (solve(rgb_HW3, unary_nHW, PRESETS[name]) for solve in (crf, crf_exact))
    assert np.abs(q_nHW - exact_nHW).mean() < 0.02
    assert (q_nHW.argmax(0) == exact_nHW.argmax(0)).mean() > 0.96


def test_layout_and_dtype_do_not_matter():
    rgb_HW3, unary_nHW = picture()
    expected = crf(rgb_HW3, unary_nHW, PRESETS["irn_labels"])
    images = [np.asfortranarray(rgb_HW3), rgb_HW3.astype(np.int64), rgb_HW3 + 1e-5, rgb_HW3[::-1][::-1]]
    for image in images:
        assert (crf(image, unary_nHW, PRESETS["irn_labels"]) == expected).all()
    energies = [np.asfortranarray(unary_nHW), unary_nHW.astype(np.float64), unary_nHW.reshape(2, -1)]
    for energy in energies:
        assert (crf(rgb_HW3, energy, PRESETS["irn_labels"]) == expected).all()


def test_inputs_are_left_alone():
    rgb_HW3, unary_nHW = picture()
    before = rgb_HW3.copy(), unary_nHW.copy()
    crf(rgb_HW3, unary_nHW, PRESETS["kazuto_asrun"])
    assert (rgb_HW3 == before[0]).all()
    assert (unary_nHW == before[1]).all()


def test_wrapped_guide_by_hand():
    # blue 100 - 104.008 -> -4 -> 252; green 120 - 116.669 -> 3; red 0 - 122.675 -> -122 -> 134
    rgb_HW3, unary_nHW = picture()
    rgb_HW3[...] = [0, 120, 100]
    rgb_HW3[:, :10] = [255, 255, 255]
    guide_HW3 = np.full_like(rgb_HW3, [252, 3, 134])
    guide_HW3[:, :10] = [150, 138, 132]
    own = crf(rgb_HW3, unary_nHW, PRESETS["kazuto_asrun"])
    assert (own == crf(guide_HW3, unary_nHW, PRESETS["kazuto"])).all()


def test_one_label_is_certain():
    rgb_HW3, unary_nHW = picture()
    assert (crf(rgb_HW3, unary_nHW[:1], PRESETS["psa"]) == 1).all()
    assert (unary_from_labels(np.zeros((2, 2), int), 1, 0.7) > 0).all()


@pytest.mark.parametrize(
    ("rgb", "unary", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((2, 5, 5)), "do not fit"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((0, 4, 5)), "do not fit"),
        (np.zeros((4, 5), np.uint8), np.zeros((2, 4, 5)), "height, width, 3"),
        (np.full((4, 5, 3), 256), np.zeros((2, 4, 5)), r"outside 0\.\.255"),
        (np.full((4, 5, 3), np.nan), np.zeros((2, 4, 5)), r"outside 0\.\.255"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rgb, unary, message):
    with pytest.raises(ValueError, match=message):
        crf(rgb, unary, PRESETS["psa"])


def photograph(height: int, width: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with energies of blocks of random labels."""
    rgb_HW3 = data.astronaut()[:height, :width]
    coarse = np.random.default_rng(labels).integers(0, labels, (height // 30 + 1, width // 30 + 1))
    return rgb_HW3, unary_from_labels(np.kron(coarse, np.ones((30, 30), int))[:height, :width], labels, 0.7)


def by_library(rgb_HW3: np.ndarray, unary_nHW: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    model = densecrf.DenseCRF2D(rgb_HW3.shape[1], rgb_HW3.shape[0], len(unary_nHW))
    model.setUnaryEnergy(unary_nHW.reshape(len(unary_nHW), -1))
    model.addPairwiseGaussian(sxy=parameters.s_g, compat=parameters.w_g)
    model.addPairwiseBilateral(
        sxy=parameters.s_xy, srgb=parameters.s_rgb, rgbim=np.ascontiguousarray(rgb_HW3), compat=parameters.w_b
    )
    return np.array(model.inference(parameters.iterations)).reshape(unary_nHW.shape)


@pytest.mark.parametrize("name", ["irn_labels", "psa", "kazuto", "deconvnet"])
@pytest.mark.parametrize("labels", [2, 3, 6, 21])
def test_agrees_with_the_authors_program(name, labels):
    rgb_HW3, unary_nHW = photograph(150, 211, labels)
    q_nHW, expected_nHW = (solve(rgb_HW3, unary_nHW, PRESETS[name]) for solve in (crf, by_library))
    assert (q_nHW.argmax(0) == expected_nHW.argmax(0)).mean() >= 0.9995
    assert np.quantile(np.abs(q_nHW - expected_nHW), 0.999) < 1e-3


def test_lattices_serve_several_energies():
    rgb_HW3, unary_nHW = photograph(90, 120, 3)
    dense_crf = DenseCrf(rgb_HW3, PRESETS["irn_labels"])
    for energy in (unary_nHW, unary_nHW[:2], unary_nHW):
        assert (dense_crf(energy) == crf(rgb_HW3, energy, PRESETS["irn_labels"])).all()
