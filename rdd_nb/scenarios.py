"""Subgroup shifts, built on any base data, so that it is known who the minority is and how it fares.

:func:`scenario` bends a :class:`~rdd_nb.datasets.Splits`: training gets a rare subgroup in each class, the test set
holds the subgroups in equal numbers, and ``groups``, ``group_names`` and ``minority`` say which image belongs where
(groups that the base data had are replaced). A scenario is a pure function of its input and the seed: exact counts, and
the same bits each time. To add one, write a function like those below and put ``@_register("its-name")`` above it.
"""

from __future__ import annotations

import colorsys
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rdd_nb import machine
from rdd_nb.datasets import ImageDataset, Splits, statistics
from rdd_nb.errors import RddError, unknown

__all__ = ["PALETTE", "available", "describe", "palette", "scenario"]

# Told apart by their direction in RGB, not by their brightness: a grey image times a colour has every brightness of it.
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (255, 15, 15),
    "green": (0, 205, 70),
    "blue": (20, 80, 255),
    "yellow": (255, 240, 0),
    "magenta": (255, 0, 190),
    "cyan": (0, 225, 235),
    "orange": (255, 115, 0),
    "violet": (130, 20, 255),
    "white": (255, 255, 255),
    "lime": (120, 255, 0),
}

_Scenario = Callable[..., Splits]
_registry: dict[str, _Scenario] = {}


def _register(name: str) -> Callable[[_Scenario], _Scenario]:
    """Add a function ``(splits, *, seed, option=default, …) -> Splits``; the docstring's first line is the help."""

    def add(function: _Scenario) -> _Scenario:
        _registry[name] = function
        return function

    return add


def available() -> dict[str, str]:
    """The scenarios that :func:`scenario` knows, each with one line on what it does.

    >>> sorted(available())
    ['coloured', 'none', 'rotated-minority']
    """
    return {name: (inspect.getdoc(function) or "").splitlines()[0] for name, function in _registry.items()}


def describe(name: str) -> str:
    """What the scenario does and which options it takes, with their defaults.

    >>> print(describe("none"))
    none (no options): The data as they are.
    """
    function = _find(name)
    options = ", ".join(f"{key}={default}" for key, default in _options(function).items())
    return f"{name} ({options or 'no options'}): {inspect.getdoc(function)}"


def scenario(splits: Splits, name: str, *, seed: int = 0, **options: Any) -> Splits:
    """Bend ``splits`` by the scenario called ``name``; :func:`describe` tells what its options mean.

    Args:
        splits: any base data.
        name: a name from :func:`available`; ``"none"`` gives ``splits`` back.
        seed: decides which images are bent, nothing else.
        options: of the scenario, e.g. ``bias=0.95``.

    Returns:
        New splits with ``groups``, ``group_names``, ``minority`` and ``minority_names`` set.

    Raises:
        RddError: an unknown scenario or option, an option out of range, images or classes that it cannot bend.

    >>> from rdd_nb.datasets import ImageDataset
    >>> images = torch.full((40, 1, 4, 4), 200, dtype=torch.uint8)
    >>> data = ImageDataset(images, torch.arange(40) % 2, ("bag", "boot"), mean=(0.5,), std=(0.5,))
    >>> bent = scenario(Splits(data, data, "demo"), "coloured", bias=0.9)
    >>> bent.train.shape, bent.train.group_names, int(bent.train.minority.sum()), int(bent.test.minority.sum())
    ((3, 4, 4), ('red', 'green'), 4, 20)
    """
    function = _find(name)
    known = _options(function)
    for option in options:
        if not known:
            raise RddError(f"scenario {name!r} takes no options, but {option!r} was given: leave it out")
        if option not in known:
            raise unknown("option", option, known, where=f"scenario {name!r}")
    return function(splits, seed=seed, **options)


def _find(name: str) -> _Scenario:
    if name not in _registry:
        raise unknown("scenario", name, _registry)
    return _registry[name]


