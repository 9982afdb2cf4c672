"""Group labels for a part of the data, extended to the rest."""

import pytest
import torch

from rdd_nb.clustering import discover_groups, group_mass, known_groups
from rdd_nb.clustering.partial_labels import UNKNOWN, extended_groups
from rdd_nb.core.errors import RddError
from tests.helpers import rng


def some(groups, part):
    """The labels of a random part."""
    return torch.where(torch.rand(len(groups), generator=rng(0)) < part, groups, UNKNOWN)


def test_more_labels_find_more_and_none_that_was_told_is_changed(worn):
    found = [extended_groups(worn, some(worn.groups, part), device="cpu") for part in (0.02, 0.25)]
    for groups, part in zip(found, (0.02, 0.25)):
        told = some(worn.groups, part)
        assert torch.equal(groups.ids[told != UNKNOWN], worn.groups[told != UNKNOWN]) and groups.learnable is None
        assert groups.num_groups <= worn.num_groups and groups.source.startswith("known in part (")
    few, many = (group_mass(groups, worn.labels, worn.minority) for groups in found)
    assert float(worn.minority.float().mean()) < few <= many + 0.02
    assert many > 0.8 * group_mass(known_groups(worn), worn.labels, worn.minority)


def test_all_labels_are_the_known_groups_and_none_is_refused(worn):
    assert torch.equal(extended_groups(worn, worn.groups).ids, worn.groups)
    assert torch.equal(discover_groups(worn, known=worn.groups).ids, worn.groups)
    unknown = torch.full_like(worn.groups, UNKNOWN)
    both = [discover_groups(worn, "colour", num_groups=3, learnable=False, known=known) for known in (None, unknown)]
    assert torch.equal(both[0].ids, both[1].ids)
    with pytest.raises(RddError, match="no group at all"):
        extended_groups(worn, torch.full_like(worn.groups, UNKNOWN))


def test_a_part_of_the_labels_is_one_more_candidate_and_never_the_only_one(worn):
    found = discover_groups(worn, num_groups=4, known=some(worn.groups, 0.25), device="cpu")
    first = {trial.groups: trial.benefit.value for trial in found.trials if not trial.final}
    assert any(name.startswith("known in part (") for name in first) and len(first) == 7 and found.raised
    assert first[found.source] == max(first.values())
    alone = discover_groups(worn, "colour", known=some(worn.groups, 0.25), device="cpu")
    assert alone.source.startswith("known in part (") and not alone.trials and alone.learnable is None


@pytest.mark.parametrize("known", [torch.zeros(3, dtype=torch.int64), torch.zeros(900), torch.full((900,), -2)])
def test_other_kinds_of_labels_are_refused(worn, known):
    with pytest.raises(RddError, match=r"must be int64 \[900\]"):
        extended_groups(worn, known)
