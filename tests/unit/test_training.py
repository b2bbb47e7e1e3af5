"""The training loop: schedule, optimiser groups, accumulation, refusal of non-finite losses."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.reliability.train_program import RECIPE, Net, sample
from wsss import classify
from wsss.classify import chance_loss
from wsss.data.manifest import Sample
from wsss.errors import UserError
from wsss.job import Job
from wsss.training import Progress, _update, fit, optimiser, poly, stuck


@pytest.mark.parametrize(
    ("step", "every", "expected"),
    [
        (0, 1, 0.1),
        (5, 1, 0.1 * 0.5**0.9),
        (9, 1, 0.1 * 0.1**0.9),
        (12, 1, 0.1 * 0.1**0.9),
        (9, 5, 0.1 * 0.5**0.9),
    ],
)
def test_poly(step, every, expected):
    assert poly(0.1, step, 10, every=every) == pytest.approx(expected, rel=1e-12)


def test_optimiser_groups_and_the_momentum_quirk():
    frozen, plain = nn.Parameter(torch.ones(1), requires_grad=False), nn.Parameter(torch.ones(1))
    groups = [{"params": [frozen, plain], "lr_factor": 10.0, "weight_decay_factor": 0.5}]
    for momentum, expected in ((0.9, 0.9), ("weight_decay", 0.004)):
        (group,) = optimiser(groups, lr=0.1, momentum=momentum, weight_decay=0.004).param_groups
        assert group["params"] == [plain]
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (1.0, 0.002, expected)


def test_accumulation_equals_the_big_batch():
    torch.manual_seed(0)
    batch = {"image": torch.randn(8, 3, 2, 2), "target": torch.randn(8, 5)}
    weights = []
    for passes in (1, 2, 4):
        torch.manual_seed(1)
        model = Net().eval()
        sgd = optimiser(model.parameter_groups(), lr=0.1, momentum=0.9, weight_decay=0.0)
        parts = _update(model, sgd, batch, Progress(0, 0, 1), RECIPE | {"accumulate": passes})
        weights.append(model.layer.weight.detach().clone())
        assert set(parts) == {"square", "size"}
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert torch.allclose(weights[0], weights[2], atol=1e-6)


def test_a_non_finite_loss_stops_with_the_step_and_the_remedy(tmp_path):
    class Diverging(Net):
        def losses(self, batch, progress):
            parts = super().losses(batch, progress)
            return parts | {"square": parts["square"] * (float("nan") if progress.step == 3 else 1.0)}

    with pytest.raises(UserError, match=r"not finite at step 4 of 50 .*square nan.*lower recipes"):
        fit(
            Diverging(),
            sample,
            40,
            recipe=RECIPE | {"lr": 0.1},
            seed=0,
            job=Job(tmp_path / "run.ckpt", "x", 1),
            weights=tmp_path / "w.safetensors",
            history=tmp_path / "h.csv",
        )
    assert not (tmp_path / "w.safetensors").exists()


def test_a_loss_that_does_not_fall_is_said():
    flat, falling = [{"loss": 1.0}] * 20, [{"loss": 1.0 - 0.03 * i} for i in range(20)]
    assert "the loss did not fall (1 at first, 1 at the end)" in stuck(flat)
    assert stuck(falling) is None


def test_a_classifier_that_ends_at_chance_is_said():
    """VWE + HSPP on photographs: the first loss is high, the other losses fall, and yet nothing was learnt."""
    history = [{"loss": 2.4 / (i + 1), "classification": max(0.25, 0.95 - 0.2 * i)} for i in range(20)]
    assert stuck(history) is None
    assert "ends at chance (0.25; 0.23 for a network that sees nothing)" in stuck(history, chance=0.23)
    assert stuck(history, chance=0.3) is None
    assert stuck([{"loss": 1.0 - 0.03 * i} for i in range(20)], chance=0.23) is None


def test_chance_is_the_entropy_of_the_labels():
    samples = [Sample(str(i), Path(), 1, 1, (1, 2) if i < 2 else (2,)) for i in range(8)]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert chance_loss(samples, 2) == pytest.approx(entropy / 2, abs=1e-4)


def test_the_history_covers_every_step_once(tmp_path):
    fit(
        Net(),
        sample,
        40,
        recipe=RECIPE | {"lr": 0.01},
        seed=0,
        job=Job(tmp_path / "run.ckpt", "x", 1),
        weights=tmp_path / "w.safetensors",
        history=tmp_path / "h.csv",
    )
    rows = np.genfromtxt(tmp_path / "h.csv", delimiter=",", names=True)
    assert rows.dtype.names == ("step", "epoch", "lr", "loss", "square", "size")
    assert rows["step"].tolist() == list(range(1, 51))
    assert np.allclose(rows["loss"], rows["square"] + rows["size"])


def test_guides_are_made_once_per_image_while_memory_lasts(monkeypatch):
    made = []

    def guide(rgb_HW3: np.ndarray) -> np.ndarray:
        made.append(rgb_HW3.shape)
        return np.full(rgb_HW3.shape[:2], len(made), np.int32)

    monkeypatch.setattr(classify, "KEPT_BYTES", 2 * 4 * 6)
    remembered, rgb_HW3 = classify._kept(guide), np.zeros((2, 3, 3), np.uint8)
    first = [int(remembered(id, rgb_HW3)[0, 0]) for id in "abc"]
    assert first == [1, 2, 3]
    assert [int(remembered(id, rgb_HW3)[0, 0]) for id in "abc"] == [1, 2, 4]  # the third did not fit
