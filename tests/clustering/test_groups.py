import inspect
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from rdd_nb import clustering
from rdd_nb.clustering.density import density_weights
from rdd_nb.clustering.discovery import discover_groups, learnability
from rdd_nb.clustering.groups import Groups, known_groups
from rdd_nb.clustering.kmeans import cells, kmeans, medoids
from rdd_nb.clustering.reference_networks import biased_probabilities
from rdd_nb.clustering.shares import group_mass, group_shares, group_weights
from rdd_nb.clustering.spaces import SPACES, space
from rdd_nb.clustering.stability import stability
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.scenarios import scenario
from rdd_nb.distillation.config import DistillConfig
from tests.helpers import rng


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def quadrants(count, side=8, classes=3, noise=60, seed=0):
    """Grey images whose class is the quadrant that is bright."""
    labels = torch.arange(count) % classes
    pixels = 20 + noise * torch.rand(count, 1, side, side, generator=rng(seed))
    for label in range(classes):
        i, j = (side // 2 * k for k in divmod(label, 2))
        pixels[labels == label, :, i : i + side // 2, j : j + side // 2] += 90
    images = pixels.to(torch.uint8)
    return ImageDataset(images, labels, tuple("abcd"[:classes]), *statistics(images), name="quadrants")


@pytest.fixture(scope="module")
def coloured():
    data = quadrants(900)
    return scenario(Splits(data, data, "quadrants"), "coloured", bias=0.9).train


# --- cells and k-means --------------------------------------------------------------------------------------------


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


# --- discovered groups --------------------------------------------------------------------------------------------


def test_discovered_groups_concentrate_the_minority_and_shuffled_ones_do_not(coloured):
    share = float(coloured.minority.float().mean())
    assert share == pytest.approx(0.1, abs=0.01)
    found = discover_groups(coloured, num_groups=4, seed=0)
    assert found.num_groups == 4 and found.source == "probabilities" and found.ids.shape == (900,)
    assert group_mass(found, coloured.labels, coloured.minority) > 5 * share
    shuffled = Groups(found.ids[torch.randperm(900, generator=rng(1))], 4, "shuffled")
    assert group_mass(shuffled, coloured.labels, coloured.minority) < 1.6 * share
    known = group_mass(known_groups(coloured), coloured.labels, coloured.minority)
    assert known == pytest.approx(2 / 3)  # three colours, two of them foreign to the class


def test_discovery_reads_no_group_label_and_repeats(coloured):
    blind = ImageDataset(coloured.images, coloured.labels, coloured.class_names, coloured.mean, coloured.std)
    for name in SPACES:
        tried = name == "probabilities"
        first, second = (discover_groups(d, name, num_groups=3, learnable=tried, seed=4) for d in (coloured, blind))
        assert torch.equal(first.ids, second.ids)
        assert torch.equal(first.learnable, second.learnable) if tried else first.learnable is None
    assert not torch.equal(biased_probabilities(blind, 0, epochs=1), biased_probabilities(blind, 1, epochs=1))


def test_every_space_gives_finite_points_and_probabilities_are_probabilities(coloured):
    for name in SPACES:
        points = space(coloured, name)
        assert points.shape[0] == 900 and points.ndim == 2 and torch.isfinite(points).all()
    probabilities = space(coloured, "probabilities")
    assert probabilities.shape == (900, 3) and float(probabilities.min()) >= 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(900))


def test_predicted_class_groups_are_what_the_biased_network_says(coloured):
    said = biased_probabilities(coloured, 2).argmax(1)
    found = discover_groups(coloured, "predicted-class", num_groups=10, seed=2)
    for label in range(3):
        mine = coloured.labels == label
        pairs = torch.stack([said[mine], found.ids[mine]], 1).unique(dim=0)
        assert len(pairs) == len(said[mine].unique()) == len(found.ids[mine].unique())  # one to one


def test_pixel_and_style_spaces_equal_loops(coloured):
    few = coloured.subset(torch.arange(7))
    x = few.normalised()
    pixels = torch.stack([torch.stack([row.mean() for row in _patches(image, 2)]) for image in x])
    torch.testing.assert_close(space(few, "pixels"), pixels)
    raw = torch.stack([torch.tensor([*(c.mean() for c in image), *(c.std() for c in image)]) for image in x])
    torch.testing.assert_close(space(few, "style"), (raw - raw.mean(0)) / raw.std(0))


def _patches(image, size):
    return [
        image[c, i : i + size, j : j + size]
        for c in range(image.shape[0])
        for i in range(0, image.shape[1], size)
        for j in range(0, image.shape[2], size)
    ]


def test_bad_requests_are_refused(coloured):
    with pytest.raises(RddError, match="did you mean 'pixels'"):
        discover_groups(coloured, "pixel")
    with pytest.raises(RddError, match="num_groups is 0"):
        discover_groups(coloured, "pixels", num_groups=0)
    with pytest.raises(RddError, match="'quadrants' names no groups"):
        known_groups(quadrants(6))


def test_known_groups_are_the_named_ones(coloured):
    found = known_groups(coloured)
    assert torch.equal(found.ids, coloured.groups) and found.num_groups == 3 and found.source == "known"


# --- densities ----------------------------------------------------------------------------------------------------


def density_by_loops(points, width, floor):
    points = (points - points.mean(0)) / points.std(0)
    density = []
    for i in range(len(points)):
        others = [
            np.exp(-float((points[i] - points[j]).square().sum()) / (2 * width**2))
            for j in range(len(points))
            if j != i
        ]
        density.append(sum(others) / len(others))
    inverse = torch.tensor([1 / max(d, floor * max(density)) for d in density])
    return (inverse / inverse.mean()).float()


def test_density_weights_equal_loops_class_by_class():
    points, labels = randn(40, 2, seed=2), torch.arange(40) % 2
    found = density_weights(points, labels)
    for label in (0, 1):
        expected = density_by_loops(points[labels == label].double(), 20 ** (-1 / 6), 1e-3)
        torch.testing.assert_close(found[labels == label], expected, rtol=1e-3, atol=1e-4)
    narrow = density_weights(points, labels, bandwidth=0.5, floor=0.05)
    expected = density_by_loops(points[labels == 0].double(), 0.5, 0.05)
    torch.testing.assert_close(narrow[labels == 0], expected, rtol=1e-3, atol=1e-4)


def test_density_weights_average_one_in_each_class_and_lift_the_rare_mode():
    rare = torch.arange(200) % 10 == 0
    points, labels = randn(200, 2) + 8.0 * rare[:, None], torch.arange(200) % 2
    labels[rare] = torch.arange(20) % 2
    weights = density_weights(points, labels)
    for label in (0, 1):
        assert float(weights[labels == label].mean()) == pytest.approx(1, abs=1e-4)
    assert float(weights[rare].mean()) > 3 * float(weights[~rare].mean())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 10), st.floats(-10, 10))
