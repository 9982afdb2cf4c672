"""Group labels for a part of the data, extended to the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.spaces import principal, space
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["UNKNOWN", "extended_groups"]

UNKNOWN = -1
RIDGE = 1e-2  # of the mean of the diagonal


def extended_groups(data: ImageDataset, known: Tensor, seed: int = 0, device: str = "auto") -> Groups:
    """Groups of all samples from the labels of some: known ones stay as they are, the others are predicted.

    One ridge classifier over all classes, on the features of a frozen network and of the biased one and on colours,
    with every labelled group counting the same, so that the rare are not voted down. What it misjudges joins another
    group of its class.

    Args:
        data: the training set; its own group labels are not read.
        known: int64 ``[N]``, a group from 0, or ``UNKNOWN`` (−1) where it is not known.
        seed: of the networks.
        device: where they compute.

    Returns:
        Groups that are all raised in full, as known groups are.

    Raises:
        RddError: ``known`` of another kind or length, or no label at all.

    >>> images = torch.tensor([0, 10, 20, 200, 210, 220], dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    >>> data = ImageDataset(images, torch.zeros(6, dtype=torch.int64), ("all",), (0.4,), (0.4,))
    >>> extended_groups(data, torch.tensor([0, -1, -1, 1, -1, -1])).ids.tolist()
    [0, 0, 0, 1, 1, 1]
    """
    if known.dtype != torch.int64 or known.shape != data.labels.shape or (known < UNKNOWN).any():
        raise RddError(
            f"known groups must be int64 [{len(data)}], a number from 0 or {UNKNOWN} where it is not known, not "
            f"{str(known.dtype).removeprefix('torch.')} {list(known.shape)}"
        )
    told = known != UNKNOWN
    if not told.any():
        raise RddError("known says no group at all: leave it out, and groups are discovered")
    count = int(known.max()) + 1
    if told.all():
        return Groups(known, count, "known")
    views = [principal(space(data, name, seed, device), 50) for name in ("features", "embedding", "colour")]
    points = torch.cat([view / view.std().clamp_min(1e-6) for view in views], 1)
    points = torch.cat([points, torch.ones(len(data), 1)], 1).double()
    ids = known.clone()
    ids[~told] = _ridge(points[told], known[told], count, points[~told])
    return Groups(ids, count, f"known in part ({told.double().mean():.0%})")


def _ridge(points: Tensor, groups: Tensor, count: int, asked: Tensor) -> Tensor:
    """The group of each of ``asked``, learnt from labelled points; each group weighs the same."""
    weights = (1 / torch.bincount(groups, minlength=count).clamp_min(1).double())[groups]
    scaled = points * weights[:, None]
    gram = points.T @ scaled
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(points.shape[1], dtype=torch.float64)
    slope = torch.linalg.solve(gram + penalty, scaled.T @ F.one_hot(groups, count).double())
    scores = asked @ slope
    present = torch.bincount(groups, minlength=count) > 0
    return scores.masked_fill(~present, -torch.inf).argmax(1)
