"""How an evaluation net is trained: the protocol, and many nets at once, side by side, or in turn.

What the nets then say of a test set, :mod:`rdd_nb.evaluate` keeps. The last step of training counts; nothing is
selected on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import stack_module_state

from rdd_nb import augment, networks
from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError, unknown
from rdd_nb.machine import PRECISIONS, arithmetic, pick_device, seed_of, side_by_side, stream, tune_allocator
from rdd_nb.risk import GroupDRO, group_cvar
from rdd_nb.runs import SyntheticSet

__all__ = ["OBJECTIVES", "PROFILES", "SHORT", "Protocol", "train"]

SMALL_BATCH = 128  # images: with more, one network at a time on the CPU

#: What an evaluation net minimises: the mean loss, or group DRO's on the groups that the training set names.
OBJECTIVES = ("erm", "group-dro")


@dataclass(frozen=True)
class Protocol:
    """How an evaluation net is trained; the defaults are the reference protocol (Zhao et al., 2006.05929).

    SGD with momentum and weight decay; after half of the passes the learning rate is divided by 10, once, and momentum
    starts afresh, as in the reference code. ``augment`` draws one operation a batch with parameters for each sample
    (DSA's evaluation uses 1,000 epochs with it). ``steps``, where given, replaces ``epochs`` by a number of batches.

    ``objective="group-dro"`` is for whole training sets that name their groups: group DRO over the (class, group) pairs
    that occur in them (Sagawa et al., 1911.08731, Algorithm 1). As in its authors' experiments, batches hold all groups
    in equal numbers (members drawn with replacement) and the groups' weights follow their losses by exponentiated
    gradient of step ``group_step``; a pass has as many batches as a plain one. The paper finds that it needs strong
    regularisation or few epochs, as a net that fits every training sample has no worst group.

    ``precision`` is the arithmetic of the training (:data:`rdd_nb.machine.PRECISIONS`); predictions are float32's.

    Raises:
        RddError: a value of the wrong kind or out of range; an unknown augmentation, network, norm or objective.
    """

    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augment: str = "none"
    network: str = "convnet"
    width: int = 128
    depth: int = 3
    norm: str = "instance"
    steps: int | None = None
    objective: str = "erm"
    group_step: float = 0.01
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "width", "depth", *(["steps"] if self.steps is not None else [])):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RddError(f"protocol {name}={value!r} must be a whole number, at least 1")
        for name in ("lr", "momentum", "weight_decay", "group_step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < np.inf:
                raise RddError(f"protocol {name}={value!r} must be a number, at least 0 (YAML reads 5e-4 as a string)")
        if self.lr == 0 or self.momentum >= 1:
            raise RddError(f"protocol lr={self.lr} must be above 0, and momentum={self.momentum} below 1")
        augment.parse(self.augment)
        if self.network not in networks.available():
            raise unknown("network", self.network, networks.available(), "protocol")
        if self.norm not in networks.NORMS:
            raise unknown("norm", self.norm, networks.NORMS, "protocol")
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES, "protocol")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS, "protocol")

    @property
    def settings(self) -> dict[str, Any]:
        """What the protocol says, by name, for whoever compares it: ``precision`` only where it is not float32.

        Tables from before there was a choice of precision stay known by it.
        """
        return {k: v for k, v in vars(self).items() if (k, v) != ("precision", "float32")}

    def schedule(self, samples: int) -> tuple[int, int, int]:
        """For a set of ``samples``: how many steps in all, how many at the full rate, and how many make one pass.

        >>> Protocol(epochs=300).schedule(100), Protocol(epochs=4).schedule(1000), Protocol(steps=10).schedule(1000)
        ((300, 151, 1), (16, 12, 4), (10, 6, 4))
        """
        each = -(-samples // self.batch)
        if self.steps is not None:
            return self.steps, min(self.steps // 2 + 1, self.steps), each
        return self.epochs * each, min(self.epochs // 2 + 1, self.epochs) * each, each


#: The three sizes: ``smoke`` only proves that the code runs, ``full`` is the papers' protocol.
PROFILES: dict[str, Protocol] = {
    "smoke": Protocol(epochs=3, width=8),
    "quick": Protocol(epochs=100, lr=0.02, width=32),
    "full": Protocol(),
}

#: The same for notebooks, before which a person waits: at ``quick`` a third of the passes at five times the step. On
#: the coloured sample, networks trained so on real images differed by a point off-colour, by two to three on-colour.
SHORT: dict[str, Protocol] = {**PROFILES, "quick": Protocol(epochs=30, lr=0.1, width=32)}


def train(
    data: SyntheticSet | ImageDataset,
    protocol: Protocol | None = None,
    *,
    nets: int = 5,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[nn.Module]:
    """Train ``nets`` fresh networks on ``data``; net i depends on ``seed`` and i alone, not on how many there are.

    On CUDA all of them are trained at once (one batched step for all), on the CPU side by side where batches are small,
    as many as torch has threads, which is faster there. All ways give the same nets up to rounding. A real set stays
    uint8 and is normalised batch by batch.

    Args:
        data: a distilled set, or real images.
        protocol: how; default :class:`Protocol`.
        nets: how many.
        seed: of the initial weights, the order of the samples and the augmentation.
        device: where to train, and where the nets stay.
        progress: called with (steps done, steps in all), at most once a pass of a net; not always by this thread, but
            by one at a time.

    Returns:
        The nets in evaluation mode, as the last step left them.

    Raises:
        RddError: ``nets`` below 1, an empty set, images that do not suit the network, a loss that is not finite, or
            ``objective="group-dro"`` on a set that names no groups.
    """
    tune_allocator()
    protocol = protocol or Protocol()
    if nets < 1 or not len(data.labels):
        raise RddError(f"nets={nets} on {len(data.labels)} images: train at least 1 net on at least 1 image")
    if protocol.objective == "group-dro" and (isinstance(data, SyntheticSet) or data.groups is None):
        what = "a distilled set" if isinstance(data, SyntheticSet) else f"dataset {data.name!r}"
        raise RddError(f"objective=group-dro needs groups, and {what} names none: use objective=erm, or a scenario")
    where = pick_device(device)
    options: dict[str, Any] = {"width": protocol.width, "depth": protocol.depth, "norm": protocol.norm}
    made: list[nn.Module] = [
        networks.build(
            protocol.network, data.shape, data.num_classes, seed=seed_of(seed, "evaluation", i), **options
        ).to(where)
        for i in range(nets)
    ]
    # BatchNorm's running statistics are not parameters, so such nets cannot share one batched step.
    if where.type == "cuda" and not any(True for _ in made[0].buffers()):
        _fit(made, range(nets), data, protocol, seed, where, progress or (lambda done, total: None))
    else:
        _fit_apart(made, data, protocol, seed, where, progress)
    return [net.eval() for net in made]


def _fit_apart(
    nets: Sequence[nn.Module],
    data: SyntheticSet | ImageDataset,
    protocol: Protocol,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train each net by itself; on the CPU several at a time where batches are small.

    A large batch keeps all cores busy by itself, and two of them at a time would need twice the memory.
    """
    done, telling = [0] * len(nets), threading.Lock()

    def fit(number: int, check: Callable[[], None]) -> None:
        def tell(steps: int, total: int) -> None:
            check()
            if progress is not None:
                with telling:
                    done[number] = steps
                    progress(sum(done), len(nets) * total)

        _fit([nets[number]], [number], data, protocol, seed, device, tell)

    if min(protocol.batch, len(data.labels)) <= SMALL_BATCH:
        side_by_side(fit, range(len(nets)), device)
    else:
        for number in range(len(nets)):
            fit(number, lambda: None)


def _batches(
    data: SyntheticSet | ImageDataset,
    protocol: Protocol,
    seed: int,
    net: int,
    device: torch.device,
    cells: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless (images [B, C, H, W], labels [B], which samples [B]) for one net: normalised, shuffled, augmented.

    Each pass is shuffled anew; with ``cells`` (int64 ``[N]``, on the CPU) the batches hold all of these alike instead.
    """
    draw = stream(seed, "evaluation", net, "batches")
    images, labels = data.images.to(device), data.labels.to(device)
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    while True:
        order = torch.randperm(len(labels), generator=draw) if cells is None else _balanced(cells, draw)
        for part in order.split(protocol.batch):
            transform = augment.draw(protocol.augment, len(part), draw, device=device)
            part = part.to(device)
            x = images[part]
            if x.dtype == torch.uint8:
                x = x.to(torch.float32).div_(255).sub_(mean).div_(std)
            yield transform(x), labels[part], part


def _balanced(cells: Tensor, draw: torch.Generator) -> Tensor:
    """Samples ``[N]`` for one pass: round after round of all cells in a random order, a random member of each."""
    sizes = torch.bincount(cells)
    rounds = -(-len(cells) // len(sizes))
    turns = torch.cat([torch.randperm(len(sizes), generator=draw) for _ in range(rounds)])[: len(cells)]
    place = (torch.rand(len(turns), generator=draw, dtype=torch.float64) * sizes[turns]).long()
    return cells.argsort(stable=True)[(sizes.cumsum(0) - sizes)[turns] + place]


def _cells(data: SyntheticSet | ImageDataset, protocol: Protocol) -> Tensor | None:
    """For group DRO: the (class, group) pairs that occur, counted from 0, int64 ``[N]`` on the CPU."""
    if protocol.objective != "group-dro" or isinstance(data, SyntheticSet) or data.groups is None:
        return None
    return (data.labels * data.num_groups + data.groups).cpu().unique(return_inverse=True)[1]


def _group_weights(dro: GroupDRO, losses: Tensor, cells: Tensor) -> Tensor:
    """Moves ``dro`` by the losses ``[B]`` and says how much each of them counts, ``[B]``, summing to 1."""
    risk = group_cvar(losses.detach(), cells, dro.num_groups, tail=1.0)
    share = dro.update(risk.values, risk.present) * risk.present
    return (share / share.sum() / risk.counts.clamp(min=1))[cells].to(losses.dtype)


def _fit(
    nets: Sequence[nn.Module],
    numbers: Sequence[int],
    data: SyntheticSet | ImageDataset,
    protocol: Protocol,
    seed: int,
    device: torch.device,
    tell: Callable[[int, int], None],
) -> None:
    """Train ``nets`` (number ``numbers`` of the run) in place, more than one as one batched network.

    SGD works on each element by itself and each net's loss knows only its own weights, so one optimiser on the stacked
    weights is as many optimisers as there are nets.
    """
    if len(nets) == 1:
        stacked: dict[str, Tensor] = dict(nets[0].named_parameters())

        def forward(x: Tensor) -> Tensor:
            with arithmetic(protocol.precision, device):
                return nets[0](x[0])[None]

    else:
        stacked = stack_module_state(list(nets))[0]
        batched = networks.batched(nets[0], protocol.precision)
        forward = lambda x: batched(stacked, x)  # noqa: E731
    optimiser = torch.optim.SGD(
        stacked.values(), lr=protocol.lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )
    cells = _cells(data, protocol)
    sources = [_batches(data, protocol, seed, number, device, cells) for number in numbers]
    if cells is not None:
        cells = cells.to(device)
        dro = [GroupDRO(int(cells.max()) + 1, protocol.group_step, device=device) for _ in nets]
    total, full_rate, each = protocol.schedule(len(data.labels))
    seen: list[Tensor] = []
    for step in range(total):
        if step == full_rate:
            optimiser.param_groups[0]["lr"] = 0.1 * protocol.lr
            optimiser.state.clear()
        x, y, which = (torch.stack(part) for part in zip(*map(next, sources)))
        losses = F.cross_entropy(forward(x).flatten(0, 1), y.flatten(), reduction="none").view(len(nets), -1)
        if cells is None:
            loss = losses.mean(1)
        else:
            counts = torch.stack([_group_weights(*one) for one in zip(dro, losses, cells[which])])
            loss = (counts * losses).sum(1)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        seen.append(loss.detach())
        if len(seen) == 50 or step + 1 == total:  # reading the loss waits for the device, so not at every step
            _check_finite(torch.stack(seen), numbers, step + 1 - len(seen), each)
            seen.clear()
        if (step + 1) % each == 0 or step + 1 == total:
            tell(step + 1, total)
    if len(nets) > 1:
        with torch.no_grad():
            for i, net in enumerate(nets):
                for name, weight in net.named_parameters():
                    weight.copy_(stacked[name][i])


def _check_finite(losses: Tensor, numbers: Sequence[int], first: int, each: int) -> None:
    """``losses`` [steps, nets] from step ``first`` on."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step, net = bad[0].tolist()
        raise RddError(
            f"evaluation net {numbers[net]} diverged in epoch {(first + step) // each + 1} (its loss is not finite): "
            "lower the protocol's lr"
        )
