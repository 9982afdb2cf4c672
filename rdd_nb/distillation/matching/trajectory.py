"""Trajectory matching: a student trained on the synthetic set is to arrive where an expert on real data did.

From an expert's weights θ*_t a student takes N steps of gradient descent on synthetic mini-batches. Its distance to the
expert's later weights θ*_{t+M}, relative to the way the expert went, is the loss (MTT, Cazenavette et al., 2203.11932,
equation 2): ‖θ_N − θ*_{t+M}‖² / ‖θ*_t − θ*_{t+M}‖². It is 1 where the student stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from rdd_nb.core.device import differentiable_twice, phase
from rdd_nb.core.errors import RddError
from rdd_nb.models.descent import images_at_once

__all__ = ["TrajectoryMatch", "flat_parameters", "match_trajectory", "student_path"]

#: A student's step: which of the images (int64 ``[B]``), and what is done to them before the network sees them.
Batch = tuple[Tensor, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, eq=False)
class TrajectoryMatch:
    """The ``loss`` of one student, ``[]``, and its gradients with respect to what it was trained by.

    These are ``images`` ``[M, C, H, W]``, ``labels`` ``[M, K]``, None where they are hard, and ``step`` ``[]``.
    """

    loss: Tensor
    images: Tensor
    labels: Tensor | None
    step: Tensor


def flat_parameters(net: nn.Module) -> Tensor:
    """All weights of a network in one vector ``[P]``, in the order of ``net.parameters()``, detached.

    >>> flat_parameters(nn.Linear(3, 2)).shape
    torch.Size([8])
    """
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def _loss(net: nn.Module, parameters: Sequence[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    names = (name for name, _ in net.named_parameters())
    return F.cross_entropy(functional_call(net, dict(zip(names, parameters)), (images,)), labels)


def _split(net: nn.Module, flat: Tensor) -> list[Tensor]:
    """``flat`` as parameters of their shapes, each a leaf that wants a gradient."""
    shapes = [p.shape for p in net.parameters()]
    parts = flat.detach().split([shape.numel() for shape in shapes])
    return [part.view(shape).requires_grad_() for part, shape in zip(parts, shapes)]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def student_path(
    net: nn.Module, start: Tensor, images: Tensor, labels: Tensor, batches: Sequence[Batch], step: Tensor
) -> list[Tensor]:
    """The weights ``[P]`` of a student before its first step and after each: θ_{i+1} = θ_i − step · ∇ℓ(θ_i).

    Args:
        net: gives the architecture; its own weights are not used.
        start: ``[P]``, such as a snapshot of an expert.
        images: ``[M, C, H, W]``.
        labels: int64 ``[M]``, or soft ones, float ``[M, K]``.
        batches: one for each step.
        step: ``[]``, above 0.

    Raises:
        RddError: the network keeps running statistics (BatchNorm), which are no weights and would be left behind.
    """
    _check_weights_alone(net)
    path, most = [start], images_at_once(net, images.shape[1:])
    for batch in batches:
        _, shown, told = _shown(images, labels, batch, graph=False)
        taken = _taken(net, path[-1], shown, told, most, graph=False)
        path.append(path[-1] - step * sum(part.gradient for part in taken))
    return path


def _check_weights_alone(net: nn.Module) -> None:
    if any(True for _ in net.buffers()):
        raise RddError("trajectories are of weights alone, and this network keeps running statistics: use another norm")


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a student's step: what its ``gradient`` ``[P]`` was computed of, leaves that may be differentiated.

    The gradients of the parts sum to that of the step.
    """

    gradient: Tensor
    parameters: list[Tensor]
    shown: Tensor
    labels: Tensor


