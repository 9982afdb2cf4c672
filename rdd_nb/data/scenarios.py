"""Subgroup shifts, built on any base data, so that it is known who the minority is and how it fares.

:func:`scenario` shifts a :class:`~rdd_nb.data.dataset.Splits`: training gets rare subgroups or classes, the test set
shows them as often as the others, and ``groups``, ``group_names`` and ``minority`` say which image belongs where
(groups that the base data had are replaced). A scenario is a pure function of its input and the seed: exact counts, and
the same bits each time. To add one, write a function like those in :mod:`rdd_nb.data.spurious_shifts`,
:mod:`rdd_nb.data.published_shifts` and :mod:`rdd_nb.data.population_shifts` and put it into :data:`SCENARIOS`.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import stream
from rdd_nb.data import population_shifts, published_shifts, spurious_shifts
from rdd_nb.data.dataset import ImageDataset, Splits

__all__ = ["SCENARIOS", "available", "describe", "noisy", "scenario"]


def _none(splits: Splits, *, seed: int) -> Splits:
    """The data as they are."""
    return splits


LARGEST = 2**63  # of whole numbers that a scenario is given
Scenario = Callable[..., Splits]
#: By name: functions ``(splits, *, seed, option=default, …) -> Splits``; the docstring's first line is the help.
SCENARIOS: dict[str, Scenario] = {
    "none": _none,
    "coloured": spurious_shifts.coloured,
    "background": spurious_shifts.background,
    "coloured-foreground": published_shifts.coloured_foreground,
    "coloured-background": published_shifts.coloured_background,
    "grey-half": published_shifts.grey_half,
    "rotated-minority": population_shifts.rotated_minority,
    "long-tail": population_shifts.long_tail,
    "hidden-strata": population_shifts.hidden_strata,
}


def available() -> dict[str, str]:
    """The scenarios that :func:`scenario` knows, each with one line on what it does.

    >>> [name for name in available() if "colour" in name]
    ['coloured', 'coloured-foreground', 'coloured-background']
    """
    return {name: (_help(function).splitlines() or [""])[0] for name, function in SCENARIOS.items()}


def _help(function: Scenario) -> str:
    return inspect.getdoc(function) or ""  # python -OO has none


def describe(name: str) -> str:
    """What the scenario does and which options it takes, with their defaults.

    >>> print(describe("none"))
    none (no options): The data as they are.
    """
    function = _find(name)
    options = ", ".join(f"{key}={default}" for key, default in _options(function).items())
    return f"{name} ({options or 'no options'}): {_help(function)}"


def scenario(splits: Splits, name: str, *, seed: int = 0, **options: Any) -> Splits:
    """Shift ``splits`` by the scenario called ``name``; :func:`describe` tells what its options mean.

    Args:
        splits: any base data.
        name: a name from :func:`available`; ``"none"`` gives ``splits`` back.
        seed: decides which images are shifted or dropped and what is rare, nothing else.
        options: of the scenario, e.g. ``bias=0.95``.

    Returns:
        New splits with ``groups``, ``group_names``, ``minority`` and ``minority_names`` set. A validation set is left
        out, but by ``"none"``, and a ``UserWarning`` says so.

    Raises:
        RddError: an unknown scenario or option, an option out of range, images or classes that it cannot shift.

    >>> from rdd_nb.data.dataset import ImageDataset
    >>> images = torch.full((40, 1, 4, 4), 200, dtype=torch.uint8)
    >>> data = ImageDataset(images, torch.arange(40) % 2, ("bag", "boot"), mean=(0.5,), std=(0.5,))
    >>> shifted = scenario(Splits(data, data, "demo"), "coloured", bias=0.9)
    >>> shifted.train.shape, shifted.train.group_names
    ((3, 4, 4), ('red', 'green'))
    >>> int(shifted.train.minority.sum()), int(shifted.test.minority.sum())
    (4, 20)
    """
    function = _find(name)
    known = _options(function)
    for option in options:
        if not known:
            raise RddError(f"scenario {name!r} takes no options, but {option!r} was given: leave it out")
        if option not in known:
            raise unknown("option", option, known, where=f"scenario {name!r}")
    for option, value in {**options, "seed": seed}.items():
        if isinstance(value, int) and abs(value) >= LARGEST:  # too large to be a float, and to be shown
            raise RddError(f"{option} of scenario {name!r} has more than 18 digits: give a smaller number")
    shifted = function(splits, seed=seed, **options)
    if splits.validation is not None and shifted.validation is None:
        told = f"{splits.name}: left out {len(splits.validation):,} validation images"
        warnings.warn(f"{told}, as scenario {name!r} shifts training and test set alone", UserWarning, stacklevel=2)
    return shifted


def noisy(data: ImageDataset, fraction: float, seed: int) -> ImageDataset:
    """``data`` with a ``fraction`` of its labels (rounded) replaced by another class, each other one alike.

    Groups and minority stay as they were.
    """
    draw = stream(seed, "label noise")
    chosen = torch.randperm(len(data), generator=draw)[: int(len(data) * fraction + 0.5)]
    shift = torch.randint(1, data.num_classes, (len(chosen),), generator=draw)
    labels = data.labels.clone()
    labels[chosen] = (labels[chosen] + shift) % data.num_classes
    return dataclasses.replace(data, labels=labels, name=f"{data.name} label_noise={fraction:g}")


def _find(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise unknown("scenario", name, SCENARIOS)
    return SCENARIOS[name]


def _options(function: Scenario) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {key: value.default for key, value in parameters.items() if key not in ("splits", "seed")}
