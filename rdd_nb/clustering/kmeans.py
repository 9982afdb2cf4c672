"""Cells, k-means within classes, and medoids."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.core.random_streams import seed_of, stream

__all__ = ["cells", "kmeans", "medoids", "medoids_of_each"]

MOST = 50_000  # samples of a class that its centres are found from


def cells(
    features: Tensor, centres: Tensor, labels: Tensor | None = None, centre_labels: Tensor | None = None
) -> Tensor:
    """The Voronoi cell of every sample: the index of its nearest centre (method, Algorithm 1, step 2).

    Args:
        features: ``[N, D]``, the real samples.
        centres: ``[M, D]``, the synthetic samples in the same space.
        labels, centre_labels: int64 ``[N]`` and ``[M]``; given both, only centres of the sample's own class count.

    Returns:
        int64 ``[N]``, indices into ``centres``.

    >>> cells(torch.tensor([[0.0], [0.9]]), torch.tensor([[0.0], [1.0]]))
    tensor([0, 1])
    """
    distances = torch.cdist(features, centres)
    if labels is not None and centre_labels is not None:
        distances = distances.masked_fill(labels[:, None] != centre_labels[None, :], torch.inf)
    return distances.argmin(1)


def kmeans(features: Tensor, labels: Tensor, num_groups: int, seed: int = 0, n_init: int = 3) -> Tensor:
    """k-means within each class (scikit-learn's, Lloyd): int64 ``[N]`` ids, 0 … ``num_groups`` − 1.

    A class with fewer distinct samples than ``num_groups`` gets as many groups as it can fill. In a class of more than
    50,000 the centres are those of 50,000 random ones, and each sample joins its nearest: a centre's place is then off
    by about 1/√(50,000/k) of its group's spread, 1.4 % with ten groups alike.
    """
    from sklearn.cluster import KMeans  # scikit-learn takes seconds to import

    ids = torch.zeros(len(labels), dtype=torch.int64)
    points = features.detach().cpu().flatten(1)
    for label in labels.unique().tolist():
        members = (labels.cpu() == label).nonzero()[:, 0]
        mine = points[members].double().numpy()
        met = mine
        if len(mine) > MOST:
            drawn = torch.randperm(len(mine), generator=stream(seed, "k-means sample", label))[:MOST]
            met = mine[drawn.numpy()]
        k = _distinct(met, num_groups)
        if k == 1:  # they stay in group 0
            continue
        model = KMeans(k, n_init=n_init, random_state=seed_of(seed, "k-means", label) % 2**32).fit(met)
        ids[members] = torch.from_numpy(model.labels_ if met is mine else model.predict(mine)).long()
    return ids


def _distinct(points: np.ndarray, most: int) -> int:
    """How many different rows there are, at ``most`` so many: nearly always the first rows tell."""
    seen: set[bytes] = set()
    for row in points:
        seen.add((row + 0.0).tobytes())  # −0 is 0
        if len(seen) == most:
            break
    return len(seen)


def medoids(points: Tensor, count: int, seed: int = 0) -> Tensor:
    """The ``count`` rows of ``points`` ``[N, D]`` nearest to the centres of k-means: int64, without repetition.

    Where two centres share their nearest row, or there are fewer distinct rows, the first of the others fill up.

    >>> medoids(torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]), 2).tolist()
    [1, 4]
    """
    ids = kmeans(points, torch.zeros(len(points), dtype=torch.int64), count, seed)
    centres = torch.stack([points[ids == k].mean(0) for k in ids.unique()])
    nearest = torch.cdist(points, centres).argmin(0).unique()
    others = torch.ones(len(points), dtype=torch.bool).index_fill_(0, nearest, False)
    return torch.cat([nearest, others.nonzero()[:, 0]])[:count]


ROUNDS = 10  # of Lloyd's algorithm, by which so few points have settled


def medoids_of_each(points: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """The same of many clouds of as many points at once, by ten rounds from k-means++: int64 ``[T, count]``.

    Each of thousands of small clouds alone would cost more to call for than to compute.

    Args:
        points: ``[T, n, D]``, with n at least ``count``.
        draw: of the first centres.

    >>> clouds = torch.tensor([[0.0, 0.1, 0.2, 5.0, 5.1, 5.2], [9.0, 1.1, 1.0, 1.2, 9.1, 8.9]])[:, :, None]
    >>> medoids_of_each(clouds, 2, torch.Generator().manual_seed(0)).sort(1).values.tolist()
    [[1, 4], [0, 1]]
    """
    clouds, size, _ = points.shape
    which = torch.arange(clouds)
    first = torch.randint(size, (clouds,), generator=draw)
    centres = points[which, first][:, None]
    while count > 1 and centres.shape[1] < count:  # the farther from all so far, the likelier
        far = torch.cdist(points, centres).amin(2).square() + 1e-12
        centres = torch.cat([centres, points[which, torch.multinomial(far, 1, generator=draw)[:, 0]][:, None]], 1)
    before = None
    for _ in range(ROUNDS if count > 1 else 1):
        near = torch.cdist(points, centres).argmin(2)
        if before is not None and torch.equal(near, before):  # all have settled
            break
        before = near
        mine = F.one_hot(near, count).to(points)
        sizes = mine.sum(1)[:, :, None]
        centres = torch.where(sizes > 0, (mine.transpose(1, 2) @ points) / sizes.clamp_min(1), centres)
    nearest = torch.cdist(points, centres).argmin(1)
    for row, chosen in enumerate(nearest.sort(1).values.tolist()):
        if len(set(chosen)) < count:  # the first of the others fill up
            others = [place for place in range(size) if place not in chosen]
            nearest[row] = torch.tensor([*sorted(set(chosen)), *others][:count])
    return nearest
