"""Random parts of a class, or of each, in which every group has its share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream

__all__ = ["evenly", "held_out"]


def evenly(members: Tensor, groups: Tensor, num_groups: int, wanted: int, generator: torch.Generator) -> Tensor:
    """A random ``wanted`` of ``members``, each group with its share of these, rounded up or down: int64 ``[wanted]``.

    Args:
        members: int64 ``[n]``, places in ``groups``.
        groups: int64 ``[N]``, 0 to ``num_groups - 1``.
        num_groups: G; 0 or 1 where there are none.
        wanted: 0 to n.
        generator: of the draw.

    >>> groups = torch.tensor([0] * 90 + [1] * 10)
    >>> torch.bincount(groups[evenly(torch.arange(100), groups, 2, 20, torch.Generator())]).tolist()
    [18, 2]
    """
    # Shuffle, then lay the groups side by side in a shuffled order and take at even steps: rounding the running
    # total gives every group its share and the whole its exact number.
    count = len(members)
    members = members[torch.randperm(count, generator=generator)]
    place = torch.randperm(max(num_groups, 1), generator=generator)
    members = members[place[groups[members]].argsort(stable=True)]
    steps = torch.arange(1, count + 1) * wanted // max(count, 1)
    return members[steps.diff(prepend=torch.zeros(1, dtype=steps.dtype)) > 0]


def held_out(
    labels: Tensor, groups: Tensor | None, class_names: Sequence[str], num_groups: int, fraction: float, seed: int
) -> Tensor:
    """Which images are held out, bool ``[N]``: see :meth:`rdd_nb.data.dataset.ImageDataset.hold_out`.

    Raises:
        RddError: ``fraction`` is not inside (0, 1), or a class is too small to give one image and keep one.
    """
    if not 0 < fraction < 1:
        raise RddError(f"the fraction to hold out must lie between 0 and 1, not {fraction}")
    generator = stream(seed, "hold_out")
    groups = torch.zeros_like(labels) if groups is None else groups
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(torch.bincount(labels, minlength=len(class_names)).tolist()):
        wanted = int(count * fraction + 0.5)
        if count and not 0 < wanted < count:
            raise RddError(
                f"class {class_names[label]!r} has {count} images, too few to hold out {fraction:g} of them: "
                "add images or change the fraction"
            )
        members = (labels == label).nonzero().squeeze(1)
        held[evenly(members, groups, num_groups, wanted, generator)] = True
    return held
