"""The baseline classifier: what GAP and GMP see, the identity of maps and logits, its groups."""

import pytest
import torch
from torch import nn

from wsss.methods.cam import build


class Flat(nn.Module):
    """A backbone whose features are the image itself."""

    channels = (3,)

    def forward(self, image):
        return (image,)


@pytest.fixture
def image():
    return torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]], [[2.0, 2.0]]]])


@pytest.mark.parametrize(("pooling", "pooled"), [("gap", [2.0, 2.0, 2.0]), ("gmp", [3.0, 4.0, 2.0])])
def test_the_loss_is_that_of_the_pooled_features(image, pooling, pooled):
    model = build(backbone=Flat(), num_classes=2, pooling=pooling)
    labels = torch.tensor([[1.0, 0.0]])
    logit = torch.tensor([pooled]) @ model.classifier.weight.flatten(1).T
    expected = nn.functional.binary_cross_entropy_with_logits(logit, labels)
    assert torch.allclose(model.losses({"image": image, "labels": labels}, None)["classification"], expected)


def test_the_mean_of_a_gap_map_is_the_logit(image):
    model = build(backbone=Flat(), num_classes=2)
    maps = model.class_maps(image)
    logit = image.mean((2, 3)) @ model.classifier.weight.flatten(1).T
    assert torch.allclose(maps.mean((2, 3)), logit)


def test_the_head_learns_faster():
    groups = build(backbone=Flat(), num_classes=2, head_lr=7.0).parameter_groups()
    assert [group["lr_factor"] for group in groups] == [1.0, 7.0]
