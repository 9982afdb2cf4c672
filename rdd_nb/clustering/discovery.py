"""Groups that nobody named: k-means in a space, and a trial of what can be learnt."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.kmeans import kmeans
from rdd_nb.clustering.reference_networks import held_out_probabilities
from rdd_nb.clustering.shares import group_weights
from rdd_nb.clustering.spaces import space
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["discover_groups", "learnability"]


def discover_groups(
    data: ImageDataset,
    space_name: str = "probabilities",
    *,
    num_groups: int = 10,
    learnable: bool = True,
    seed: int = 0,
    device: str = "auto",
) -> Groups:
    """Groups within each class, found without any group label: k-means in the space called ``space_name``.

    The default looks at the class probabilities of a briefly trained, deliberately biased network
    (:func:`rdd_nb.clustering.reference_networks.biased_probabilities`). That finds the rare and the badly served, and
    also what is badly served because it cannot be told apart, or is wrongly labelled. So each group is tried
    (:func:`learnability`), and what cannot be learnt is not raised; ``learnable=False`` leaves this out.

    Raises:
        RddError: no such space, or ``num_groups`` below 1.

    Taught in ``notebooks/00_quickstart.ipynb``.
    """
    if num_groups < 1:
        raise RddError(f"num_groups is {num_groups}: ask for at least 1 group a class")
    points = space(data, space_name, seed, device)
    groups = Groups(kmeans(points, data.labels, num_groups, seed), num_groups, space_name)
    return replace(groups, learnable=learnability(groups, data, seed, device=device)) if learnable else groups


def learnability(
    groups: Groups, data: ImageDataset, seed: int = 0, *, power: float = 0.3, device: str = "auto"
) -> Tensor:
    """How far a network that meets a group often learns to classify those of its members that it never met.

    A group may be badly served because it is rare, which raising it mends, or because its images look like another
    class or wear a wrong label, which raising it makes worse: it takes from the class what it cannot give to the group.
    The difference shows out of sample. Two small networks, each trained on half of the data with all groups raised to
    ``power``, judge the other half (:func:`rdd_nb.clustering.reference_networks.held_out_probabilities`); a group's
    learnability is twice the mean probability of the right class, at most 1: from an even chance on, a group counts in
    full. The trial is ours; networks that judge what they have not met are known from finding wrong labels (Northcutt
    et al., 1911.00068).

    Returns:
        float64 ``[num_classes, num_groups]`` in [0, 1]; 0 for an empty group.

    Raises:
        RddError: fewer than two samples.
    """
    weights = group_weights(replace(groups, learnable=None), data.labels, data.num_classes, power)
    said = held_out_probabilities(data, weights, seed, device=device).gather(1, data.labels[:, None])[:, 0]
    flat = data.labels * groups.num_groups + groups.ids
    total = torch.zeros(data.num_classes * groups.num_groups, dtype=torch.float64).index_add_(0, flat, said.double())
    mean = total.view(data.num_classes, -1) / groups.sizes(data.labels, data.num_classes).clamp_min(1)
    return (2 * mean).clamp_max(1)
