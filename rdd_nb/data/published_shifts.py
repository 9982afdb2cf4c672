"""Colour biases as others have published them: the sets of FairDD (Zhou et al. 2025, arXiv 2411.19623).

C-MNIST and C-FMNIST are :func:`coloured_foreground` and :func:`coloured_background` of MNIST and Fashion-MNIST,
CIFAR10-S is :func:`grey_half` of CIFAR-10. Sizes, padding, threshold, colours and luminance are those of the released
code (github.com/zqhang/FairDD at 37eef67). These differ:

- counts are exact, and the other colours differ by one at most; there the last of them may get fewer;
- pixels that take no colour stay grey; there they are black (``rest="black"``);
- C-FMNIST has the threshold of C-MNIST; there a pixel is a blend, in the foreground black to colour;
- in CIFAR10-S the first half of the classes is mostly in colour; there it is mostly grey, and the second in colour;
- normalisation is measured on the new training images; there it is 0.5 and 0.5 for C-MNIST and C-FMNIST.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.exact_counts import check_fraction, class_members, rounded
from rdd_nb.data.spurious_shifts import Worn, wear
from rdd_nb.data.textures import tint

__all__ = ["BRIGHT", "COLOURS", "coloured_background", "coloured_foreground", "grey_half"]

#: RGB of class 0 to 9, as in the released code; the names are ours.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "orange": (255, 128, 0),
    "yellow": (255, 255, 0),
    "pale yellow": (255, 255, 128),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "violet": (128, 0, 255),
    "magenta": (255, 0, 255),
    "white": (255, 255, 255),
}
BRIGHT = 128  #: from this value on a pixel is foreground
_SIDE, _PADDING = 28, 4  # images of 28×28 become 32×32


def coloured_foreground(splits: Splits, *, seed: int, bias: float = 0.9, rest: str = "kept") -> Splits:
    """What is bright takes the class's colour in most training images (FairDD's C-MNIST and C-FMNIST, foreground).

    Grey images of ten classes at most become RGB: pixels from 128 on take one of the ten :data:`COLOURS` at full
    strength, the others stay grey as they are (``rest="kept"``) or become black (``rest="black"``). Images of 28×28 are
    padded with black by 4 at the top and at the left, to 32×32; those of other sizes are not. ``bias`` is the fraction
    of each training class in the class's colour, an exact count and no probability; the others share the other colours
    alike, and in the test set every class has all alike. With K classes there are K colours. Groups are the colours;
    the minority is off-colour. Normalisation is measured anew. (``coloured`` has colours of ours, and multiplies all of
    the image by them: its shades stay.)

    Returns:
        Splits with images uint8 ``[N, 3, 32, 32]``, or ``[N, 3, H, W]`` if they were not of 28×28.

    Raises:
        RddError: images in colour, more than ten classes, a wrong bias or rest, too few images.

    Source: arXiv 2411.19623; how its released code differs, :mod:`rdd_nb.data.published_shifts` tells.
    """
    return _painted(splits, "coloured-foreground", lambda images: images >= BRIGHT, seed, bias, rest)


def coloured_background(splits: Splits, *, seed: int, bias: float = 0.9, rest: str = "kept") -> Splits:
    """What is dark takes the class's colour in most training images (FairDD's C-MNIST and C-FMNIST, background).

    All is as in ``coloured-foreground``, but the pixels below 128, the padding among them, take the colour.
    (``background`` lays textures, which differ in form and not in colour, and leaves objects as they are.)

    Returns:
        Splits with images uint8 ``[N, 3, 32, 32]``, or ``[N, 3, H, W]`` if they were not of 28×28.

    Raises:
        RddError: images in colour, more than ten classes, a wrong bias or rest, too few images.

    Source: arXiv 2411.19623; how its released code differs, :mod:`rdd_nb.data.published_shifts` tells.
    """
    return _painted(splits, "coloured-background", lambda images: images < BRIGHT, seed, bias, rest)


def grey_half(splits: Splits, *, seed: int, bias: float = 0.9) -> Splits:
    """Half of the classes are mostly in colour in training, half mostly grey; tested both ways (FairDD's CIFAR10-S).

    ``bias`` is the fraction of each training class, an exact count, that has its class's own form: colour in the first
    half of the classes (with the middle one, if they are odd in number), grey in the others. Grey is the luminance
    (0.299 R + 0.587 G + 0.114 B, rounded as Pillow does) in three equal channels. The test set is doubled: all images
    in colour, then all of them grey. Groups are colour and grey; the minority has the other form. Normalisation is
    measured anew.

    Returns:
        Splits with images uint8 ``[N, 3, H, W]``, in the test set twice as many as there were.

    Raises:
        RddError: grey images, a single class, a wrong bias, too few images.

    Source: arXiv 2411.19623; how its released code differs, :mod:`rdd_nb.data.published_shifts` tells.
    """
    check_fraction("bias", bias)
    base, classes = splits.train, splits.train.num_classes
    if base.shape[0] != 3 or bool((base.images == base.images[:, :1]).all()):
        raise RddError(
            f"scenario 'grey-half' needs images in colour, those of {splits.name} are grey: take other data, such as "
            "cifar10"
        )
    if classes < 2:
        raise RddError(f"scenario 'grey-half' needs at least 2 classes, {splits.name} has 1: there is no other half")
    fraction = round(1 - bias, 12)  # so that a bias of 0.9 means a tenth exactly
    own = (2 * torch.arange(classes) >= classes).to(torch.int64)
    ids = own[base.labels]
    generator = stream(seed, "grey-half")
    for members in class_members(base, fraction, "give the other form to", generator):
        ids[members[: rounded(len(members) * fraction)]] ^= 1
    images = base.images.clone()
    images[ids == 1] = _grey(images[ids == 1])
    mean, std = statistics(images)
    name = f"{splits.name} grey-half bias={bias:g} seed={seed}"

    def part(base: ImageDataset, images: Tensor, labels: Tensor, ids: Tensor) -> ImageDataset:
        return dataclasses.replace(
            base,
            images=images,
            labels=labels,
            mean=mean,
            std=std,
            groups=ids,
            group_names=("colour", "grey"),
            minority=ids != own[labels],
            minority_names=("own form", "other form"),
            name=name,
        )

    both = torch.cat([splits.test.images, _grey(splits.test.images)])
    forms = torch.arange(2).repeat_interleave(len(splits.test))
    test = part(splits.test, both, splits.test.labels.repeat(2), forms)
    return Splits(part(base, images, base.labels, ids), test, name)


def _painted(
    splits: Splits, scenario: str, chosen: Callable[[Tensor], Tensor], seed: int, bias: float, rest: str
) -> Splits:
    """The ``chosen`` pixels of each image in one colour."""
    if rest not in ("kept", "black"):
        raise RddError(f"rest must be 'kept' or 'black', not {rest!r}: what becomes of pixels that take no colour")
    channels, classes = splits.train.shape[0], splits.train.num_classes
    if channels != 1:
        raise RddError(
            f"scenario {scenario!r} needs grey images, {splits.name} has {channels} channels: load it with channels=1"
        )
    if classes > len(COLOURS):
        raise RddError(
            f"scenario {scenario!r} has {len(COLOURS)} colours, {splits.name} has {classes} classes: take the scenario "
            "'coloured', which has one for each, or fewer classes"
        )
    given = "" if rest == "kept" else f" rest={rest}"
    worn = Worn(scenario, "colour", tuple(COLOURS)[:classes], ("on-colour", "off-colour"), given)
    colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)

    def put(images: Tensor, ids: Tensor, split: str) -> Tensor:
        if images.shape[2:] == (_SIDE, _SIDE):
            images = F.pad(images, (_PADDING, 0, _PADDING, 0))
        others = images.expand(-1, 3, -1, -1) if rest == "kept" else torch.zeros((), dtype=torch.uint8)
        return torch.where(chosen(images), colours[ids][:, :, None, None], others)

    return wear(splits, worn, put, bias, seed)


def _grey(images: Tensor) -> Tensor:
    """uint8 ``[N, 3, H, W]``: the luminance in three equal channels, as white light shows it."""
    return tint(images, torch.zeros(len(images), dtype=torch.int64), [(255, 255, 255)])
