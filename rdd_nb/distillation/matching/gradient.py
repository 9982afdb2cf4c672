"""Gradient matching: weighted gradients of real samples against those of synthetic ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from rdd_nb.core.device import arithmetic, phase
from rdd_nb.models import networks

__all__ = ["gradient_distance", "gradient_loss", "gradient_losses"]


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
        precision: of the real side (:data:`rdd_nb.core.device.PRECISIONS`).

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
        precision: of the real side (:data:`rdd_nb.core.device.PRECISIONS`).

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
