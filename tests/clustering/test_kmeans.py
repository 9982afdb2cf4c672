"""Cells, k-means within classes, and medoids."""

import sys
import warnings

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from rdd_nb.clustering.kmeans import cells, kmeans, medoids, medoids_of_each
from tests.clustering.helpers import randn
from tests.helpers import rng

kmeans_module = sys.modules["rdd_nb.clustering.kmeans"]  # the layer's own name for it is the function


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(3, 40), st.integers(1, 4), st.integers(0, 99))
def test_cells_are_the_nearest_centres(count, centres, dims, seed):
    # Whole numbers, so that distances are exact; where two centres are equally near, either will do.
    points = torch.randint(-9, 10, (count, dims), generator=rng(seed)).float()
    near = torch.randint(-9, 10, (centres, dims), generator=rng(seed + 1)).float()
    labels, owners = torch.randint(3, (count,), generator=rng(seed + 2)), torch.arange(centres) % 3
    anywhere, at_home = cells(points, near), cells(points, near, labels, owners)
    for j in range(count):
        distances = [float((points[j] - m).square().sum()) for m in near]
        assert distances[anywhere[j]] == min(distances)
        mine = [d for d, owner in zip(distances, owners) if owner == labels[j]]
        assert owners[at_home[j]] == labels[j] and distances[at_home[j]] == min(mine)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 99))
def test_kmeans_is_a_function_of_its_class_and_the_seed_alone(num_groups, seed):
    points, labels = randn(60, 2, seed=seed), torch.randint(3, (60,), generator=rng(seed + 1))
    ids = kmeans(points, labels, num_groups, seed=seed, n_init=1)
    assert ids.dtype == torch.int64 and ids.shape == (60,)
    for label in range(3):
        assert sorted(ids[labels == label].unique().tolist()) == list(range(num_groups))
    assert torch.equal(ids, kmeans(points, labels, num_groups, seed=seed, n_init=1))
    # A class is clustered without the others: move and stretch them, and its ids stay.
    elsewhere = torch.where((labels == 0)[:, None], points, 5 * points + 100)
    assert torch.equal(ids[labels == 0], kmeans(elsewhere, labels, num_groups, seed=seed, n_init=1)[labels == 0])


def test_kmeans_finds_blobs_in_each_class_and_its_seed_matters():
    truth = torch.arange(120) % 4
    points, labels = (
        randn(120, 2) + 20 * torch.eye(4)[truth][:, :2] + 40 * (truth == 3)[:, None],
        torch.arange(120) // 60,
    )
    ids = kmeans(points, labels, 3, seed=0)
    expected = truth.clone()
    expected[truth == 3] = 3
    for label in (0, 1):
        pairs = {(int(a), int(b)) for a, b in zip(ids[labels == label], expected[labels == label]) if b != 2}
        assert len(pairs) == 3  # blobs 0, 1 and 3 each have one id of their own
    spread = randn(300, 2, seed=5)
    one_class = torch.zeros(300, dtype=torch.int64)
    assert not torch.equal(
        kmeans(spread, one_class, 8, seed=0, n_init=1), kmeans(spread, one_class, 8, seed=1, n_init=1)
    )


def test_a_class_with_fewer_distinct_samples_than_groups_fills_what_it_can():
    points = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0], [2.0], [3.0], [4.0]])
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ids = kmeans(points, labels, 3)
    assert set(ids[:5].tolist()) == {0, 1} and len(set(ids[:3].tolist())) == 1
    assert set(ids[5:].tolist()) == {0, 1, 2}


def test_medoids_are_rows_without_repetition_and_the_first_others_fill_up():
    points = torch.cat([torch.full((5, 2), v) for v in (0.0, 3.0)]) + 0.01 * torch.arange(10)[:, None]
    assert set((medoids(points, 2) // 5).tolist()) == {0, 1}
    same = torch.cat([torch.zeros(4, 1), torch.ones(1, 1)])  # two distinct rows only
    found = medoids(same, 4).tolist()
    assert len(set(found)) == 4 and {0, 4} <= set(found) and found[2:] == [1, 2]


def test_centres_of_a_large_class_come_from_some_of_its_samples(monkeypatch):
    truth = torch.arange(4000) % 4
    points = randn(4000, 3, seed=1) + 6.0 * truth[:, None] * torch.tensor([1.0, 0.0, -1.0])
    labels = torch.arange(4000) // 2000
    whole = kmeans(points, labels, 4)
    monkeypatch.setattr(kmeans_module, "MOST", 300)
    some = kmeans(points, labels, 4)
    for label in (0, 1):
        mine = labels == label
        assert adjusted_rand_score(some[mine], whole[mine]) > 0.99
    assert torch.equal(some, kmeans(points, labels, 4)), "the same seed draws the same samples"
    centres = torch.stack([points[:2000][some[:2000] == k].mean(0) for k in range(4)])
    nearest = torch.cdist(points[:2000], centres).argmin(1)
    assert float((nearest == some[:2000]).float().mean()) > 0.99, "each joins its nearest"


def test_many_clouds_at_once_have_medoids_as_good_as_each_alone():
    """Ten clumps a cloud: where k-means by itself finds them all, so do the clouds together, and no row twice."""
    draw = torch.Generator().manual_seed(0)
    middles = 20 * torch.randn(6, 10, 1, 8, generator=draw)
    clouds = (middles + torch.randn(6, 10, 12, 8, generator=draw)).flatten(1, 2)

    def spread(cloud, chosen):
        return float(torch.cdist(cloud, cloud[chosen]).amin(1).square().mean())

    found = medoids_of_each(clouds, 10, draw)
    assert all(len(set(row)) == 10 for row in found.tolist())
    together = sum(spread(cloud, row) for cloud, row in zip(clouds, found))
    alone = sum(spread(cloud, medoids(cloud, 10)) for cloud in clouds)
    at_random = sum(spread(cloud, torch.arange(10) * 7) for cloud in clouds)
    assert together < 0.2 * at_random and together < 3 * alone
    (middle,) = medoids_of_each(clouds[:1], 1, draw)
    assert middle.tolist() == medoids(clouds[0], 1).tolist()


def test_clouds_of_one_point_again_and_again_give_each_row_once():
    found = medoids_of_each(torch.zeros(3, 5, 2), 4, torch.Generator().manual_seed(0))
    assert all(len(set(row)) == 4 for row in found.tolist()) and found.shape == (3, 4)
