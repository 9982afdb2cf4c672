"""Many fresh networks trained on a set, at once, side by side or in turn, by :mod:`rdd_nb.models.descent`.

The last step of training counts; nothing is selected on the way.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import stack_module_state

from rdd_nb.core.device import arithmetic, pick_device, side_by_side, tune_allocator
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.models import augmentation, networks
from rdd_nb.models.descent import SGD, descend, images_at_once, loss_in_parts
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.risk.online import GroupDRO
from rdd_nb.models.risk.tail_risk import group_cvar

__all__ = ["SMALL_BATCH", "balanced_order", "dro_weights", "train"]

SMALL_BATCH = 128  # images: with more, one network at a time on the CPU


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

    A large batch keeps all cores busy by itself. Nor are there more at a time than may hold their outputs together.
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

    batch = min(protocol.batch, len(data.labels))
    most = images_at_once(nets[0], data.shape) // batch if batch <= SMALL_BATCH else 1
    side_by_side(fit, range(len(nets)), device, most)


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
    at_once = images_at_once(nets[0], data.shape, len(nets))
    seen: list[Tensor] = []

    def loss(batch: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Iterator[Tensor]:
        x, y, which = (torch.stack(part) for part in zip(*batch))

        def losses_of(part: slice) -> Tensor:
            logits, truth = forward(x[:, part]).flatten(0, 1), y[:, part].flatten(0, 1)
            return F.cross_entropy(logits, truth, reduction="none").view(len(nets), -1)

        def weigh(losses: Tensor) -> Tensor:
            assert cells is not None
            return torch.stack([dro_weights(*one) for one in zip(dro, losses, cells[which])])

        return loss_in_parts(losses_of, x.shape[1], at_once, None if cells is None else weigh)

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
