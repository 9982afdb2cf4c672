"""Class-balanced batches of real images, each image drawn as often as an objective wants it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Sampler"]


class Sampler:
    """Class-balanced batches of real indices ``[C, B]``, each class by its own probabilities, without a sync.

    Systematic sampling: one uniform point in each of B equal slices of the class's cumulative distribution. With the
    samples ordered by group, each group gets its share of every batch to within one sample.

    Args:
        labels: int64 ``[N]``.
        probabilities: ``[N]``, at least 0, up to a factor for each class.
        order: int64 ``[N]``, a permutation: the order in which a class's samples stand in its distribution.
    """

    def __init__(self, labels: Tensor, num_classes: int, probabilities: Tensor, order: Tensor, device: torch.device):
        members = [order[labels[order] == c] for c in range(num_classes)]
        longest = max(map(len, members))
        self.index = torch.zeros(num_classes, longest, dtype=torch.int64)
        self.cdf = torch.full((num_classes, longest), 2.0, dtype=torch.float64)
        self.last = torch.tensor([[len(m) - 1] for m in members], device=device)
        for c, m in enumerate(members):
            mass = probabilities[m].double()
            self.index[c, : len(m)] = m
            self.cdf[c, : len(m)] = (mass / mass.sum()).cumsum(0)
        self.index, self.cdf = self.index.to(device), self.cdf.to(device)

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """``batch`` indices of each class, int64 ``[C, batch]``."""
        classes, device = len(self.index), self.index.device
        points = torch.rand(classes, batch, generator=generator, device=device, dtype=torch.float64)
        points = (points + torch.arange(batch, device=device)) / batch
        where = torch.searchsorted(self.cdf, points, right=True).minimum(self.last)
        return self.index.gather(1, where)
