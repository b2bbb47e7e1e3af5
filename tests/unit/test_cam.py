"""Class activation maps of a shard: images of one size go through the network together, and nobody can tell."""

from pathlib import Path

import pytest
import torch

from wsss import cam
from wsss.backbones import tiny
from wsss.data.manifest import Sample
from wsss.methods import vwe

SIZES = [(40, 56), (56, 40), (40, 56), (40, 56), (56, 40), (40, 56)]


def sample(number: int) -> Sample:
    height, width = SIZES[number]
    return Sample(id=f"i{number}", image=Path("x"), height=height, width=width, labels=(1 + number % 3, 3 + number % 2))


def test_groups_hold_images_of_one_size_in_their_order():
    groups = cam.alike([sample(number) for number in range(6)], 3)
    assert [[s.id for s in group] for group in groups] == [["i0", "i2", "i3"], ["i5"], ["i1", "i4"]]
    assert [len(group) for group in cam.alike([sample(number) for number in range(6)], 1)] == [1] * 6
    assert cam.alike([], 3) == []


@pytest.mark.parametrize("branch", ["img", "max_norm"])
@pytest.mark.parametrize("flip", ["sum", "none"])
@pytest.mark.parametrize("pixels", [1, 3 * 40 * 56, 1 << 21])
def test_maps_of_a_group_are_those_of_its_images_alone(monkeypatch, branch, flip, pixels):
    torch.manual_seed(0)
    model = vwe.build(backbone=tiny.build(), num_classes=4, words=8).eval()
    samples = [sample(number) for number in (0, 2, 3, 5)]
    pyramids = [[torch.randn(3, 40, 56), torch.randn(3, 20, 28)] for _ in samples]
    look = {"branch": branch, "flip": flip, "order": "relu_first"}
    with torch.inference_mode():
        alone = [
            cam.merged_maps(model, [one], [images], **look)[0] for one, images in zip(samples, pyramids, strict=True)
        ]
        monkeypatch.setattr(cam, "PIXELS", pixels)
        together = cam.merged_maps(model, samples, pyramids, **look)
    assert [maps.shape for maps in together] == [(2, 10, 14)] * 4
    assert any(maps.max() > 0.5 for maps in together)
    for maps_Khw, expected_Khw in zip(together, alone, strict=True):
        torch.testing.assert_close(maps_Khw, expected_Khw, atol=1e-5, rtol=0)


def test_a_pass_holds_no_more_pixels_than_allowed(monkeypatch):
    seen = []

    class Watched(torch.nn.Linear):
        def branches(self, image_BCHW):
            seen.append(len(image_BCHW))
            return {"img": image_BCHW.mean(1, keepdim=True)}

    monkeypatch.setattr(cam, "PIXELS", 5 * 2 * 8 * 8)
    (raw_GPChw,) = cam.raw_maps(Watched(1, 1), torch.rand(7, 3, 8, 8), branch="img", mirrored=True)
    assert seen == [10, 4]
    assert raw_GPChw.shape == (7, 2, 1, 8, 8)
    assert torch.equal(raw_GPChw[:, 1], raw_GPChw[:, 0].flip(-1))