def _options(function: _Scenario) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {key: value.default for key, value in parameters.items() if key not in ("splits", "seed")}


# ------------------------------------------------------------------------------------------------------- the scenarios


@_register("none")
def _none(splits: Splits, *, seed: int) -> Splits:
    """The data as they are."""
    return splits


@_register("coloured")
def _coloured(splits: Splits, *, seed: int, bias: float = 0.9) -> Splits:
    """Each class has its own colour in most training images; the test set holds every class in all colours alike.

    Images become grey (luminance), then take a colour: black stays black. In training, ``bias`` is the fraction of each
    class that wears the class's colour; the others wear the other classes' colours, in equal numbers. Groups are the
    colours; the minority is off-colour. Normalisation is measured anew on the coloured training images.
    """
    _check_fraction("bias", bias)
    if splits.train.num_classes < 2:
        raise RddError(f"scenario 'coloured' needs at least 2 classes, {splits.name} has 1: there is no other colour")
    colours = palette(splits.train.num_classes)
    name = f"{splits.name} coloured bias={bias:g} seed={seed}"

    def part(base: ImageDataset, ids: Tensor) -> ImageDataset:
        images = _paint(base.images, ids, list(colours.values()))
        mean, std = statistics(images)
        return dataclasses.replace(
            base,
            images=images,
            mean=mean,
            std=std,
            groups=ids,
            group_names=tuple(colours),
            minority=ids != base.labels,
            minority_names=("on-colour", "off-colour"),
            name=name,
        )

    train = part(splits.train, _class_colours(splits.train, bias, machine.stream(seed, "coloured", "train")))
    test = part(splits.test, _all_colours(splits.test, machine.stream(seed, "coloured", "test")))
    return Splits(train, test.with_statistics(train.mean, train.std), name)


@_register("rotated-minority")
def _rotated(splits: Splits, *, seed: int, fraction: float = 0.1, angle: int = 90) -> Splits:
    """A fraction of each class is turned; the test set shows all images both ways.

    ``fraction`` of each class's training images, drawn by the seed, is turned by ``angle`` degrees counter-clockwise (a
    multiple of 90, so no pixel is lost). The test set is doubled: all images upright, then all of them turned. Groups
    are upright and rotated; the minority is rotated.
    """
    _check_fraction("fraction", fraction)
    if not isinstance(angle, int) or angle % 90 or angle % 360 == 0:
        raise RddError(f"angle must be 90, 180 or 270 degrees, not {angle!r}: other angles would blur the images")
    height, width = splits.train.shape[1:]
    if angle % 180 and height != width:
        raise RddError(
            f"scenario 'rotated-minority' needs square images to turn by {angle}°, {splits.name} has {height}×{width}: "
            "load it with size=… or use angle=180"
        )
    turned = torch.zeros(len(splits.train), dtype=torch.bool)
    generator = machine.stream(seed, "rotated-minority")
    for members in _members(splits.train, fraction, "rotate", generator):
        turned[members[: _share(len(members), fraction)]] = True
    images = splits.train.images.clone()
    images[turned] = _turn(images[turned], angle)
    name = f"{splits.name} rotated-minority fraction={fraction:g} angle={angle} seed={seed}"

    def part(base: ImageDataset, images: Tensor, labels: Tensor, turned: Tensor) -> ImageDataset:
        return dataclasses.replace(
            base,
            images=images,
            labels=labels,
            groups=turned.to(torch.int64),
            group_names=("upright", "rotated"),
            minority=turned,
            minority_names=("upright", "rotated"),
            name=name,
        )

    both = torch.cat([splits.test.images, _turn(splits.test.images, angle)])
    test = part(splits.test, both, splits.test.labels.repeat(2), torch.arange(len(both)) >= len(splits.test))
    return Splits(part(splits.train, images, splits.train.labels, turned), test, name)


# ------------------------------------------------------------------------------------------------------------ the parts


