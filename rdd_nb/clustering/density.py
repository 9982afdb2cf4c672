"""Weights by the density of a class around each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError

__all__ = ["density_weights"]


def density_weights(features: Tensor, labels: Tensor, bandwidth: float | None = None, floor: float = 1e-3) -> Tensor:
    """A weight for each sample, inverse to the density of its class around it; mean 1 in each class (method, R4).

    The density is a Gaussian kernel estimate over the other samples of the class, in standardised coordinates.

    Args:
        features: ``[N, D]``.
        labels: int64 ``[N]``.
        bandwidth: in standard deviations; by default Scott's rule, n^(−1/(D+4)).
        floor: densities below this share of the class's largest are raised to it, so that no outlier takes all.

    Returns:
        float32 ``[N]``.

    Raises:
        RddError: ``floor`` outside (0, 1], or ``bandwidth`` not above 0.

    Source: Cui et al. (2406.06609) weight by an inverse kernel density; the leave-one-out form and the floor are ours.
    """
    if not 0 < floor <= 1 or (bandwidth is not None and bandwidth <= 0):
        raise RddError(f"floor={floor} must lie in (0, 1] and bandwidth={bandwidth} be above 0")
    weights = torch.ones(len(labels))
    points = features.detach().cpu().flatten(1).float()
    for label in labels.unique().tolist():
        members = (labels.cpu() == label).nonzero()[:, 0]
        mine = points[members]
        count, dims = mine.shape
        if count < 3:
            continue
        mine = (mine - mine.mean(0)) / mine.std(0).clamp_min(1e-6)
        width = bandwidth or count ** (-1 / (dims + 4))
        # As logarithms: in many dimensions every kernel value is too small for a float, their ratios are not.
        kernel = (torch.cdist(mine, mine).square() / (-2 * width**2)).fill_diagonal_(-torch.inf)
        density = kernel.logsumexp(1)
        inverse = (density.max() - density).clamp_max(-math.log(floor)).exp()
        weights[members] = inverse / inverse.mean()
    return weights
