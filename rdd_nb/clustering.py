"""Groups that nobody named: cells of a synthetic set, k-means in several spaces, densities, and how stable they are.

All of it works **within classes**: a group is a pair (class, id), so that "the worst group" is not just "the hardest
class". Nothing here reads a group label.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from rdd_nb import networks
from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError, unknown
from rdd_nb.machine import pick_device, seed_of
from rdd_nb.probes import biased_probabilities, depth_for, held_out_probabilities, outputs

__all__ = [
    "SPACES",
    "Groups",
    "cells",
    "density_weights",
    "discover_groups",
    "group_mass",
    "group_shares",
    "group_weights",
    "kmeans",
    "known_groups",
    "learnability",
    "matched_mass",
    "medoids",
    "space",
    "stability",
]


@dataclass(frozen=True, eq=False)
class Groups:
    """One group id for every real sample, counted within its class.

    Attributes:
        ids: int64 ``[N]``, 0 … ``num_groups`` − 1; sample ``j`` lies in the group (``labels[j]``, ``ids[j]``).
        num_groups: ids a class can have, ``G``; a class need not use all of them.
        source: how they came about, e.g. ``"probabilities"`` or ``"known"``.
        learnable: float64 ``[num_classes, num_groups]`` in [0, 1], how far a group is to be raised above its natural
            part (:func:`learnability`); None to raise all, as known groups are.
    """

    ids: Tensor
    num_groups: int
    source: str
    learnable: Tensor | None = None

    def sizes(self, labels: Tensor, num_classes: int) -> Tensor:
        """Samples in each group: int64 ``[num_classes, num_groups]``."""
        flat = labels * self.num_groups + self.ids
        return torch.bincount(flat, minlength=num_classes * self.num_groups).view(num_classes, self.num_groups)


def known_groups(data: ImageDataset) -> Groups:
    """The named groups a dataset carries (the oracle of every comparison).

    Raises:
        RddError: the dataset names no groups.
    """
    if data.groups is None:
        raise RddError(
            f"dataset {data.name!r} names no groups: discover them (groups=discovered) or bend it by a scenario"
        )
    return Groups(data.groups, data.num_groups, "known")


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

    A class with fewer distinct samples than ``num_groups`` gets as many groups as it can fill.
    """
    ids = torch.zeros(len(labels), dtype=torch.int64)
    points = features.detach().cpu().flatten(1).double().numpy()
    for label in labels.unique().tolist():
        members = (labels.cpu() == label).nonzero()[:, 0]
        mine = points[members.numpy()]
        k = min(num_groups, len(np.unique(mine, axis=0)))
        model = KMeans(k, n_init=n_init, random_state=seed_of(seed, "k-means", label) % 2**32)
        ids[members] = torch.from_numpy(model.fit_predict(mine)).long()
    return ids


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


# --- spaces to look for groups in ---------------------------------------------------------------------------------


