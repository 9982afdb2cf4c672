"""How far groups from different seeds agree."""

import pytest
import torch

from rdd_nb.clustering.agreement import stability
from rdd_nb.clustering.groups import Groups
from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng


def blobs(spread):
    """Flat images of two classes, each with three levels of grey."""
    level = torch.tensor([20, 120, 220])[torch.arange(90) % 3]
    noise = torch.randint(-spread, spread + 1, (90, 1, 8, 8), generator=rng())
    images = (level.view(-1, 1, 1, 1) + noise).clamp(0, 255).to(torch.uint8)
    return ImageDataset(images, torch.arange(90) // 45, ("a", "b"), *statistics(images))


def test_stability_is_one_for_blobs_far_apart_and_low_for_noise():
    apart = stability(blobs(5), "pixels", num_groups=3, seeds=3)
    assert apart.shape == (3,) and torch.equal(apart, torch.ones(3, dtype=torch.float64))
    noise = torch.randint(256, (90, 1, 8, 8), generator=rng()).to(torch.uint8)
    data = ImageDataset(noise, torch.arange(90) // 45, ("a", "b"), *statistics(noise))
    low = stability(data, "pixels", num_groups=6, seeds=3)
    assert float(low.min()) >= -1 and float(low.max()) < 0.8


def test_stability_compares_within_classes(monkeypatch):
    # One class agrees fully, the other not at all: half. Pooled over classes it would be another number.
    a, b = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1]), torch.tensor([1, 1, 0, 0, 0, 1, 0, 1])
    found = iter([Groups(a, 2, ""), Groups(b, 2, "")])
    monkeypatch.setattr("rdd_nb.clustering.agreement.discover_groups", lambda *_, **__: next(found))
    images = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(8) // 4, ("a", "b"), (0.5,), (0.5,))
    (score,) = stability(data, "pixels", seeds=2).tolist()
    assert score == pytest.approx((1 + -0.5) / 2)
