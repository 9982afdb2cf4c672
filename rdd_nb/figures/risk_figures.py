"""The figures of notebook 01, on risk, as pure functions from losses and what was computed from them to a ``Figure``.

Losses are numpy arrays, in nats (natural logarithm). Like :mod:`rdd_nb.figures`: no pyplot, colours that the
colour-blind can tell apart, and a marker or a dash behind every colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, COLOURS, GREEN, GREY, ORANGE
from rdd_nb.figures.figure import Figure
from rdd_nb.models import risk

__all__ = [
    "cvar_as_worst_case",
    "cvar_two_ways",
    "disappointment",
    "double_objective",
    "group_dro",
    "loss_distribution",
    "minibatch_bias",
]

Losses = NDArray[np.floating[Any]]
_LINES = ((BLUE, "-", "o"), (GREEN, "--", "s"), (ORANGE, "-.", "D"), (GREY, ":", "^"), ("#CC79A7", "--", "v"))


def _panels(count: int = 1, height: float = 3.7, ratios: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.5 if count > 1 else 7.2, height), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, count, width_ratios=ratios)))
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#EEEEEE")
        panel.set_axisbelow(True)
    return figure, axes


def loss_distribution(losses: Losses, minority: NDArray[np.bool_], names: tuple[str, str]) -> Figure:
    """The distribution of the losses with their mean, and the share of their sum that the worst images carry.

    Args:
        losses: ``[N]``, each at least 0.
        minority: bool ``[N]``.
        names: of majority and minority.

    Raises:
        RddError: a negative loss, or only losses of 0 (their sum has no shares), or a mask of another shape.
    """
    losses = np.asarray(losses, dtype=float)
    if losses.ndim != 1 or minority.shape != losses.shape or not losses.min(initial=0) >= 0 or not losses.sum() > 0:
        raise RddError("loss_distribution draws losses [N], none negative and not all 0, with a minority flag for each")
    figure, (left, right) = _panels(2)
    floor = max(float(losses.min()), float(losses.max()) * 1e-5)
    bins = np.geomspace(floor, losses.max() * 1.0001, 36)
    parts = [losses[~minority].clip(floor), losses[minority].clip(floor)]
    left.hist(parts, bins=list(bins), stacked=True, color=[BLUE, ORANGE], label=list(names))
    for bar in left.containers[1]:
        bar.set_hatch("////")
        bar.set_edgecolor("white")
    left.axvline(losses.mean(), color="black", linestyle="--", linewidth=1.2)
    left.annotate(
        f"the mean, {losses.mean():.2f}", (losses.mean(), 0.99), (-5, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right", va="top",
    )  # fmt: skip
    left.set_ylim(top=left.get_ylim()[1] * 1.12)
    left.set_xscale("log")
    left.set_xlabel("loss of an image, in nats (log scale)")
    left.set_ylabel("images")
    left.set_title("Distribution of the losses")
    left.legend(frameon=False, loc="upper right")
    worst = np.argsort(-losses, kind="stable")
    share = np.arange(len(losses) + 1) / len(losses)
    carried = np.concatenate([[0], losses[worst].cumsum()]) / losses.sum()
    right.plot(share * 100, carried * 100, color="black")
    right.plot([0, 100], [0, 100], color=GREY, linestyle=":", label="if all losses were equal")
    tenth = float(np.interp(0.1, share, carried)) * 100
    right.plot([10], [tenth], "o", color=ORANGE, markersize=8)
    right.annotate(
        f"the worst tenth carries {tenth:.0f} %", (10, tenth), (12, -4), textcoords="offset points", va="top",
    )  # fmt: skip
    right.set_xlim(0, 100)
    right.set_ylim(0, 102)
    right.set_xlabel("worst images, in % of all")
    right.set_ylabel("share of the summed loss, in %")
    right.set_title("Concentration of the loss")
    right.legend(frameon=False, loc="lower right")
    return figure


def cvar_two_ways(losses: Losses, tail: float) -> Figure:
    """A few sorted losses with the weights CVaR gives them, and the Rockafellar–Uryasev curve with its least value.

    Args:
        losses: ``[N]``, few enough to be bars.
        tail: in (0, 1].
    """
    import torch

    values = torch.from_numpy(np.sort(np.asarray(losses, dtype=float))[::-1].copy())
    weights, count = risk.cvar_weights(values, tail).numpy(), len(values)
    level = risk.cvar(values, tail).item()
    figure, (left, right) = _panels(2, ratios=(1.25, 1))
    place = np.arange(1, count + 1)
    left.bar(place, values.numpy(), color="white", edgecolor=GREY, linewidth=0.8)
    full = 1 / (tail * count)
    fill = np.minimum(weights / full, 1)
    left.bar(place, values.numpy() * fill, color=ORANGE, width=0.8, label="how much of it counts")
    edge = values[min(int(np.ceil(tail * count - 1e-9)), count) - 1].item()
    left.axhline(edge, color="black", linestyle="--", linewidth=1, label=f"threshold η = {edge:.2f}")
    left.axhline(level, color=ORANGE, linewidth=1.4, label=f"CVaR = {level:.2f}")
    left.axhline(values.mean().item(), color=BLUE, linestyle=":", linewidth=1.6, label=f"mean = {values.mean():.2f}")
    left.set_xticks([1, *range(5, count + 1, 5)])
    left.set_ylim(top=values.max().item() * 1.35)
    left.set_xlabel("image, the worst first")
    left.set_ylabel("loss in nats")
    left.set_title(f"{count} real losses: the worst {tail:.0%} are {tail * count:.3g} images")
    left.legend(frameon=False, ncols=2, loc="upper right")
    top = values.max().item()
    eta = torch.linspace(0, top, 401, dtype=values.dtype)
    right.plot(eta, risk.rockafellar_uryasev(values, tail, eta), color="black")
    right.axhline(level, color=ORANGE, linewidth=1.2)
    right.axvline(edge, color="black", linestyle="--", linewidth=1)
    right.plot([edge], [level], "o", color=ORANGE, markersize=9, label="least value: CVaR,\nat the tail's edge")
    right.legend(loc="upper right", framealpha=1, edgecolor="none")
    right.set_xlabel("threshold η in nats")
    right.set_ylabel("η + mean of (loss − η)₊ / t, in nats")
    right.set_title("The same number by minimising")
    return figure


def cvar_as_worst_case(
    losses: Losses, solved: Mapping[float, float], distributions: Mapping[str, tuple[float, float]]
) -> Figure:
    """The CVaR curve, the optima of a linear programme on it, and the mean loss under shifted distributions below it.

    Args:
        losses: ``[N]``.
        solved: tail → the largest mean loss that the programme found.
        distributions: name → (the largest tail whose ambiguity set contains it, its mean loss).
    """
    import torch

    figure, (axes,) = _panels(1, height=4.0)
    tails = np.geomspace(min([0.02, *solved]), 1, 200)
    curve = risk.cvar(torch.from_numpy(np.asarray(losses, dtype=float)), torch.from_numpy(tails)).numpy()
    axes.plot(tails, curve, color="black", label="CVaR: mean of the worst share t")
    axes.plot(list(solved), list(solved.values()), "x", color=BLUE, markersize=9, mew=2, label="linear programme")
    axes.fill_between(tails, curve, color=COLOURS["light"], alpha=0.45, linewidth=0)
    for (name, (tail, loss)), (_, _, marker) in zip(distributions.items(), _LINES):
        axes.plot([tail], [loss], marker, color=ORANGE, markersize=8)
        last = tail > 0.7  # there is no space below the curve
        axes.annotate(
            f"{name}: {loss:.2f}", (tail, loss), (0, 36) if last else (-9, -4), textcoords="offset points",
            ha="right", va="bottom" if last else "top",
            arrowprops={"arrowstyle": "-", "color": GREY, "shrinkB": 5} if last else None,
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_ylim(0)
    axes.set_xlabel("tail t: nothing may become more than 1/t times as frequent (log scale)")
    axes.set_ylabel("mean loss in nats")
    axes.set_title("The worst-case mean within a density ratio of 1/t")
    axes.legend(frameon=False, loc="upper right")
    return figure


def group_dro(
    q: Losses, shares: Sequence[float], losses: Mapping[str, Sequence[float]], names: tuple[str, str]
) -> Figure:
    """The minority's weight during training, and each network's mean loss on majority and minority.

    Args:
        q: ``[steps]``, the minority's weight.
        shares: of majority and minority in the data.
        losses: method → mean loss of majority and of minority.
        names: of majority and minority.
    """
    figure, (left, right) = _panels(2, height=3.4)
    left.plot(np.arange(1, len(q) + 1), np.asarray(q) * 100, color=ORANGE, label="weight q in group DRO")
    left.axhline(shares[1] * 100, color=GREY, linestyle=":", label="share of the data")
    left.set_ylim(0, 100)
    left.set_xlabel("training step")
    left.set_ylabel("in % of all")
    left.set_title(f"Weight on {names[1]} images")
    left.legend(frameon=False)
    _sides(right, losses, names)
    right.set_title("Mean loss by group")
    return figure


def _sides(axes: Axes, losses: Mapping[str, Sequence[float]], names: tuple[str, str]) -> None:
    """A row for each method: its mean loss on majority and minority, joined."""
    for y, (many, few) in enumerate(losses.values()):
        axes.plot([many, few], [y, y], color=COLOURS["light"], linewidth=5, solid_capstyle="round", zorder=1)
        axes.plot([many], [y], "o", color=BLUE, markersize=8, label=names[0] if y == 0 else None)
        axes.plot([few], [y], "D", color=ORANGE, markersize=8, label=names[1] if y == 0 else None)
    axes.set_yticks(range(len(losses)), list(losses))
    axes.set_ylim(len(losses) * 1.15 - 0.4, -0.6)  # the legend needs space below the last row
    axes.set_xlim(0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("mean loss on unseen images, in nats")
    axes.legend(frameon=False, loc="lower right", ncols=2)


def double_objective(
    powers: Losses,
    weight: Mapping[str, Losses],
    share: float,
    losses: Mapping[str, Sequence[float]],
    names: tuple[str, str],
    chosen: float,
) -> Figure:
    """The minority's share of an objective's weight by group power, and the losses after training with it.

    Args:
        powers: ``[P]``, the power of its size with which a group counts.
        weight: objective → ``[P]``, the minority's share of the weight.
        share: of the minority in the data.
        losses: method → mean loss of majority and of minority.
        names: of majority and minority.
        chosen: the power that the notebook trains with.
    """
    figure, (left, right) = _panels(2, height=3.6)
    for (name, values), (colour, dash, _) in zip(weight.items(), _LINES[1:]):
        left.plot(powers, np.asarray(values) * 100, color=colour, linestyle=dash, label=name)
    left.axvline(chosen, color="black", linewidth=0.8, linestyle=(0, (1, 2)))
    left.plot([1], [share * 100], "o", color=GREY, markersize=7, label="the plain mean", zorder=3)
    left.set_ylim(0, 102)
    left.set_xlabel("power γ of its size with which a group counts")
    left.set_ylabel(f"weight on {names[1]} images, in %")
    left.set_title("Weight on the minority")
    left.legend(framealpha=1, edgecolor="none", loc="upper right")
    _sides(right, losses, names)
    right.set_title("Trained with each objective")
    return figure


def disappointment(sizes: Losses, log_chance: Mapping[float, Losses]) -> Figure:
    """The probability that the truth is worse than the worst case of the KL ball, against N, below its bound e^(-rN).

    Args:
        sizes: ``[S]``, numbers of samples N.
        log_chance: radius r → ``[S]``, natural logarithms of the probability. A radius of 0 has no bound to draw.
    """
    figure, (axes,) = _panels(1, height=3.9)
    some = np.unique(np.linspace(0, len(sizes) - 1, 12).astype(int))
    for (radius, values), (colour, dash, marker) in zip(log_chance.items(), _LINES):
        label = "no ball: the plain estimate" if radius == 0 else f"radius r = {radius:g}"
        axes.plot(sizes[some], np.exp(np.asarray(values)[some]), marker, color=colour, markersize=6, label=label)
        if radius > 0:
            axes.plot(sizes, np.exp(-radius * np.asarray(sizes)), color=colour, linestyle=dash, linewidth=1.2)
    axes.plot([], [], color="black", linestyle="--", label="lines: the upper bound exp(−rN)")
    axes.set_yscale("log")
    axes.set_ylim(top=4)
    axes.set_xlabel("number of samples N")
    axes.set_ylabel("probability of disappointment (log scale)")
    axes.set_title("A ball of radius r disappoints less often than exp(−rN)")
    axes.legend(frameon=False, loc="lower left")
    return figure


def minibatch_bias(
    sizes: Losses, seen: Mapping[str, Losses], corrected: Mapping[str, tuple[Losses, Losses]], tail: float
) -> Figure:
    """The expected CVaR of mini-batches by size, in per cent of the true one, and that of the dual form.

    Args:
        sizes: ``[S]``, batch sizes.
        seen: kind of losses → ``[S]``, the expected CVaR of a batch over the true one.
        corrected: name → (batch sizes, the same ratio with the dual form).
        tail: of the CVaR.
    """
    figure, (axes,) = _panels(1, height=3.9)
    for (name, ratio), (colour, dash, marker) in zip(seen.items(), _LINES):
        axes.plot(sizes, np.asarray(ratio) * 100, color=colour, linestyle=dash, marker=marker, markersize=5, label=name)
    for (name, (where, ratio)), (colour, _, marker) in zip(corrected.items(), _LINES[2:]):
        axes.plot(where, np.asarray(ratio) * 100, marker, color=colour, markersize=8, linestyle="none", label=name)
    axes.axhline(100, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{n:g}" for n in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 112)
    axes.set_xlabel("batch size")
    axes.set_ylabel("mean over batches, in % of the true value")
    axes.set_title(f"CVaR of the worst {tail:.0%}, estimated from mini-batches")
    axes.legend(frameon=False, loc="lower right")
    return figure
