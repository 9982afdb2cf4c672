"""Small sets of real images: at random or medoids, spread over groups or not."""

import torch

from rdd_nb.clustering.shares import rank_within
from rdd_nb.clustering.small_sets import SmallSets
from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng

LABELS = torch.arange(120) % 2
IDS = (torch.arange(120) >= 100).long()  # the second group has 10 of the 60 of each class
SHARES = torch.tensor([[0.5, 0.5], [0.75, 0.25]], dtype=torch.float64)


def some(members=None, ipc=4, part_of=None):
    images = torch.randint(0, 256, (120, 1, 8, 8), generator=rng(2), dtype=torch.uint8)
    data = ImageDataset(images, LABELS, ("even", "odd"), *statistics(images))
    members = torch.arange(120) if members is None else members
    return SmallSets(data, members, torch.zeros_like(members) if part_of is None else part_of, ipc, seed=3)


def one(sets, shares, number=0, central=False):
    return sets.draw(0, IDS, shares, count=number + 1, central=central)[number]


def cells(drawn):
    return torch.bincount(LABELS[drawn] * 2 + IDS[drawn], minlength=4).tolist()


def test_a_set_has_as_many_of_each_group_as_its_share_each_image_once_and_only_of_what_was_met():
    part_of = torch.arange(120) % 3
    sets = some(part_of=part_of)
    for central in (False, True):
        drawn = one(sets, SHARES, 2, central)
        assert cells(drawn) == [2, 2, 3, 1] and len(drawn.unique()) == 8
        assert set(part_of[drawn].tolist()) == {0}
        assert torch.equal(drawn, one(some(part_of=part_of), SHARES, 2, central)), "the same again"
        assert not torch.equal(drawn, one(sets, SHARES, 3, central)), "another set is another"
        (other,) = sets.draw(0, IDS, SHARES, round=1, central=central)
        assert not torch.equal(one(sets, SHARES, 0, central), other), "those of another round are others"
        (other,) = sets.draw(1, IDS, SHARES, central=central)
        assert set(part_of[other].tolist()) == {1} and cells(other) == [2, 2, 3, 1]


def test_groups_asked_for_in_turns_get_what_they_get_alone():
    alone = (torch.zeros(120, dtype=torch.int64), torch.ones(2, 1))
    sets, fresh = some(), some()
    for central in (True, False, True):
        first, second = sets.draw(0, IDS, SHARES, central=central), sets.draw(0, *alone, central=central)
        assert torch.equal(second, some().draw(0, *alone, central=central))
        assert torch.equal(first, fresh.draw(0, IDS, SHARES, central=central))


def test_sets_of_other_shares_differ_in_as_few_images_as_may_be():
    sets, other = some(), torch.tensor([[0.75, 0.25], [0.75, 0.25]], dtype=torch.float64)
    first, second = (set(one(sets, shares).tolist()) for shares in (SHARES, other))
    assert len(first & second) == 7
    first, second = (one(sets, shares, central=True) for shares in (SHARES, other))
    assert set(first[LABELS[first] == 1].tolist()) == set(second[LABELS[second] == 1].tolist())


def test_central_images_are_nearer_to_what_they_stand_for_than_random_ones():
    sets, alone = some(ipc=1), (torch.zeros(120, dtype=torch.int64), torch.ones(2, 1))
    far = {}
    for central in (False, True):
        drawn = sets.draw(0, *alone, count=20, central=central).flatten()
        middle = torch.stack([sets.points[label == LABELS].mean(0) for label in (0, 1)])
        far[central] = float((sets.points[drawn] - middle[LABELS[drawn]]).norm(dim=1).mean())
    assert far[True] < 0.9 * far[False]


def test_a_group_smaller_than_its_share_gives_all_it_has():
    met = torch.cat([torch.arange(100), torch.tensor([100, 101])])  # of the second group one image a class
    for central in (False, True):
        drawn = one(some(met), SHARES, central=central)
        assert cells(drawn) == [3, 1, 3, 1] and int(rank_within(LABELS[drawn]).max()) == 3


def test_a_part_of_the_data_is_enough_and_a_class_may_be_empty():
    members = torch.arange(1, 120, 2)  # one class alone
    drawn = one(some(members), SHARES, central=True)
    assert cells(drawn) == [0, 0, 3, 1]
