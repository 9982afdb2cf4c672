"""Real images chosen without distillation: what every distilled set must beat, in the same form as one.

:func:`coreset` gives a :class:`~rdd_nb.runs.SyntheticSet`, so that all that is done with distilled images can be done
with these.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering import Groups
from rdd_nb.config import DistillConfig
from rdd_nb.datasets import ImageDataset
from rdd_nb.distill import initial_state
from rdd_nb.errors import RddError, unknown
from rdd_nb.evaluate import Protocol, train
from rdd_nb.machine import pick_device, seed_of
from rdd_nb.runs import SyntheticSet

__all__ = ["METHODS", "coreset", "herd"]

#: The ways to choose, each with one line on what it does.
METHODS: dict[str, str] = {
    "random": "random images of each class",
    "medoids": "the images nearest to the centres of k-means in each class, in pixels",
    "medoids-features": "likewise in the features of a frozen random network",
    "herding": "images whose mean feature is nearest to the class's, in a network trained briefly on the training set",
    "herding-frozen": "likewise in the features of a frozen random network",
    "balanced": "random images of each class, dealt out over its groups",
}
#: How long the network of ``herding`` is trained, on the training set alone.
BRIEFLY = Protocol(steps=200, lr=0.02, width=32)

# Where a coreset is also a start of distillation, the start is taken: one piece of code for both.
_STARTS = {"random": "real", "medoids": "medoids", "balanced": "groups"}


def coreset(
    data: ImageDataset,
    method: str,
    ipc: int,
    *,
    groups: Groups | None = None,
    seed: int = 0,
    device: str = "auto",
) -> SyntheticSet:
    """``ipc`` real images of each class, chosen by ``method``, normalised and sorted by class.

    Args:
        data: the training set.
        method: one of :data:`METHODS`.
        ipc: images a class.
        groups: for ``balanced`` alone: every group of a class gives as many images, as far as it goes.
        seed: the same seed gives the same images; ``random`` gives those that a distillation with this seed starts at.
        device: where ``herding`` trains its network.

    Raises:
        RddError: no such method, ``ipc`` above the smallest class, ``balanced`` without groups, or groups without
            ``balanced``.

    >>> images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    >>> data = ImageDataset(images, torch.arange(8) % 2, ("even", "odd"), mean=(0.0,), std=(1 / 255,))
    >>> chosen = coreset(data, "random", 3, seed=0)
    >>> chosen.labels.tolist(), sorted({int(x) % 2 for x in chosen.images[:3].round().flatten()})
    ([0, 0, 0, 1, 1, 1], [0])
    """
    if method not in METHODS:
        raise unknown("coreset", method, METHODS)
    if (method == "balanced") != (groups is not None):
        mend = "pass groups=…" if groups is None else "pass none, or use 'balanced'"
        raise RddError(f"coreset {method!r} and {'no groups' if groups is None else 'groups'} were given: {mend}")
    config = DistillConfig(ipc=ipc, objective="erm", group_power=0, init=_STARTS.get(method, "real"), seed=seed)
    alike = None if groups is None else dataclasses.replace(groups, learnable=None)
    images = initial_state(data, config, alike).images  # this also checks ipc and groups against the data
    if method not in _STARTS:
        points = _trained_features(data, seed, device) if method == "herding" else _frozen(data, seed, device)
        pick = herd if method.startswith("herding") else lambda mine, k: clustering.medoids(mine, k, seed)
        chosen = []
        for label in range(data.num_classes):
            members = (data.labels == label).nonzero()[:, 0]
            chosen.append(members[pick(points[members], ipc)])
        images = data.normalised(torch.cat(chosen))
    return SyntheticSet(
        images=images,
        labels=torch.arange(data.num_classes).repeat_interleave(ipc),
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        ipc=ipc,
        meta={
            "dataset": data.name,
            "coreset": method,
            "groups": "none" if groups is None else groups.source,
            "seed": str(seed),
        },
    )


def herd(points: Tensor, count: int) -> Tensor:
    """Herding: int64 ``[count]``, rows of ``points`` ``[N, D]`` whose running mean stays nearest to the mean of all.

    Greedy and without replacement: the k-th row minimises ‖μ − (x + the sum of those before) / k‖. Source: Welling
    (2009); in this form for exemplars: Rebuffi et al. (iCaRL, 1611.07725, Algorithm 4).

    >>> herd(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 2).tolist()  # the mean is 3
    [2, 1]
    """
    mean, total = points.mean(0), torch.zeros_like(points[0])
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    chosen = []
    for k in range(1, count + 1):
        distances = (mean - (points + total) / k).square().sum(1)
        best = int(distances.masked_fill(~free, math.inf).argmin())
        chosen.append(best)
        free[best] = False
        total = total + points[best]
    return torch.tensor(chosen, dtype=torch.int64)


def _frozen(data: ImageDataset, seed: int, device: str) -> Tensor:
    return clustering.space(data, "features", seed, device)


@torch.no_grad()
def _trained_features(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Features ``[N, D]`` of unit length, of a network trained as :data:`BRIEFLY` says."""
    where = pick_device(device)
    depth = max(1, min(BRIEFLY.depth, int(math.log2(min(data.shape[1:]))) - 1))  # leaves a map of 2 × 2 at least
    protocol = Protocol(**{**vars(BRIEFLY), "depth": depth})
    with torch.enable_grad():
        (net,) = train(data, protocol, nets=1, seed=seed_of(seed, "herding"), device=where)
    parts = torch.arange(len(data)).split(512)
    features = torch.cat([net.embed(data.normalised(part, where)).flatten(1).cpu() for part in parts])  # type: ignore[operator]
    return F.normalize(features, dim=1)
