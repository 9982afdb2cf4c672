"""Coresets: real images of their class, chosen as the method says, and the same ones for the same seed."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.clustering.coresets import METHODS, SPREAD, coreset, herd
from rdd_nb.clustering.groups import Groups, known_groups
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import initial_state
from rdd_nb.models.protocol import Protocol
from tests.helpers import rng

module = importlib.import_module("rdd_nb.clustering.coresets")


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(module, "BRIEFLY", Protocol(steps=3, width=4))


def images(count=60, groups=None):
    """Three classes; no two images alike."""
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=rng(), dtype=torch.uint8)
    named = {} if groups is None else {"groups": groups, "group_names": ("left", "right")}
    return ImageDataset(pixels, labels, ("a", "b", "c"), *statistics(pixels), name="noise", **named)


def chosen(data, made):
    """Which of the real images each chosen one is."""
    same = (data.images[None] == made.to_uint8()[:, None]).flatten(2).all(2)
    assert bool((same.sum(1) == 1).all()), "every image is one of the real ones"
    return same.int().argmax(1)


@pytest.mark.parametrize("method", METHODS)
def test_real_images_of_their_class_each_once_and_again_for_the_same_seed(method):
    data = images(groups=torch.arange(60) // 3 % 2)
    groups = known_groups(data) if method in SPREAD else None
    made, again = (coreset(data, method, 4, groups=groups, seed=5, device="cpu") for _ in range(2))
    index = chosen(data, made)
    assert made.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and made.ipc == 4
    assert data.labels[index].tolist() == made.labels.tolist()
    assert len(set(index.tolist())) == 12
    assert torch.equal(made.images, again.images)
    assert made.meta["coreset"] == method and made.meta["seed"] == "5"
    other = coreset(data, method, 4, groups=groups, seed=6, device="cpu")
    assert not torch.equal(made.images, other.images)


def test_medoids_of_each_group_find_every_clump_of_each():
    """Two classes of two groups, each of two clumps that differ in brightness: a medoid is in the middle of its own."""
    within = torch.tensor([0, 1, 2, 20, 21, 22])  # the middles are 1 and 21
    start = torch.tensor([0, 60, 120, 180])  # class 0: groups at 0 and 60; class 1: at 120 and 180
    levels = (start[:, None] + within).flatten()
    data = ImageDataset(
        levels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone(),
        torch.arange(24) // 12,
        ("low", "high"),
        (0.0,),
        (1 / 255,),
        torch.arange(24) // 6 % 2,
        ("left", "right"),
    )
    made = coreset(data, "balanced-medoids", 4, groups=known_groups(data), seed=3)
    assert sorted(levels[chosen(data, made)].tolist()) == [1, 21, 61, 81, 121, 141, 181, 201]


def test_random_is_where_a_distillation_of_this_seed_starts():
    data = images()
    start = initial_state(data, DistillConfig(objective="erm", init="real", ipc=3, seed=2)).images
    assert torch.equal(coreset(data, "random", 3, seed=2).images, start)


@pytest.mark.parametrize("method", ["medoids", "medoids-features"])
def test_medoids_find_every_clump(method):
    clump = torch.arange(60) // 3 % 4
    pixels = (torch.randint(0, 8, (60, 1, 8, 8), generator=rng())).to(torch.uint8)
    for k in range(4):
        i, j = (4 * x for x in divmod(k, 2))
        pixels[clump == k, :, i : i + 4, j : j + 4] += 200
    data = ImageDataset(pixels, torch.arange(60) % 3, ("a", "b", "c"), *statistics(pixels))
    found = clump[chosen(data, coreset(data, method, 4, seed=1, device="cpu"))].view(3, 4).sort(1).values
    assert found.tolist() == [[0, 1, 2, 3]] * 3


def test_balanced_gives_each_group_as_many_and_a_small_one_what_it_has():
    side = torch.ones(60, dtype=torch.int64)
    side[:15] = 0  # five of each class
    data = images(groups=side)
    for ipc, left in ((4, 2), (10, 5), (16, 5)):
        index = chosen(data, coreset(data, "balanced", ipc, groups=known_groups(data), seed=0))
        assert (side[index] == 0).view(3, ipc).sum(1).tolist() == [left] * 3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(1, 4))
def test_herding_is_greedy_mean_matching(seed, count, dims):
    points = torch.randn(count, dims, generator=rng(seed), dtype=torch.float64)
    found = herd(points, count).tolist()
    assert sorted(found) == list(range(count)), "without replacement"
    assert herd(points, 2).tolist() == found[:2]
    for k in range(1, count):
        error = (points.mean(0) - points[found[:k]].mean(0)).norm()
        for other in set(range(count)) - set(found[:k]):
            assert error <= (points.mean(0) - points[[*found[: k - 1], other]].mean(0)).norm() + 1e-12


def test_a_herd_is_nearer_to_the_mean_than_nearly_every_random_choice():
    points = torch.randn(40, 5, generator=rng(1))
    mine = (points.mean(0) - points[herd(points, 4)].mean(0)).norm()
    draws = [points[torch.randperm(40, generator=rng(s))[:4]] for s in range(200)]
    assert sum(bool((points.mean(0) - d.mean(0)).norm() < mine) for d in draws) < 4


def test_herding_looks_through_a_trained_network_unless_told_frozen():
    data = images()
    one, two = (coreset(data, name, 5, seed=0, device="cpu") for name in ("herding", "herding-frozen"))
    assert not torch.equal(one.images, two.images)
    points = module._trained_features(data, 0, "cpu")
    assert torch.allclose(points.norm(dim=1), torch.ones(60)) and not points.requires_grad
    expected = [(data.labels == c).nonzero()[:, 0][herd(points[data.labels == c], 5)] for c in range(3)]
    assert chosen(data, one).tolist() == torch.cat(expected).tolist()


def test_mistakes_are_told_in_one_line():
    data = images()
    groups = Groups(torch.zeros(60, dtype=torch.int64), 1, "known")
    for name, ipc, given_groups, says in (
        ("medoid", 1, None, "did you mean 'medoids'"),
        ("balanced", 1, None, "pass groups="),
        ("balanced-medoids", 1, None, "pass groups="),
        ("random", 1, groups, "pass none, or use 'balanced'"),
        ("herding", 21, None, "ipc=21 is more than class 'a' has"),
        ("random", 0, None, "ipc=0"),
        ("balanced", 1, Groups(groups.ids[1:], 1, "known"), "59 samples"),
    ):
        with pytest.raises(RddError, match=says) as caught:
            coreset(data, name, ipc, groups=given_groups)
        assert "\n" not in str(caught.value)
