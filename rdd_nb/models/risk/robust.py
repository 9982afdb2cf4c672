"""The double robust objective: CVaR within groups, mean and maximum across them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.models.risk.tail_risk import group_cvar_weights, risk_of_parts
from rdd_nb.models.risk.validation import at_least_float32, flag, wide_dtype

__all__ = ["robust_risk", "robust_weights"]


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
    risk = risk_of_parts(within * at_least_float32(losses), groups, counts)
    flag((counts == 0).all(-1), "problems have no group with a sample of positive weight")
    present, worst = (mask.to(wide_dtype(within)) for mask in (counts > 0, risk.values == risk.worst().unsqueeze(-1)))
    if group_shares is not None:
        present = present * group_shares.to(present)
        flag(present.sum(-1) <= 0, "problems have no group with a sample and a positive share")
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
    return (w * at_least_float32(losses)).sum(-1)
