"""Stochastic gradient descent: the loop that every network of the package is trained by, and how much it may hold.

:func:`descend` trains those that judge a set (:mod:`rdd_nb.models.training`), the reference networks of
:mod:`rdd_nb.clustering`, experts, and those that are trained between two matches of a distillation. Where images are
large, a batch goes through the network in parts (:func:`images_at_once`), whose gradients are summed: the same step up
to rounding, in a bounded memory. (Not so with ``reference="robust"``, whose loss looks at the features of the whole
batch, nor where networks are small, as in :mod:`rdd_nb.clustering`.)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from rdd_nb.core.device import differentiable_twice

__all__ = ["HELD_BYTES", "SGD", "BeforeStep", "cosine", "descend", "images_at_once", "loss_in_parts"]

#: What the outputs that gradients need may take at a time on a CPU. A step's peak is two and a half times that, so that
#: a process, with PyTorch in it, stays within 1.5 GB. A batch of 256 images of 32 × 32 is one part at a width of 128.
HELD_BYTES = 420 * 10**6

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
    loss: Callable[[Batch], Tensor | Iterable[Tensor]],
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
        loss: gives a loss ``[]``, or one for each of several networks, ``[nets]``, whose parameters do not meet; or,
            one after the other, parts of it that sum to it. Each part is differentiated before the next is asked for,
            so that the memory holds what one of them needs.
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
        given, parts = loss(batch), []
        optimiser.zero_grad()
        for part in [given] if isinstance(given, Tensor) else given:
            part.sum().backward()
            parts.append(part.detach())
        optimiser.step()
        if after_step is not None:
            after_step(step, parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))


def cosine(steps: int) -> BeforeStep:
    """A schedule for :func:`descend`: the step size falls to 0 over so many steps, as half a cosine."""

    def before_step(step: int, optimiser: SGD) -> None:
        if step:  # from the last one, as torch's CosineAnnealingLR has it, to the bit
            optimiser.lr *= (1 + math.cos(math.pi * step / steps)) / (1 + math.cos(math.pi * (step - 1) / steps))

    return before_step


def images_at_once(net: nn.Module, shape: Sequence[int], nets: int = 1, twice: bool = False) -> int:
    """How many images ``[C, H, W]`` the training of ``nets`` such networks at a time should hold outputs of, each.

    So many that what the gradients need of them takes :data:`HELD_BYTES` on the CPU, on a card a quarter of its memory;
    it is counted for one image. With buffers there is no bound: BatchNorm's statistics are those of a whole batch.

    Args:
        net: not changed.
        shape: of an image.
        nets: that are trained as one batched network.
        twice: what a gradient needs that is itself to be differentiated.

    >>> from rdd_nb.models.networks import build
    >>> images_at_once(build("convnet", (3, 64, 64), 10), (3, 64, 64))
    67
    """
    if any(True for _ in net.buffers()):
        return 10**9
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it, for ever

    weights = list(net.parameters())
    image = torch.zeros(1, *shape, device=weights[0].device, dtype=weights[0].dtype, requires_grad=True)
    attention = differentiable_twice() if twice else contextlib.nullcontext()
    with torch.enable_grad(), attention, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept: list[Any] = [net(image)]  # as long as it is there, no address is used again
        if twice:
            kept.append(torch.autograd.grad(kept[0].sum(), weights, create_graph=True))
    for weight in weights:
        held.pop(weight.untyped_storage().data_ptr(), None)
    most = HELD_BYTES
    if image.is_cuda:
        most = torch.cuda.get_device_properties(image.device).total_memory // 4
    return max(1, most // nets // max(1, sum(held.values())))


def loss_in_parts(
    losses_of: Callable[[slice], Tensor],
    samples: int,
    at_once: int,
    weigh: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """For :func:`descend`: the mean of the losses of a batch, or their sum by weights, for so many ``at_once``.

    Args:
        losses_of: the losses ``[..., n]`` of these samples of the batch, each time computed anew.
        samples: how many there are.
        at_once: of how many the outputs may be held (:func:`images_at_once`).
        weigh: how much each counts, of the losses of all, detached: the same shape. Where these do not fit at once they
            are computed before, without gradients: one forward pass more.

    >>> losses = torch.tensor([1.0, 2.0, 6.0])
    >>> list(loss_in_parts(lambda part: losses[part], 3, at_once=2))
    [tensor(1.), tensor(2.)]
    """
    each = -(-samples // -(-samples // at_once))  # parts of one size, as few as there can be
    parts = [slice(start, start + each) for start in range(0, samples, each)]
    weights = None
    if weigh is not None and len(parts) > 1:
        with torch.no_grad():
            weights = weigh(torch.cat([losses_of(part) for part in parts], -1))
    for part in parts:
        losses = losses_of(part)
        if weigh is None:
            yield losses.sum(-1) / samples
        else:
            yield ((weigh(losses.detach()) if weights is None else weights[..., part]) * losses).sum(-1)
