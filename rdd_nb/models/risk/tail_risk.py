"""CVaR of a batch of losses, exact, and within groups."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rdd_nb.models.risk.validation import (
    at_least_float32,
    check_arguments,
    check_losses,
    checked_tail,
    flag,
    group_sums,
    wide_dtype,
)

__all__ = [
    "GroupRisk",
    "cvar",
    "cvar_weights",
    "effective_tail",
    "group_cvar",
    "group_cvar_weights",
    "rockafellar_uryasev",
]


def cvar_weights(losses: Tensor, tail: float | Tensor, weights: Tensor | None = None) -> Tensor:
    """The weights ``[..., N]`` with which CVaR averages the losses; they carry no gradient and sum to 1.

    On losses sorted descending, i = 0 … n − 1, w_i = clip(t·n − i, 0, 1) / (t·n): the worst samples count fully, the
    one on the edge in part, the others not at all. Tied losses share their weight equally, so permuting the losses
    permutes the weights. With ``weights`` c_i ≥ 0 of sum W, a sample counts as c_i samples:
    w_i = clip(t·W − cum_{i−1}, 0, c_i) / (t·W), and tied losses share in proportion to c_i.

    >>> cvar_weights(torch.tensor([4.0, 1.0, 3.0, 2.0]), tail=0.375)
    tensor([0.6667, 0.0000, 0.3333, 0.0000])
    """
    check_losses(losses)
    within, counts = group_cvar_weights(losses, torch.zeros_like(losses, dtype=torch.int64), 1, tail, weights)
    return within.masked_fill(flag(counts == 0, "problems have no sample with a positive weight"), math.nan)


def cvar(losses: Tensor, tail: float | Tensor, weights: Tensor | None = None) -> Tensor:
    """Conditional value at risk ``[...]``: the mean of the worst fraction ``tail`` of the losses ``[..., N]``, exactly.

    Its gradient is :func:`cvar_weights` (Danskin's theorem). It equals min_η η + E(X − η)₊ / t (Rockafellar and
    Uryasev, "Optimization of Conditional Value-at-Risk", 2000) and the largest mean over reweightings by at most 1/t.

    >>> losses = torch.arange(1.0, 11.0)
    >>> cvar(losses, tail=0.2), cvar(losses, tail=0.8)
    (tensor(9.5000), tensor(6.5000))
    """
    return (cvar_weights(losses, tail, weights) * at_least_float32(losses)).sum(-1)


def rockafellar_uryasev(losses: Tensor, tail: float | Tensor, eta: float | Tensor) -> Tensor:
    """The convex function η + E(X − η)₊ / t of the threshold ``eta``; its least value is CVaR, at the tail's edge.

    ``eta`` broadcasts against the leading dimensions of the losses ``[..., N]``, as ``tail`` does.

    >>> rockafellar_uryasev(torch.arange(1.0, 11.0), tail=0.2, eta=torch.tensor([7.0, 8.0, 9.0, 10.0]))
    tensor([10.0000,  9.5000,  9.5000, 10.0000])
    """
    check_losses(losses)
    x = at_least_float32(losses)
    edge = eta.to(x) if isinstance(eta, Tensor) else x.new_full((), eta)
    return edge + (x - edge.unsqueeze(-1)).clamp(min=0).mean(-1) / checked_tail(tail, x).squeeze(-1).to(x.dtype)


def effective_tail(counts: Tensor, tail: float | Tensor) -> Tensor:
    """The tail that groups of ``counts`` (``[..., G]``) equal samples really average: max(tail, 1/n); NaN when empty.

    With fewer than 1/tail samples CVaR is the maximum, so the tail is one sample, however small ``tail`` is.

    >>> effective_tail(torch.tensor([3, 100, 0]), tail=0.1)
    tensor([0.3333, 0.1000,    nan])
    """
    share = 1 / counts
    return torch.maximum(share, checked_tail(tail, share).to(share.dtype)).masked_fill(counts == 0, math.nan)


class GroupRisk(NamedTuple):
    """The risk of every group. An empty group has no risk: its value is NaN, never 0."""

    values: Tensor  #: float ``[..., G]``, NaN for an empty group
    counts: Tensor  #: int64 ``[..., G]``, samples with a positive weight
    present: Tensor  #: bool ``[..., G]``
    empty: Tensor  #: int64 ``[...]``, how many groups are empty

    def mean(self) -> Tensor:
        """The mean over the groups that are present, ``[...]``; differentiable; NaN if none is."""
        return self.values.where(self.present, 0).sum(-1) / self.present.sum(-1)

    def worst(self) -> Tensor:
        """The largest risk of a group that is present, ``[...]``; differentiable (ties share); NaN if none is."""
        worst = self.values.where(self.present, -math.inf).amax(-1)
        return worst.masked_fill(~self.present.any(-1), math.nan)


@torch.no_grad()
def group_cvar_weights(
    losses: Tensor, groups: Tensor, num_groups: int, tail: float | Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """CVaR weights within each group, and how many samples with a positive weight each group has.

    The losses, the int64 ``groups`` and the nonnegative sample ``weights`` are ``[..., N]``; a sample of weight 0 is as
    good as absent. The weights returned, ``[..., N]``, sum to 1 over every group that is not empty and are 0 where a
    sample belongs to no group; the counts are int64 ``[..., G]``.

    >>> group_cvar_weights(torch.tensor([5.0, 1.0, 2.0, 9.0]), torch.tensor([0, 0, 2, -1]), 3, tail=0.5)
    (tensor([1., 0., 1., 0.]), tensor([2, 0, 1]))
    """
    bad = check_arguments(losses, groups, num_groups, weights)
    x, t = at_least_float32(losses), checked_tail(tail, losses)
    tiny = torch.finfo(t.dtype).tiny  # keeps 0/0 away where there is no mass; a numerator of 0 then gives weight 0
    bucket = groups % (num_groups + 1)  # -1 becomes a last bucket, whose weights are dropped
    mass = torch.ones_like(x, dtype=t.dtype) if weights is None else weights.to(t.dtype)
    if weights is not None:  # scaled to sum to 1 in each group: a light group is not lost in the rounding of heavy ones
        mass = mass / group_sums(mass, bucket, num_groups + 1).clamp(min=tiny).gather(-1, bucket)
    above, equal, total = _standing(x, bucket, mass, num_groups + 1)
    limit = (t * total).clamp(min=tiny)
    within = mass * ((limit - above) / equal.clamp(min=tiny)).clamp(0, 1) / limit
    within = within.masked_fill(bucket == num_groups, 0).masked_fill(bad | ~((t > 0) & (t <= 1)), math.nan)
    return within.to(x.dtype), group_sums((mass > 0).long(), bucket, num_groups)


def _standing(x: Tensor, bucket: Tensor, mass: Tensor, buckets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sample, within its bucket: the mass of greater losses, the mass tied with it, the mass of all.

    A lexicographic sort (by loss, then stably by bucket) lays every bucket out as one stretch of descending losses, and
    equal losses in it as one run. With mass 1 for each sample all sums here are whole numbers, hence exact.
    """
    order = x.argsort(dim=-1, descending=True)
    order = order.gather(-1, bucket.gather(-1, order).argsort(dim=-1, stable=True))
    value, stretch = x.gather(-1, order), bucket.gather(-1, order)
    run = torch.zeros_like(order)
    run[..., 1:] = (value[..., 1:] != value[..., :-1]) | (stretch[..., 1:] != stretch[..., :-1])
    run = torch.empty_like(order).scatter_(-1, order, run.cumsum(-1))  # each sample's run, in the original order
    tied, total = group_sums(mass, run, x.shape[-1]), group_sums(mass, bucket, buckets)
    above = (tied.cumsum(-1) - tied).gather(-1, run) - (total.cumsum(-1) - total).gather(-1, bucket)
    return above, tied.gather(-1, run), total.gather(-1, bucket)


