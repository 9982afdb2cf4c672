"""Group labels for a part of the data, extended to the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.shares import rank_within
from rdd_nb.clustering.spaces import principal, space
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

__all__ = ["UNKNOWN", "extended", "extended_groups", "known_but"]

UNKNOWN = -1
MOST = 2_000  # labelled samples that it is learnt from, every group's as far as they go
PENALTIES = (0.01, 0.1, 1.0)
ACROSS = (1.0, 0.5, 0.1)  # how much an image of another class says, beside one of the same


def known_but(data: ImageDataset, nameless: str) -> Tensor:
    """The group labels of ``data``, ``UNKNOWN`` where they say ``nameless``, as where nobody has looked: int64 ``[N]``.

    Raises:
        RddError: the data name no groups, or none of that name, or no other.

    >>> images, groups = torch.zeros(4, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 2, 1, 2])
    >>> named = (groups, ("day", "unseen", "night"))
    >>> data = ImageDataset(images, torch.zeros(4, dtype=torch.int64), ("street",), (0.5,), (0.25,), *named)
    >>> known_but(data, "unseen").tolist()
    [0, 1, -1, 1]
    """
    if data.groups is None:
        raise RddError(
            f"{data.name!r} names no groups, so none is called {nameless!r}: say which column does (--group)"
        )
    if nameless not in data.group_names:
        raise unknown("group", nameless, data.group_names, data.name)
    place = data.group_names.index(nameless)
    labelled = data.groups - (data.groups > place).long()  # numbered anew without it
    known = labelled.where(data.groups != place, torch.tensor(UNKNOWN))
    if bool((known == UNKNOWN).all()):
        raise RddError(f"all images of {data.name!r} are {nameless!r}: label some, or leave this out")
    return known


def extended_groups(data: ImageDataset, known: Tensor, seed: int = 0, device: str = "auto") -> Groups:
    """Groups of all samples from the labels of some: known ones stay as they are, the others are predicted.

    By kernel ridge regression on the features of a frozen network and of the biased one and on colours, with every
    labelled group counting the same, so that the rare are not voted down. A group may look alike in all classes, as
    colours do, or otherwise in each, as a script does whose classes are its numerals: how much an image says about
    those of other classes, and the penalty, are chosen by what is right of the labelled ones when each is left out.
    What is misjudged joins another group of its class.

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
    return extended(data, known, seed, device)[0]


def extended(data: ImageDataset, known: Tensor, seed: int = 0, device: str = "auto") -> tuple[Groups, float]:
    """The groups of :func:`extended_groups`, and how far they are to be trusted, from 0 to 1.

    That is the share of labelled samples that are put into their group when they are left out, on average over the
    groups of each class; 1 where all are known.
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
        return Groups(known, count, "known"), 1.0
    views = [principal(space(data, name, seed, device), 50) for name in ("features", "embedding", "colour")]
    points = torch.cat([view / view.std().clamp_min(1e-6) for view in views], 1)
    ids = known.clone()
    ids[~told], trust = _predicted(points, data.labels, known, told, count, seed)
    return Groups(ids, count, f"known in part ({told.double().mean():.0%})"), trust


def _predicted(
    points: Tensor, labels: Tensor, known: Tensor, told: Tensor, count: int, seed: int
) -> tuple[Tensor, float]:
    """The group of each sample that is not ``told`` of, and how many of those told of are put right unseen."""
    order = told.nonzero()[:, 0]
    order = order[torch.randperm(len(order), generator=stream(seed, "labelled samples"))]
    met = order[rank_within(known[order]).argsort(stable=True)[:MOST]]
    wanted = F.one_hot(known[met], count).double()
    sizes = wanted.sum(0)
    spread = torch.diag(sizes[known[met]] * (sizes > 0).sum() / len(met))  # the reciprocal of a sample's weight

    _, cells, members = (labels[met] * count + known[met]).unique(return_inverse=True, return_counts=True)

    def recall(across: float, penalty: float) -> tuple[float, Tensor]:
        """Mean over groups within classes, each labelled sample left out in turn; and the solution with all of them."""
        inverse = torch.linalg.inv(_kernel(points, labels, met, met, across) + penalty * spread)
        slope = inverse @ wanted
        right = (wanted - slope / inverse.diagonal()[:, None]).argmax(1) == known[met]
        return float((right / members[cells]).sum() / len(members)), slope

    ways = [(*recall(across, penalty), across) for across in ACROSS for penalty in PENALTIES]
    trust, slope, across = max(ways, key=lambda way: way[0])
    absent = sizes == 0
    found = [
        (_kernel(points, labels, part, met, across) @ slope).masked_fill(absent, -torch.inf).argmax(1)
        for part in (~told).nonzero()[:, 0].split(5_000)
    ]
    return torch.cat(found), trust


def _kernel(points: Tensor, labels: Tensor, these: Tensor, those: Tensor, across: float) -> Tensor:
    """How alike two samples are: a Gaussian of their distance, less where they are of different classes."""
    alike = (-torch.cdist(points[these], points[those]).square() / points.shape[1]).exp()
    same = labels[these, None] == labels[None, those]
    return (alike * torch.where(same, 1.0, across)).double()
