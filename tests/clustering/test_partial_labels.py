"""Group labels for a part of the data, extended to the rest."""

import pytest
import torch

from rdd_nb.clustering import at_price, discover_groups, group_mass, known_groups
from rdd_nb.clustering.partial_labels import UNKNOWN, extended, extended_groups
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
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


def lit(place):
    """Noisy images of 12 × 12 with one of four quadrants lit."""
    images = torch.randint(0, 80, (len(place), 1, 12, 12), generator=rng(1), dtype=torch.uint8)
    for quadrant in range(4):
        row, column = 6 * (quadrant // 2), 6 * (quadrant % 2)
        images[place == quadrant, :, row : row + 6, column : column + 6] += 90
    return images


@pytest.mark.parametrize("otherwise", [False, True])
def test_a_group_may_look_alike_in_all_classes_or_otherwise_in_each(otherwise):
    """In one class the second group lights the last quadrant; in the others the same, or that of the first group."""
    labels, groups = torch.arange(600) % 3, (torch.rand(600, generator=rng(2)) < 0.2).long()
    place = 3 * torch.where((labels > 0) & otherwise, 1 - groups, groups)
    images = lit(place)
    data = ImageDataset(images, labels, ("a", "b", "c"), *statistics(images))
    told = some(groups, 0.1)
    if not otherwise:
        told[(labels == 2) & (groups == 1)] = UNKNOWN  # what other classes teach
    found, trust = extended(data, told, device="cpu")
    assert (found.ids == groups).double().mean() > 0.97 and trust > 0.9
    meaningless = torch.randint(2, (600,), generator=rng(3))
    assert extended(data, some(meaningless, 0.1), device="cpu")[1] < 0.75


def test_all_labels_are_the_known_groups_and_none_is_refused(worn):
    assert torch.equal(extended_groups(worn, worn.groups).ids, worn.groups)
    assert torch.equal(discover_groups(worn, known=worn.groups).ids, worn.groups)
    unknown = torch.full_like(worn.groups, UNKNOWN)
    both = [discover_groups(worn, "colour", num_groups=3, learnable=False, known=known) for known in (None, unknown)]
    assert torch.equal(both[0].ids, both[1].ids)
    with pytest.raises(RddError, match="no group at all"):
        extended_groups(worn, torch.full_like(worn.groups, UNKNOWN))


def test_a_part_of_the_labels_is_one_more_candidate_and_never_the_only_one(worn):
    few = worn.subset(torch.arange(0, len(worn), 2))
    found = discover_groups(few, num_groups=4, known=some(few.groups, 0.25), device="cpu")
    first = {trial.groups: trial.benefit.value for trial in found.trials if not trial.final}
    assert any(name.startswith("known in part (") for name in first) and len(first) == 7 and found.raised
    finals = [trial for trial in found.trials if trial.final]
    best = sorted(first, key=first.get)[-2:]
    assert {trial.groups for trial in finals} == {*best, next(name for name in first if "known" in name)}
    assert [trial for trial in finals if trial.kept] == [at_price(finals, 1)], "who names groups says that they count"
    assert "\n\nWhat is raised at a price of 1, and" in found.report
    alone = discover_groups(few, "colour", known=some(few.groups, 0.25), device="cpu")
    assert alone.source.startswith("known in part (") and not alone.trials and alone.learnable is None


@pytest.mark.parametrize("known", [torch.zeros(3, dtype=torch.int64), torch.zeros(900), torch.full((900,), -2)])
def test_other_kinds_of_labels_are_refused(worn, known):
    with pytest.raises(RddError, match=r"must be int64 \[900\]"):
        extended_groups(worn, known)
