"""Spurious correlations: each class mostly has its own colour or background in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.exact_counts import check_fraction, class_members, rounded
from rdd_nb.data.textures import SHIFTS, is_dark, lay, palette, texture_names, tint

__all__ = ["Worn", "background", "coloured", "wear"]


def coloured(splits: Splits, *, seed: int, bias: float = 0.9) -> Splits:
    """Each class has its own colour in most training images; the test set holds every class in all colours alike.

    Images become grey (luminance), then take a colour: black stays black. In training, ``bias`` is the fraction of each
    class that wears the class's colour; the others wear the other classes' colours, in equal numbers. Groups are the
    colours; the minority is off-colour. Normalisation is measured anew on the coloured training images.
    """
    colours = palette(splits.train.num_classes)
    worn = Worn("coloured", "colour", tuple(colours), ("on-colour", "off-colour"))

    def put(images: Tensor, ids: Tensor, split: str) -> Tensor:
        return tint(images, ids, list(colours.values()))

    return wear(splits, worn, put, bias, seed)


def background(splits: Splits, *, seed: int, bias: float = 0.9) -> Splits:
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
    worn = Worn("background", "texture", names, ("own background", "other background"))
    dark = is_dark(splits.train.images)

    def put(images: Tensor, ids: Tensor, split: str) -> Tensor:
        generator = stream(seed, "background", split, "shift")
        return lay(images, ids, torch.randint(SHIFTS, (len(ids), 2), generator=generator), dark)

    return wear(splits, worn, put, bias, seed)


@dataclasses.dataclass(frozen=True)
class Worn:
    """What the images of a class wear: a colour or a texture.

    Attributes:
        scenario: its name.
        what: is worn, in one word, such as ``"colour"``.
        names: of the K that there are, first that of class 0.
        minority_names: what to call the two sides.
        given: options that are not as usual, for the name of the data.
    """

    scenario: str
    what: str
    names: tuple[str, ...]
    minority_names: tuple[str, str]
    given: str = ""


def wear(splits: Splits, worn: Worn, put: Callable[[Tensor, Tensor, str], Tensor], bias: float, seed: int) -> Splits:
    """A fraction ``bias`` of each training class wears what is its own; in the test set each class wears all alike.

    The other training images of a class wear what belongs to the other classes, in numbers that differ by one at most.

    Args:
        splits: any base data of at least two classes.
        worn: what there is to wear.
        put: images uint8 ``[N, C, H, W]``, int64 ``[N]`` that says what each wears, ``"train"`` or ``"test"`` → images.
        bias: 0 to 1.
        seed: decides which image wears what.

    Raises:
        RddError: a bias out of range, one class alone, too few images.
    """
    check_fraction("bias", bias)
    if splits.train.num_classes < 2:
        raise RddError(
            f"scenario {worn.scenario!r} needs at least 2 classes, {splits.name} has 1: there is no other {worn.what}"
        )
    name = f"{splits.name} {worn.scenario} bias={bias:g}{worn.given} seed={seed}"

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

    own = _mostly_own(splits.train, bias, worn, stream(seed, worn.scenario, "train"))
    train = part(splits.train, own, "train")
    test = part(splits.test, _all_alike(splits.test, worn, stream(seed, worn.scenario, "test")), "test")
    return Splits(train, test.with_statistics(train.mean, train.std), name)


def _mostly_own(data: ImageDataset, bias: float, worn: Worn, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: the class's own id, but for a fraction 1 - bias of each class, spread over the other ids."""
    ids = data.labels.clone()
    others = data.num_classes - 1
    # 1 - bias is rounded so that a bias of 0.9 means a tenth exactly.
    fraction = round(1 - bias, 12)
    for label, members in enumerate(class_members(data, fraction, f"give another {worn.what} to", generator)):
        count = rounded(len(members) * fraction)
        shift = 1 + torch.randperm(others, generator=generator)  # who gets one more, where they do not divide
        ids[members[:count]] = (label + shift[torch.arange(count) % others]) % data.num_classes
    return ids


def _all_alike(data: ImageDataset, worn: Worn, generator: torch.Generator) -> Tensor:
    """int64 ``[N]``: every class with all ids, in numbers that differ by one at most."""
    ids = torch.empty_like(data.labels)
    for label, members in enumerate(class_members(data, 0, "", generator)):
        if len(members) < data.num_classes:
            raise RddError(
                f"class {data.class_names[label]!r} has {len(members)} test images, too few for {data.num_classes} "
                f"{worn.what}s: add images or use fewer classes"
            )
        order = torch.randperm(data.num_classes, generator=generator)
        ids[members] = order[torch.arange(len(members)) % data.num_classes]
    return ids
