"""Subpopulation shifts: rotated images, long-tailed classes and hidden strata that are rare in training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.exact_counts import check_fraction, class_members, rounded
from rdd_nb.data.strata import sort_classes

__all__ = ["hidden_strata", "long_tail", "rotated_minority"]


def rotated_minority(splits: Splits, *, seed: int, fraction: float = 0.1, angle: int = 90) -> Splits:
    """A fraction of each class is turned; the test set shows all images both ways.

    ``fraction`` of each class's training images, drawn by the seed, is turned by ``angle`` degrees counter-clockwise (a
    multiple of 90, so no pixel is lost). The test set is doubled: all images upright, then all of them turned. Groups
    are upright and rotated; the minority is rotated.
    """
    check_fraction("fraction", fraction)
    if not isinstance(angle, int) or angle % 90 or angle % 360 == 0:
        raise RddError(f"angle must be 90, 180 or 270 degrees, not {angle!r}: other angles would blur the images")
    height, width = splits.train.shape[1:]
    if angle % 180 and height != width:
        raise RddError(
            f"scenario 'rotated-minority' needs square images to turn by {angle}°, {splits.name} has {height}×{width}: "
            "load it with size=… or use angle=180"
        )
    turned = torch.zeros(len(splits.train), dtype=torch.bool)
    generator = stream(seed, "rotated-minority")
    for members in class_members(splits.train, fraction, "rotate", generator):
        turned[members[: rounded(len(members) * fraction)]] = True
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


def long_tail(splits: Splits, *, seed: int, ratio: float = 50) -> Splits:
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
    counts = [rounded(largest * ratio ** (-rank / (classes - 1))) for rank in range(classes)]
    if counts[-1] == 0:
        raise RddError(
            f"the smallest class of {splits.name} has {largest} training images, too few for a ratio of {ratio:g}: the "
            "last class would keep none; lower the ratio or add images"
        )
    generator = stream(seed, "long-tail")
    order = torch.randperm(classes, generator=generator)
    thirds = [0] * ((classes + 2) // 3) + [1] * (classes // 3) + [2] * ((classes + 1) // 3)
    members, third = class_members(splits.train, 0, "", generator), torch.empty(classes, dtype=torch.int64)
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


def hidden_strata(splits: Splits, *, seed: int, fraction: float = 0.05, strata: str = "auto") -> Splits:
    """Labels are coarse classes; in each, one of the fine classes that it hides is rare in training.

    ``strata`` sorts all classes into coarse ones, as in "tops: shirt, coat; shoes: boot, sneaker"; "auto" knows tables
    for Fashion-MNIST, digits, SVHN and CIFAR-10. In each coarse class of two strata or more the seed draws the rare one
    and which of its images stay: as many as make it ``fraction`` of the coarse class, others · fraction / (1 -
    fraction), rounded; the others keep all. The test set keeps all images. Groups are the fine classes; the minority
    are the rare ones. Normalisation is measured anew.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise RddError(f"fraction must lie between 0 and 1, not {fraction!r}: of a coarse class, for its rare stratum")
    if not isinstance(strata, str):
        raise RddError(f"strata must be a text such as 'tops: shirt, coat; shoes: boot', not {strata!r}")
    fine_names = splits.train.class_names
    table = sort_classes(fine_names, strata, splits.name)
    generator = stream(seed, "hidden-strata")
    members = class_members(splits.train, 0, "", generator)
    rare = torch.zeros(len(fine_names), dtype=torch.bool)
    for coarse, fine in table.items():
        drawn = fine[int(torch.randint(len(fine), (), generator=generator))]
        if len(fine) == 1:
            continue
        others = sum(len(members[label]) for label in fine if label != drawn)
        wanted = rounded(others * fraction / (1 - fraction))
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


def _thinned(splits: Splits, members: list[Tensor], fields: Callable[[Tensor], dict[str, Any]], name: str) -> Splits:
    """Only ``members`` stay in training; both sets get the ``fields`` of their labels and the new statistics."""
    train = splits.train.subset(torch.cat(members).sort().values)
    mean, std = statistics(train.images)

    def part(base: ImageDataset) -> ImageDataset:
        return dataclasses.replace(base, mean=mean, std=std, name=name, **fields(base.labels))

    return Splits(part(train), part(splits.test), name)


def _turn(images: Tensor, angle: int) -> Tensor:
    return torch.rot90(images, angle // 90, dims=(2, 3))
