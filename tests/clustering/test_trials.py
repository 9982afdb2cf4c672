"""What raising groups would bring, in closed form on small real sets."""

import pytest
import torch

from rdd_nb.clustering.groups import Benefit, Groups, known_groups
from rdd_nb.clustering.trials import Trials
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng


def test_no_set_is_asked_about_what_it_met(coloured):
    trials = Trials(coloured, seed=1)
    for met, asked in (trials.sets.parts, reversed(trials.sets.parts)):
        assert not set(met.tolist()) & set(asked.tolist()) and len(met) + len(asked) == len(coloured)
        assert torch.bincount(coloured.labels[met]).tolist() == [150, 150, 150]
    right = trials.judge()
    assert right.shape == (900, 40) and set(right.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(right, Trials(coloured, seed=1).judge()) and not torch.equal(right, trials.judge(round=1))


def test_raising_the_off_colour_helps_them_and_costs_the_others(worn):
    trials, known = Trials(worn, seed=0), known_groups(worn)
    plain, raised = trials.judge(), trials.judge(known, 0.3)
    change, few = (raised - plain).mean(1), worn.minority
    assert float(change[few].mean()) > 0.1 and float(change[~few].mean()) < 0
    found = trials.benefit(plain, raised, known)
    assert found.mean == pytest.approx(100 * float(change.mean()), abs=1e-3)
    assert found.balanced > 2 * found.error > 0 and found.value == (found.balanced + found.mean) / 2
    by_class = trials.by_class(plain, raised)
    assert by_class.tolist() == pytest.approx(
        [100 * float(change[worn.labels == c].mean()) for c in range(3)], abs=1e-3
    )


def test_the_change_by_groups_is_their_mean_by_raised_shares():
    labels = torch.zeros(40, dtype=torch.int64)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=rng(0), dtype=torch.uint8)
    trials = Trials(ImageDataset(images, labels, ("one",), *statistics(images)))
    groups = Groups((torch.arange(40) < 4).long(), 2, "mine", torch.zeros(1, 2, dtype=torch.float64))
    plain = torch.zeros(40, 12)
    raised = plain.clone()
    raised[:4] = 1
    parts = torch.tensor([36.0, 4.0]) ** 0.3
    found = trials.benefit(plain, raised, groups)
    assert found.balanced == pytest.approx(100 * float(parts[1] / parts.sum())) and found.mean == pytest.approx(10)
    assert trials.benefit(plain, plain, groups) == Benefit(0, 0, 0)
    assert trials.benefit(plain, raised, groups, power=0).balanced == pytest.approx(50), "each group the same"
    assert trials.benefit(plain, raised, groups, power=1).balanced == pytest.approx(10), "each as its size"


def test_two_groupings_judge_as_far_as_the_first_is_trusted():
    labels = torch.arange(60) % 2
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=rng(0), dtype=torch.uint8)
    trials = Trials(ImageDataset(images, labels, ("one", "two"), *statistics(images)))
    first, second = (Groups((torch.arange(60) < few).long(), 2, "mine") for few in (6, 20))
    plain, raised = torch.zeros(60, 12), (torch.rand(60, 12, generator=rng(1)) < 0.3).float()
    raised[:6] = 1
    alone = [trials.benefit(plain, raised, groups) for groups in (first, second)]
    for trust in (0.0, 0.25, 1.0):
        found = trials.benefit(plain, raised, first, beside=second, trust=trust)
        assert found.mean == alone[0].mean
        assert found.balanced == pytest.approx(trust * alone[0].balanced + (1 - trust) * alone[1].balanced)
        assert found.error > 0


def test_a_large_set_is_tried_in_part_and_rare_classes_in_full(monkeypatch):
    monkeypatch.setattr("rdd_nb.clustering.trials.MOST", 200)
    labels = torch.cat([torch.zeros(400, dtype=torch.int64), torch.ones(30, dtype=torch.int64)])
    images = torch.randint(0, 256, (430, 1, 8, 8), generator=rng(0), dtype=torch.uint8)
    trials = Trials(ImageDataset(images, labels, ("many", "few"), *statistics(images)))
    asked = ~trials.judge()[:, 0].isnan()
    assert torch.bincount(labels[asked]).tolist() == [100, 30]


def test_many_classes_share_the_sets():
    labels = torch.arange(600) % 300
    images = torch.randint(0, 256, (600, 1, 8, 8), generator=rng(0), dtype=torch.uint8)
    names = tuple(map(str, range(300)))
    assert Trials(ImageDataset(images, labels, names, *statistics(images))).judge().shape == (600, 2)


def test_one_image_a_class_cannot_be_tried():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(RddError, match="has two images"):
        Trials(ImageDataset(images, torch.tensor([0, 1]), ("a", "b"), (0.0,), (1.0,)))
