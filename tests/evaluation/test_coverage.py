"""Coverage in feature space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups as sg
from tests.evaluation.helpers import CHECK

pytestmark = pytest.mark.usefixtures("no_warnings")


def test_shrink_estimates_better_and_recovers_the_prior():
    rng, k = np.random.default_rng(0), 400
    truth, n = rng.beta(14, 6, k), rng.integers(5, 60, k)
    right = rng.binomial(n, truth)
    got = sg.shrink(right, n)
    oracle = (right + 14) / (n + 20)
    assert np.mean((got - truth) ** 2) < 0.6 * np.mean((right / n - truth) ** 2)
    assert np.mean((got - truth) ** 2) < 1.05 * np.mean((oracle - truth) ** 2)


def features(seed: int, n: int, m: int, dim: int = 3):
    g = torch.Generator().manual_seed(seed)
    real, synthetic = torch.randn(n, dim, generator=g), torch.randn(m, dim, generator=g)
    return real, torch.randint(0, 3, (n,), generator=g), synthetic, torch.randint(0, 2, (m,), generator=g)


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 9), st.sampled_from([1, 7, 2048]))
@CHECK
def test_nearest_distance_is_the_nearest_of_the_class(seed, n, m, chunk):
    real, labels, synthetic, synthetic_labels = features(seed, n, m)
    got = sg.nearest_distance(real, labels, synthetic, synthetic_labels, chunk)
    for i in range(n):
        same = synthetic[synthetic_labels == labels[i]]
        expected = min((float((real[i] - s).norm()) for s in same), default=float("inf"))
        assert float(got[i]) == pytest.approx(expected, abs=1e-5)


def test_a_sample_covers_itself_at_radius_zero():
    images = torch.randn(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1000
    labels = torch.arange(50) % 5
    assert sg.coverage(images, labels, images[:10], labels[:10], [0.0]).tolist() == [0.2]


def test_coverage_grows_and_splits_by_group():
    real, labels, synthetic, synthetic_labels = features(0, 200, 6)
    radii = [0.0, 0.5, 1.0, 2.0, 100.0]
    overall = sg.coverage(real, labels, synthetic, synthetic_labels, radii)
    assert (np.diff(overall) >= 0).all()
    assert overall[-1] == pytest.approx(float((labels < 2).float().mean()))  # class 2 has no synthetic sample
    groups = torch.arange(200) % 3
    table = sg.coverage_by_group(real, labels, synthetic, synthetic_labels, groups, radii)
    assert list(table.columns) == ["group", "n", "radius", "share"] and len(table) == 15
    weighted = (table["share"] * table["n"]).groupby(table["radius"]).sum() / 200
    np.testing.assert_allclose(weighted.to_numpy(), overall)


def test_coverage_needs_equal_features():
    real, labels, synthetic, synthetic_labels = features(0, 5, 4)
    for wrong in ((real[:, :2], labels, synthetic, synthetic_labels), (real, labels[:3], synthetic, synthetic_labels)):
        with pytest.raises(RddError, match="same features"):
            sg.coverage(*wrong, [1.0])
