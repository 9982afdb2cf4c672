"""Groups found without a label, and the trial of what can be learnt."""

import inspect

import pytest
import torch

from rdd_nb.clustering.choice import UNRAISED, at_price
from rdd_nb.clustering.discovery import AUTO, candidates, discover_groups, learnability
from rdd_nb.clustering.groups import STARTS, Groups, known_groups
from rdd_nb.clustering.reference_networks import biased_probabilities
from rdd_nb.clustering.shares import group_mass, group_shares
from rdd_nb.clustering.spaces import SPACES, principal, space
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.distillation.config import DistillConfig
from tests.clustering.helpers import quadrants
from tests.helpers import rng


def test_discovered_groups_concentrate_the_minority_and_shuffled_ones_do_not(coloured):
    share = float(coloured.minority.float().mean())
    assert share == pytest.approx(0.1, abs=0.01)
    found = discover_groups(coloured, "probabilities", num_groups=4, seed=0)
    assert found.num_groups == 4 and found.source == "probabilities" and found.ids.shape == (900,)
    assert group_mass(found, coloured.labels, coloured.minority) > 5 * share
    shuffled = Groups(found.ids[torch.randperm(900, generator=rng(1))], 4, "shuffled")
    assert group_mass(shuffled, coloured.labels, coloured.minority) < 1.6 * share
    known = group_mass(known_groups(coloured), coloured.labels, coloured.minority)
    assert known == pytest.approx(2 / 3)  # three colours, two of them foreign to the class


def _rows(report):
    """The rows of its tables of trials, without their heads; and those of its table of prices."""
    tried, prices = report.split("\n\nWhat is raised at a price of ")
    rows = [line for line in tried.splitlines() if line.startswith("| ") and not line.startswith("| groups |")]
    return rows, prices.splitlines()[4:]


def test_the_default_raises_the_minority_and_says_what_it_tried(worn):
    found = discover_groups(worn, num_groups=4, seed=0)
    assert found.raised and found.learnable.shape[0] == 3 and float(found.learnable.min()) > 0
    share = float(worn.minority.float().mean())
    assert group_mass(found, worn.labels, worn.minority, 0.3) > 1.5 * share
    assert found.report.startswith("Raised: " + found.source)
    names = [groups.source for groups in candidates(worn.subset(torch.arange(0, len(worn), 15)), 4, 0)]  # as of all
    assert len(names) == len(set(names)) == 6 and all(f"| {name} |" in found.report for name in names)
    first, last = ([trial for trial in found.trials if trial.final == final] for final in (False, True))
    assert {trial.groups for trial in first} == set(names) and [trial.kept for trial in first] == [True] * 2 + [
        False
    ] * 4
    assert {trial.groups for trial in last} == {trial.groups for trial in first[:2]}
    (chosen,) = (trial for trial in last if trial.kept)
    said = [trial.benefit for trial in last]
    fair = [b for b in said if b.mean - b.error >= -b.balanced / 10 and b.value >= max(1, 2 * b.error)]
    most = max((b for b in fair if b.balanced > b.mean), key=lambda b: b.balanced)
    assert chosen.groups == found.source and chosen.start == found.start
    assert most.balanced - most.error <= chosen.benefit.balanced and chosen.benefit.value >= most.value
    ways = {(trial.groups, trial.start, trial.how) for trial in last}
    assert len(ways) == len(last) == 1 + 2 * 2 * 7, "medoids, and two candidates from two starts at seven strengths"
    rows = [
        f"| {t.groups} | {t.how} | {STARTS[t.start]} | {t.benefit.balanced:+.1f} | {t.benefit.mean:+.1f} |"
        for t in found.trials
        if t.how != UNRAISED
    ]
    told, prices = _rows(found.report)
    told = [line for line in told if f"| {UNRAISED} |" not in line]
    assert len(told) == 6 + 2 * 2 and all(any(line.startswith(row) for row in rows) for line in told)
    assert sum(
        line.startswith(row) for line in told for row in rows if f"| {chosen.how} | {STARTS[chosen.start]}" in row
    )
    ranges = [[float(x) for x in line.strip("| ").split(" | ")[0].split(" to ")] for line in prices]
    assert ranges[0][0] == 0 and ranges[-1][-1] == 1
    for price in (0, 0.1, 0.25, 0.5, 1):
        (line,) = (line for line, ends in zip(prices, ranges) if ends[0] <= price <= ends[-1])
        way = at_price(found.trials, price)
        assert ("| nothing | – |" if way is None else f"| {way.how} | {STARTS[way.start]} |") in line


