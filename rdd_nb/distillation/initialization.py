"""Where a distillation starts: how real samples are drawn, the first images, and what a resumed run must find again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering.coresets import check_fits, select
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.formations import check_formations, encode
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig

__all__ = ["State", "check", "expect_fit", "fingerprint", "initial_state", "sampling_weights", "synthetic_of"]


@dataclass(frozen=True, eq=False)
class State:
    """A distillation between two iterations.

    Attributes:
        iteration: how many have been completed.
        images: as they are stored, ``[C·ipc, channels, H, W]`` in normalised units, sorted by class.
        momentum: like ``images``, the pixel optimiser's buffer.
        losses: the matching loss of each completed iteration (mean over its matches).
        seconds: wall-clock time of each completed iteration.
        weighing: the part of ``seconds`` spent on the risk: losses, groups and weights of the real samples. On a GPU it
            counts until the work is under way, not until it is done.
        step_sizes: trajectory matching: a student's learnt step size after each completed iteration.
        step_momentum: of the logarithm of that step size.
        labels: trajectory matching with ``learn_labels``: the logits ``[M, K]`` of each decoded image, from the first
            iteration on.
        label_momentum: like ``labels``.
    """

    iteration: int
    images: Tensor
    momentum: Tensor
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    weighing: tuple[float, ...] = ()
    step_sizes: tuple[float, ...] = ()
    step_momentum: float = 0.0
    labels: Tensor | None = None
    label_momentum: Tensor | None = None


def synthetic_of(
    state: State, data: ImageDataset, config: DistillConfig, meta: dict[str, str] | None = None
) -> SyntheticSet:
    """The synthetic set as it stands in a state: images, formations and learnt labels, on the CPU."""
    return SyntheticSet(
        images=state.images.cpu(),
        labels=torch.arange(data.num_classes).repeat_interleave(config.ipc),
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        ipc=config.ipc,
        meta=meta or {},
        formations=config.formations,
        soft_labels=None if state.labels is None else state.labels.cpu().softmax(1),
    )


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
    """What a run must find again to be resumed: the data (bytes, shape, names, statistics) and the groups."""
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
        "shape": list(data.shape),
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "groups": told,
    }


#: The coreset method (:data:`rdd_nb.clustering.coresets.METHODS`) behind each start from real images.
_SELECTED = {"real": "random", "medoids": "medoids", "groups": "balanced"}


def initial_state(data: ImageDataset, config: DistillConfig, groups: Groups | None = None) -> State:
    """The synthetic set before its first iteration, as ``config.init`` says.

    Raises:
        RddError: ``ipc`` exceeds the smallest class, ``init=groups`` without groups, or groups of other data.
    """
    check(data, config, groups)
    init = config.init
    if init == "auto":
        spread = groups is not None and groups.raised and config.objective in ("robust", "group")
        init = "groups" if spread else "real"
    if init == "groups" and groups is None:
        raise RddError(
            "init=groups spreads the first images over groups, and there are none: pass groups or use init=real"
        )
    if init == "noise":
        size = (data.num_classes * config.ipc, *data.shape)
        images = torch.randn(*size, generator=stream(config.seed, "init"))
    else:
        over, power = (groups, config.group_power) if init == "groups" else (None, 0.0)
        chosen = select(data, _SELECTED[init], config.decoded_ipc, groups=over, power=power, seed=config.seed)
        images = encode(data.normalised(chosen), config.formations)
    return State(0, images, torch.zeros_like(images))


def check(data: ImageDataset, config: DistillConfig, groups: Groups | None) -> None:
    """Whether data, config and groups fit together; before anything is computed or written.

    Raises:
        RddError: see :func:`expect_fit`; groups of other data; or ``objective=group`` without groups.
    """
    expect_fit(data, config, groups)
    if config.objective == "group" and groups is None:
        raise RddError("objective=group matches each group's statistics, and no groups were given: pass groups=…")


def expect_fit(data: ImageDataset, config: DistillConfig, groups: Groups | None = None) -> None:
    """What can be known of :func:`check` before there are groups.

    Raises:
        RddError: see :func:`rdd_nb.clustering.coresets.check_fits`, whose number counts the parts of stored images; or
            images too small for as many ``formations``.
    """
    check_formations(config.formations, *data.shape[1:])
    try:
        check_fits(data, config.decoded_ipc, groups, of_real=config.init != "noise")
    except RddError as error:
        more = f" ({config.ipc} images of {config.formations} × {config.formations} parts)"
        raise error if config.formations == 1 else RddError(f"{error}{more}") from None
