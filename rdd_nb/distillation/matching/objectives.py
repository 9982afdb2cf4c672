"""How the real side is weighted: which weighted means of a batch an objective matches."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.core.errors import unknown
from rdd_nb.models import risk

__all__ = ["OBJECTIVES", "group_means_weights", "objective_weights"]

#: How the real side is weighted: the table above.
OBJECTIVES = ("erm", "robust", "group", "density")


def group_means_weights(groups: Tensor, num_groups: int, group_shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The weights that take each group's mean, and which groups there are.

    Args:
        groups: int64 ``[C, B]`` ids.
        group_shares: ``[C, G]``, each group's part in the average; by default all count the same.

    Returns:
        ``[C, G, B]`` (rows of absent groups are 0) and the share of each group in the average, ``[C, G]``
        (0 for absent ones, the others sum to 1).
    """
    member = F.one_hot(groups, num_groups).transpose(1, 2).to(torch.get_default_dtype())
    counts = member.sum(2, keepdim=True)
    present = (counts[..., 0] > 0).to(member)
    if group_shares is not None:
        present = present * group_shares.to(present)
    return member / counts.clamp_min(1), present / present.sum(1, keepdim=True)


def objective_weights(
    objective: str,
    losses: Callable[[], Tensor],
    groups: Tensor,
    num_groups: int,
    tail: float = 1.0,
    mean_weight: float = 1.0,
    max_weight: float = 1.0,
    group_shares: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Which weighted means of a batch an objective matches.

    Args:
        objective: one of :data:`OBJECTIVES`. ``density`` is ``erm`` here: its batch was *drawn* by density.
        losses: gives each sample's loss ``[C, B]``; called only where the objective needs it.
        groups: int64 ``[C, B]``.
        tail, mean_weight, max_weight: of the double objective, see :func:`rdd_nb.models.risk.robust_weights`.
        group_shares: ``[C, G]``, each group's part in the mean over groups; by default all count the same.

    Returns:
        ``weights`` ``[C, R, B]``: R weighted means a class, each row summing to 1 (or all 0 where its group is
        absent), and ``shares`` ``[C, R]``: each one's part in the class's distance, summing to 1. No gradient.

    Raises:
        RddError: no such objective, or see :func:`rdd_nb.models.risk.robust_weights`.
    """
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    classes, batch = groups.shape
    if objective == "group":
        return group_means_weights(groups, num_groups, group_shares)
    if objective == "robust":
        weights = risk.robust_weights(
            losses().detach(), groups, num_groups, tail, mean_weight, max_weight, group_shares=group_shares
        )
    else:
        weights = torch.full((classes, batch), 1.0 / batch, device=groups.device)
    return weights[:, None, :], torch.ones(classes, 1, device=groups.device)
