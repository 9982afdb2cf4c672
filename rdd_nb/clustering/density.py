"""Weights by the density of a class around each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream

__all__ = ["density_weights"]

MOST = 10_000  # samples of a class that its density is estimated from
BLOCK = 25_000_000  # distances that are held at the same time


def density_weights(features: Tensor, labels: Tensor, bandwidth: float | None = None, floor: float = 1e-3) -> Tensor:
    """A weight for each sample, inverse to the density of its class around it; mean 1 in each class (method, R4).

    The density is a Gaussian kernel estimate over the other samples of the class, in standardised coordinates; in a
    class of more than 10,000, over 10,000 random ones, which is off by 1/√k where a sample has k of them about it.

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
        drawn = torch.randperm(count, generator=stream(0, "density", label))[:MOST] if count > MOST else None
        density = _log_density(mine, drawn, width)
        inverse = (density.max() - density).clamp_max(-math.log(floor)).exp()
        weights[members] = inverse / inverse.mean()
    return weights


def _log_density(points: Tensor, drawn: Tensor | None, width: float) -> Tensor:
    """The logarithm of the density of the other points (or of those ``drawn``) around each, up to a constant: ``[n]``.

    As logarithms: in many dimensions every kernel value is too small for a float, their ratios are not.
    """
    centres = points if drawn is None else points[drawn]
    own = (
        torch.arange(len(points))
        if drawn is None
        else torch.full((len(points),), -1).index_copy_(0, drawn, torch.arange(len(drawn)))
    )
    found = []
    for part in torch.arange(len(points)).split(max(1, BLOCK // len(centres))):
        kernel = torch.cdist(points[part], centres).square() / (-2 * width**2)
        known = (own[part] >= 0).nonzero()[:, 0]
        kernel[known, own[part][known]] = -torch.inf  # not itself
        found.append(kernel.logsumexp(1))
        if drawn is not None:  # over one fewer where it is among those that are drawn
            found[-1] -= (len(centres) - (own[part] >= 0).to(kernel.dtype)).log()
    return torch.cat(found)
