"""A random part of a class in which every group has its share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["evenly"]


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
