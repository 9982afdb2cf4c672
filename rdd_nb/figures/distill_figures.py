"""The figures of notebook 03, on distillation, as pure functions from what was computed to a matplotlib ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, colours that the colour-blind can tell apart, and a marker, a hatch or a dash
behind every colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, clean_axes, image_sheet
from rdd_nb.figures.figure import Figure

__all__ = [
    "accuracies",
    "image_evolution",
    "image_row",
    "layer_distances",
    "loss_curve",
    "resume_divergence",
    "sample_weights",
    "signed_as_grey",
    "throughput",
]

_STYLES = (
    (BLUE, "", "o", "-"),
    (ORANGE, "////", "D", "--"),
    (GREEN, "....", "s", "-."),
    (GREY, "xxxx", "^", ":"),
)

_MAGNIFIED = 5  # differences of images, which would be too faint


def signed_as_grey(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Numbers of either sign ``[C, H, W]`` as a picture: 0 is middle grey, the largest magnitude black or full.

    >>> signed_as_grey(np.array([[[-2.0, 0.0, 1.0]]])).tolist()
    [[[0, 128, 191]]]
    """
    largest = float(np.abs(values).max(initial=0)) or 1.0
    return (127.5 * (1 + np.asarray(values) / largest)).round().astype(np.uint8)


def image_row(images: Mapping[str, NDArray[np.uint8]], title: str) -> Figure:
    """Single images in a row, each with its name above it.

    Args:
        images: name → uint8 ``[C, H, W]``.
        title: above all.
    """
    figure = Figure(figsize=(2.1 * len(images), 3.1), layout="constrained")
    for axes, (name, image) in zip(np.atleast_1d(figure.subplots(1, len(images))), images.items()):
        image_sheet(axes, image[None], 1)
        axes.set_title(textwrap.fill(name, 20))
    figure.suptitle(title)
    return figure