def palette(count: int) -> dict[str, tuple[int, int, int]]:
    """``count`` named colours (RGB, 0 to 255): the first of :data:`PALETTE`, or beyond ten, hues at even steps.

    >>> list(palette(3)), list(palette(12).items())[3]
    (['red', 'green', 'blue'], ('hue 90°', (153, 255, 51)))
    """
    if count <= len(PALETTE):
        return dict(list(PALETTE.items())[:count])
    colours = {}
    for index in range(count):
        saturation = 0.5 if index % 2 == 0 else 0.8  # neighbours in hue differ in saturation as well
        rgb = colorsys.hsv_to_rgb(index / count, saturation, 1.0)
        colours[f"hue {360 * index / count:g}°"] = (round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2]))
    return colours


def _check_fraction(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RddError(f"{option} must be a fraction from 0 to 1, not {value!r}")


def _share(count: int, fraction: float) -> int:
    return int(count * fraction + 0.5)


def _members(data: ImageDataset, fraction: float, verb: str, generator: torch.Generator) -> list[Tensor]:
    """Each class's indices, shuffled; an error where ``fraction`` of a class would be no image at all."""
    shuffled = []
    for label, name in enumerate(data.class_names):
        members = (data.labels == label).nonzero().squeeze(1)
        if fraction > 0 and _share(len(members), fraction) == 0:
            raise RddError(
                f"class {name!r} has {len(members)} training images, too few to {verb} a fraction of {fraction:g} of "
                "them: add images or raise the fraction"
            )
        shuffled.append(members[torch.randperm(len(members), generator=generator)])
    return shuffled


def _class_colours(data: ImageDataset, bias: float, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: colour = class, but for a fraction 1 - bias of each class, dealt out over the other colours."""
    colours = data.labels.clone()
    others = data.num_classes - 1
    # 1 - bias is rounded so that a bias of 0.9 means a tenth exactly.
    fraction = round(1 - bias, 12)
    for label, members in enumerate(_members(data, fraction, "colour otherwise", generator)):
        count = _share(len(members), fraction)
        shift = 1 + torch.randperm(others, generator=generator)  # who gets one more, where they do not divide
        colours[members[:count]] = (label + shift[torch.arange(count) % others]) % data.num_classes
    return colours


def _all_colours(data: ImageDataset, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: every class in all colours, in numbers that differ by one at most."""
    colours = torch.empty_like(data.labels)
    for label, members in enumerate(_members(data, 0, "", generator)):
        if len(members) < data.num_classes:
            raise RddError(
                f"class {data.class_names[label]!r} has {len(members)} test images, too few for {data.num_classes} "
                "colours: add images or use fewer classes"
            )
        order = torch.randperm(data.num_classes, generator=generator)
        colours[members] = order[torch.arange(len(members)) % data.num_classes]
    return colours


def _paint(images: Tensor, ids: Tensor, colours: list[tuple[int, int, int]]) -> Tensor:
    """uint8 ``[N, 3, H, W]``: the luminance of ``images`` (ITU-R 601, as in Pillow) times each image's colour."""
    painted = torch.empty((len(images), 3, *images.shape[2:]), dtype=torch.uint8)
    table = torch.tensor(colours, dtype=torch.int32)
    for start in range(0, len(images), 4096):  # in pieces, as whole numbers take four times the room of the bytes
        chunk = images[start : start + 4096].to(torch.int32)
        if chunk.shape[1] == 3:
            grey = (19595 * chunk[:, 0] + 38470 * chunk[:, 1] + 7471 * chunk[:, 2] + 32768) >> 16
        else:
            grey = chunk[:, 0]
        factors = table[ids[start : start + 4096]][:, :, None, None]
        product = grey[:, None] * factors + 128
        painted[start : start + 4096] = (product + (product >> 8)) >> 8  # = round(grey * factor / 255), exactly
    return painted


def _turn(images: Tensor, angle: int) -> Tensor:
    return torch.rot90(images, angle // 90, dims=(2, 3))
