"""Where a distillation starts: how real samples are drawn, the first images, and what a resumed run must find again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering import Groups
from rdd_nb.config import DistillConfig
from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError
from rdd_nb.machine import stream

__all__ = ["State", "fingerprint", "initial_state", "sampling_weights"]


@dataclass(frozen=True, eq=False)
class State:
    """A distillation between two iterations.

    Attributes:
        iteration: how many have been completed.
        images: ``[C·ipc, channels, H, W]`` in normalised units, sorted by class.
        momentum: like ``images``, the pixel optimiser's buffer.
        losses: the matching loss of each completed iteration (mean over its matches).
        seconds: wall-clock time of each completed iteration.
        weighing: the part of ``seconds`` spent on the risk: losses, groups and weights of the real samples. On a GPU it
            counts until the work is under way, not until it is done.
    """

    iteration: int
    images: Tensor
    momentum: Tensor
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    weighing: tuple[float, ...] = ()


def sampling_weights(data: ImageDataset, config: DistillConfig, groups: Groups | None = None) -> Tensor:
    """How often each real sample is drawn, relative to the others of its class: ``[N]``, above 0.

    All alike in plain matching; by :func:`rdd_nb.clustering.group_weights` where the objective is given groups; by the
    inverse of the sample's density for ``density`` (R4). It is a sample's expected part in what is matched, before the
    tail within a group and the worst group are raised further.
    """
    if config.objective == "density":
        return clustering.density_weights(clustering.space(data, "style", config.seed), data.labels)
    if config.objective in ("robust", "group") and groups is not None:
        return clustering.group_weights(groups, data.labels, data.num_classes, config.group_power)
    return torch.ones(len(data))


def fingerprint(data: ImageDataset, groups: Groups | None) -> dict[str, Any]:
    """What a run must find again to be resumed: the data and the groups, as digests."""
    digest = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()[:16]
    told = None
    if groups is not None:
        held = [t.numpy().tobytes() for t in (groups.ids, groups.learnable) if t is not None]
        told = {
            "source": groups.source,
            "num_groups": groups.num_groups,
            "digest": hashlib.sha256(b"".join(held)).hexdigest()[:16],
        }
    return {
        "name": data.name,
        "samples": len(data),
        "digest": digest,
        "groups": told,
    }


def initial_state(data: ImageDataset, config: DistillConfig, groups: Groups | None = None) -> State:
    """The synthetic set before its first iteration, as ``config.init`` says.

    Raises:
        RddError: ``ipc`` exceeds the smallest class, ``init=groups`` without groups, or groups of other data.
    """
    check(data, config, groups)
    draw = stream(config.seed, "init")
    init = config.init
    if init == "auto":
        init = "groups" if groups is not None and config.objective in ("robust", "group") else "real"
    if init == "noise":
        images = torch.randn(data.num_classes * config.ipc, *data.shape, generator=draw)
    else:
        chosen = [_first_images(data, config, init, groups, label, draw) for label in range(data.num_classes)]
        images = data.normalised(torch.cat(chosen))
    return State(0, images, torch.zeros_like(images))


def check(data: ImageDataset, config: DistillConfig, groups: Groups | None) -> None:
    """Whether data, config and groups fit together; before anything is computed or written."""
    smallest = int(data.class_counts.argmin())
    if config.ipc > data.class_counts[smallest]:
        raise RddError(
            f"ipc={config.ipc} is more than class {data.class_names[smallest]!r} has "
            f"({int(data.class_counts[smallest])} images in {data.name!r}): lower ipc or add images"
        )
    if config.objective == "group" and groups is None:
        raise RddError("objective=group matches each group's statistics, and no groups were given: pass groups=…")
    if groups is not None and len(groups.ids) != len(data):
        raise RddError(
            f"groups name {len(groups.ids)} samples, the data has {len(data)}: discover them on the same data"
        )


def _first_images(
    data: ImageDataset, config: DistillConfig, init: str, groups: Groups | None, label: int, draw: torch.Generator
) -> Tensor:
    members = (data.labels == label).nonzero()[:, 0]
    members = members[torch.randperm(len(members), generator=draw)]
    if init == "real":
        return members[: config.ipc]
    if init == "medoids":
        return members[clustering.medoids(data.normalised(members).flatten(1), config.ipc, config.seed)]
    if groups is None:
        raise RddError(
            "init=groups spreads the first images over groups, and there are none: pass groups or use init=real"
        )
    shares = clustering.group_shares(groups, data.labels, data.num_classes, config.group_power)[label]
    ids = groups.ids[members]
    quota = _quotas(shares, torch.bincount(ids, minlength=groups.num_groups), config.ipc, draw)
    return torch.cat([members[ids == group][:count] for group, count in enumerate(quota.tolist())])


def _quotas(shares: Tensor, sizes: Tensor, total: int, draw: torch.Generator) -> Tensor:
    """How many of ``total`` images each group gives: int64 ``[G]``, its share to within one, at most its size.

    By one systematic draw over the groups, largest share first, so that a group's expected number is its share. What a
    group is too small to give goes to the next draw among those that have images left.
    """
    quota = torch.zeros_like(sizes)
    while total > int(quota.sum()):
        left = shares.double() * (sizes > quota)
        order = left.argsort(descending=True, stable=True)
        wanted = total - int(quota.sum())
        points = (torch.arange(wanted) + torch.rand(1, generator=draw, dtype=torch.float64)) / wanted
        where = torch.searchsorted((left / left.sum())[order].cumsum(0), points, right=True).clamp_max(len(order) - 1)
        quota = (quota + torch.bincount(order[where], minlength=len(sizes))).minimum(sizes)
    return quota
