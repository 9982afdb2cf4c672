"""The one trainer: stochastic gradient descent, and many fresh networks at once, side by side or in turn.

:func:`descend` is the loop that every network of the package is trained by: those that judge a set (:func:`train`), the
reference networks of :mod:`rdd_nb.clustering`, and those that are trained between two matches of a distillation. The
last step of training counts; nothing is selected on the way.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.optim.sgd import sgd

from rdd_nb.core.device import arithmetic, pick_device, side_by_side, tune_allocator
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.models import augmentation, networks
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.risk.online import GroupDRO
from rdd_nb.models.risk.tail_risk import group_cvar

__all__ = ["SGD", "SMALL_BATCH", "balanced_order", "cosine", "descend", "dro_weights", "train"]

SMALL_BATCH = 128  # images: with more, one network at a time on the CPU

Batch = TypeVar("Batch")


class SGD:
    """Stochastic gradient descent by torch's own arithmetic, without its optimiser around it.

    The first call of any optimiser of torch imports its compiler, which takes as long as importing torch itself, in
    every process that trains. The function beneath it does not, and gives the same bits.

    Attributes:
        lr: of the next step.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.forget()

    def forget(self) -> None:
        """Let momentum start afresh."""
        self._velocities: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Take all gradients away."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        velocities = [self._velocities[i] for i in moved]
        sgd(
            [self.parameters[i] for i in moved],
            [self.parameters[i].grad for i in moved],  # type: ignore[misc]
            velocities,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
        for i, velocity in zip(moved, velocities):  # the first step makes them
            self._velocities[i] = velocity


#: Called with the number of each step, from 0, before it is taken.
BeforeStep = Callable[[int, SGD], None]


def descend(
    parameters: Iterable[Tensor],
    batches: Iterable[Batch],
    loss: Callable[[Batch], Tensor],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    before_step: BeforeStep | None = None,
    after_step: Callable[[int, Tensor], None] | None = None,
) -> None:
    """Stochastic gradient descent: one step down ``loss(batch)`` for each batch; the parameters change in place.

    Args:
        parameters: what is trained.
        batches: whatever ``loss`` takes.
        loss: gives a loss ``[]``, or one for each of several networks, ``[nets]``, whose parameters do not meet.
        lr, momentum, weight_decay: of SGD.
        before_step: such as a schedule of the step size (:func:`cosine`).
        after_step: called with the number of the step and its loss, detached.

    >>> weight = torch.ones((), requires_grad=True)
    >>> descend([weight], [2.0, 2.0], lambda target: (weight - target).square(), lr=0.25)
    >>> weight.item()  # half of the way, twice
    1.75
    """
    optimiser = SGD(parameters, lr, momentum, weight_decay)
    for step, batch in enumerate(batches):
        if before_step is not None:
            before_step(step, optimiser)
        value = loss(batch)
        optimiser.zero_grad()
        value.sum().backward()
        optimiser.step()
        if after_step is not None:
            after_step(step, value.detach())


def cosine(steps: int) -> BeforeStep:
    """A schedule for :func:`descend`: the step size falls to 0 over so many steps, as half a cosine."""

    def before_step(step: int, optimiser: SGD) -> None:
        if step:  # from the last one, as torch's CosineAnnealingLR has it, to the bit
            optimiser.lr *= (1 + math.cos(math.pi * step / steps)) / (1 + math.cos(math.pi * (step - 1) / steps))

    return before_step


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
        data: a distilled set (its decoded images, by its soft labels where it has such), or real images.
        protocol: how; default :class:`Protocol`.
        nets: how many.
        seed: of the initial weights, the order of the samples and the augmentation.
        device: where to train, and where the nets stay.
        progress: called with (steps done, steps in all), at most once per epoch of a network; not always by this
            thread, but by one at a time.

    Returns:
        The nets in evaluation mode, as the last step left them.

    Raises:
        RddError: ``nets`` below 1, an empty set, images that do not suit the network, a loss that is not finite, or
            ``objective="group-dro"`` on a set that names no groups.
    """
    tune_allocator()
    protocol = protocol or Protocol()
    data = data.decoded if isinstance(data, SyntheticSet) else data
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
    """Endless (images [B, C, H, W], labels [B] or soft [B, K], which samples [B]): normalised, shuffled, augmented.

    Each epoch is shuffled anew; with ``cells`` (int64 ``[N]``, on the CPU) the batches hold all of these alike instead.
    """
    draw = stream(seed, "evaluation", net, "batches")
    images = data.images.to(device)
    labels = (data.targets if isinstance(data, SyntheticSet) else data.labels).to(device)
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    while True:
        order = torch.randperm(len(labels), generator=draw) if cells is None else balanced_order(cells, draw)
        for part in order.split(protocol.batch):
            transform = augmentation.draw(protocol.augment, len(part), draw, device=device)
            part = part.to(device)
            x = images[part]
            if x.dtype == torch.uint8:
                x = x.to(torch.float32).div_(255).sub_(mean).div_(std)
            yield transform(x), labels[part], part


def balanced_order(cells: Tensor, draw: torch.Generator) -> Tensor:
    """Samples ``[N]`` for one epoch: round after round of all cells in a random order, a random member of each."""
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


def dro_weights(dro: GroupDRO, losses: Tensor, cells: Tensor) -> Tensor:
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
    cells = _cells(data, protocol)
    sources = [_batches(data, protocol, seed, number, device, cells) for number in numbers]
    if cells is not None:
        cells = cells.to(device)
        dro = [GroupDRO(int(cells.max()) + 1, protocol.group_step, device=device) for _ in nets]
    total, full_rate, each = protocol.schedule(len(data.labels))
    seen: list[Tensor] = []

    def loss(batch: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        x, y, which = (torch.stack(part) for part in zip(*batch))
        losses = F.cross_entropy(forward(x).flatten(0, 1), y.flatten(0, 1), reduction="none").view(len(nets), -1)
        if cells is None:
            return losses.mean(1)
        counts = torch.stack([dro_weights(*one) for one in zip(dro, losses, cells[which])])
        return (counts * losses).sum(1)

    def slow_down(step: int, optimiser: SGD) -> None:
        if step == full_rate:
            optimiser.lr = 0.1 * protocol.lr
            optimiser.forget()

    def watch(step: int, losses: Tensor) -> None:
        seen.append(losses)
        if len(seen) == 50 or step + 1 == total:  # reading the loss waits for the device, so not at every step
            _check_finite(torch.stack(seen), numbers, step + 1 - len(seen), each)
            seen.clear()
        if (step + 1) % each == 0 or step + 1 == total:
            tell(step + 1, total)

    descend(
        stacked.values(),
        itertools.islice(zip(*sources), total),
        loss,
        lr=protocol.lr,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        before_step=slow_down,
        after_step=watch,
    )
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
