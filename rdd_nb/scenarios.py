"""Subgroup shifts, built on any base data, so that it is known who the minority is and how it fares.

:func:`scenario` bends a :class:`~rdd_nb.datasets.Splits`: training gets rare subgroups or classes, the test set shows
them as often as the others, and ``groups``, ``group_names`` and ``minority`` say which image belongs where (groups that
the base data had are replaced). A scenario is a pure function of its input and the seed: exact counts, and the same
bits each time. To add one, write a function like those below and put ``@_register("its-name")`` above it.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rdd_nb import machine
from rdd_nb.datasets import ImageDataset, Splits, statistics
from rdd_nb.errors import RddError, unknown
from rdd_nb.painting import SHIFTS, is_dark, lay, palette, texture_names, tint
from rdd_nb.strata import sort_classes

__all__ = ["available", "describe", "noisy", "scenario"]

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
    ['background', 'coloured', 'hidden-strata', 'long-tail', 'none', 'rotated-minority']
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
        seed: decides which images are bent or dropped and what is rare, nothing else.
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


def noisy(data: ImageDataset, fraction: float, seed: int) -> ImageDataset:
    """``data`` with a ``fraction`` of its labels (rounded) replaced by another class, each other one alike.

    Groups and minority stay as they were.
    """
    draw = machine.stream(seed, "label noise")
    chosen = torch.randperm(len(data), generator=draw)[: int(len(data) * fraction + 0.5)]
    shift = torch.randint(1, data.num_classes, (len(chosen),), generator=draw)
    labels = data.labels.clone()
    labels[chosen] = (labels[chosen] + shift) % data.num_classes
    return dataclasses.replace(data, labels=labels, name=f"{data.name} label_noise={fraction:g}")


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
    colours = palette(splits.train.num_classes)
    worn = _Worn("coloured", "colour", tuple(colours), ("on-colour", "off-colour"))

    def put(images: Tensor, ids: Tensor, split: str) -> Tensor:
        return tint(images, ids, list(colours.values()))

    return _wear(splits, worn, put, bias, seed)


@_register("background")
def _background(splits: Splits, *, seed: int, bias: float = 0.9) -> Splits:
    """Each class has its own background in most training images; the test set holds every class before all alike.

    In training, ``bias`` is the fraction of each class that stands before the class's texture (stripes, checks, dots,
    …: all equally bright, told apart by their form); the others stand before the other classes' textures, in equal
    numbers. Each image sees another part of its texture. Groups are the textures; the minority stands before another
    class's. Where the images' edges are dark, the dark is taken for background and objects stay as they are; otherwise
    the texture frames the image, and hides its corners. Channels stay; normalisation is measured anew.
    """
    height, width = splits.train.shape[1:]
    if min(height, width) < 12:
        raise RddError(
            f"scenario 'background' needs images of at least 12×12 pixels, {splits.name} has {height}×{width}: load it "
            "with size=…"
        )
    names = texture_names(splits.train.num_classes)
    worn = _Worn("background", "texture", names, ("own background", "other background"))
    dark = is_dark(splits.train.images)

    def put(images: Tensor, ids: Tensor, split: str) -> Tensor:
        generator = machine.stream(seed, "background", split, "shift")
        return lay(images, ids, torch.randint(SHIFTS, (len(ids), 2), generator=generator), dark)

    return _wear(splits, worn, put, bias, seed)


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
        turned[members[: _round(len(members) * fraction)]] = True
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


@_register("long-tail")
def _long_tail(splits: Splits, *, seed: int, ratio: float = 50) -> Splits:
    """Training classes get ever smaller, from common to rare; the test set stays as it is.

    The seed puts the K classes in order and draws what each keeps: the class at rank r, from 0, keeps
    n · ratio^(-r / (K-1)) images, rounded, where n is the size of the smallest class; so the first has ``ratio`` times
    as many as the last (the profile of Cui et al. 2019 and Cao et al. 2019). Groups are head, middle and tail, a third
    of the ranks each; where K does not divide, the head gets one more, then the tail. The minority is the tail.
    Normalisation is measured anew.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 1 <= ratio < math.inf:
        raise RddError(f"ratio must be a number of at least 1, not {ratio!r}: largest over smallest class")
    classes = splits.train.num_classes
    if classes < 2:
        raise RddError(f"scenario 'long-tail' needs at least 2 classes, {splits.name} has 1: there is no tail")
    largest = int(splits.train.class_counts.min())
    counts = [_round(largest * ratio ** (-rank / (classes - 1))) for rank in range(classes)]
    if counts[-1] == 0:
        raise RddError(
            f"the smallest class of {splits.name} has {largest} training images, too few for a ratio of {ratio:g}: the "
            "last class would keep none; lower the ratio or add images"
        )
    generator = machine.stream(seed, "long-tail")
    order = torch.randperm(classes, generator=generator)
    thirds = [0] * ((classes + 2) // 3) + [1] * (classes // 3) + [2] * ((classes + 1) // 3)
    members, third = _members(splits.train, 0, "", generator), torch.empty(classes, dtype=torch.int64)
    for label, count, group in zip(order.tolist(), counts, thirds, strict=True):
        members[label], third[label] = members[label][:count], group

    def fields(labels: Tensor) -> dict[str, Any]:
        return {
            "groups": third[labels],
            "group_names": ("head", "middle", "tail"),
            "minority": third[labels] == 2,
            "minority_names": ("head and middle classes", "tail classes"),
        }

    return _thinned(splits, members, fields, f"{splits.name} long-tail ratio={ratio:g} seed={seed}")


@_register("hidden-strata")
def _hidden_strata(splits: Splits, *, seed: int, fraction: float = 0.05, strata: str = "auto") -> Splits:
    """Labels are coarse classes; in each, one of the fine classes that it hides is rare in training.

    ``strata`` sorts all classes into coarse ones, as in "tops: shirt, coat; shoes: boot, sneaker"; "auto" knows tables
    for Fashion-MNIST, digits, SVHN and CIFAR-10. In each coarse class of two strata or more the seed draws the rare one
    and which of its images stay: as many as make it ``fraction`` of the coarse class, others · fraction / (1 -
    fraction), rounded; the others keep all. The test set keeps all images. Groups are the fine classes; the minority
    are the rare ones. Normalisation is measured anew.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise RddError(f"fraction must lie between 0 and 1, not {fraction!r}: of a coarse class, for its rare stratum")
    fine_names = splits.train.class_names
    table = sort_classes(fine_names, strata, splits.name)
    generator = machine.stream(seed, "hidden-strata")
    members = _members(splits.train, 0, "", generator)
    rare = torch.zeros(len(fine_names), dtype=torch.bool)
    for coarse, fine in table.items():
        drawn = fine[int(torch.randint(len(fine), (), generator=generator))]
        if len(fine) == 1:
            continue
        others = sum(len(members[label]) for label in fine if label != drawn)
        wanted = _round(others * fraction / (1 - fraction))
        if not 0 < wanted <= len(members[drawn]):
            mend = "raise the fraction or add images" if wanted == 0 else "lower the fraction"
            raise RddError(
                f"a fraction of {fraction:g} of {coarse!r} would be {wanted} images of {fine_names[drawn]!r}, which "
                f"has {len(members[drawn])}: {mend}"
            )
        rare[drawn] = True
        members[drawn] = members[drawn][:wanted]
    coarse_of = torch.empty(len(fine_names), dtype=torch.int64)
    for index, fine in enumerate(table.values()):
        coarse_of[fine] = index

    def fields(labels: Tensor) -> dict[str, Any]:
        return {
            "labels": coarse_of[labels],
            "class_names": tuple(table),
            "groups": labels,
            "group_names": fine_names,
            "minority": rare[labels],
            "minority_names": ("common strata", "rare strata"),
        }

    given = "" if strata == "auto" else f" strata={strata!r}"
    return _thinned(splits, members, fields, f"{splits.name} hidden-strata fraction={fraction:g}{given} seed={seed}")


# ------------------------------------------------------------------------------------------------------------ the parts


def _thinned(splits: Splits, members: list[Tensor], fields: Callable[[Tensor], dict[str, Any]], name: str) -> Splits:
    """Only ``members`` stay in training; both sets get the ``fields`` of their labels and the new statistics."""
    train = splits.train.subset(torch.cat(members).sort().values)
    mean, std = statistics(train.images)

    def part(base: ImageDataset) -> ImageDataset:
        return dataclasses.replace(base, mean=mean, std=std, name=name, **fields(base.labels))

    return Splits(part(train), part(splits.test), name)


@dataclasses.dataclass(frozen=True)
class _Worn:
    """What the images of a class wear: a colour or a texture."""

    scenario: str
    what: str
    names: tuple[str, ...]
    minority_names: tuple[str, str]


def _wear(splits: Splits, worn: _Worn, put: Callable[[Tensor, Tensor, str], Tensor], bias: float, seed: int) -> Splits:
    """A fraction ``bias`` of each training class wears what is its own; in the test set each class wears all alike."""
    _check_fraction("bias", bias)
    if splits.train.num_classes < 2:
        raise RddError(
            f"scenario {worn.scenario!r} needs at least 2 classes, {splits.name} has 1: there is no other {worn.what}"
        )
    name = f"{splits.name} {worn.scenario} bias={bias:g} seed={seed}"

    def part(base: ImageDataset, ids: Tensor, split: str) -> ImageDataset:
        images = put(base.images, ids, split)
        mean, std = statistics(images)
        return dataclasses.replace(
            base,
            images=images,
            mean=mean,
            std=std,
            groups=ids,
            group_names=worn.names,
            minority=ids != base.labels,
            minority_names=worn.minority_names,
            name=name,
        )

    own = _mostly_own(splits.train, bias, worn, machine.stream(seed, worn.scenario, "train"))
    train = part(splits.train, own, "train")
    test = part(splits.test, _all_alike(splits.test, worn, machine.stream(seed, worn.scenario, "test")), "test")
    return Splits(train, test.with_statistics(train.mean, train.std), name)


def _check_fraction(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RddError(f"{option} must be a fraction from 0 to 1, not {value!r}")


def _round(value: float) -> int:
    return int(round(value, 9) + 0.5)  # halves upwards, also those that floating point puts a little below


def _members(data: ImageDataset, fraction: float, verb: str, generator: torch.Generator) -> list[Tensor]:
    """Each class's indices, shuffled; an error where ``fraction`` of a class would be no image at all."""
    shuffled = []
    for label, name in enumerate(data.class_names):
        members = (data.labels == label).nonzero().squeeze(1)
        if fraction > 0 and _round(len(members) * fraction) == 0:
            raise RddError(
                f"class {name!r} has {len(members)} training images, too few to {verb} a fraction of {fraction:g} of "
                "them: add images or raise the fraction"
            )
        shuffled.append(members[torch.randperm(len(members), generator=generator)])
    return shuffled


def _mostly_own(data: ImageDataset, bias: float, worn: _Worn, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: the class's own id, but for a fraction 1 - bias of each class, dealt out over the other ids."""
    ids = data.labels.clone()
    others = data.num_classes - 1
    # 1 - bias is rounded so that a bias of 0.9 means a tenth exactly.
    fraction = round(1 - bias, 12)
    for label, members in enumerate(_members(data, fraction, f"give another {worn.what} to", generator)):
        count = _round(len(members) * fraction)
        shift = 1 + torch.randperm(others, generator=generator)  # who gets one more, where they do not divide
        ids[members[:count]] = (label + shift[torch.arange(count) % others]) % data.num_classes
    return ids


def _all_alike(data: ImageDataset, worn: _Worn, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: every class with all ids, in numbers that differ by one at most."""
    ids = torch.empty_like(data.labels)
    for label, members in enumerate(_members(data, 0, "", generator)):
        if len(members) < data.num_classes:
            raise RddError(
                f"class {data.class_names[label]!r} has {len(members)} test images, too few for {data.num_classes} "
                f"{worn.what}s: add images or use fewer classes"
            )
        order = torch.randperm(data.num_classes, generator=generator)
        ids[members] = order[torch.arange(len(members)) % data.num_classes]
    return ids


def _turn(images: Tensor, angle: int) -> Tensor:
    return torch.rot90(images, angle // 90, dims=(2, 3))
