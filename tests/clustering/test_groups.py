"""Groups: what a data set names, and how large each is."""

import torch

from rdd_nb.clustering.groups import Groups, exemplars, known_groups
from tests.helpers import rng


def test_known_groups_are_the_named_ones(coloured):
    found = known_groups(coloured)
    assert torch.equal(found.ids, coloured.groups) and found.num_groups == 3 and found.source == "known"


def test_sizes_count_each_group_of_each_class():
    groups = Groups(torch.tensor([0, 2, 2, 0, 1]), 4, "mine")
    assert groups.sizes(torch.tensor([0, 0, 0, 1, 1]), 3).tolist() == [[1, 0, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_exemplars_are_near_far_and_unbiased_and_none_is_both_near_and_far():
    points = torch.cat([torch.arange(10.0).square(), torch.tensor([1000.0])])[:, None]
    members = torch.arange(10)  # of squares, whose mean is 28.5: the last is of another group
    near, far, _ = exemplars(points, members, 3, rng())
    assert near.tolist() == [5, 6, 4] and far.tolist() == [9, 8, 0]
    for size, wanted in ((1, (1, 0, 1)), (3, (2, 1, 3)), (5, (3, 2, 3)), (10, (3, 3, 3))):
        near, far, chance = exemplars(points, members[:size], 3, rng())
        assert (len(near), len(far), len(chance)) == wanted and not set(near.tolist()) & set(far.tolist())
        assert len(set(chance.tolist())) == len(chance)
    draw = rng(1)
    drawn = torch.cat([exemplars(points, members, 3, draw)[2] for _ in range(2000)])
    assert (torch.bincount(drawn, minlength=10) - 600).abs().max() < 100  # each as often: 4.9 standard deviations
