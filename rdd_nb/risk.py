"""Risk of a batch of losses: exact CVaR, CVaR within groups, the double robust objective, and group DRO.

Losses have shape ``[..., N]``; leading dimensions are independent problems, solved at once. Group ids are integers
``0 … num_groups - 1``, and ``-1`` says that a sample belongs to no group. ``tail`` in (0, 1] is the fraction of worst
samples averaged: 1 gives the mean, towards 0 the maximum. A tensor of tails broadcasts against the leading dimensions,
so ``cvar(losses, tails)`` is a whole CVaR curve from one sort. Half precision is raised to float32 (results too), and
sums over groups run in float64 where the device has it.

Bad input raises :class:`~rdd_nb.errors.RddError`. Its *values* (losses, ids, weights, a tensor of tails) are looked at
on the CPU only, since an accelerator would have to be waited for; there a bad value turns the problem it lies in to
NaN, which whoever watches the loss then sees.

Small batches make CVaR look safe: exponential losses have CVaR 3.30 at tail 0.1, but the average over batches of 8 is
2.72, of 32 it is 3.16, of 128 it is 3.27. See :func:`effective_tail` and :class:`DualCVaR`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rdd_nb.errors import RddError

__all__ = [
    "DualCVaR",
    "GroupDRO",
    "GroupRisk",
    "cvar",
    "cvar_weights",
    "effective_tail",
    "group_cvar",
    "group_cvar_weights",
    "robust_risk",
    "robust_weights",
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
    _check_losses(losses)
    within, counts = group_cvar_weights(losses, torch.zeros_like(losses, dtype=torch.int64), 1, tail, weights)
    return within.masked_fill(_bad(counts == 0, "problems have no sample with a positive weight"), math.nan)


def cvar(losses: Tensor, tail: float | Tensor, weights: Tensor | None = None) -> Tensor:
    """Conditional value at risk ``[...]``: the mean of the worst fraction ``tail`` of the losses ``[..., N]``, exactly.

    Its gradient is :func:`cvar_weights` (Danskin's theorem). It equals min_η η + E(X − η)₊ / t (Rockafellar and
    Uryasev, "Optimization of Conditional Value-at-Risk", 2000) and the largest mean over reweightings by at most 1/t.

    >>> losses = torch.arange(1.0, 11.0)
    >>> cvar(losses, tail=0.2), cvar(losses, tail=0.8)
    (tensor(9.5000), tensor(6.5000))
    """
    return (cvar_weights(losses, tail, weights) * _raised(losses)).sum(-1)


def rockafellar_uryasev(losses: Tensor, tail: float | Tensor, eta: float | Tensor) -> Tensor:
    """The convex function η + E(X − η)₊ / t of the threshold ``eta``; its least value is CVaR, at the tail's edge.

    ``eta`` broadcasts against the leading dimensions of the losses ``[..., N]``, as ``tail`` does.

    >>> rockafellar_uryasev(torch.arange(1.0, 11.0), tail=0.2, eta=torch.tensor([7.0, 8.0, 9.0, 10.0]))
    tensor([10.0000,  9.5000,  9.5000, 10.0000])
    """
    _check_losses(losses)
    x = _raised(losses)
    edge = eta.to(x) if isinstance(eta, Tensor) else x.new_full((), eta)
    return edge + (x - edge.unsqueeze(-1)).clamp(min=0).mean(-1) / _fraction(tail, x).squeeze(-1).to(x.dtype)


def effective_tail(counts: Tensor, tail: float | Tensor) -> Tensor:
    """The tail that groups of ``counts`` (``[..., G]``) equal samples really average: max(tail, 1/n); NaN when empty.

    With fewer than 1/tail samples CVaR is the maximum, so the tail is one sample, however small ``tail`` is.

    >>> effective_tail(torch.tensor([3, 100, 0]), tail=0.1)
    tensor([0.3333, 0.1000,    nan])
    """
    share = 1 / counts
    return torch.maximum(share, _fraction(tail, share).to(share.dtype)).masked_fill(counts == 0, math.nan)


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
    bad = _check(losses, groups, num_groups, weights)
    x, t = _raised(losses), _fraction(tail, losses)
    tiny = torch.finfo(t.dtype).tiny  # keeps 0/0 away where there is no mass; a numerator of 0 then gives weight 0
    bucket = groups % (num_groups + 1)  # -1 becomes a last bucket, whose weights are dropped
    mass = torch.ones_like(x, dtype=t.dtype) if weights is None else weights.to(t.dtype)
    if weights is not None:  # scaled to sum to 1 in each group: a light group is not lost in the rounding of heavy ones
        mass = mass / _sums(mass, bucket, num_groups + 1).clamp(min=tiny).gather(-1, bucket)
    above, equal, total = _standing(x, bucket, mass, num_groups + 1)
    limit = (t * total).clamp(min=tiny)
    within = mass * ((limit - above) / equal.clamp(min=tiny)).clamp(0, 1) / limit
    within = within.masked_fill(bucket == num_groups, 0).masked_fill(bad | ~((t > 0) & (t <= 1)), math.nan)
    return within.to(x.dtype), _sums((mass > 0).long(), bucket, num_groups)


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
    tied, total = _sums(mass, run, x.shape[-1]), _sums(mass, bucket, buckets)
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
    return _risk(within * _raised(losses), groups, counts)


def _risk(parts: Tensor, groups: Tensor, counts: Tensor) -> GroupRisk:
    bucket = (groups % (counts.shape[-1] + 1)).expand(parts.shape)
    values = _sums(parts.to(_wide(parts)), bucket, counts.shape[-1]).to(parts.dtype)
    return GroupRisk(values.masked_fill(counts == 0, math.nan), counts, counts > 0, (counts == 0).sum(-1))


@torch.no_grad()
def robust_weights(
    losses: Tensor,
    groups: Tensor,
    num_groups: int,
    tail: float | Tensor,
    mean_weight: float = 1.0,
    max_weight: float = 1.0,
    erm_weight: float = 0.0,
    weights: Tensor | None = None,
    group_shares: Tensor | None = None,
) -> Tensor:
    """The sample weights ``[..., N]`` of the double robust objective; they carry no gradient and sum to 1.

    The objective (Vahidian et al., arXiv 2402.04676, as reconstructed from its code) is robust twice, within groups and
    across them: mean_weight · mean_g CVaR_t[g] + max_weight · max_g CVaR_t[g] + erm_weight · mean loss, here divided by
    the sum of the three weights. Empty groups are skipped, groups that tie for the maximum share it equally, and the
    mean loss runs over all samples, also those without a group. ``group_shares`` (``[..., G]``, at least 0) make the
    mean over groups a weighted one, over those that are present; without them all count the same. A weighted mean of
    gradients with these weights is the gradient of the risk. To pad rows of unequal length, give the padding a finite
    loss and, in ``weights``, weight 0. A row in which every group is empty raises (CPU) or becomes NaN.

    >>> losses, groups = torch.tensor([5.0, 1.0, 2.0, 3.0]), torch.tensor([0, 0, 1, 1])
    >>> robust_weights(losses, groups, 2, tail=0.5)
    tensor([0.7500, 0.0000, 0.0000, 0.2500])
    """
    mix = (mean_weight, max_weight, erm_weight)
    if not all(math.isfinite(m) and m >= 0 for m in mix) or sum(mix) == 0:
        raise RddError(f"mean_weight, max_weight, erm_weight must be nonnegative and not all zero, got {mix}")
    within, counts = group_cvar_weights(losses, groups, num_groups, tail, weights)
    risk = _risk(within * _raised(losses), groups, counts)
    _bad((counts == 0).all(-1), "problems have no group with a sample of positive weight")
    present, worst = (mask.to(_wide(within)) for mask in (counts > 0, risk.values == risk.worst().unsqueeze(-1)))
    if group_shares is not None:
        present = present * group_shares.to(present)
        _bad(present.sum(-1) <= 0, "problems have no group with a sample and a positive share")
    share = mean_weight * present / present.sum(-1, keepdim=True)
    share = share + max_weight * worst / worst.sum(-1, keepdim=True)
    index = groups.clamp(0, num_groups - 1).expand(within.shape)  # where that moves an id, the weight is 0 or NaN
    mass = torch.ones_like(losses, dtype=share.dtype) if weights is None else weights.to(share.dtype)
    mixed = within * share.gather(-1, index) + erm_weight * mass / mass.sum(-1, keepdim=True)
    return (mixed / sum(mix)).to(within.dtype)


def robust_risk(
    losses: Tensor,
    groups: Tensor,
    num_groups: int,
    tail: float | Tensor,
    mean_weight: float = 1.0,
    max_weight: float = 1.0,
    erm_weight: float = 0.0,
    weights: Tensor | None = None,
    group_shares: Tensor | None = None,
) -> Tensor:
    """The double robust objective ``[...]`` of :func:`robust_weights`, which are its gradient.

    >>> losses, groups = torch.tensor([5.0, 1.0, 2.0, 3.0]), torch.tensor([0, 0, 1, 1])
    >>> robust_risk(losses, groups, 2, tail=0.5)  # (mean of 5 and 3, plus 5) / 2
    tensor(4.5000)
    """
    w = robust_weights(losses, groups, num_groups, tail, mean_weight, max_weight, erm_weight, weights, group_shares)
    return (w * _raised(losses)).sum(-1)


class GroupDRO:
    """Weights q over groups that follow the losses: exponentiated gradient ascent, kept as log q.

    q_g ← q_g · exp(step · loss_g), renormalised (Sagawa et al., arXiv 1911.08731, Algorithm 1). There q moves before θ:
    call :meth:`update`, then train θ with :attr:`weights`. Two repairs: a group absent from a batch keeps its q exactly
    (the others share what they held before), and q stays ≥ ``floor`` (by Kullback–Leibler projection), so that no group
    is lost. Sample batches in which groups are balanced.

    >>> dro = GroupDRO(3, step=1.0)
    >>> dro.update(torch.tensor([2.0, 1.0, math.nan]), torch.tensor([True, True, False]))
    tensor([0.4874, 0.1793, 0.3333], dtype=torch.float64)
    """

    def __init__(
        self, num_groups: int, step: float = 0.01, floor: float = 0.0, device: str | torch.device = "cpu"
    ) -> None:
        if num_groups < 1 or not 0 <= step < math.inf or not 0 <= floor * num_groups <= 1:
            given = f"{num_groups}, {step}, {floor}"
            raise RddError(f"group DRO needs num_groups ≥ 1, step ≥ 0 and 0 ≤ floor ≤ 1/num_groups, got {given}")
        self.num_groups, self.step, self.floor = num_groups, step, floor
        self.log_q = torch.zeros(num_groups, dtype=_wide(torch.empty(0, device=device)), device=device).log_softmax(0)

    @property
    def weights(self) -> Tensor:
        """q: ``[G]``, nonnegative, sums to 1."""
        return self.log_q.exp()

    @torch.no_grad()
    def update(self, group_losses: Tensor, present: Tensor | None = None) -> Tensor:
        """Move q by the losses ``[G]`` of the groups that are ``present`` (bool ``[G]``; all by default); return q."""
        seen = torch.ones_like(self.log_q, dtype=torch.bool) if present is None else present
        if group_losses.shape != self.log_q.shape or seen.shape != self.log_q.shape or seen.dtype != torch.bool:
            raise RddError(f"group DRO over {self.num_groups} groups needs losses and a bool `present` of that length")
        losses = group_losses.to(self.log_q).masked_fill(~seen, 0)
        _bad(~losses.isfinite(), "groups are present but have a loss that is not finite")
        held = self.log_q.masked_fill(~seen, -math.inf)
        moved = (held + self.step * losses).log_softmax(0)
        # The projection: groups below the floor are raised to it; the k others keep their proportions.
        best = moved.exp().sort(descending=True).values
        sums, k = best.cumsum(0), torch.arange(1, self.num_groups + 1, dtype=best.dtype, device=best.device)
        rest = held.exp().sum() - (seen.sum() - k) * self.floor
        last = ((best * rest >= self.floor * sums).sum() - 1).clamp(min=0)
        moved = moved + (rest.take(last) / sums.take(last)).log()
        self.log_q = self.log_q.where(~seen, moved.clamp(min=math.log(self.floor) if self.floor else -math.inf))
        return self.weights

    def state_dict(self) -> dict[str, Tensor]:
        """The state, for a checkpoint."""
        return {"log_q": self.log_q.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up a state that :meth:`state_dict` gave; it keeps this object's device."""
        log_q = state.get("log_q", torch.empty(0))
        if log_q.shape != self.log_q.shape or not bool((log_q.exp() >= self.floor * (1 - 1e-4)).all()):
            raise RddError(f"not a state of group DRO over {self.num_groups} groups with floor {self.floor}")
        self.log_q = log_q.to(self.log_q)