def group_cvar(
    losses: Tensor, groups: Tensor, num_groups: int, tail: float | Tensor, weights: Tensor | None = None
) -> GroupRisk:
    """CVaR of the losses ``[..., N]`` of each group, differentiable; arguments as of :func:`group_cvar_weights`.

    >>> risk = group_cvar(torch.tensor([5.0, 1.0, 2.0, 9.0]), torch.tensor([0, 0, 2, -1]), 3, tail=0.5)
    >>> risk.values, risk.worst(), risk.empty
    (tensor([5., nan, 2.]), tensor(5.), tensor(1))
    """
    within, counts = group_cvar_weights(losses, groups, num_groups, tail, weights)
    return risk_of_parts(within * at_least_float32(losses), groups, counts)


def risk_of_parts(parts: Tensor, groups: Tensor, counts: Tensor) -> GroupRisk:
    """The risk of each group from every sample's part ``[..., N]`` in it, its CVaR weight times its loss."""
    bucket = (groups % (counts.shape[-1] + 1)).expand(parts.shape)
    values = group_sums(parts.to(wide_dtype(parts)), bucket, counts.shape[-1]).to(parts.dtype)
    return GroupRisk(values.masked_fill(counts == 0, math.nan), counts, counts > 0, (counts == 0).sum(-1))
