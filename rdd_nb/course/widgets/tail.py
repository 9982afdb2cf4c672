"""The tail explorer: which losses CVaR weights, and the convex function whose minimum it is."""

from __future__ import annotations

from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.course.widgets.explorer import Explorer
from rdd_nb.figures import COLOURS
from rdd_nb.figures.figure import Figure, shortened
from rdd_nb.models import risk

__all__ = ["TailExplorer", "TailState"]

Array = NDArray[np.float64]
_GROUPS_SHOWN = 8
_PALE = "#F0B48A"  # the minority's colour, light enough for the lines to stand out on it


class TailState(NamedTuple):
    """What the tail explorer shows; losses are sorted, the worst first."""

    tail: float
    losses: Array  #: ``[N]``, descending
    weights: Array  #: ``[N]``, of the losses in that order, summing to 1 (:func:`rdd_nb.models.risk.cvar_weights`)
    threshold: float  #: η, the smallest loss that counts: the tail's edge
    cvar: float
    mean: float
    etas: Array  #: ``[E]``, thresholds tried
    curve: Array  #: ``[E]``, the Rockafellar–Uryasev function there
    groups: NDArray[np.intp] | None  #: ``[N]``, in the order of the losses
    group_names: tuple[str, ...]
    shares: Array  #: ``[G]``, each group's share of the samples
    tail_shares: Array  #: ``[G]``, each group's share of the weight


class TailExplorer(Explorer[TailState]):
    """Move the tail: from the mean of all losses towards the single worst one.

    Args:
        losses: ``[N]``, finite.
        tail: where the slider stands at first, in (0, 1].
        groups: ``[N]``, a name or number for each sample; adds the groups' shares of the tail.

    Raises:
        RddError: losses that are not finite or not one-dimensional, groups of another length, a tail outside (0, 1].

    >>> explorer = TailExplorer([4.0, 1.0, 3.0, 2.0], tail=0.5)
    >>> explorer.state.cvar, explorer.state.threshold, explorer.state.mean
    (3.5, 3.0, 2.5)
    >>> explorer.tail.value = 0.25
    >>> explorer.state.cvar
    4.0
    """

    def __init__(
        self, losses: ArrayLike | torch.Tensor, tail: float = 0.2, groups: ArrayLike | torch.Tensor | None = None
    ) -> None:
        super().__init__()
        values = torch.as_tensor(losses).detach().cpu().double()
        if values.ndim != 1 or not len(values):
            raise RddError(f"the tail explorer takes losses [N], N ≥ 1, not {list(values.shape)}: flatten them")
        self._losses, order = values.sort(descending=True, stable=True)
        self._groups: NDArray[np.intp] | None = None
        self._names: tuple[str, ...] = ()
        if groups is not None:
            names, codes = np.unique(np.asarray(groups), return_inverse=True)
            if codes.shape != tuple(values.shape):
                raise RddError(f"groups are {list(codes.shape)} for {len(values)} losses: give one for each loss")
            self._groups, self._names = codes[order.numpy()], tuple(map(str, names))
        if not 0 < tail <= 1:
            raise RddError(f"tail={tail} must lie in (0, 1]: the fraction of worst samples averaged")
        self.tail = widgets.FloatSlider(
            value=max(tail, 0.01),
            min=0.01,
            max=1.0,
            step=0.01,
            description="tail",
            continuous_update=False,
            readout_format=".2f",
            layout=widgets.Layout(width="480px"),
        )
        self._watch(self.tail)

    def choices(self) -> dict[str, float]:
        """The tail."""
        return {"tail": self.tail.value}

    def controls(self) -> tuple[widgets.Widget, ...]:
        """The slider."""
        return (self.tail,)

    def compute(self, tail: float) -> TailState:  # type: ignore[override]
        """Weights, threshold, CVaR and the Rockafellar–Uryasev curve at ``tail``."""
        losses = self._losses
        weights = risk.cvar_weights(losses, tail)
        lowest, highest = losses[-1].item(), losses[0].item()
        margin = 0.05 * (highest - lowest) or 0.5
        threshold = losses[weights > 0].min()
        grid = torch.linspace(lowest - margin, highest + margin, 240).double()
        etas = torch.cat([grid, threshold[None]]).sort().values
        groups = self._groups if self._groups is not None else np.zeros(0, np.intp)
        each = len(self._names)
        return TailState(
            tail,
            losses.numpy(),
            weights.numpy(),
            threshold.item(),
            risk.cvar(losses, tail).item(),
            losses.mean().item(),
            etas.numpy(),
            risk.rockafellar_uryasev(losses, tail, etas).numpy(),
            self._groups,
            self._names,
            np.bincount(groups, minlength=each) / max(len(groups), 1),
            np.bincount(groups, weights.numpy()[: len(groups)], minlength=each).astype(float),
        )

    def draw(self, state: TailState) -> Figure:
        """Sorted losses over their weights (and groups) on the left, the Rockafellar–Uryasev curve on the right."""
        named = state.groups is not None
        figure = Figure(figsize=(9.6, 5.0 if named else 4.4), layout="constrained")
        grid = figure.add_gridspec(3 if named else 2, 2, width_ratios=(3, 2), height_ratios=(5, 1.6, 1.6)[: 2 + named])
        top = figure.add_subplot(grid[0, 0])
        _draw_losses(top, state)
        below = figure.add_subplot(grid[1, 0], sharex=top)
        _draw_weights(below, state)
        if named:
            last = figure.add_subplot(grid[2, 0], sharex=top)
            _draw_groups(last, state)
            below.tick_params(labelbottom=False)
            below = last
        top.tick_params(labelbottom=False)
        below.set_xlabel("samples, worst first (share of all)")
        _draw_curve(figure.add_subplot(grid[:, 1]), state)
        return figure

    def describe(self, state: TailState) -> str:
        """The numbers of the picture in two or three sentences."""
        count, inside = len(state.losses), int((state.weights > 0).sum())
        heaviest = state.weights.max() * count
        words = f"The worst {state.tail:.0%} of {count:,} losses "
        if state.tail < 1:
            words += (
                f"average {state.cvar:.3g} (CVaR); all of them average {state.mean:.3g}. The threshold η is "
                f"{state.threshold:.3g}, where the curve on the right is lowest: {inside:,} "
                f"{'loss counts' if inside == 1 else 'losses count'}, at most {heaviest:.3g} times as much as in the "
                f"mean, and {count - inside:,} do not count."
            )
        else:
            words += f"are all of them: CVaR is their mean, {state.mean:.3g}, and every loss counts equally."
        if state.groups is not None:
            ranked = np.argsort(-(state.tail_shares - state.shares), kind="stable")[:3]
            who = (f"{state.group_names[g]} {state.tail_shares[g]:.0%} ({state.shares[g]:.0%})" for g in ranked)
            words += f" Share of the tail (of all samples): {', '.join(who)}."
        return words