def test_density_weights_ignore_the_units_of_each_dimension(seed, scale, shift):
    points, labels = randn(50, 3, seed=seed), torch.arange(50) % 2
    moved = points * torch.tensor([scale, 1.0, -1 / scale]) + shift
    torch.testing.assert_close(density_weights(moved, labels), density_weights(points, labels), rtol=5e-3, atol=1e-3)


def test_no_outlier_takes_more_than_the_floor_allows():
    points = torch.cat([randn(50, 1), torch.tensor([[1e4]])])
    labels = torch.zeros(51, dtype=torch.int64)
    for floor in (1e-3, 0.1):
        weights = density_weights(points, labels, floor=floor)
        assert float(weights[-1]) == float(weights.max())
        assert float(weights.max() / weights.min()) == pytest.approx(1 / floor, rel=1e-3)


def test_density_weights_survive_many_dimensions_and_tiny_bandwidths():
    # Here every kernel value is below the smallest float.
    labels = torch.zeros(60, dtype=torch.int64)
    for weights in (density_weights(randn(60, 800), labels), density_weights(randn(60, 2), labels, bandwidth=1e-3)):
        assert torch.isfinite(weights).all() and float(weights.mean()) == pytest.approx(1, abs=1e-4)
        assert float(weights.std()) > 0