def test_what_a_minority_is_worth_is_said_and_not_guessed(worn):
    """At a higher price, and where all groups count alike, what is raised brings the small more."""
    some = worn.subset(torch.arange(0, len(worn), 2))
    found = discover_groups(some, num_groups=4, seed=0, price=1, group_power=0)
    finals = [trial for trial in found.trials if trial.final]
    strengths = {f"strength {s}" for s in (1, 0.8, 0.6, 0.4, 0.2)}
    assert {trial.how for trial in finals} == {*strengths, UNRAISED}, "1 makes them alike"
    assert [trial for trial in finals if trial.kept] == [at_price(finals, 1)]
    bought = [way.benefit.balanced if (way := at_price(finals, price)) else 0 for price in (0, 0.1, 0.25, 0.5, 1)]
    assert bought == sorted(bought) and bought[-1] > bought[0]
    none = discover_groups(some.subset(torch.arange(90)), num_groups=2, ipc=2, price=1, group_power=1)
    assert not none.raised, "groups that count as their size are not raised"
    defaults = inspect.signature(discover_groups).parameters
    assert defaults["group_power"].default == DistillConfig().group_power


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_the_default_raises_nothing_where_nothing_is_gained(wrong):
    """Two classes that differ in brightness and nothing else; with wrong labels, which a biased network betrays."""
    draw, labels = rng(3), torch.arange(800) % 2
    shown = torch.where(torch.rand(800, generator=draw) < wrong, 1 - labels, labels)
    images = (torch.rand(800, 1, 8, 8, generator=draw) * 60 + 90 * shown.view(-1, 1, 1, 1)).to(torch.uint8)
    found = discover_groups(ImageDataset(images, labels, ("dark", "bright"), *statistics(images)), seed=1)
    assert not found.raised and found.report.startswith("Nothing is raised")
    assert found.trials and all(t.how == UNRAISED for t in found.trials if t.final and t.kept)
    natural = found.sizes(labels, 2).double() / 400
    assert torch.allclose(group_shares(found, labels, 2, 0.3), natural)


def test_a_few_images_are_enough_for_the_default():
    images = torch.randint(0, 256, (7, 3, 8, 8), generator=rng(0), dtype=torch.uint8)
    data = ImageDataset(images, torch.tensor([0, 0, 0, 0, 1, 1, 2]), ("four", "two", "one"), *statistics(images))
    found = discover_groups(data, seed=0)
    assert found.ids.shape == (7,) and len(found.report.splitlines()) > 5
    alone = data.subset(torch.tensor([0, 4, 6]))
    with pytest.raises(RddError, match="no class of '' has two images"):
        discover_groups(alone, seed=0)


def test_discovery_reads_no_group_label_and_repeats(coloured):
    blind = ImageDataset(coloured.images, coloured.labels, coloured.class_names, coloured.mean, coloured.std)
    for name in (AUTO, *SPACES):
        tried = name in (AUTO, "probabilities")
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
    with pytest.raises(RddError, match="ipc is 0"):
        discover_groups(coloured, ipc=0)
    for name, value in (("price", 1.5), ("price", float("nan")), ("group_power", -0.1)):
        with pytest.raises(RddError, match=f"{name} is {value:g}: give a number from 0 to 1"):
            discover_groups(coloured, **{name: value})
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


def test_a_grey_image_lies_apart_from_every_colour():
    draw = rng(2)
    images = torch.randint(0, 256, (200, 3, 8, 8), generator=draw, dtype=torch.uint8)
    images[::10] = images[::10, :1].expand(-1, 3, -1, -1)  # grey, as light and as varied as the others
    data = ImageDataset(images, torch.zeros(200, dtype=torch.int64), ("all",), *statistics(images))
    points, grey = space(data, "colour"), torch.arange(200) % 10 == 0
    assert points.shape == (200, 4)
    apart = torch.cdist(points[grey], points[~grey]).min()
    assert apart > 2 * torch.cdist(points[grey], points[grey]).max()
    one_channel = ImageDataset(images[:, :1], data.labels, ("all",), *statistics(images[:, :1]))
    assert torch.equal(space(one_channel, "colour"), torch.zeros(200, 4))


def test_principal_components_keep_distances():
    points = torch.randn(50, 8, generator=rng(1))
    turned, centred = principal(points, 8), points - points.mean(0)
    assert torch.allclose(turned @ turned.T, centred @ centred.T, atol=1e-4)
    assert principal(points, 3).shape == (50, 3)
    assert principal(points, 3).var(0).sum() > points.var(0).topk(3).values.sum() - 1e-4


def test_learnability_tries_the_power_that_is_the_default():
    assert inspect.signature(learnability).parameters["power"].default == DistillConfig().group_power
