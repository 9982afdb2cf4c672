"""The figures of notebook 07, on the released code, as pure functions from what was measured to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, colours that the colour-blind can tell apart, and a marker or a dash behind every
colour.
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

__all__ = ["best_of_k", "gradient_alignment", "padding_bias", "pass_fail_table", "upper_and_lower_tail"]

Values = NDArray[np.floating[Any]]
_LINES = ((BLUE, "-", "o"), (ORANGE, "-.", "D"), (GREEN, "--", "s"), (GREY, ":", "^"))


def _panels(height: float, ratios: Sequence[float] = (1, 1), share_y: bool = False) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9.5, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=ratios, sharey=share_y)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#EEEEEE")
        panel.set_axisbelow(True)
    return figure, left, right


def gradient_alignment(cosines: Mapping[str, Values], norms: Mapping[str, Values]) -> Figure:
    """Direction and length of several objectives' gradients against the plain mean's: a dot a batch, a bar at the mean.

    Args:
        cosines: objective → cosine with the plain gradient, ``[batches]``.
        norms: objective → length, as a multiple of the plain gradient's, ``[batches]``.

    Raises:
        RddError: the two name different objectives.
    """
    if list(cosines) != list(norms):
        raise RddError(f"cosines of {list(cosines)} and lengths of {list(norms)}: give both for the same objectives")
    figure, left, right = _panels(0.42 * len(cosines) + 1.6, share_y=True)
    for axes, found, plain in ((left, cosines, 1.0), (right, norms, 1.0)):
        axes.axvline(plain, color="black", linestyle="--", linewidth=1.1, label="the plain mean")
        for y, values in enumerate(found.values()):
            colour, marker = (BLUE, "o") if np.allclose(cosines[list(found)[y]], 1, atol=1e-5) else (ORANGE, "D")
            axes.plot(values, np.full(len(values), y), marker, color=colour, alpha=0.55, markersize=6, linestyle="none")
            axes.plot([np.mean(values)], [y], "|", color="black", markersize=17, mew=2)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(range(len(cosines)), list(cosines))
    left.set_ylim(len(cosines) - 0.5, -0.9)
    left.set_xlim(min(0.0, *(float(np.min(v)) for v in cosines.values())) - 0.02, 1.06)
    right.set_xlim(0, max(float(np.max(v)) for v in norms.values()) * 1.08 + 0.1)
    left.set_xlabel("cosine with the plain gradient")
    right.set_xlabel("length, in lengths of the plain gradient")
    left.set_title("Direction")
    right.set_title("Length")
    left.legend(frameon=False, loc="upper left")
    return figure


def upper_and_lower_tail(
    tails: Values, risks: Mapping[str, Values], weight: Mapping[str, Values], share: float, minority: str
) -> Figure:
    """The mean of the largest and of the smallest losses, and the minority's share of the weight in either tail.

    Args:
        tails: ``[T]``, in (0, 1].
        risks: name → value at each tail, ``[T]``.
        weight: name → the minority's share of the weight at each tail, ``[T]``, in 0..1.
        share: of the minority in the data.
        minority: its name.
    """
    figure, left, right = _panels(3.7)
    for (name, values), (colour, dash, _) in zip(risks.items(), _LINES):
        left.plot(tails, values, dash, color=colour, linewidth=2, label=name)
    for (name, values), (colour, dash, _) in zip(weight.items(), _LINES):
        right.plot(tails, np.asarray(values) * 100, dash, color=colour, linewidth=2, label=name)
    right.axhline(share * 100, color=GREY, linestyle=":", linewidth=1.4, label="share of the data")
    for axes in (left, right):
        axes.set_xscale("log")
        ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1) if t >= min(tails)]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("tail t (log scale)")
        axes.legend(frameon=False, loc="upper right")
    left.set_ylabel("nats")
    right.set_ylabel("share of the weight, in %")
    left.set_title("What is averaged")
    right.set_title(f"Weight on {minority} images")
    return figure


def padding_bias(
    sizes: Values, values: Mapping[str, Values], counts: Values, exact: Values, padded: Values, silent: int
) -> Figure:
    """A group's risk against its size in a padded table, and the same in the cells of one real pool.

    Args:
        sizes: group sizes ``[S]``, up to the longest row.
        values: name → mean risk at each size, ``[S]``, in nats.
        counts: size of each real cell, ``[G]``, none 0.
        exact: its exact CVaR, ``[G]``.
        padded: what the padded table says of it, ``[G]``.
        silent: the largest size at which padding leaves nothing but zeros.
    """
    figure, left, right = _panels(3.9)
    for (name, risk), (colour, dash, marker) in zip(values.items(), _LINES):
        left.plot(sizes, risk, dash, color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=name)
    for x, low, high in zip(counts, padded, exact):
        right.plot([x, x], [low, high], color=COLOURS["light"], linewidth=1, zorder=1)
    right.plot(counts, exact, "o", color=BLUE, markersize=5, alpha=0.7, linestyle="none", label="exact CVaR of a cell")
    right.plot(
        counts, padded, "D", color=ORANGE, markersize=4.5, alpha=0.7, linestyle="none", label="from the padded table"
    )
    for axes in (left, right):
        if silent > 0:
            said = f"up to {silent} samples: only zeros kept" if axes is right else None
            axes.axvspan(0, silent + 0.5, color="#EEEEEE", zorder=0, label=said)
        axes.set_xlim(0)
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
        axes.set_ylabel("risk in nats")
    left.set_ylim(top=left.get_ylim()[1] * 1.5)  # the legend stands above the curves
    left.set_xlabel("samples in the group")
    right.set_xlabel("images in the cell")
    left.set_title("One population, groups of every size")
    right.set_title("The cells of one real pool")
    left.legend(frameon=False, loc="upper left")
    right.set_ylim(top=1.35 * right.get_ylim()[1])  # above the cells there is space for the legend
    right.legend(frameon=False, loc="upper right")
    return figure


def best_of_k(
    repeats: Values,
    best: Mapping[str, Values],
    normal: Mapping[str, Values],
    chosen: Mapping[str, tuple[float, float, float]],
    typical: float,
) -> Figure:
    """What the best of k repeats adds, and what a selected set's accuracy is worth on images and nets not yet seen.

    Args:
        repeats: k, ``[K]``.
        best: name → expected best of k, minus the mean, ``[K]``, as a share (0.01 is a point).
        normal: the same for a normal distribution of equal spread.
        chosen: how a set was chosen → accuracy on the images that it was chosen on, on fresh images, and of fresh nets
            on fresh images; all as shares. NaN is not drawn.
        typical: accuracy of the average candidate.
    """
    figure, left, right = _panels(0.42 * len(chosen) + 2.4, ratios=(1, 1.2))
    for (name, gain), (colour, dash, marker) in zip(best.items(), _LINES):
        left.plot(repeats, np.asarray(gain) * 100, marker, color=colour, markersize=6, label=name, linestyle="none")
        left.plot(repeats, np.asarray(normal[name]) * 100, dash, color=colour, linewidth=1.2)
    left.plot([], [], "-", color="black", linewidth=1.2, label="normal distributions of equal spread")
    left.set_xlim(0)
    left.set_ylim(-0.2)
    left.set_xlabel("repeats k")
    left.set_ylabel("best of k minus mean, in points")
    left.set_title("What a maximum adds")
    left.legend(frameon=False, loc="upper left")
    left.set_ylim(top=left.get_ylim()[1] * 1.45)
    names = ("the images it was chosen on", "fresh images", "fresh images, fresh nets")
    right.axvline(typical * 100, color="black", linestyle="--", linewidth=1.1, label="the average candidate")
    for y, values in enumerate(chosen.values()):
        right.plot([v * 100 for v in values], [y] * 3, color=COLOURS["light"], linewidth=5, zorder=1)
        for value, name, (colour, _, marker) in zip(values, names, (_LINES[1], _LINES[2], _LINES[0])):
            right.plot([value * 100], [y], marker, color=colour, markersize=8, label=name if y == 0 else None)
    right.set_yticks(range(len(chosen)), list(chosen))
    right.set_ylim(len(chosen) - 0.5, -0.5)
    right.grid(axis="y", visible=False)
    right.tick_params(axis="y", length=0)
    right.set_xlabel("accuracy in %")
    right.set_title("What a selected set is worth")
    right.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.4, -0.2))
    return figure


def pass_fail_table(passed: NDArray[np.bool_], tests: Sequence[str], versions: Sequence[str]) -> Figure:
    """Which version passes which test: a table of ticks and crosses.

    Args:
        passed: bool ``[tests, versions]``.
        tests: their names.
        versions: their names.

    Raises:
        RddError: another shape.
    """
    passed = np.asarray(passed)
    if passed.shape != (len(tests), len(versions)) or passed.dtype != bool:
        raise RddError(f"verdicts are {passed.dtype} {list(passed.shape)}: give bool [{len(tests)}, {len(versions)}]")
    figure = Figure(figsize=(9.5, 0.55 * len(tests) + 1.3), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(passed):
        for x, good in enumerate(row):
            axes.text(
                x, y, "✓ passes" if good else "✗ fails", ha="center", va="center", color=BLUE if good else "white",
                fontweight="bold",
                bbox={"boxstyle": "round,pad=0.45", "facecolor": "white" if good else ORANGE, "edgecolor": "none"},
            )  # fmt: skip
    axes.set_xlim(-0.5, len(versions) - 0.5)
    axes.set_ylim(len(tests) - 0.5, -0.5)
    axes.set_xticks(range(len(versions)), list(versions))
    axes.set_yticks(range(len(tests)), list(tests))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(0.5, len(versions) - 1), minor=True)
    axes.grid(axis="x", which="minor", color="#DDDDDD")
    axes.set_xlabel("version, each with one more fault corrected")
    axes.set_title("Four short tests, on the reconstruction and on its corrections")
    return figure
