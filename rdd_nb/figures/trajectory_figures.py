"""The figures of trajectory matching in notebook 03, as pure functions from what was computed to a ``Figure``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, clean_axes
from rdd_nb.figures.figure import Figure

__all__ = ["expert_accuracies", "fronts", "in_a_plane", "paths_in_a_plane"]

_STYLES = ((BLUE, "o", "-"), (ORANGE, "D", "--"), (GREEN, "s", "-."), (GREY, "^", ":"))


def in_a_plane(paths: Mapping[str, NDArray[np.floating[Any]]]) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Paths of weights ``[points, P]`` in the plane in which they differ most, ``[points, 2]``, around the first point.

    By the principal components of all points together, with as many weights as there may be.

    Returns:
        The paths in the plane, in the weights' own units, and the share of their scatter that it shows, 0 to 1.

    >>> flat, shown = in_a_plane({"a": np.array([[0.0, 0, 0], [3, 4, 0]])})
    >>> float(np.linalg.norm(flat["a"][1] - flat["a"][0])), round(shown, 6)
    (5.0, 1.0)
    """
    points = np.concatenate([np.asarray(path, np.float64) for path in paths.values()])
    centred = points - points.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)  # few points, many weights
    largest = np.argsort(values)[::-1][:2]
    flat = vectors[:, largest] * np.sqrt(values[largest].clip(0))
    flat = flat - flat[0]
    ends = np.cumsum([len(path) for path in paths.values()])[:-1]
    return dict(zip(paths, np.split(flat, ends))), float(values[largest].sum() / max(values.sum(), 1e-300))


def paths_in_a_plane(
    paths: Mapping[str, NDArray[np.floating[Any]]], steps: Sequence[str], title: str
) -> tuple[Figure, float]:
    """Paths through the weights, each marked at its points, projected by :func:`in_a_plane`.

    Args:
        paths: name → ``[points, P]``, up to four.
        steps: of each path, what lies between two of its points, such as "an epoch".
        title: above.

    Returns:
        The figure, and the share of the scatter that it shows.
    """
    flat, shown = in_a_plane(paths)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = clean_axes(figure.subplots())
    for (name, points), step, (colour, marker, dash) in zip(flat.items(), steps, _STYLES):
        axes.plot(*points.T, dash, color=colour, marker=marker, ms=5, label=f"{name} (a mark {step})")
        axes.plot(*points[-1], marker, color=colour, ms=11, mec="black")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title=title, xlabel="first principal component of the weights", ylabel="second")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, shown


def fronts(accuracies: Mapping[str, Mapping[str, Sequence[tuple[str, float, float]]]]) -> Figure:
    """What several settings of each matching give the majority and the minority, a panel a scenario.

    Args:
        accuracies: scenario → matching → (setting, accuracy on the majority, on the minority), from 0 to 1, in an order
            that makes sense as a line, such as from plain to the most robust.
    """
    figure = Figure(figsize=(9.0, 3.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(accuracies)))
    for axes, (scenario, families) in zip(panels, accuracies.items()):
        clean_axes(axes)
        for (family, points), (colour, marker, dash) in zip(families.items(), _STYLES):
            if points:
                names, majority, minority = zip(*points)
                axes.plot(
                    100 * np.array(majority), 100 * np.array(minority), dash, color=colour, marker=marker, label=family
                )
                axes.annotate(
                    names[0].split()[-1],
                    (100 * majority[0], 100 * minority[0]),
                    (4, -4),
                    color=colour,
                    textcoords="offset points",
                    va="top",
                )
        axes.set(title=scenario, xlabel="majority, %")
        axes.margins(0.15)
    panels[0].set_ylabel("minority, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title="matching")
    return figure


def expert_accuracies(accuracies: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """How right experts are about whom after each epoch, a panel an expert's kind.

    Args:
        accuracies: side → expert → accuracy (0 to 1) before training and after each epoch.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(accuracies), sharey=True))
    for axes, (side, lines) in zip(panels, accuracies.items()):
        clean_axes(axes, "y")
        for (name, values), (colour, marker, dash) in zip(lines.items(), _STYLES):
            axes.plot(100 * np.asarray(values), dash, color=colour, marker=marker, label=name)
        axes.set(title=f"{side} images", xlabel="epochs of the expert", ylim=(0, 100))
        axes.locator_params(axis="x", integer=True)
    panels[0].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(lines))
    return figure
