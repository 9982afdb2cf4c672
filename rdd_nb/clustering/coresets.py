"""Real images chosen without distillation: where a distillation starts, and what every distilled set must beat.

:func:`coreset` gives a :class:`~rdd_nb.data.synthetic_set.SyntheticSet`, so that all that is done with distilled images
can be done with these; :func:`select` gives the indices alone.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.features import LARGE, embedded
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.kmeans import medoids
from rdd_nb.clustering.shares import group_shares, quotas
from rdd_nb.clustering.spaces import space
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder, Latents
from rdd_nb.data.formations import check_formations, encode
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.models.autoencoder import train_autoencoder
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import train

__all__ = ["METHODS", "check_fits", "coreset", "herd", "select"]

#: The ways to choose, each with one line on what it does.
METHODS: dict[str, str] = {
    "random": "random images of each class",
    "medoids": "the images nearest to the centres of k-means in each class, in pixels",
    "medoids-features": "likewise in the features of a frozen random network",
    "herding": "images whose mean feature is nearest to the class's, in a network trained briefly on the training set",
    "herding-frozen": "likewise in the features of a frozen random network",
    "balanced": "random images of each class, in equal numbers from each of its groups",
    "balanced-medoids": "medoids likewise, of each group, in pixels",
}
SPREAD = ("balanced", "balanced-medoids")  # over groups, and by nothing without them
#: How long the network of ``herding`` is trained, on the training set alone.
BRIEFLY = Protocol(steps=200, lr=0.02, width=32)


def coreset(
    data: ImageDataset,
    method: str,
    ipc: int,
    *,
    groups: Groups | None = None,
    seed: int = 0,
    device: str = "auto",
    formations: int = 1,
    latents: int = 0,
    decoder: Decoder | None = None,
) -> SyntheticSet:
    """``ipc`` real images of each class, chosen by ``method``, normalised and sorted by class.

    Args:
        data: the training set.
        method: one of :data:`METHODS`.
        ipc: stored images per class.
        groups: for ``balanced`` and ``balanced-medoids`` alone: every group of a class gives as many images, as far as
            it goes.
        seed: the same seed gives the same images; ``random`` gives those that a distillation with this seed starts at.
        device: where ``herding`` trains its network.
        formations: each stored image holds so many by so many of the chosen, made smaller
            (:mod:`rdd_nb.data.formations`).
        latents: in the place of each image so many of the chosen, as codes of an auto-encoder that is trained for it
            (:mod:`rdd_nb.models.autoencoder`); 0 for images.
        decoder: of these codes, in place of the auto-encoder's.

    Raises:
        RddError: no such method, ``ipc · formations²`` or ``ipc · latents`` above the smallest class, ``balanced``
            without groups, groups without ``balanced``, or images too small for the formations or latents.

    >>> images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    >>> data = ImageDataset(images, torch.arange(8) % 2, ("even", "odd"), mean=(0.0,), std=(1 / 255,))
    >>> chosen = coreset(data, "random", 3, seed=0)
    >>> chosen.labels.tolist(), sorted({int(x) % 2 for x in chosen.images[:3].round().flatten()})
    ([0, 0, 0, 1, 1, 1], [0])
    """
    if method not in METHODS:
        raise unknown("coreset", method, METHODS)
    if (method in SPREAD) != (groups is not None):
        mend = "pass groups=…" if groups is None else "pass none, or use 'balanced'"
        raise RddError(f"coreset {method!r} and {'no groups' if groups is None else 'groups'} were given: {mend}")
    check_formations(formations, *data.shape[1:])
    alike = None if groups is None else dataclasses.replace(groups, learnable=None)
    if latents and formations > 1:
        raise RddError(
            f"formations={formations} beside latents={latents}: codes take the place of several images already"
        )
    chosen = select(data, method, ipc * (latents or formations**2), groups=alike, seed=seed, device=device)
    real, kept = data.normalised(chosen), None
    if latents:
        coder = train_autoencoder(data, latents, seed=seed, device=device, decoder=decoder)
        kept, ipc = Latents(coder.encode(real), coder.decoder), ipc * latents
    return SyntheticSet(
        images=encode(real, formations) if kept is None else kept.images,
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
        formations=formations,
        latents=kept,
    )


def select(
    data: ImageDataset,
    method: str,
    ipc: int,
    *,
    groups: Groups | None = None,
    power: float = 0.0,
    seed: int = 0,
    device: str = "auto",
) -> Tensor:
    """Which images :func:`coreset` takes: int64 ``[num_classes · ipc]`` into ``data``, sorted by class.

    Args:
        data, method, ipc, seed, device: as of :func:`coreset`.
        groups: for ``balanced`` and ``balanced-medoids``: each gives its share of a class
            (:func:`rdd_nb.clustering.group_shares`).
        power: of the shares; 0 for all groups alike.

    Raises:
        RddError: ``ipc`` above the smallest class, or groups of other data.
    """
    check_fits(data, ipc, groups)
    draw, chosen = stream(seed, "init"), []
    points = None
    if method == "herding":
        points = _trained_features(data, seed, device)
    elif method in ("herding-frozen", "medoids-features"):
        points = space(data, "features", seed, device)
    shares = group_shares(groups, data.labels, data.num_classes, power) if groups is not None else None
    for label in range(data.num_classes):
        members = (data.labels == label).nonzero()[:, 0]
        if points is not None:
            mine = points[members]
            chosen.append(members[herd(mine, ipc) if method.startswith("herding") else medoids(mine, ipc, seed)])
            continue
        members = members[torch.randperm(len(members), generator=draw)]
        parts = [(members, ipc)]
        if groups is not None and shares is not None:
            ids = groups.ids[members]
            quota = quotas(shares[label], torch.bincount(ids, minlength=groups.num_groups), ipc, draw)
            parts = [(members[ids == group], count) for group, count in enumerate(quota.tolist()) if count]
        central = method.endswith("medoids")
        chosen += [_medoids(data, mine, count, seed) if central else mine[:count] for mine, count in parts]
    return torch.cat(chosen)


def _medoids(data: ImageDataset, members: Tensor, count: int, seed: int) -> Tensor:
    members = members[: max(count, LARGE // (4 * math.prod(data.shape)))]  # of very many, the first
    return members[medoids(data.normalised(members).flatten(1), count, seed)]


def check_fits(data: ImageDataset, ipc: int, groups: Groups | None, of_real: bool = True) -> None:
    """Whether each class has ``ipc`` images, and the groups are of this data; before anything is computed.

    Where the images are not taken ``of_real`` ones, one in each class is enough.

    Raises:
        RddError: one of them does not hold.
    """
    if ipc < 1:
        raise RddError(f"ipc={ipc}: ask for at least 1 image per class")
    smallest = int(data.class_counts.argmin())
    if (ipc if of_real else 1) > data.class_counts[smallest]:
        raise RddError(
            f"ipc={ipc} is more than class {data.class_names[smallest]!r} has "
            f"({int(data.class_counts[smallest])} images in {data.name!r}): lower ipc or add images"
        )
    if groups is not None and len(groups.ids) != len(data):
        raise RddError(
            f"groups name {len(groups.ids)} samples, the data has {len(data)}: discover them on the same data"
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


@torch.no_grad()
def _trained_features(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Features ``[N, D]`` of unit length, of a network trained as :data:`BRIEFLY` says."""
    where = pick_device(device)
    depth = max(1, min(BRIEFLY.depth, int(math.log2(min(data.shape[1:]))) - 1))  # leaves a map of 2 × 2 at least
    protocol = Protocol(**{**vars(BRIEFLY), "depth": depth})
    with torch.enable_grad():
        (net,) = train(data, protocol, nets=1, seed=seed_of(seed, "herding"), device=where)
    return embedded(lambda x: F.normalize(net.embed(x).flatten(1), dim=1), data, where, seed)  # type: ignore[operator]
