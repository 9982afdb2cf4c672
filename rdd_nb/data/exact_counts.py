"""Exact numbers of images drawn from each class."""

from __future__ import annotations

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["check_fraction", "class_members", "rounded"]


def check_fraction(option: str, value: object) -> None:
    """An RddError unless ``value`` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RddError(f"{option} must be a fraction from 0 to 1, not {value!r}")


def rounded(value: float) -> int:
    """``value`` to the nearest whole number, halves upwards, also those that floating point puts a little below."""
    return int(round(value, 9) + 0.5)


def class_members(data: ImageDataset, fraction: float, verb: str, generator: torch.Generator) -> list[Tensor]:
    """Each class's indices, shuffled; an error where ``fraction`` of a class would be no image at all."""
    shuffled = []
    for label, name in enumerate(data.class_names):
        members = (data.labels == label).nonzero().squeeze(1)
        if fraction > 0 and rounded(len(members) * fraction) == 0:
            raise RddError(
                f"class {name!r} has {len(members)} training images, too few to {verb} a fraction of {fraction:g} of "
                "them: add images or raise the fraction"
            )
        shuffled.append(members[torch.randperm(len(members), generator=generator)])
    return shuffled