def test_density_weights_of_tiny_classes_and_constant_points_are_one():
    points, labels = torch.tensor([[1.0], [2.0], [7.0], [7.0], [7.0]]), torch.tensor([0, 0, 1, 1, 1])
    torch.testing.assert_close(density_weights(points, labels), torch.ones(5))


@pytest.mark.parametrize("options", [{"floor": 0.0}, {"floor": 2.0}, {"bandwidth": 0.0}, {"bandwidth": -1.0}])
def test_density_weights_refuse_what_has_no_meaning(options):
    with pytest.raises(RddError, match="floor"):
        density_weights(randn(9, 2), torch.zeros(9, dtype=torch.int64), **options)


# --- how good they are --------------------------------------------------------------------------------------------


def test_sizes_count_each_group_of_each_class():
    groups = Groups(torch.tensor([0, 2, 2, 0, 1]), 4, "mine")
    assert groups.sizes(torch.tensor([0, 0, 0, 1, 1]), 3).tolist() == [[1, 0, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 99))
def test_group_weights_give_each_present_group_of_a_class_the_same(count, num_groups, seed):
    labels = torch.randint(3, (count,), generator=rng(seed))
    groups = Groups(torch.randint(num_groups, (count,), generator=rng(seed + 1)), num_groups, "mine")
    weights = group_weights(groups, labels, 3)
    for label in labels.unique():
        mine, present = weights[labels == label], groups.ids[labels == label]
        assert float(mine.sum()) == pytest.approx(1, abs=1e-5)
        for group in present.unique():
            assert float(mine[present == group].sum()) == pytest.approx(1 / len(present.unique()), abs=1e-5)
            assert len(mine[present == group].unique()) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_a_group_counts_as_its_size_to_the_power(count, num_groups, power, seed):
    labels = torch.randint(3, (count,), generator=rng(seed))
    groups = Groups(torch.randint(num_groups, (count,), generator=rng(seed + 1)), num_groups, "mine")
    shares, sizes = group_shares(groups, labels, 3, power), groups.sizes(labels, 3)
    for label in labels.unique().tolist():
        expected = [n**power if n else 0.0 for n in sizes[label].tolist()]
        assert shares[label].tolist() == pytest.approx([e / sum(expected) for e in expected])
    drawn = torch.zeros(3, num_groups, dtype=torch.float64)
    drawn.index_put_((labels, groups.ids), group_weights(groups, labels, 3, power), accumulate=True)
    torch.testing.assert_close(drawn, shares)  # a class without samples has zeros in both


def test_learnability_raises_in_full_at_one_and_not_at_all_at_zero():
    labels, ids = torch.arange(60) % 2, (torch.arange(60) >= 50).long()
    groups = Groups(ids, 2, "mine")
    plain, raised = (group_shares(groups, labels, 2, power) for power in (1.0, 0.3))
    full, none, half = (replace(groups, learnable=torch.full((2, 2), v, dtype=torch.float64)) for v in (1.0, 0.0, 0.5))
    torch.testing.assert_close(group_shares(full, labels, 2, 0.3), raised)
    torch.testing.assert_close(group_shares(none, labels, 2, 0.3), plain)
    torch.testing.assert_close(group_shares(half, labels, 2, 0.0), group_shares(groups, labels, 2, 0.5))
    missing = replace(full, learnable=torch.ones(3, 2, dtype=torch.float64))  # the data's last class has no sample here
    assert group_mass(missing, labels, ids == 1, 0.3) == pytest.approx(group_mass(groups, labels, ids == 1, 0.3))
    mixed = replace(groups, learnable=torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
    shares = group_shares(mixed, labels, 2, 0.3)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))
    assert shares[0, 1] < raised[0, 1] and torch.allclose(shares[1], raised[1])


