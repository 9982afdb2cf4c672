"""The three curves against brute force; and, on a small real distillation, that each moves when it should."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.clustering.shares import matched_mass
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.initialization import sampling_weights
from rdd_nb.evaluation import diagnostics
from rdd_nb.evaluation.scores import Scores
from rdd_nb.experiments.study import units
from tests.helpers import rng


def real(n=60, side=8, minority=True):
    """Two classes of unequal spread; a fifth of each is marked."""
    spread = torch.where(torch.arange(n) % 2 == 0, 255.0, 80.0)[:, None, None, None]
    images = (torch.rand(n, 1, side, side, generator=rng()) * spread).to(torch.uint8)
    flags = torch.arange(n) % 10 < 2 if minority else None
    return ImageDataset(
        images,
        torch.arange(n) % 2,
        ("a", "b"),
        (0.4,),
        (0.2,),
        minority=flags,
        minority_names=("many", "few"),
        name="toy",
    )


def as_synthetic(data, index):
    """Those images of ``data`` as a synthetic set."""
    index = torch.as_tensor(index)
    return SyntheticSet(
        data.normalised(index), data.labels[index], data.class_names, data.mean, data.std, ipc=len(index) // 2
    )


def pooled(data, size):
    return F.avg_pool2d(data.normalised(), size).flatten(1).double()


def scores(losses, minority):
    losses = np.asarray(losses, np.float32)
    zeros = np.zeros(losses.shape)
    return Scores(
        predictions=zeros.astype(np.int16),
        losses=losses,
        confidence=zeros.astype(np.float32),
        labels=np.zeros(losses.shape[1], np.int64),
        class_names=("a",),
        minority=minority,
        minority_names=("many", "few"),
    )


# --- what is matched ----------------------------------------------------------------------------------------------


def test_mass_is_what_a_resample_by_the_weights_shows():
    labels, marked = torch.arange(40) % 3, torch.arange(40) % 7 == 0
    weights = torch.rand(40, generator=rng(1)) + 0.1 + 3 * marked
    shares = []
    for c in range(3):
        mine = (labels == c).nonzero()[:, 0]
        drawn = mine[torch.multinomial(weights[mine], 200_000, replacement=True, generator=rng(c))]
        shares.append(marked[drawn].float().mean().item())
    assert matched_mass(weights, labels, marked) == pytest.approx(np.mean(shares), abs=0.004)
    # up to a factor for each class, as the docstring says
    scaled = weights * torch.tensor([1.0, 5.0, 0.2])[labels]
    assert matched_mass(scaled, labels, marked) == pytest.approx(matched_mass(weights, labels, marked))


def test_mass_leaves_out_classes_that_nobody_is_marked_in_and_is_nan_without_any():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    marked = torch.tensor([True, False, False, False, False, False])
    assert matched_mass(torch.ones(6), labels, marked) == 0.25
    assert np.isnan(matched_mass(torch.ones(6), labels, torch.zeros(6, dtype=torch.bool)))


# --- what is covered ----------------------------------------------------------------------------------------------


def test_the_data_cover_themselves_at_every_radius():
    data = real()
    curve = diagnostics.coverage_curve(as_synthetic(data, range(60)), data, radii=(0.0, 0.1, 1.0))
    assert (curve["share"] == 1).all()
    assert list(curve["side"].unique()) == ["all", "many", "few"]


@pytest.mark.parametrize(("side", "size"), [(8, 2), (16, 4), (20, 4), (2, 1)])
def test_coverage_counts_who_is_near_in_units_of_a_random_pair(side, size):
    data = real(side=side)
    made = as_synthetic(data, [0, 2, 1, 3])
    points = pooled(data, size)
    unit = np.mean(  # all pairs, each with itself too: two draws with replacement
        [torch.cdist(p, p).square().mean().sqrt().item() for p in (points[data.labels == c] for c in (0, 1))]
    )
    centres = {0: points[[0, 2]], 1: points[[1, 3]]}
    nearest = np.array(
        [min(float((x - c).norm()) for c in centres[int(label)]) for x, label in zip(points, data.labels)]
    )
    radii = (0.0, 0.37, 0.61, 0.83, 1.13, 3.0)
    curve = diagnostics.coverage_curve(made, data, radii)
    few = data.minority.numpy()
    for name, chosen in (("all", few | True), ("many", ~few), ("few", few)):
        expected = [(nearest[chosen] / unit <= r).mean() for r in radii]
        np.testing.assert_allclose(curve.loc[curve["side"] == name, "share"], expected)
    assert 0 < curve.loc[curve["side"] == "all", "share"].iloc[2] < 1  # the radii tell something


def test_images_of_another_class_cover_nothing():
    data = real()
    swapped = dataclasses.replace(as_synthetic(data, range(60)), labels=1 - data.labels)
    curve = diagnostics.coverage_curve(swapped, data, radii=(0.0, 0.05))
    assert (curve["share"] == 0).all()


# --- what is lost -------------------------------------------------------------------------------------------------


def test_cvar_is_the_mean_of_the_largest_losses_of_each_net():
    losses = torch.rand(3, 40, generator=rng(5)).numpy() ** 3
    few = np.arange(40) % 4 == 0
    curve = diagnostics.cvar_curve(scores(losses, few), tails=(0.1, 0.5, 1.0))
    for side, chosen in (("all", few | True), ("many", ~few), ("few", few)):
        ordered = np.sort(losses[:, chosen], axis=1)[:, ::-1]
        n = chosen.sum()  # 40, 30, 10: every tail is whole samples
        expected = [ordered[:, : round(n * t)].mean() for t in (0.1, 0.5, 1.0)]
        np.testing.assert_allclose(curve.loc[curve["side"] == side, "cvar"], expected, rtol=1e-6)


def test_one_bad_net_is_not_hidden_by_pooling_the_nets():
    curve = diagnostics.cvar_curve(scores([[0.0] * 10, [4.0] * 10], None), tails=(0.1,))
    assert curve["cvar"].tolist() == [2.0]  # pooled it would be 4


# --- the three together -------------------------------------------------------------------------------------------


def test_a_trace_has_what_is_known_and_no_more():
    data, made = real(), as_synthetic(real(), [0, 1])
    few = np.arange(6) < 2
    whole = diagnostics.trace(scores(np.ones((1, 6)), few), data)
    assert set(whole["quantity"]) == {"cvar"}
    full = diagnostics.trace(scores(np.ones((1, 6)), few), data, made, torch.ones(60))
    assert list(full.columns) == list(diagnostics.COLUMNS)
    mass = full[full["quantity"] == "mass"]
    assert mass[["side", "value"]].to_numpy().tolist() == [["few", pytest.approx(0.2)]]
    counts = full.groupby("quantity").size()
    assert counts["coverage"] == 3 * len(diagnostics.RADII)
    assert counts["cvar"] == 3 * len(diagnostics.TAILS)
    unmarked = diagnostics.trace(scores(np.ones((1, 6)), None), real(minority=False), made, torch.ones(60))
    assert set(unmarked["quantity"]) == {"coverage", "cvar"}
    assert set(unmarked["side"]) == {"all"}


def test_a_side_without_members_is_left_out():
    curve = diagnostics.cvar_curve(scores(np.ones((1, 4)), np.zeros(4, bool)), tails=(0.5,))
    assert curve["side"].tolist() == ["all", "many"]


# --- part E: the chain, and what breaks it ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain():
    """Mass, coverage and loss of the off-colour minority (5 % of the digits), for three ways to weight them."""
    torch.set_num_threads(1)
    splits = rdd.scenario(rdd.load("digits", size=16), "coloured", bias=0.95, seed=0)
    known = clustering.known_groups(splits.train)
    ways = {"plain": None, "robust": known, "shuffled": units._shuffled(known, splits.train, seed=0)}
    found = {}
    for name, groups in ways.items():
        config = rdd.DistillConfig(
            ipc=5,
            objective="erm" if groups is None else "robust",
            group_power=0,
            iterations=40,
            width=16,
            depth=2,
            batch_real=32,
            seed=0,
        )
        run = rdd.distill(splits.train, config, groups, progress=False)
        protocol = rdd.Protocol(epochs=60, lr=0.02, width=16, depth=2)
        said = rdd.evaluate(run.synthetic, splits.test, nets=2, protocol=protocol, seed=0)
        curves = diagnostics.trace(said, splits.train, run.synthetic, sampling_weights(splits.train, config, groups))
        off = curves[curves["side"] == "off-colour"].set_index(["quantity", "x"])["value"]
        found[name] = {
            "mass": float(off["mass"].iloc[0]),
            "coverage": float(off["coverage"].loc[0.4:1.0].mean()),
            "loss": float(off["cvar"].loc[0.3]),
        }
    return found


def test_groups_that_know_the_minority_move_every_link_of_the_chain(chain):
    plain, robust = chain["plain"], chain["robust"]
    assert plain["mass"] == pytest.approx(0.05, abs=0.01)  # as in the data
    assert robust["mass"] > 0.8
    assert robust["coverage"] > plain["coverage"] + 0.1
    assert robust["loss"] < plain["loss"] / 2


def test_groups_of_the_same_sizes_that_know_nothing_gain_nothing(chain):
    """The no-op detector: had the gain come from anything but who is in which group, it would be here too."""
    gained = {link: chain["robust"][link] - chain["plain"][link] for link in ("mass", "coverage", "loss")}
    kept = {link: (chain["shuffled"][link] - chain["plain"][link]) / gained[link] for link in gained}
    assert kept == {link: pytest.approx(0, abs=0.33) for link in gained}, kept