def _pixels(data: ImageDataset, seed: int, device: str) -> Tensor:
    """4 × 4 average-pooled normalised pixels: nearly the partition of raw ones at a sixteenth of the cost."""
    size = min(4, data.shape[-1] // 4) or 1
    return torch.cat(outputs(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu")))


def _style(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Mean and standard deviation of each channel of each image, ``[N, 2C]``, standardised over the data."""
    raw = torch.cat(outputs(lambda x: torch.cat([x.mean((2, 3)), x.std((2, 3))], 1), data, torch.device("cpu")))
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _features(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Embedding of a frozen random ConvNet, standardised: independent of every model that is compared."""
    where = pick_device(device)
    net = networks.build(
        "convnet", data.shape, data.num_classes, width=16, depth=depth_for(data), seed=seed_of(seed, "frozen network")
    ).to(where)
    raw = torch.cat(outputs(net.embed, data, where)).cpu()
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _probabilities(data: ImageDataset, seed: int, device: str) -> Tensor:
    return biased_probabilities(data, seed, device=device)


def _predicted_class(data: ImageDataset, seed: int, device: str) -> Tensor:
    """The class that the biased network says, one-hot: k-means finds just these, if ``num_groups`` allows."""
    return F.one_hot(biased_probabilities(data, seed, device=device).argmax(1), data.num_classes).float()


#: Each gives the data as points ``[N, D]``, from the data, a seed and a device.
SPACES: dict[str, Callable[[ImageDataset, int, str], Tensor]] = {
    "pixels": _pixels,
    "style": _style,
    "features": _features,
    "probabilities": _probabilities,
    "predicted-class": _predicted_class,
}


def space(data: ImageDataset, name: str, seed: int = 0, device: str = "auto") -> Tensor:
    """The data as points ``[N, D]`` in the space called ``name`` (one of :data:`SPACES`).

    Raises:
        RddError: no such space.
    """
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return SPACES[name](data, seed, device)


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
    (:func:`rdd_nb.probes.biased_probabilities`). That finds the rare and the badly served, and also what is badly
    served because it cannot be told apart, or is wrongly labelled. So each group is tried (:func:`learnability`), and
    what cannot be learnt is not raised; ``learnable=False`` leaves this out.

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
    ``power``, judge the other half (:func:`rdd_nb.probes.held_out_probabilities`); a group's learnability is twice the
    mean probability of the right class, at most 1: from an even chance on, a group counts in full. The trial is ours;
    networks that judge what they have not met are known from finding wrong labels (Northcutt et al., 1911.00068).

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


# --- how good are they? -------------------------------------------------------------------------------------------


def stability(
    data: ImageDataset, space_name: str, *, num_groups: int = 10, seeds: int = 5, device: str = "auto"
) -> Tensor:
    """Adjusted Rand index between the groups found from every pair of seeds, ``[seeds·(seeds−1)/2]``.

    1 means the same partition every time, 0 no more agreement than chance. Averaged over classes, since groups live
    within them.
    """
    find = functools.partial(discover_groups, data, space_name, num_groups=num_groups, learnable=False, device=device)
    found = [find(seed=s).ids for s in range(seeds)]
    scores = []
    for a, b in itertools.combinations(found, 2):
        classes = [data.labels == label for label in range(data.num_classes)]
        scores.append(np.mean([adjusted_rand_score(a[c].numpy(), b[c].numpy()) for c in classes]))
    return torch.tensor(scores, dtype=torch.float64)


def matched_mass(weights: Tensor, labels: Tensor, marked: Tensor) -> float:
    """The share of ``marked`` samples (bool ``[N]``) in what is matched, averaged over the classes that have some.

    Args:
        weights: ``[N]``, at least 0: each real sample's part, up to a factor for each class
            (:func:`rdd_nb.start.sampling_weights`).
        labels: int64 ``[N]``.

    Returns:
        A share in [0, 1]; NaN where nothing is marked. In plain matching it is the share that they have in the data.

    >>> weights, labels = torch.tensor([3.0, 1.0, 1.0]), torch.zeros(3, dtype=torch.int64)
    >>> round(matched_mass(weights, labels, torch.tensor([True, False, False])), 3)
    0.6
    """
    shares = []
    for label in labels.unique():
        mine = labels == label
        if marked[mine].any():
            shares.append(float((weights[mine] * marked[mine]).sum() / weights[mine].sum()))
    return float(np.mean(shares)) if shares else float("nan")


def group_mass(groups: Groups, labels: Tensor, marked: Tensor, power: float = 0.0) -> float:
    """The :func:`matched_mass` of :func:`group_weights`: how much of what groups match is of ``marked`` samples.

    For a minority of share s, a value of s means that the groups do not see it.
    """
    return matched_mass(group_weights(groups, labels, int(labels.max()) + 1, power), labels, marked)


def group_shares(groups: Groups, labels: Tensor, num_classes: int, power: float = 0.0) -> Tensor:
    """Each group's share of its class: its size to the ``power``, float64 ``[num_classes, G]``, rows that sum to 1.

    0 gives all groups of a class the same, 1 gives what they have in the data, which is plain matching; in between
    rare groups are raised in part (sampling at temperature 1/power, as multilingual models draw their languages:
    Arivazhagan et al., 1907.05019). Where the groups say how ``learnable`` they are, a group of natural share s is
    raised by s^(−(1 − power)·learnable) instead: in full at 1, not at all at 0.

    Raises:
        RddError: ``power`` outside [0, 1].

    >>> groups = Groups(torch.tensor([0] * 16 + [1] * 4), 2, "doctest")
    >>> [group_shares(groups, torch.zeros(20, dtype=torch.int64), 1, power)[0].tolist() for power in (0, 1)]
    [[0.5, 0.5], [0.8, 0.2]]
    """
    if not 0 <= power <= 1:
        raise RddError(f"group_power={power} must lie in [0, 1]: 0 for equal groups, 1 for their natural sizes")
    sizes = groups.sizes(labels, num_classes)
    if groups.learnable is None:
        raised = sizes.double().pow(power) * (sizes > 0)
    else:
        natural = (sizes / sizes.sum(1, keepdim=True).clamp_min(1)).double()
        raised = natural * natural.clamp_min(1e-12).pow((power - 1) * groups.learnable[:num_classes])
    return raised / raised.sum(1, keepdim=True).clamp_min(1e-12)


def group_weights(groups: Groups, labels: Tensor, num_classes: int, power: float = 0.0) -> Tensor:
    """A weight for each sample, ``[N]``, that gives each group its :func:`group_shares`; the sum is 1 in each class."""
    shares = group_shares(groups, labels, num_classes, power)
    sizes = groups.sizes(labels, num_classes)
    return shares[labels, groups.ids] / sizes[labels, groups.ids]