def test_a_rare_group_is_learnable_and_wrong_labels_are_not():
    """A class is the place of a bright bar; rarely the bar is dark on light (learnable), and some labels are wrong."""
    draw, labels, kind = rng(7), torch.arange(1600) % 4, torch.zeros(1600, dtype=torch.int64)
    kind[:160], kind[160:320] = 1, 2
    shown = torch.where(kind == 2, (labels + torch.randint(1, 4, (1600,), generator=draw)) % 4, labels)
    images = (torch.rand(1600, 1, 8, 8, generator=draw) * 60).to(torch.uint8)
    for label in range(4):
        images[shown == label, :, 2 * label : 2 * label + 2] += 180
    images[kind == 1] = 255 - images[kind == 1]
    data = ImageDataset(images, labels, ("first", "second", "third", "fourth"), *statistics(images))
    found = learnability(Groups(kind, 4, "mine"), data, seed=0, device="cpu")
    assert found.shape == (4, 4) and torch.equal(found[:, 3], torch.zeros(4, dtype=torch.float64))  # nobody is there
    assert float(found[:, :2].min()) > 0.9 and float(found[:, 2].max()) < 0.4
    shares = group_shares(Groups(kind, 4, "mine", found), labels, 4, 0.3)
    assert float(shares[:, 1].min()) > 0.2 and float(shares[:, 2].max()) < 0.15  # of a tenth each


def test_learnability_tries_the_power_that_is_the_default():
    assert inspect.signature(learnability).parameters["power"].default == DistillConfig().group_power


def test_power_one_is_plain_and_powers_in_between_raise_the_rare_in_order():
    labels = torch.zeros(100, dtype=torch.int64)
    groups = Groups((torch.arange(100) >= 90).long(), 2, "mine")
    assert torch.allclose(group_weights(groups, labels, 1, 1.0), torch.full((100,), 0.01, dtype=torch.float64))
    rare = [group_mass(groups, labels, groups.ids == 1, power) for power in (0, 0.25, 0.5, 0.75, 1)]
    assert rare == sorted(rare, reverse=True) and rare[0] == pytest.approx(0.5) and rare[-1] == pytest.approx(0.1)
    assert rare[2] == pytest.approx(10**0.5 / (10**0.5 + 90**0.5))
    for power in (-0.1, 1.1):
        with pytest.raises(RddError, match="group_power"):
            group_shares(groups, labels, 1, power)


def test_group_mass_leaves_out_classes_without_a_marked_sample():
    labels, marked = torch.arange(80) % 2, (torch.arange(80) < 16) & (torch.arange(80) % 2 == 0)
    assert group_mass(Groups(marked.long(), 2, ""), labels, marked) == pytest.approx(0.5)
    assert math.isnan(group_mass(Groups(marked.long(), 2, ""), labels, torch.zeros(80, dtype=torch.bool)))


def test_group_mass_of_blind_and_of_perfect_groups():
    labels, marked = torch.arange(80) % 2, torch.arange(80) < 8
    assert group_mass(Groups(torch.zeros(80, dtype=torch.int64), 1, ""), labels, marked) == pytest.approx(0.1)
    assert group_mass(Groups(marked.long(), 2, ""), labels, marked) == pytest.approx(0.5)


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
    monkeypatch.setattr(clustering, "discover_groups", lambda *_, **__: next(found))
    images = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    data = ImageDataset(images, torch.arange(8) // 4, ("a", "b"), (0.5,), (0.5,))
    (score,) = stability(data, "pixels", seeds=2).tolist()
    assert score == pytest.approx((1 + -0.5) / 2)


def test_medoids_are_rows_without_repetition_and_the_first_others_fill_up():
    points = torch.cat([torch.full((5, 2), v) for v in (0.0, 3.0)]) + 0.01 * torch.arange(10)[:, None]
    assert set((medoids(points, 2) // 5).tolist()) == {0, 1}
    same = torch.cat([torch.zeros(4, 1), torch.ones(1, 1)])  # two distinct rows only
    found = medoids(same, 4).tolist()
    assert len(set(found)) == 4 and {0, 4} <= set(found) and found[2:] == [1, 2]
