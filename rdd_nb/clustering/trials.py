"""What raising groups would bring, tried in closed form on small sets of real training images.

A distilled set has few places, and what rare groups are given is taken from the others. Whether that pays can be known
before anything is distilled, on training images alone: :class:`Trials` makes small sets in each of several ways, lets a
closed-form classifier learn from each, and asks it about images that it never met.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.features import outputs
from rdd_nb.clustering.groups import Benefit, Groups
from rdd_nb.clustering.reference_networks import depth_for
from rdd_nb.clustering.shares import group_shares, group_weights, rank_within
from rdd_nb.clustering.small_sets import SmallSets
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.models import networks

__all__ = ["Trials"]

MOST = 10_000  # samples that are tried: more would sharpen what is sharp enough
NETS = 2
POWER = 0.3  # of DistillConfig: what a group counts as that is raised in full
AT_ONCE = 64_000_000  # bytes of features of the sets whose classifiers are computed together
RIDGE = 0.1  # of the mean of the kernel's diagonal
MOVED = 0.75  # of the way to the class's weighted mean


class Trials:
    """Small sets made of one half of the data in several ways, each judged on the other half, and the halves swapped.

    A small set is ``ipc`` real images a class, at random or medoids, spread over the groups by their shares
    (:class:`~rdd_nb.clustering.small_sets.SmallSets`). It is taken through a frozen
    random ConvNet, where the features of each class are moved together, three quarters of the way to where their mean
    is the weighted mean of the class. To first order the whole way is what distribution matching from this start does
    in this network; but a set is learnt by another network than those that it was matched in, and how far the match
    carries over was measured (``data/results/calibration.py``): with the whole way the trial promises more than
    distillation keeps, with none less. Ridge regression on these features is the classifier. All is averaged over
    several networks and sets; ways are compared on the same networks and halves. The trial is ours.

    Args:
        data: the training set; at most 10,000 of its samples (20 a class, if that is more) are tried.
        ipc: images per class of the sets, as they will be distilled.
        draws: small sets for each network and half, fewer where there are many classes.
        seed: of the networks, the halves and the sets.
        device: where the networks compute.

    Raises:
        RddError: no class has two images, one to learn from and one to ask about.
    """

    def __init__(
        self, data: ImageDataset, *, ipc: int = 10, draws: int = 20, seed: int = 0, device: str = "auto"
    ) -> None:
        if int(data.class_counts.max()) < 2:
            raise RddError(f"no class of {data.name!r} has two images, one to learn from and one to ask about")
        self.labels, self.classes, self.ipc, self.seed = data.labels, data.num_classes, ipc, seed
        self.draws = max(1, min(draws, 400 // self.classes))
        where = pick_device(device)
        order = torch.randperm(len(data), generator=stream(seed, "trial halves"))
        rank = rank_within(data.labels[order])  # of each sample within its class
        order = order[rank < max(MOST // self.classes, 20)] if len(data) > MOST else order
        self.sets = SmallSets(data, order, rank_within(data.labels[order]) % 2, ipc, seed)
        members = torch.cat(self.sets.parts)
        self.row = torch.zeros(len(data), dtype=torch.int64)  # of a sample's features, which lie half after half
        self.row[members] = torch.arange(len(members))
        self.features = []
        for number in range(NETS):
            net = networks.build(
                "convnet", data.shape, data.num_classes, width=32, depth=depth_for(data),
                seed=seed_of(seed, "trial network", number),
            ).to(where)  # fmt: skip
            made = outputs(lambda x: net.embed(x).flatten(1), data, where, members)  # noqa: B023 (called at once)
            self.features.append((made - made.mean(0)) / made.std().clamp_min(1e-6))

    @torch.no_grad()
    def judge(self, groups: Groups | None = None, power: float = 1.0, round: int = 0, start: str = "groups") -> Tensor:
        """How often each sample is classified right by the sets that never met it: ``[N, sets]``, NaN where not asked.

        Args:
            groups: which are raised, as :func:`rdd_nb.clustering.group_shares` says; None for none, and no spreading.
            power: of the groups' sizes.
            round: another one draws other sets.
            start: what the sets are, one of :data:`~rdd_nb.clustering.groups.STARTS`.
        """
        labels, k = self.labels, self.classes
        weights = torch.ones(len(labels)) if groups is None else group_weights(groups, labels, k, power).float()
        if groups is None or start == "medoids":
            ids, shares = torch.zeros_like(labels), torch.ones(k, 1)
        else:
            ids, shares = groups.ids, group_shares(groups, labels, k, power)
        right = torch.full((len(labels), NETS * self.draws), torch.nan)
        count, halves = NETS * self.draws, self.sets.parts
        for part, met in enumerate(halves):
            asked = halves[1 - part]
            sets = self.sets.draw(part, ids, shares, round=round, count=count, central=start != "groups")
            for net, features in enumerate(self.features):
                by_half = features.split([len(half) for half in halves])
                targets = _class_means(by_half[part], labels[met], k, weights[met])
                slopes, offsets = self._regressions(features, targets, sets[net::NETS])
                said = torch.addmm(offsets, by_half[1 - part], slopes.T).view(len(asked), -1, k).argmax(2)
                right[asked, net::NETS] = (said == labels[asked][:, None]).float()
        return right

    def benefit(
        self,
        plain: Tensor,
        raised: Tensor,
        groups: Groups,
        power: float = POWER,
        beside: Groups | None = None,
        trust: float = 1.0,
    ) -> Benefit:
        """What the second :meth:`judge` brings beside the first: to all images alike, and with each of ``groups``
        counted as its size to the ``power``; where there are others ``beside`` them, as far as there is ``trust`` in
        the first, and otherwise the others."""
        tried = ~plain[:, 0].isnan()
        change = 100 * (raised - plain)[tried].double()  # [tried, sets]
        part, cells = self._counted(groups, tried, power)
        if beside is not None:
            other, others = self._counted(beside, tried, power)
            part = trust * part + (1 - trust) * other
            cells = (cells * (int(others.max()) + 1) + others).unique(return_inverse=True)[1]
        both = (part + 1 / len(part)) / 2
        each = change.mean(1)
        # Within groups, that the small gain and the large lose is the effect and no error of it; a single member has no
        # spread of its own, and lends that of all.
        counts = torch.bincount(cells)
        own = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, cells, each) / counts.clamp_min(1)
        count = counts[cells]
        spread = (each - own[cells]) * (count / (count - 1).clamp_min(1)).sqrt()
        by_samples = (both * torch.where(count > 1, spread, each - each.mean())).square().sum()
        by_set = both @ change
        by_sets = by_set.var() / len(by_set) if len(by_set) > 1 else torch.zeros(())
        return Benefit(
            float(part @ change.mean(1)), float(change.mean()), math.sqrt(float(by_samples) + float(by_sets))
        )

    def _counted(self, groups: Groups, tried: Tensor, power: float) -> tuple[Tensor, Tensor]:
        """What each sample counts where groups count as their size to the ``power``, in all 1, and its group."""
        told = dataclasses.replace(groups, ids=groups.ids[tried], learnable=None)
        part = group_weights(told, self.labels[tried], self.classes, power).double()
        return part / part.sum(), self.labels[tried] * groups.num_groups + told.ids

    def by_class(self, plain: Tensor, raised: Tensor) -> Tensor:
        """What the second :meth:`judge` changes beside the first in each class, in points, float64 ``[K]``; NaN where
        none of a class was asked."""
        tried = ~plain[:, 0].isnan()
        change, labels = 100 * (raised - plain)[tried].double().mean(1), self.labels[tried]
        total = torch.zeros(self.classes, dtype=torch.float64).index_add_(0, labels, change)
        return total / torch.bincount(labels, minlength=self.classes)

    def _regressions(self, features: Tensor, targets: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        """The classifiers of sets ``[S, n]``: slopes ``[S · K, D]`` and offsets ``[S · K]``."""
        slopes, offsets = [], []
        each = max(1, AT_ONCE // (4 * sets.shape[1] * features.shape[1]))
        for some in sets.split(each):
            labels, own = self.labels[some], features[self.row[some]]  # [S, n] and [S, n, D]
            cells = labels + self.classes * torch.arange(len(some))[:, None]
            means = _class_means(own.flatten(0, 1), cells.flatten(), len(some) * self.classes)
            own = own + MOVED * (targets.repeat(len(some), 1) - means)[cells]
            centre = own.mean(1, keepdim=True)
            slope = _ridge(own - centre, labels, self.classes)
            slopes.append(slope.flatten(0, 1))
            offsets.append(-(slope @ centre.transpose(1, 2)).flatten())
        return torch.cat(slopes), torch.cat(offsets)


def _ridge(points: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Slopes ``[S, K, D]`` of ridge regressions from points ``[S, n, D]`` of mean 0 on their classes, as indicators of
    mean 0, by the smaller of two systems."""
    penalty = RIDGE * points.square().sum(2).mean(1).clamp_min(1e-6)
    few = points.shape[1] <= points.shape[2]
    gram = points @ points.transpose(1, 2) if few else points.transpose(1, 2) @ points
    gram.diagonal(dim1=1, dim2=2).add_(penalty[:, None])
    if few:
        wanted = F.one_hot(labels, classes).float() - 1 / classes
        return torch.linalg.solve(gram, wanted).transpose(1, 2) @ points
    sums = points.new_zeros(len(points), classes, points.shape[2])
    for each, mine, total in zip(points, labels, sums):
        total.index_add_(0, mine, each)  # as a product with so many indicators it would take longer than the system
    return torch.linalg.solve(gram, sums.transpose(1, 2)).transpose(1, 2)


def _class_means(points: Tensor, labels: Tensor, classes: int, weights: Tensor | None = None) -> Tensor:
    """Weighted mean of each class's points: ``[K, D]``."""
    weights = torch.ones(len(labels)) if weights is None else weights
    mass = torch.zeros(classes).index_add_(0, labels, weights).clamp_min(1e-12)
    total = torch.zeros(classes, points.shape[1]).index_add_(0, labels, points * weights[:, None])
    return total / mass[:, None]