def layer_distances(distances: Mapping[str, Mapping[str, float]]) -> Figure:
    """How far the gradients of several sets of images are from those of the real ones, layer by layer.

    Args:
        distances: set → layer → mean of 1 − cosine over the layer's outputs, between 0 and 2.
    """
    figure = Figure(figsize=(8.2, 3.5), layout="constrained")
    axes = clean_axes(figure.subplots(), "y")
    names = list(next(iter(distances.values())))
    width = 0.8 / len(distances)
    for k, ((name, values), (colour, hatch, _, _)) in enumerate(zip(distances.items(), _STYLES)):
        place = np.arange(len(names)) + (k - (len(distances) - 1) / 2) * width
        heights = [values[layer] for layer in names]
        bars = axes.bar(place, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", label=name)
        paper = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # the line ends at a number
        axes.bar_label(bars, fmt="%.2f", padding=3, bbox=paper)
    axes.axhline(1, color="black", linewidth=1, linestyle="--", zorder=0.9)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.25)
    axes.set_xlabel("layer, from input to output")
    axes.set_ylabel("1 − cosine, mean over outputs")
    axes.set_title("Distance between gradients (0: same direction, dashed: orthogonal)", pad=26)
    axes.legend(frameon=False, ncols=len(distances), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def sample_weights(
    rows: Mapping[str, NDArray[np.floating[Any]]],
    groups: NDArray[np.integer[Any]],
    marked: NDArray[np.bool_],
    names: tuple[str, str],
    title: str,
) -> Figure:
    """How much each real image of one batch counts, under several objectives; the groups side by side.

    Args:
        rows: objective → ``[B]``, weights that sum to 1. They are drawn as multiples of 1/B, the plain weight.
        groups: ``[B]``, the group of each image.
        marked: bool ``[B]``, drawn in the second colour.
        names: of the images that are not marked and of those that are.
        title: above all.

    Raises:
        RddError: weights, groups and marks of different lengths.
    """
    count = len(groups)
    if {len(marked), *map(len, rows.values())} != {count}:
        raise RddError(f"sample_weights draws {count} images: give as many weights in each row, groups and marks")
    order = np.lexsort((-np.asarray(list(rows.values())[-1]), groups))
    edges = np.flatnonzero(np.diff(groups[order])) + 0.5
    figure = Figure(figsize=(9.5, 1.55 * len(rows) + 0.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(rows), 1, sharex=True, sharey=True))
    for axes, (name, values) in zip(panels, rows.items()):
        heights, which = np.asarray(values)[order] * count, marked[order]
        for side, (colour, hatch, _, _) in zip((False, True), _STYLES):
            mine = which == side
            axes.bar(np.flatnonzero(mine), heights[mine], 0.9, color=colour, hatch=hatch, edgecolor="white")
        for edge in edges:
            axes.axvline(edge, color="#BBBBBB", linewidth=0.8)
        axes.axhline(1, color="black", linewidth=1, linestyle=":")
        share = float(np.asarray(values)[marked].sum())
        told = f"{name}: {share:.0%} of the weight on {names[1]} images" if marked.any() else name
        axes.set_title(told, loc="left")
        clean_axes(axes, "y")
    panels[-1].set_xlim(-0.8, count - 0.2)
    panels[-1].set_xticks([])
    panels[-1].set_xlabel("images of the batch, sorted by group; a thin line between two groups")
    panels[len(rows) // 2].set_ylabel("weight, in multiples of the plain one")
    patches = [Patch(facecolor=c, hatch=h, edgecolor="white", label=n) for n, (c, h, _, _) in zip(names, _STYLES)]
    if marked.any():
        figure.legend(handles=patches, loc="outside upper right", ncols=2, frameon=False)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def _smooth(values: NDArray[np.floating[Any]]) -> tuple[int, NDArray[np.float64]]:
    window = max(1, min(25, len(values) // 5))
    return window, np.convolve(values, np.ones(window) / window, "valid")


def loss_curve(losses: Sequence[float], what: str) -> Figure:
    """The matching loss of each iteration, and its running mean.

    Args:
        losses: one an iteration.
        what: the matching, for the title.
    """
    values = np.asarray(losses, dtype=float)
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = clean_axes(figure.subplots(), "y")
    place = np.arange(1, len(values) + 1)
    axes.plot(place, values, ".", color=GREY, alpha=0.6, markersize=5, label="one network, one batch")
    window, mean = _smooth(values)
    axes.plot(place[window - 1 :], mean, color=BLUE, linewidth=2.2, label=f"mean of the last {window}")
    axes.set_xlim(0, len(values) + 1)
    axes.set_ylim(0)
    axes.set_xlabel("iteration")
    axes.set_ylabel("matching loss, summed over classes")
    axes.set_title(f"{what.capitalize()} matching: the loss of each new network")
    axes.legend(frameon=False)
    return figure


def image_evolution(
    snapshots: Mapping[int, NDArray[np.uint8]], ipc: int, class_names: Sequence[str], each: int = 2
) -> Figure:
    """The synthetic images at several iterations, beside each its difference from the start, five times as large.

    Args:
        snapshots: iteration → uint8 ``[C·ipc, channels, H, W]``, sorted by class; the first is the initialisation.
        ipc: images of each class.
        class_names: of the classes to show, the first ones.
        each: images shown of each class, at most.
    """
    each, first = min(each, ipc), next(iter(snapshots.values())).astype(float)
    wide = [each] + [2 * each] * (len(snapshots) - 1)
    figure = Figure(figsize=(9.5, 8.6 / sum(wide) * len(class_names) + 1.0), layout="constrained")
    panels = figure.subplots(1, len(snapshots), width_ratios=wide, squeeze=False)[0]
    for k, (axes, (iteration, images)) in enumerate(zip(panels, snapshots.items())):
        change = images - first
        pair = images, (127.5 + _MAGNIFIED * change).round().clip(0, 255).astype(np.uint8)
        shown = [part.reshape(-1, ipc, *images.shape[1:])[: len(class_names), :each] for part in pair[: 1 + (k > 0)]]
        image_sheet(
            axes, np.concatenate(shown, 1).reshape(-1, *images.shape[1:]), wide[k], class_names if k == 0 else ()
        )
        axes.set_title("start" if k == 0 else f"iteration {iteration:,}\nmoved {np.abs(change).mean():.1f} of 255")
    figure.suptitle(f"Synthetic images, and their difference from the start × {_MAGNIFIED} (grey: none)")
    return figure


def throughput(speed: NDArray[np.floating[Any]], parts: Mapping[str, float], weighing: float) -> Figure:
    """Real images matched a second in each iteration, and the time of an iteration by part.

    Args:
        speed: ``[iterations]``, real images matched in a second.
        parts: part of an iteration → seconds, by the clock.
        weighing: the share of the run's time that was spent on the weights, from its history.
    """
    figure = Figure(figsize=(9.5, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    clean_axes(left, "y").plot(np.arange(1, len(speed) + 1), speed, ".", color=GREY, alpha=0.7, label="each iteration")
    left.axhline(float(np.median(speed)), color=BLUE, linewidth=2, label=f"median: {np.median(speed):,.0f}")
    left.set_ylim(0)
    left.set_xlim(0, len(speed) + 1)
    left.set_xlabel("iteration")
    left.set_ylabel("real images in a second")
    left.set_title(f"The run (weights: {weighing:.1%} of its time)")
    left.legend(framealpha=1, edgecolor="none", loc="lower right")
    total = sum(parts.values())
    bars = clean_axes(right, "x").barh(list(parts), [1000 * s for s in parts.values()], color=BLUE)
    right.bar_label(bars, [f"{s / total:.0%}" for s in parts.values()], padding=3)
    right.invert_yaxis()
    right.margins(x=0.14)
    right.set_xlabel("milliseconds")
    right.set_title("One iteration, by the clock")
    return figure


def resume_divergence(differences: Mapping[str, NDArray[np.floating[Any]]], cut: int) -> Figure:
    """How far several continuations of a run are from the uninterrupted run.

    Args:
        differences: continuation → ``[iterations after the cut]``, the largest difference of a pixel.
        cut: iterations before the interruption.
    """
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = clean_axes(figure.subplots(), "y")
    for (name, values), (colour, _, marker, dash) in zip(differences.items(), _STYLES):
        place = np.arange(cut, cut + len(values) + 1)
        axes.plot(place, [0, *values], linestyle=dash, marker=marker, color=colour, markersize=5, label=name)
    axes.axvline(cut, color="black", linewidth=1, linestyle=":")
    axes.annotate("interrupted", (cut, axes.get_ylim()[1]), (4, -4), textcoords="offset points", va="top")
    axes.set_xlim(0)
    axes.set_xlabel("iteration")
    axes.set_ylabel("largest difference of a pixel,\nin standard deviations of the data")
    axes.set_title("Distance to the uninterrupted run")
    axes.legend(frameon=False, loc="center left")
    return figure


def accuracies(tables: Mapping[str, pd.DataFrame], level: float = 0.95) -> Figure:
    """Accuracy after training on several sets, with intervals, for data without a minority.

    Args:
        tables: set → :func:`rdd_nb.evaluation.subgroups.group_table`; its first row is drawn.
        level: of the intervals in the tables, for the label.
    """
    figure = Figure(figsize=(8.2, 0.6 * len(tables) + 1.3), layout="constrained")
    axes = clean_axes(figure.subplots(), "x")
    for y, table in enumerate(tables.values()):
        value, low, high = (100 * float(table[name].iloc[0]) for name in ("accuracy", "low", "high"))
        axes.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", color=BLUE, capsize=3, markersize=8)
    axes.set_yticks(range(len(tables)), list(tables))
    axes.set_ylim(len(tables) - 0.5, -0.5)
    axes.set_xlim(0, 101)
    axes.set_xlabel(f"test accuracy in %, with {level:.0%} intervals")
    axes.set_title("Test accuracy by training set")
    return figure