def _draw_losses(axes: Axes, state: TailState) -> None:
    count = len(state.losses)
    edges = np.arange(count + 1) / count
    axes.stairs(state.losses, edges, fill=True, color=COLOURS["light"])
    # Coloured up to the tail itself: the sample on the edge is coloured in part, as it counts in part.
    inside = int(np.ceil(state.tail * count - 1e-9))
    cut = np.minimum(edges[: inside + 1], state.tail)
    axes.stairs(state.losses[:inside], cut, fill=True, color=_PALE, label="in the tail")
    for value, style, ink, name in (
        (state.cvar, "-", COLOURS["minority"], "CVaR"),
        (state.threshold, ":", "#000000", "threshold η"),
        (state.mean, "--", COLOURS["majority"], "mean"),
    ):
        axes.axhline(value, linestyle=style, color=ink, linewidth=1.8, label=f"{name} {value:.3g}")
    axes.set(ylabel="loss", title=f"The worst {state.tail:.0%} of {count:,} losses", xlim=(0, 1))
    axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_weights(axes: Axes, state: TailState) -> None:
    count = len(state.losses)
    axes.stairs(state.weights * count, np.arange(count + 1) / count, fill=True, color=_PALE)
    axes.axhline(1, linestyle="--", color=COLOURS["majority"], linewidth=1.5)
    axes.set(ylabel="weight × N", ylim=(0, max(1.15, 1.12 * state.weights.max() * count)))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_groups(axes: Axes, state: TailState) -> None:
    """A row for each group: how dark it is says how much of that stretch of losses is the group's."""
    assert state.groups is not None
    count = len(state.losses)
    shown = np.sort(np.argsort(-(state.tail_shares - state.shares), kind="stable")[:_GROUPS_SHOWN])
    bins = min(count, 100)
    place = np.arange(count) * bins // count
    sizes = np.bincount(place, minlength=bins)
    rows = [np.bincount(place[state.groups == g], minlength=bins) / sizes for g in shown]
    axes.imshow(
        rows, aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=(0, 1, len(shown), 0), interpolation="nearest"
    )
    axes.axvline(state.tail, color=COLOURS["minority"], linewidth=1.8)
    axes.set_yticks(np.arange(len(shown)) + 0.5, [shortened(state.group_names[g]) for g in shown])
    axes.tick_params(axis="y", length=0)


def _draw_curve(axes: Axes, state: TailState) -> None:
    axes.plot(state.etas, state.curve, color=COLOURS["grey"], linewidth=2)
    axes.axhline(state.cvar, color=COLOURS["minority"], linewidth=1.8)
    axes.axvline(state.threshold, linestyle=":", color="#000000", linewidth=1.8)
    axes.plot(state.threshold, state.cvar, "D", color=COLOURS["minority"], markersize=9)
    late = state.threshold > (state.losses[0] + state.losses[-1]) / 2
    axes.annotate(
        f"minimum: CVaR {state.cvar:.3g}\nat η = {state.threshold:.3g}",
        (state.threshold, state.cvar),
        xytext=(-8 if late else 8, -14),
        textcoords="offset points",
        va="top",
        ha="right" if late else "left",
    )
    span = max(state.losses[0] - state.losses[-1], 1e-9)
    # A small tail makes the left branch very steep; the minimum is what matters.
    axes.set_ylim(state.cvar - 0.4 * span, min(state.curve.max(), state.cvar + 1.5 * span))
    axes.set(xlabel="threshold η (units of the loss)", ylabel="η + mean (loss − η)₊ / tail")
    axes.set_title("Rockafellar–Uryasev")
    axes.spines[["top", "right"]].set_visible(False)
