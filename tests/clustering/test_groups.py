"""Groups: what a data set names, and how large each is."""

import torch

from rdd_nb.clustering.groups import Groups, known_groups


def test_known_groups_are_the_named_ones(coloured):
    found = known_groups(coloured)
    assert torch.equal(found.ids, coloured.groups) and found.num_groups == 3 and found.source == "known"


def test_sizes_count_each_group_of_each_class():
    groups = Groups(torch.tensor([0, 2, 2, 0, 1]), 4, "mine")
    assert groups.sizes(torch.tensor([0, 0, 0, 1, 1]), 3).tolist() == [[1, 0, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
