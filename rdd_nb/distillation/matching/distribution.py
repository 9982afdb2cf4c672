"""Distribution matching: feature means of weighted real and plain synthetic samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["coverage_losses", "distribution_loss"]


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
