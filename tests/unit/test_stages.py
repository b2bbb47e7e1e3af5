"""What stages do beside calling methods: branches of maps, stacks of labels, masks as labels, samples of one's own."""

import numpy as np
import pytest
import torch

from wsss import supervised
from wsss.cam import chosen_branches
from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.images import read_mask, write_mask
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.data.transforms import Augmentation
from wsss.errors import UserError

MAPS = {"img": torch.tensor([[[1.0, -2.0]]]), "word": torch.tensor([[[0.5, 3.0]]])}


def test_branches_of_maps():
    assert chosen_branches(MAPS, "img")[0] is MAPS["img"]
    assert chosen_branches(MAPS, "word")[0] is MAPS["word"]
    assert chosen_branches(MAPS, "max_raw")[0].tolist() == [[[1.0, 3.0]]]
    assert len(chosen_branches(MAPS, "max_norm")) == 2
    with pytest.raises(UserError, match="has no branch 'word', only img"):
        chosen_branches({"img": MAPS["img"]}, "word")


@pytest.mark.parametrize("seed", range(4))
def test_a_stack_of_labels_is_cut_like_a_single_one(seed):
    rng = np.random.default_rng(seed)
    image_HW3 = rng.integers(0, 256, (30, 20, 3), np.uint8)
    stack_NHW = rng.integers(0, 256, (3, 30, 20), np.uint8)
    augment = Augmentation(crop=24, resize="factor", values=(0.6, 1.4))
    _, cut_Nhw = augment(image_HW3, np.random.default_rng(seed), stack_NHW, outside=0)
    assert cut_Nhw.shape == (3, 24, 24)
    assert cut_Nhw.dtype == np.uint8
    for label_HW, cut_hw in zip(stack_NHW, cut_Nhw, strict=True):
        _, single_hw = augment(image_HW3, np.random.default_rng(seed), label_HW, outside=0)
        np.testing.assert_array_equal(cut_hw, single_hw)


def test_a_guide_map_keeps_its_numbers_and_has_minus_one_outside():
    guide_HW = np.arange(1000, 1000 + 6 * 4, dtype=np.int32).reshape(6, 4)
    augment = Augmentation(crop=8, crop_position="top_left", flip=0.0)
    _, cut_hw = augment(np.zeros((6, 4, 3), np.uint8), np.random.default_rng(0), guide_HW, outside=-1)
    np.testing.assert_array_equal(cut_hw[:6, :4], guide_HW)
    assert (cut_hw[6:] == -1).all()
    assert (cut_hw[:, 4:] == -1).all()


@pytest.fixture
def data(tmp_path):
    samples = {key: Sample(key, tmp_path / f"{key}.jpg", 5, 4, (1,)) for key in ("a", "b")}
    write_manifest(tmp_path, Manifest(samples, ("cat",), {"train": ("a", "b")}))
    for key in samples:
        write_mask(tmp_path / f"{key}.png", np.full((4, 5), 1 if key == "a" else 255, np.uint8))
    return tmp_path


def test_masks_become_labels_of_the_supervised_reference(data):
    write_ground_truth(data, {key: GroundTruth(data / f"{key}.png", "own") for key in ("a", "b")})
    supervised.write(data=data, split="train", out=data / "labels")
    assert (read_mask(data / "labels" / "a.png") == 1).all()
    assert (read_mask(data / "labels" / "b.png") == 255).all()


def test_the_supervised_reference_needs_every_mask(data):
    write_ground_truth(data, {"a": GroundTruth(data / "a.png", "own")})
    with pytest.raises(UserError, match="1 of 2 images of split train have no ground truth mask, first 'b'"):
        supervised.write(data=data, split="train", out=data / "labels")
    assert not (data / "labels").exists()
