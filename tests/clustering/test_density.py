"""Weights by density, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.clustering import density
from rdd_nb.clustering.density import density_weights
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from tests.clustering.helpers import randn


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


def test_a_density_from_some_of_the_samples_is_that_of_all_but_for_chance(monkeypatch):
    points, labels = randn(3000, 2, seed=3), torch.zeros(3000, dtype=torch.int64)
    whole = density_weights(points, labels)
    monkeypatch.setattr(density, "BLOCK", 100_000)
    torch.testing.assert_close(density_weights(points, labels), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(density, "MOST", 1000)
    some = density_weights(points, labels)
    assert not torch.equal(some, whole)
    dense = whole < whole.median()  # with a hundred others about them, a third of whom are drawn
    assert float((some / whole - 1)[dense].abs().median()) < 0.15
    assert float(np.corrcoef(some.log(), whole.log())[0, 1]) > 0.97


def test_of_some_of_the_samples_each_counts_all_others_that_are_drawn(monkeypatch):
    monkeypatch.setattr(density, "MOST", 30)
    points = randn(40, 2, seed=2)
    drawn = torch.randperm(40, generator=stream(0, "density", 0))[:30]
    scaled = (points - points.mean(0)) / points.std(0)
    told = []
    for i in range(40):
        others = [j for j in drawn.tolist() if j != i]
        told.append(np.mean([np.exp(-float((scaled[i] - scaled[j]).square().sum()) / 0.5) for j in others]))
    inverse = torch.tensor([1 / max(d, 1e-3 * max(told)) for d in told])
    found = density_weights(points, torch.zeros(40, dtype=torch.int64), bandwidth=0.5)
    torch.testing.assert_close(found, (inverse / inverse.mean()).float(), rtol=1e-3, atol=1e-4)
