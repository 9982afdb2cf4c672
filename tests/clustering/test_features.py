"""Points of large data: reduced to few components that keep their distances, a part of the images at a time."""

import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from rdd_nb.clustering import features
from rdd_nb.clustering.features import embedded, principal, reduction
from rdd_nb.clustering.kmeans import kmeans
from rdd_nb.clustering.reference_networks import biased_stages
from rdd_nb.clustering.spaces import space
from tests.helpers import rng

CPU = torch.device("cpu")


def flat(images):
    return images.flatten(1)


def apart(points):
    return torch.cdist(points.double(), points.double())


def test_small_data_are_not_reduced(coloured, monkeypatch):
    points = coloured.normalised().flatten(1)
    assert torch.equal(embedded(flat, coloured, CPU), points)
    monkeypatch.setattr(features, "LARGE", 4 * points.numel())
    assert reduction(flat, coloured, CPU) is None
    monkeypatch.setattr(features, "LARGE", 4 * points.numel() - 1)
    assert embedded(flat, coloured, CPU).shape == (900, 64)


@pytest.mark.parametrize("wide", [False, True])
def test_components_are_those_of_the_singular_values(monkeypatch, wide):
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(50, 30, generator=draw) * torch.linspace(3, 0.1, 30)
    if wide:
        monkeypatch.setattr(features, "WIDE", 10)
    centred = (points - points.mean(0)).double()
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(principal(points, 5).abs().double(), (left * values)[:, :5].abs(), rtol=1e-4, atol=1e-4)


def test_a_reduction_keeps_the_distances_that_its_components_can(coloured, monkeypatch):
    """Where the points lie in few dimensions, all of them."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(coloured.images[0].numel(), 6, generator=draw)
    spread = torch.randn(6, 300, generator=draw)

    def points(images):
        return images.flatten(1) @ mix @ spread

    whole = embedded(points, coloured, CPU)
    monkeypatch.setattr(features, "LARGE", 0)
    few = embedded(points, coloured, CPU)
    assert few.shape == (900, 64)
    torch.testing.assert_close(apart(few[:100]), apart(whole[:100]), rtol=1e-3, atol=1e-2)
    even = features.standardised(whole)
    torch.testing.assert_close(
        apart(embedded(points, coloured, CPU, standardise=True)[:100]), apart(even[:100]), rtol=1e-3, atol=1e-2
    )


def test_components_of_a_sample_are_those_of_all_but_for_chance(coloured, monkeypatch):
    whole = principal(coloured.normalised().flatten(1), 3)
    monkeypatch.setattr(features, "LARGE", 0)
    monkeypatch.setattr(features, "FITTED_BYTES", 0)  # the least, 1,000 images, which are all there are
    few = embedded(flat, coloured, CPU)
    torch.testing.assert_close(few[:, :3].abs(), whole.abs(), rtol=1e-2, atol=5e-2)


def test_no_more_images_are_asked_for_at_once_than_a_batch(coloured, monkeypatch):
    monkeypatch.setattr(features, "LARGE", 0)
    seen = []

    def counted(images):
        seen.append(len(images))
        return images.flatten(1)

    embedded(counted, coloured, CPU)
    assert max(seen) <= 512


def test_groups_of_reduced_points_are_those_of_whole_ones(coloured, monkeypatch):
    stages = biased_stages(coloured, epochs=(1, 2))
    whole = {name: kmeans(space(coloured, name), coloured.labels, 4) for name in ("features", "pixels")}
    monkeypatch.setattr(features, "LARGE", 0)
    for name, ids in whole.items():
        found = kmeans(space(coloured, name), coloured.labels, 4)
        for label in range(3):
            mine = coloured.labels == label
            assert adjusted_rand_score(found[mine], ids[mine]) > 0.9
    reduced = biased_stages(coloured, epochs=(1, 2))
    for epochs, (said, _) in stages.items():
        assert torch.equal(reduced[epochs][0], said), "what the network says is not touched"
    torch.testing.assert_close(apart(reduced[2][1][:50]), apart(stages[2][1][:50]), rtol=0.05, atol=0.05)


def test_a_few_components_alone_are_those_of_all(monkeypatch):
    points = torch.randn(300, 200, generator=rng(0)) @ torch.randn(200, 200, generator=rng(1))
    every = principal(points, 20)
    monkeypatch.setattr(features, "MANY", 100)
    few = principal(points, 20)
    assert torch.equal(few, principal(points, 20)) and not torch.equal(few, every), "found otherwise, and again so"
    torch.testing.assert_close(apart(few), apart(every), rtol=1e-4, atol=1e-2)
    assert torch.equal(principal(torch.ones(30, 200), 20), torch.zeros(30, 20)), "points that are all alike"
