"""Groups found without a label, and the trial of what can be learnt."""

import inspect

import pytest
import torch

from rdd_nb.clustering.discovery import discover_groups, learnability
from rdd_nb.clustering.groups import Groups, known_groups
from rdd_nb.clustering.reference_networks import biased_probabilities
from rdd_nb.clustering.shares import group_mass, group_shares
from rdd_nb.clustering.spaces import SPACES
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.distillation.config import DistillConfig
from tests.clustering.helpers import quadrants
from tests.helpers import rng


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


def test_predicted_class_groups_are_what_the_biased_network_says(coloured):
    said = biased_probabilities(coloured, 2).argmax(1)
    found = discover_groups(coloured, "predicted-class", num_groups=10, seed=2)
    for label in range(3):
        mine = coloured.labels == label
        pairs = torch.stack([said[mine], found.ids[mine]], 1).unique(dim=0)
        assert len(pairs) == len(said[mine].unique()) == len(found.ids[mine].unique())  # one to one


def test_bad_requests_are_refused(coloured):
    with pytest.raises(RddError, match="did you mean 'pixels'"):
        discover_groups(coloured, "pixel")
    with pytest.raises(RddError, match="num_groups is 0"):
        discover_groups(coloured, "pixels", num_groups=0)
    with pytest.raises(RddError, match="'quadrants' names no groups"):
        known_groups(quadrants(6))


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
