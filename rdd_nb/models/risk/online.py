"""Risks that keep a state from batch to batch: group DRO, and CVaR by a dual threshold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.models.risk.tail_risk import GroupRisk, group_cvar
from rdd_nb.models.risk.validation import at_least_float32, checked_tail, flag, wide_dtype

__all__ = ["DualCVaR", "GroupDRO"]


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
        self.log_q = torch.zeros(
            num_groups, dtype=wide_dtype(torch.empty(0, device=device)), device=device
        ).log_softmax(0)

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
        flag(~losses.isfinite(), "groups are present but have a loss that is not finite")
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
        self.eta = torch.full((num_groups,), math.nan, dtype=wide_dtype(torch.empty(0, device=device)), device=device)
        self.tail, self.lr = float(checked_tail(tail, torch.empty(0))), lr

    def update(self, losses: Tensor, groups: Tensor) -> GroupRisk:
        """The risk ``[G]`` of losses ``[N]`` in groups ``[N]`` at the thresholds so far, differentiable; moves them."""
        mean = group_cvar(losses, groups, len(self.eta), tail=1.0)
        eta = self.eta.where(~(self.eta.isnan() & mean.present), mean.values.detach().to(self.eta))
        excess = (at_least_float32(losses) - eta.to(mean.values.dtype)[groups.clamp(0, len(eta) - 1)]).clamp(min=0)
        excess = excess.masked_fill(groups < 0, 0)
        values = eta.to(excess.dtype) + group_cvar(excess, groups, len(eta), tail=1.0).values / self.tail
        beyond = group_cvar((excess.detach() > 0).to(excess.dtype), groups, len(eta), tail=1.0).values
        self.eta = torch.where(mean.present, eta - self.lr * (1 - beyond.to(eta) / self.tail), eta)
        return mean._replace(values=values)