def _shown(images: Tensor, labels: Tensor, batch: Batch, graph: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The images of a batch, what the network is shown of them, and their labels."""
    chosen, transform = batch
    source = images[chosen].detach().requires_grad_(graph)
    with phase("augmentation"):
        return source, transform(source), labels[chosen].detach()


def _taken(
    net: nn.Module, weights: Tensor, shown: Tensor, labels: Tensor, at_once: int, graph: bool
) -> Iterator[_Part]:
    """A student's step, of so many images at a time; with a ``graph`` its gradients can be differentiated."""
    for part, told in zip(shown.detach().split(at_once), labels.split(at_once)):
        parameters, mine = _split(net, weights), part.requires_grad_(graph)
        told = told.requires_grad_(graph and told.is_floating_point())
        with phase("synthetic side"), differentiable_twice():
            loss = _loss(net, parameters, mine, told)
            loss = loss if len(part) == len(shown) else loss * (len(part) / len(shown))
            gradient = torch.autograd.grad(loss, parameters, create_graph=graph)
            yield _Part(_flat(gradient), parameters, mine, told)


def match_trajectory(
    net: nn.Module,
    start: Tensor,
    target: Tensor,
    images: Tensor,
    labels: Tensor,
    batches: Sequence[Batch],
    step: Tensor,
    at_once: int | None = None,
) -> TrajectoryMatch:
    """The distance between where a student arrives and ``target`` ``[P]``, with its exact gradients; see the module.

    The student's weights after each step are kept, and the graphs of the last steps, as many as the memory bears
    (:func:`rdd_nb.models.descent.images_at_once`). On the way back the others are computed anew, and the gradient λ of
    the loss with respect to a step's end is carried to its beginning, λ ← λ − step · ∂⟨∇ℓ, λ⟩/∂θ. So the memory is
    bounded, whatever N is, but for N + 1 weight vectors; a batch of more images than that is taken in parts, whose
    gradients are summed. The gradient is the full one: also the way in which an image
    moves the student's later steps is counted.

    Args:
        net, start, images, labels, batches, step: as of :func:`student_path`.
        target: ``[P]``, where the student should arrive.
        at_once: of how many images graphs may be kept; counted here where it is not given.

    Raises:
        RddError: ``start`` and ``target`` are the same; see :func:`student_path`.
    """
    far = (start - target).square().sum()
    if not images.is_cuda and not bool(far > 0):
        raise RddError("an expert that did not move cannot be followed: raise lr_net, or train it for more epochs")
    _check_weights_alone(net)
    at_once = at_once or images_at_once(net, images.shape[1:], twice=True)
    graphs = at_once // max((len(chosen) for chosen, _ in batches), default=1)
    path, steps = [start], []
    for number, batch in enumerate(batches):
        graph = len(batches) - number <= graphs
        source, shown, told = _shown(images, labels, batch, graph)
        kept, gradient = [], torch.zeros_like(start)
        for part in _taken(net, path[-1], shown, told, at_once, graph):
            gradient = gradient + part.gradient.detach()
            kept += [part] if graph else []
        path.append(path[-1] - step * gradient)
        steps.append((source, shown, kept) if graph else None)
    missing = path.pop() - target
    loss, carried = missing.square().sum() / far, 2 * missing / far
    soft = labels.is_floating_point()
    to_images, to_step = torch.zeros_like(images), torch.zeros_like(step)
    to_labels = torch.zeros_like(labels) if soft else None
    for batch in reversed(batches):
        weights, held = path.pop(), steps.pop()
        if held is None:
            source, shown, told = _shown(images, labels, batch, graph=True)
            parts: Iterable[_Part] = _taken(net, weights, shown, told, at_once, graph=True)
        else:
            source, shown, parts = held
        del held
        to_shown, to_told, change = [], [], torch.zeros_like(carried)
        for part in parts:
            along = (part.gradient * carried).sum()
            with phase("backward"):
                wanted = [*part.parameters, part.shown, *([part.labels] if soft else [])]
                back = torch.autograd.grad(along, wanted, materialize_grads=True)
            to_step -= along.detach()
            to_shown.append(back[len(part.parameters)])
            to_told += [back[-1]] if soft else []
            change = change + _flat(back[: len(part.parameters)])
        with phase("backward"):
            (to_source,) = torch.autograd.grad(shown, source, torch.cat(to_shown))
        to_images.index_add_(0, batch[0], to_source)
        if to_labels is not None:
            to_labels.index_add_(0, batch[0], torch.cat(to_told))
        carried = carried - step * change
    return TrajectoryMatch(loss, -step * to_images, None if to_labels is None else -step * to_labels, to_step)
