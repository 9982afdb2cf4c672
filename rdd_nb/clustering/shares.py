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
    quota = torch.zeros_like(sizes)
    while total > int(quota.sum()):
        wanted = torch.tensor([total - int(quota.sum())])
        start = torch.rand(1, 1, generator=draw, dtype=torch.float64)
        left = shares.double() * (sizes > quota)
        quota = (quota + _systematic(left[None], wanted, start)[0, 0]).minimum(sizes)
    return quota


def quotas_of_sets(shares: Tensor, sizes: Tensor, totals: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
    """The :func:`quotas` of all classes, for many sets at once: int64 ``[sets, K, G]``.

    Args:
        shares, sizes: ``[K, G]``.
        totals: int64 ``[K]``.
        draws: one for each set, which meets the classes in their order.
    """
    began = [draw.get_state() for draw in draws]
    start = torch.zeros(len(draws), len(totals), dtype=torch.float64)
    for each, draw in zip(start, draws):
        each[totals > 0] = torch.rand(int((totals > 0).sum()), generator=draw, dtype=torch.float64)
    quota = _systematic(shares.double() * (sizes > 0), totals, start.T.contiguous()).transpose(0, 1)
    for lacking in (quota > sizes).any(2).any(1).nonzero()[:, 0].tolist():  # a group is too small for its part
        draw = draws[lacking].set_state(began[lacking])
        each = zip(shares, sizes, totals.tolist())
        quota[lacking] = torch.stack([quotas(share, size, total, draw) for share, size, total in each])
    return quota


def _systematic(shares: Tensor, totals: Tensor, starts: Tensor) -> Tensor:
    """``totals`` ``[K]`` divided by the ``shares`` ``[K, G]`` of each class, for each of ``starts`` ``[K, sets]`` in
    [0, 1): int64 ``[K, sets, G]``."""
    order = shares.argsort(dim=1, descending=True, stable=True)
    ends = (shares / shares.sum(1, keepdim=True)).gather(1, order).cumsum(1)
    points = (torch.arange(int(totals.max())) + starts[:, :, None]) / totals[:, None, None]
    place = torch.searchsorted(ends, points.flatten(1), right=True).clamp_max(shares.shape[1] - 1)
    asked = (torch.arange(points.shape[2]) < totals[:, None, None]).expand_as(points)
    quota = torch.zeros(*starts.shape, shares.shape[1], dtype=torch.int64)
    return quota.scatter_add_(2, order.gather(1, place).view(points.shape), asked.long())


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
