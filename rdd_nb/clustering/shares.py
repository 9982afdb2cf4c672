"""Each group's share of its class, the sample weights that give it, and how much of what is matched a group is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError

__all__ = ["group_mass", "group_shares", "group_weights", "matched_mass", "quotas", "quotas_of_sets", "rank_within"]


def matched_mass(weights: Tensor, labels: Tensor, marked: Tensor) -> float:
    """The share of ``marked`` samples (bool ``[N]``) in what is matched, averaged over the classes that have some.

    Args:
        weights: ``[N]``, at least 0: each real sample's part, up to a factor for each class
            (:func:`rdd_nb.distillation.initialization.sampling_weights`).
        labels: int64 ``[N]``.

    Returns:
        A share in [0, 1]; NaN where nothing is marked. In plain matching it is the share that they have in the data.

    >>> import torch
    >>> weights, labels = torch.tensor([3.0, 1.0, 1.0]), torch.zeros(3, dtype=torch.int64)
    >>> round(matched_mass(weights, labels, torch.tensor([True, False, False])), 3)
    0.6
    """
    shares = []
    for label in labels.unique():
        mine = labels == label
        if marked[mine].any():
            shares.append(float((weights[mine] * marked[mine]).sum() / weights[mine].sum()))
    return float(np.mean(shares)) if shares else float("nan")


def group_mass(groups: Groups, labels: Tensor, marked: Tensor, power: float = 0.0) -> float:
    """The :func:`matched_mass` of :func:`group_weights`: how much of what groups match is of ``marked`` samples.

    For a minority of share s, a value of s means that the groups do not see it.
    """
    return matched_mass(group_weights(groups, labels, int(labels.max()) + 1, power), labels, marked)


def group_shares(groups: Groups, labels: Tensor, num_classes: int, power: float = 0.0) -> Tensor:
    """Each group's share of its class: its size to the ``power``, float64 ``[num_classes, G]``, rows that sum to 1.

    0 gives all groups of a class the same, 1 gives what they have in the data, which is plain matching; in between
    rare groups are raised in part (sampling at temperature 1/power, as multilingual models draw their languages:
    Arivazhagan et al., 1907.05019). Where the groups say how ``learnable`` they are, a group of natural share s is
    raised by s^(−(1 − power)·learnable) instead: in full at 1, not at all at 0, above 1 further than ``power`` says, at
    most until all groups count the same.

    Raises:
        RddError: ``power`` outside [0, 1].

    >>> import torch
    >>> groups = Groups(torch.tensor([0] * 16 + [1] * 4), 2, "doctest")
    >>> [group_shares(groups, torch.zeros(20, dtype=torch.int64), 1, power)[0].tolist() for power in (0, 1)]
    [[0.5, 0.5], [0.8, 0.2]]
    """
    if not 0 <= power <= 1:
        raise RddError(f"group_power={power} must lie in [0, 1]: 0 for equal groups, 1 for their natural sizes")
    sizes = groups.sizes(labels, num_classes)
    if groups.learnable is None:
        raised = sizes.double().pow(power) * (sizes > 0)
    else:
        natural = (sizes / sizes.sum(1, keepdim=True).clamp_min(1)).double()
        raised = natural * natural.clamp_min(1e-12).pow(((power - 1) * groups.learnable[:num_classes]).clamp_min(-1))
    return raised / raised.sum(1, keepdim=True).clamp_min(1e-12)


def group_weights(groups: Groups, labels: Tensor, num_classes: int, power: float = 0.0) -> Tensor:
    """A weight for each sample, ``[N]``, that gives each group its :func:`group_shares`; the sum is 1 in each class."""
    shares = group_shares(groups, labels, num_classes, power)
    sizes = groups.sizes(labels, num_classes)
    return shares[labels, groups.ids] / sizes[labels, groups.ids]


def quotas(shares: Tensor, sizes: Tensor, total: int, draw: torch.Generator) -> Tensor:
    """How many of ``total`` images each group gives: int64 ``[G]``, its share to within one, at most its size.

    By one systematic draw over the groups, largest share first, so that a group's expected number is its share. What a
    group is too small to give goes to the next draw among those that have images left.
    """
    return quotas_of_sets(shares[None], sizes[None], torch.tensor([total]), [draw])[0, 0]


def quotas_of_sets(shares: Tensor, sizes: Tensor, totals: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
    """The :func:`quotas` of all classes, for many sets at once: int64 ``[sets, K, G]``.

    Args:
        shares, sizes: ``[K, G]``.
        totals: int64 ``[K]``.
        draws: one for each set.
    """
    sets, (classes, groups) = len(draws), shares.shape
    shares, sizes, totals = shares.double().repeat(sets, 1), sizes.repeat(sets, 1), totals.repeat(sets)
    quota = torch.zeros_like(sizes)
    while len(which := (quota.sum(1) < totals).nonzero()[:, 0]):
        counts = torch.bincount(which // classes, minlength=sets).tolist()
        starts = [torch.rand(n, generator=draw, dtype=torch.float64) for n, draw in zip(counts, draws)]
        left = shares[which] * (sizes[which] > quota[which])
        wanted = totals[which] - quota[which].sum(1)
        quota[which] = (quota[which] + _systematic(left, wanted, torch.cat(starts))).minimum(sizes[which])
    return quota.view(sets, classes, groups)


def _systematic(shares: Tensor, totals: Tensor, starts: Tensor) -> Tensor:
    """``totals`` ``[R]`` divided by ``shares`` ``[R, G]``, beginning at ``starts`` ``[R]`` in [0, 1): int64."""
    order = shares.argsort(dim=1, descending=True, stable=True)
    ends = (shares / shares.sum(1, keepdim=True)).gather(1, order).cumsum(1)
    steps = torch.arange(int(totals.max()))
    points = (steps + starts[:, None]) / totals[:, None]
    place = torch.searchsorted(ends, points, right=True).clamp_max(shares.shape[1] - 1)
    asked = (steps < totals[:, None]).long()
    return torch.zeros_like(order).scatter_add_(1, order.gather(1, place), asked)


def rank_within(kinds: Tensor) -> Tensor:
    """How many of the same kind (int64 ``[N]``) stand before each: int64 ``[N]``.

    >>> rank_within(torch.tensor([2, 0, 2, 2])).tolist()
    [0, 0, 1, 2]
    """
    order = kinds.argsort(stable=True)
    counts = torch.bincount(kinds)
    first = counts.cumsum(0) - counts
    ranks = torch.empty_like(kinds)
    ranks[order] = torch.arange(len(kinds)) - first[kinds[order]]
    return ranks
