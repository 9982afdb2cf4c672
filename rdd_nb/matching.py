"""What is matched: statistics of weighted real samples against those of the synthetic ones.

The real side of every objective is a set of *weighted means*, and the weights carry all the robustness:

================  ===============================================================================================
``erm``           every sample the same: plain matching (DC, Zhao et al. 2006.05929; DM, Zhao and Bilen 2110.04181)
``robust``        the subgradient of the double objective, CVaR within groups, mean and maximum across them (R2)
``group``         one mean for each group, and the distance averaged over groups (R3; FairDD 2411.19623)
``density``       the inverse of the sample's density within its class (R4)
================  ===============================================================================================

Everything here is a pure function of tensors. Batches are class-balanced and shaped ``[C, B, …]``: ``B`` real samples
of each of ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from rdd_nb import networks, risk
from rdd_nb.errors import unknown
from rdd_nb.machine import arithmetic, phase

__all__ = [
    "OBJECTIVES",
    "coverage_losses",
    "distribution_loss",
    "gradient_distance",
    "gradient_loss",
    "gradient_losses",
    "group_means_weights",
    "objective_weights",
]

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
        tail, mean_weight, max_weight: of the double objective, see :func:`rdd_nb.risk.robust_weights`.
        group_shares: ``[C, G]``, each group's part in the mean over groups; by default all count the same.

    Returns:
        ``weights`` ``[C, R, B]``: R weighted means a class, each row summing to 1 (or all 0 where its group is
        absent), and ``shares`` ``[C, R]``: each one's part in the class's distance, summing to 1. No gradient.

    Raises:
        RddError: no such objective, or see :func:`rdd_nb.risk.robust_weights`.
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


# --- distributions ------------------------------------------------------------------------------------------------


def coverage_losses(real: Tensor, synthetic: Tensor) -> Tensor:
    """How badly a synthetic set serves each real sample in feature space: the squared distance to the nearest one.

    Args:
        real: ``[C, B, D]`` features.
        synthetic: ``[C, M, D]`` features of the same classes.

    Returns:
        ``[C, B]``. Per dimension, so that widths are comparable. This is the loss whose tail distribution matching
        averages: it is large exactly where nothing synthetic is near.
    """
    return torch.cdist(real, synthetic).min(2).values.square() / real.shape[2]


def distribution_loss(real: Tensor, synthetic: Tensor, weights: Tensor, shares: Tensor) -> Tensor:
    """Squared distance between weighted real and plain synthetic feature means, summed over classes (DM, equation 5).

    Args:
        real: ``[C, B, D]``, no gradient wanted.
        synthetic: ``[C, M, D]``.
        weights, shares: ``[C, R, B]`` and ``[C, R]`` from :func:`objective_weights`.

    >>> real, synthetic = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[0.0]]])
    >>> distribution_loss(real, synthetic, torch.tensor([[[0.5, 0.5]]]), torch.ones(1, 1))  # (1 - 0)²
    tensor(1.)
    """
    targets = weights.to(real.dtype) @ real
    distances = (targets - synthetic.mean(1, keepdim=True)).square().sum(2)
    return (shares.to(real.dtype) * distances).sum()


# --- gradients ----------------------------------------------------------------------------------------------------


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Σ over layers and output rows of 1 − cosine between two gradients (DC, equation 9).

    Biases and norm parameters (one-dimensional) are left out, as in the reference code.
    """
    total = synthetic[0].new_zeros(())
    for r, s in zip(real, synthetic):
        if r.ndim > 1:
            cosine = F.cosine_similarity(r.flatten(1), s.flatten(1), dim=1, eps=1e-6)
            total = total + (1 - cosine).sum()
    return total


def gradient_loss(
    net: nn.Module,
    real: Tensor,
    synthetic: Tensor,
    label: int,
    weigh: Callable[[Tensor], tuple[Tensor, Tensor]],
    precision: str = "float32",
) -> Tensor:
    """The gradient-matching loss of one class; differentiable in ``synthetic``.

    Args:
        net: the network whose parameters' gradients are compared.
        real: ``[B, C, H, W]`` images of class ``label``, augmented.
        synthetic: ``[M, C, H, W]``, augmented the same way.
        weigh: maps the real losses ``[1, B]`` to weights ``[1, R, B]`` and shares ``[1, R]``
            (:func:`objective_weights`).
        precision: of the real side (:data:`rdd_nb.machine.PRECISIONS`).

    Returns:
        Σ_r share_r · D(Σ_j w_rj ∇ℓ_j, ∇ mean ℓ(synthetic)).
    """
    parameters = [p for p in net.parameters() if p.ndim > 1]
    with phase("real side"):
        with arithmetic(precision, real.device):
            logits = net(real).to(real.dtype)
        labels = torch.full((len(real),), label, device=real.device)
        losses = F.cross_entropy(logits, labels, reduction="none")
    weights, shares = weigh(losses.detach()[None])
    with phase("synthetic side"):
        loss = F.cross_entropy(net(synthetic), torch.full((len(synthetic),), label, device=synthetic.device))
        ours = torch.autograd.grad(loss, parameters, create_graph=True)
    total = loss.new_zeros(())
    rows = len(weights[0])
    for row, (weight, share) in enumerate(zip(weights[0], shares[0])):
        with phase("real side"):
            target = torch.autograd.grad((weight * losses).sum(), parameters, retain_graph=row + 1 < rows)
        total = total + share * gradient_distance(target, ours)
    return total


def gradient_losses(
    net: nn.Module,
    real: Tensor,
    synthetic: Tensor,
    labels: Tensor,
    weigh: Callable[[Tensor], tuple[Tensor, Tensor]],
    precision: str = "float32",
) -> Tensor:
    """The sum of :func:`gradient_loss` over several classes, all at once: each class has a copy of the weights.

    Args:
        net: without buffers (no BatchNorm).
        real: ``[C, B, channels, H, W]``, those of a class in a row.
        synthetic: ``[C, M, channels, H, W]``.
        labels: int64 ``[C]``.
        weigh: maps the real losses ``[C, B]`` to weights ``[C, R, B]`` and shares ``[C, R]``.
        precision: of the real side (:data:`rdd_nb.machine.PRECISIONS`).

    Returns:
        Σ_c Σ_r share_cr · D(Σ_j w_crj ∇ℓ_cj, ∇ mean ℓ(synthetic_c)) (DC, equation 9).
    """
    copies = {
        name: p.detach().expand(len(labels), *p.shape).clone().requires_grad_() for name, p in net.named_parameters()
    }
    parameters = [copy for copy in copies.values() if copy.ndim > 2]

    def losses(images: Tensor, precision: str) -> Tensor:
        logits = networks.batched(net, precision)(copies, images).to(images.dtype)
        target = labels[:, None].expand(logits.shape[:2]).flatten()
        return F.cross_entropy(logits.flatten(0, 1), target, reduction="none").view(logits.shape[:2])

    with phase("real side"):
        theirs = losses(real, precision)
    weights, shares = weigh(theirs.detach())
    with phase("synthetic side"):
        ours = torch.autograd.grad(losses(synthetic, "float32").mean(1).sum(), parameters, create_graph=True)
    total, rows = synthetic.new_zeros(()), weights.shape[1]
    for row in range(rows):
        with phase("real side"):
            one = (weights[:, row] * theirs).sum()
            targets = torch.autograd.grad(one, parameters, retain_graph=row + 1 < rows)
        total = total + (shares[:, row] * vmap(gradient_distance)(targets, ours)).sum()
    return total
