import numpy as np
import pytest
import torch

import rdd_nb as rdd
from rdd_nb.core.errors import RddError
from rdd_nb.figures import risk_figures

LOSSES = np.array([0.1, 4.0, 0.2, 0.3, 2.0, 0.4, 0.1, 0.9, 1.0, 1.0])
FEW = np.arange(10) % 5 == 1
NAMES = ("many", "few")


def line(axes, label):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_loss_distribution_counts_every_image_once_and_names_the_worst_tenth():
    left, right = risk_figures.loss_distribution(LOSSES, FEW, NAMES).axes
    heights = [sum(bar.get_height() for bar in bars) for bars in left.containers]
    assert heights == [(~FEW).sum(), FEW.sum()]
    assert "the worst tenth carries 40 %" in [t.get_text() for t in right.texts]  # 4 of a sum of 10
    assert labels(left) == ["many", "few"]


@pytest.mark.parametrize("losses", [np.zeros(3), np.array([1.0, -1.0, 2.0]), np.ones((3, 1)), np.ones(2)])
def test_loss_distribution_refuses_what_has_no_shares(losses):
    with pytest.raises(RddError, match="loss_distribution draws losses"):
        risk_figures.loss_distribution(losses, np.zeros(3, bool), NAMES)


def test_a_few_losses_are_filled_as_far_as_they_count():
    left, right = risk_figures.cvar_two_ways(np.array([1.0, 4.0, 2.0, 3.0]), 0.375).axes
    outline, filled = ([bar.get_height() for bar in bars] for bars in left.containers)
    assert outline == [4, 3, 2, 1]
    assert np.allclose(filled, [4, 1.5, 0, 0])  # 1.5 samples: one whole, half of the next
    assert "threshold η = 3.00" in labels(left) and "CVaR = 3.67" in labels(left)
    curve = right.lines[0].get_ydata()
    assert abs(curve.min() - 11 / 3) < 0.02
    (edge,), (level,) = line(right, "least value: CVaR,\nat the tail's edge")
    assert edge == 3 and np.isclose(level, 11 / 3)


def test_cvar_as_worst_case_draws_the_curve_with_the_programme_upon_it():
    solved = {t: rdd.cvar(torch.from_numpy(LOSSES), t).item() for t in (0.1, 0.5, 1.0)}
    (axes,) = risk_figures.cvar_as_worst_case(LOSSES, solved, {"here": (1.0, 1.0), "there": (0.2, 2.0)}).axes
    tails, curve = line(axes, "CVaR: mean of the worst share t")
    where, crosses = line(axes, "linear programme")
    assert np.allclose(np.interp(where, tails, curve), crosses, atol=0.02)
    assert [t.get_text() for t in axes.texts] == ["here: 1.00", "there: 2.00"]


def test_the_sides_of_every_method_are_drawn_in_its_row():
    said = {"one": (0.1, 1.4), "two": (0.6, 0.7)}
    left, right = risk_figures.group_dro(np.array([0.5, 0.7]), (0.9, 0.1), said, NAMES).axes
    assert line(left, "weight q in group DRO")[1].tolist() == [50, 70]
    dots = [d for d in right.lines if d.get_marker() in "oD"]
    assert [(d.get_xdata()[0], d.get_ydata()[0], d.get_marker()) for d in dots] == [
        *((0.1, 0, "o"), (1.4, 0, "D"), (0.6, 1, "o"), (0.7, 1, "D"))
    ]
    assert [t.get_text() for t in right.get_yticklabels()] == ["one", "two"]
    powers, heard = np.array([0.0, 1.0]), {"λ = 0": np.array([0.5, 0.1])}
    left, right = risk_figures.double_objective(powers, heard, 0.1, said, NAMES, 0.3).axes
    assert line(left, "λ = 0")[1].tolist() == [50, 10]
    assert labels(right) == ["many", "few"]


def test_chances_are_drawn_as_chances():
    sizes = np.arange(100, 1300, 100)
    (axes,) = risk_figures.disappointment(sizes, {0.0: np.full(12, np.log(0.5)), 0.01: -0.01 * sizes - 1}).axes
    assert axes.get_yscale() == "log"
    assert np.allclose(line(axes, "no ball: the plain estimate")[1], 0.5)
    assert np.allclose(line(axes, "radius r = 0.01")[1], np.exp(-0.01 * sizes - 1))
    (bound,) = (drawn for drawn in axes.lines if drawn.get_linestyle() != "None" and len(drawn.get_xdata()))
    assert np.allclose(bound.get_ydata(), np.exp(-0.01 * sizes)), "one bound, as a ball of radius 0 has none"
    assert "upper bound" in labels(axes)[-1] and "less often than" in axes.get_title(), "a bound is not the probability"


def test_batches_are_drawn_in_per_cent():
    sizes = np.array([4, 8])
    cured = {"kept": (np.array([8]), np.array([1.01]))}
    (axes,) = risk_figures.minibatch_bias(sizes, {"exact": np.array([0.6, 0.8])}, cured, 0.1).axes
    assert line(axes, "exact")[1].tolist() == [60, 80] and np.allclose(line(axes, "kept")[1], 101)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["4", "8"]


def test_all_have_titles_and_named_axes():
    for figure in (
        risk_figures.loss_distribution(LOSSES, FEW, NAMES),
        risk_figures.cvar_two_ways(LOSSES, 0.3),
        risk_figures.cvar_as_worst_case(LOSSES, {1.0: 1.0}, {}),
        risk_figures.group_dro(np.ones(2), (0.9, 0.1), {"one": (1, 2)}, NAMES),
        risk_figures.disappointment(np.array([1, 2]), {0.1: np.zeros(2)}),
        risk_figures.minibatch_bias(np.array([4]), {"a": np.ones(1)}, {}, 0.1),
    ):
        for axes in figure.axes:
            assert axes.get_title() and axes.get_xlabel()
