"""How much of what is matched each group is."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.shares import group_mass, group_shares, group_weights
from rdd_nb.core.errors import RddError
from tests.helpers import rng


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


def test_a_strength_above_one_raises_further_and_at_most_to_equal_groups():
    groups, labels = Groups(torch.tensor([0] * 16 + [1] * 4), 2, "mine"), torch.zeros(20, dtype=torch.int64)

    def rare(strength, power):
        learnable = torch.full((1, 2), strength, dtype=torch.float64)
        return float(group_shares(replace(groups, learnable=learnable), labels, 1, power)[0, 1])

    assert 0.2 < rare(0.5, 0.3) < rare(1, 0.3) < rare(1.2, 0.3) < rare(1.4, 0.3) < 0.5
    assert rare(5, 0.3) == rare(1.4, 0) == pytest.approx(0.5)


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