class DualCVaR:
    """CVaR of groups from a stream of small batches: one threshold η a group, kept from batch to batch.

    CVaR of a small batch is too low; η + E(X − η)₊ / t is not, for an η that does not depend on the batch.
    :meth:`update` returns that and moves η by ``lr`` (in units of the loss) down its gradient 1 − Pr(X > η) / t.
    A group's η starts at the mean of its first batch, so let some batches pass.
    """

    def __init__(self, num_groups: int, tail: float, lr: float = 0.02, device: str | torch.device = "cpu") -> None:
        self.eta = torch.full((num_groups,), math.nan, dtype=_wide(torch.empty(0, device=device)), device=device)
        self.tail, self.lr = float(_fraction(tail, torch.empty(0))), lr

    def update(self, losses: Tensor, groups: Tensor) -> GroupRisk:
        """The risk ``[G]`` of losses ``[N]`` in groups ``[N]`` at the thresholds so far, differentiable; moves them."""
        mean = group_cvar(losses, groups, len(self.eta), tail=1.0)
        eta = self.eta.where(~(self.eta.isnan() & mean.present), mean.values.detach().to(self.eta))
        excess = (_raised(losses) - eta.to(mean.values.dtype)[groups.clamp(0, len(eta) - 1)]).clamp(min=0)
        excess = excess.masked_fill(groups < 0, 0)
        values = eta.to(excess.dtype) + group_cvar(excess, groups, len(eta), tail=1.0).values / self.tail
        beyond = group_cvar((excess.detach() > 0).to(excess.dtype), groups, len(eta), tail=1.0).values
        self.eta = torch.where(mean.present, eta - self.lr * (1 - beyond.to(eta) / self.tail), eta)
        return mean._replace(values=values)


def _wide(like: Tensor) -> torch.dtype:
    """The dtype of sums: float64, which only Apple's devices lack."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def _readable(x: Tensor) -> bool:
    """Whether its values can be looked at without waiting for an accelerator."""
    return x.device.type == "cpu"


def _raised(losses: Tensor) -> Tensor:
    return losses if losses.dtype in (torch.float32, torch.float64) else losses.float()


def _sums(values: Tensor, index: Tensor, groups: int) -> Tensor:
    """Sums of the values ``[..., N]`` by their index, 0 … groups - 1; what has index ``groups`` is dropped."""
    out = torch.zeros((*values.shape[:-1], groups + 1), dtype=values.dtype, device=values.device)
    return out.scatter_add(-1, index, values)[..., :groups]


def _bad(fault: Tensor, what: str) -> Tensor:
    """Where there is a fault, with the last dimension reduced to 1; on the CPU there is an error instead."""
    if _readable(fault) and bool(fault.any()):
        raise RddError(f"{int(fault.sum())} of {fault.numel()} {what}")
    return fault.any(-1, keepdim=True)


def _fraction(tail: float | Tensor, like: Tensor) -> Tensor:
    """The tail, checked, as ``[..., 1]`` in the wide dtype on the device of ``like``."""
    if isinstance(tail, Tensor):
        values = tail.flatten().tolist() if _readable(tail) else []
        t = tail.detach().to(like.device, _wide(like)).unsqueeze(-1)
    else:
        values = [tail]
        t = torch.full((1,), tail, dtype=_wide(like), device=like.device)  # a fill, so nothing is copied over
    for value in values:
        if not 0 < value <= 1:
            raise RddError(f"tail must lie in (0, 1], got {value}: the fraction of worst samples averaged (1 = mean)")
    return t


def _check_losses(losses: Tensor) -> Tensor:
    if not losses.is_floating_point() or losses.ndim == 0 or losses.numel() == 0:
        raise RddError(f"losses must be floats [..., N], N ≥ 1, got {losses.dtype} {list(losses.shape)}")
    return _bad(~losses.isfinite(), "losses are not finite: look for a learning rate that is too high")


def _check(losses: Tensor, groups: Tensor, num_groups: int, weights: Tensor | None) -> Tensor:
    """Which problems ``[..., 1]`` hold bad values (on the CPU: an error instead), after a check of shapes and types."""
    bad = _check_losses(losses)
    for name, other in (("groups", groups), ("weights", weights)):
        if other is not None and (other.shape != losses.shape or other.device != losses.device):
            where = f"{list(losses.shape)} on {losses.device}"
            raise RddError(f"{name} {list(other.shape)} on {other.device} must match the losses {where}")
    if num_groups < 1 or groups.dtype != torch.int64:
        raise RddError(f"groups must be int64 with num_groups ≥ 1, got {groups.dtype} and num_groups {num_groups}")
    known = f"group ids lie outside -1 … {num_groups - 1} (-1: no group)"
    bad = bad | _bad((groups < -1) | (groups >= num_groups), known)
    if weights is not None:
        bad = bad | _bad(~((weights >= 0) & weights.isfinite()), "sample weights are negative or not finite")
    return bad
