"""One iteration of a distillation: a pure step over a small state, and the phases that its time goes to.

One iteration is one network's life: it is born random, its statistics are matched ``outer`` times, and between two
matches it is trained for ``inner`` epochs. Networks do not outlive an iteration and every random draw comes from a
stream named after the seed and the iteration, so the images, their momentum and the iteration number are the whole
state of a run. That is what a checkpoint holds.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdd_nb import clustering
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.device import arithmetic, differentiable_twice, phase, pick_device, tune_allocator
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder
from rdd_nb.distillation import matching
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import Experts, load_or_train_experts
from rdd_nb.distillation.initialization import State, check, initial_state, sampling_weights
from rdd_nb.distillation.sampling import Sampler
from rdd_nb.distillation.trajectory_step import Students
from rdd_nb.models import augmentation, networks, risk
from rdd_nb.models.descent import descend, images_at_once, loss_in_parts

__all__ = ["steps"]

#: The largest feature map that is made where no gradient is wanted.
MAP_BYTES = {"cpu": 128 * 2**20, "cuda": 2**30}
#: The largest feature map of real images whose gradient is wanted, over the classes that are taken together. A graph
#: keeps some four of that size: 8 GB, of the 16 that a small card has.
GRAPH_BYTES = {"cuda": 2 * 2**30}


class _Problem:
    """What stays fixed through a distillation: the data on its device, the groups, the sampler."""

    def __init__(self, data: ImageDataset, config: DistillConfig, groups: Groups | None, device: torch.device):
        self.data, self.config, self.device = data, config, device
        self.classes = data.num_classes
        self.ipc = config.decoded_ipc
        self.synthetic_labels = torch.arange(self.classes, device=device).repeat_interleave(self.ipc)
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.groups = None if groups is None else groups.ids.to(device)
        self.num_groups = self.ipc if groups is None else groups.num_groups
        self.group_shares: Tensor | None = None  # all alike, as cells of a synthetic set are
        self.weighing = 0.0
        self.at_once = images_at_once(self.network(0), data.shape)  # what a network's training may hold
        # Groups of which none is to be raised: robust matching is plain matching.
        self.objective = config.objective if groups is None or groups.raised else "erm"
        order = torch.randperm(len(data), generator=stream(config.seed, "order"))
        mass = sampling_weights(data, config, groups)
        if self.objective in ("robust", "group") and groups is not None:
            shares = clustering.group_shares(groups, data.labels, self.classes, config.group_power)
            self.group_shares = shares.to(device)
            order = order[groups.ids[order].argsort(stable=True)]
        self.sampler = Sampler(data.labels, self.classes, mass, order, device)

    def real(self, index: Tensor) -> Tensor:
        """The images at ``index`` (any shape), normalised, ``[index.numel(), channels, H, W]``."""
        with phase("data"):
            return (self.images[index.flatten()].float() / 255 - self.mean) / self.std

    def weights(
        self, index: Tensor, features: Callable[[], tuple[Tensor, Tensor]], losses: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """:func:`rdd_nb.distillation.matching.objective_weights` of the batch at ``index`` ``[C, B]``.

        ``features`` gives real and synthetic ones, ``[C, B, D]`` and ``[C, S, D]``; it is called where no groups are
        given and the objective is robust, whose groups are then the cells of the synthetic set (Algorithm 1).
        """
        c, began = self.config, time.perf_counter()
        with phase("risk"):
            if self.groups is not None:
                groups = self.groups[index]
            elif self.objective == "robust":
                with torch.no_grad():
                    groups = torch.cdist(*features()).argmin(2)
            else:
                groups = torch.zeros_like(index)
            shares = None if self.group_shares is None else self.group_shares[self.labels[index[:, 0]]]
            found = matching.objective_weights(
                self.objective, losses, groups, self.num_groups, c.tail, c.mean_weight, c.max_weight, shares
            )
        self.weighing += time.perf_counter() - began
        return found

    def network(self, iteration: int) -> nn.Module:
        c = self.config
        seed = seed_of(c.seed, "network", iteration)
        with phase("network"):
            size = (self.data.shape, self.classes)
            net = networks.build(c.network, *size, width=c.width, depth=c.depth, norm=c.norm, seed=seed)
            return net.to(self.device).train()


def steps(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None = None,
    state: State | None = None,
    device: str = "auto",
    experts: Experts | None = None,
    decoder: Decoder | None = None,
) -> Iterator[State]:
    """Distil, one iteration at a time: yields the state after each, starting from ``state`` or from the beginning.

    The same data, config, groups and state give the same bits on the same machine. ``experts`` are those of trajectory
    matching (:func:`rdd_nb.distillation.experts.load_or_train_experts`), trained here where none are given; ``decoder``
    is for :func:`rdd_nb.distillation.initialization.initial_state`, where no ``state`` is given.

    Raises:
        RddError: ``ipc`` too large, groups missing or of the wrong length, a loss that is no longer finite.
    """
    tune_allocator()
    where = pick_device(device)
    check(data, config, groups, decoder if state is None else state.decoder)
    state = (state or initial_state(data, config, groups, decoder, where)).to(where)
    if config.matching == "trajectory":
        experts = experts or load_or_train_experts(data, config, groups, device=where)
        step = Students(data, config, experts, where).step
    else:
        step = functools.partial(_step, _Problem(data, config, groups, where))
    while state.iteration < config.num_iterations:
        state = step(state)
        yield state


def _step(problem: _Problem, state: State) -> State:
    """One iteration: a fresh network, ``outer`` matches, training in between. Leaves ``state`` untouched."""
    config, began = problem.config, time.perf_counter()
    problem.weighing = 0.0
    net = problem.network(state.iteration)
    draw = stream(config.seed, "iteration", state.iteration, device=problem.device)
    augment_draw = stream(config.seed, "augmentation", state.iteration)  # on the CPU: which operation is no sync
    kept, shown = state.parameterisation(config), state.shown(config)
    stored, momentum = state.stored.clone(), state.momentum.clone()
    losses, finite, told = [], [], [0.0]
    for match in range(config.outer):
        with phase("data"):
            index = problem.sampler.draw(config.batch_real, draw)
        transform = augmentation.draw(config.augment, problem.classes, augment_draw, device=problem.device)
        matched = _match_gradients if config.matching == "gradient" else _match_distributions
        try:
            loss, gradient = matched(problem, net, index, shown.detach(), transform)
        except RddError:  # on the CPU the risk looks at its losses
            raise _lost(config, state.iteration, match, "losses of the real images are") from None
        with torch.no_grad():
            momentum.mul_(config.momentum_img).add_(kept.carried_back(stored, gradient))
            stored = stored - config.step_size * momentum
        losses.append(loss.detach())
        finite.append(stored.isfinite().all())
        last = match + 1 == config.outer
        if last or not stored.is_cuda:  # to read them is to wait for the card: there, once an iteration
            told = torch.stack(losses).tolist()
            _check_finite(config, state.iteration, told, torch.stack(finite).tolist())
        if not last:
            shown = kept.decode(stored)
            if config.inner:
                with phase("training between"):
                    _train_between(problem, net, index, shown, draw, augment_draw)
    return state.moved(
        stored,
        momentum,
        began,
        losses=(*state.losses, sum(told) / config.outer),
        weighing=(*state.weighing, problem.weighing),
    )


def _check_finite(config: DistillConfig, iteration: int, losses: list[float], finite: list[bool]) -> None:
    """Of each match of an iteration (counted from 0): the loss, and whether the images after it were finite."""
    for match, (loss, fine) in enumerate(zip(losses, finite)):
        if not (math.isfinite(loss) and fine):
            what = "images are" if math.isfinite(loss) else f"matching loss is {loss},"
            raise _lost(config, iteration, match, what)


def _lost(config: DistillConfig, iteration: int, match: int, what: str) -> RddError:
    between = f" or lr_net (now {config.lr_net:g})" if config.outer > 1 and config.inner else ""
    return RddError(
        f"the {what} no longer finite at iteration {iteration + 1}, match {match + 1}: lower lr_img "
        f"(now {config.step_size:g}){between} or change tail; the last checkpoint is kept"
    )


def _match_distributions(
    problem: _Problem, net: nn.Module, index: Tensor, images: Tensor, transform: augmentation.Transform
) -> tuple[Tensor, Tensor]:
    config, gradient, total = problem.config, torch.zeros_like(images), torch.zeros((), device=images.device)
    for labels, rows, mine in _by_classes(problem, _classes_matched_at_a_time(problem, net)):
        pixels, part = problem.real(index[rows]), images[mine].detach().requires_grad_()
        with phase("augmentation"):
            pixels = transform(pixels, labels.repeat_interleave(config.batch_real))
            drawn = transform(part, labels.repeat_interleave(problem.ipc))
        with phase("real side"), torch.no_grad(), arithmetic(config.precision, problem.device):
            parts = pixels.split(_at_a_time(config, pixels))
            real = torch.cat([net.embed(p).float() for p in parts]).unflatten(0, (len(labels), -1))  # type: ignore[operator]
        with phase("synthetic side"):
            made = net.embed(drawn).view(len(labels), problem.ipc, -1)  # type: ignore[operator]
        both = (real, made.detach())
        coverage = functools.partial(matching.coverage_losses, *both)
        weights, shares = problem.weights(index[rows], lambda both=both: both, coverage)  # type: ignore[misc]
        loss = matching.distribution_loss(real, made, weights, shares)
        with phase("backward"):
            gradient[mine] = torch.autograd.grad(loss, part)[0]
        total += loss.detach()
    return total, gradient


def _by_classes(problem: _Problem, at_a_time: int) -> Iterator[tuple[Tensor, slice, slice]]:
    """So many classes after so many: their labels, their rows of a batch ``[C, B]``, and their synthetic images."""
    for first in range(0, problem.classes, at_a_time):
        labels = torch.arange(first, min(first + at_a_time, problem.classes), device=problem.device)
        last = first + len(labels)
        yield labels, slice(first, last), slice(first * problem.ipc, last * problem.ipc)


def _classes_matched_at_a_time(problem: _Problem, net: nn.Module) -> int:
    """How many classes' means are matched together: all (BatchNorm needs them), but where they are too many to hold."""
    if any(True for _ in net.buffers()):
        return problem.classes
    pixels = problem.config.batch_real * 4 * math.prod(problem.data.shape)
    return max(1, min(problem.at_once // problem.ipc, 2 * MAP_BYTES[problem.device.type] // pixels))


def _at_a_time(config: DistillConfig, pixels: Tensor) -> int:
    """How many images go through the network together where no gradient is wanted: all, if their maps are small.

    A feature map that leaves the cache costs more than its arithmetic: at width 128, 2,560 images of 32 pixels take
    3.1 s together and 1.6 s in parts of 256 (two cores, AVX-512), and 1.3 GB a map less memory.
    """
    return max(1, MAP_BYTES["cuda" if pixels.is_cuda else "cpu"] // _map_bytes(config, pixels.shape[1:]))


def _map_bytes(config: DistillConfig, shape: tuple[int, ...]) -> int:
    """Of the largest feature map, float32, of one image ``shape`` (C, H, W)."""
    return config.width * shape[1] * shape[2] * 4


def _match_gradients(
    problem: _Problem, net: nn.Module, index: Tensor, images: Tensor, transform: augmentation.Transform
) -> tuple[Tensor, Tensor]:
    config, gradient, total = problem.config, torch.zeros_like(images), torch.zeros((), device=images.device)
    for labels, rows, mine in _by_classes(problem, _classes_at_a_time(problem, net)):
        pixels, part = problem.real(index[rows]), images[mine].detach().requires_grad_()
        with phase("augmentation"):
            real = transform(pixels, labels.repeat_interleave(config.batch_real))
            made = transform(part, labels.repeat_interleave(problem.ipc))

        def weigh(
            losses: Tensor, rows: slice = rows, real: Tensor = real, made: Tensor = made
        ) -> tuple[Tensor, Tensor]:
            def features(x: Tensor) -> Tensor:
                return net.embed(x).unflatten(0, (len(losses), -1))  # type: ignore[operator]

            return problem.weights(index[rows], lambda: (features(real), features(made)), lambda: losses)

        with differentiable_twice():
            if len(labels) == 1:
                loss = matching.gradient_loss(net, real, made, rows.start, weigh, config.precision)
            else:
                many = (len(labels), -1)
                real, made = real.unflatten(0, many), made.unflatten(0, many)
                loss = matching.gradient_losses(net, real, made, labels, weigh, config.precision)
        with phase("backward"):
            gradient[mine] = torch.autograd.grad(loss, part)[0]
        total += loss.detach()
    return total, gradient


def _classes_at_a_time(problem: _Problem, net: nn.Module) -> int:
    """How many classes' gradients are taken together: on a card as many as its memory bears, on the CPU one.

    There the graph of the double backward is the memory's peak, and grouped convolutions take 1.2 to 1.6 times as long
    as one class after another; a card would wait for its small launches. Networks that keep running statistics
    (BatchNorm) see one class after another everywhere.
    """
    budget, config = GRAPH_BYTES.get(problem.device.type, 0), problem.config
    if any(True for _ in net.buffers()):
        return 1
    return min(problem.classes, max(1, budget // (config.batch_real * _map_bytes(config, problem.data.shape))))


def _train_between(
    problem: _Problem,
    net: nn.Module,
    index: Tensor,
    images: Tensor,
    draw: torch.Generator,
    changes: torch.Generator,
) -> None:
    """Train the network for ``inner`` epochs: on the batch just matched and as many fresh samples, or on the images.

    With ``reference=robust`` the loss is the double objective over cells plus the plain mean (R1).
    """
    config, device = problem.config, problem.device
    if config.inner_data == "real":
        pool = torch.cat([index, problem.sampler.draw(config.batch_real, draw)], 1).flatten()
        labels = problem.labels[pool]
    else:
        pool, labels = torch.arange(len(images), device=device), problem.synthetic_labels

    def loss(part: Tensor) -> Tensor | Iterator[Tensor]:
        x = problem.real(pool[part]) if config.inner_data == "real" else images[part]
        x = augmentation.draw(config.augment, 1, changes, device=device)(x)

        def losses_of(some: slice) -> tuple[Tensor, Tensor]:
            with arithmetic(config.precision, device):
                features = net.embed(x[some]).to(x.dtype)  # type: ignore[operator]
            logits = net.classifier(features)  # type: ignore[operator]
            return F.cross_entropy(logits, labels[part[some]], reduction="none"), features

        if config.reference == "robust":  # looks at all features of the batch
            losses, features = losses_of(slice(None))
            return _robust_reference_loss(problem, net, losses, features.detach(), images, pool[part], labels[part])
        return loss_in_parts(lambda some: losses_of(some)[0], len(part), problem.at_once)

    batches = (
        part
        for _ in range(config.inner)
        for part in torch.randperm(len(pool), generator=draw, device=device).split(config.batch_net)
    )
    descend(net.parameters(), batches, loss, lr=config.lr_net)


def _robust_reference_loss(
    problem: _Problem, net: nn.Module, losses: Tensor, features: Tensor, images: Tensor, index: Tensor, labels: Tensor
) -> Tensor:
    """The paper's robust problem on a minibatch: mean and worst cell's CVaR, and the plain mean (method, R1)."""
    config = problem.config
    if problem.groups is not None:
        groups = labels * problem.num_groups + problem.groups[index]
    else:  # Voronoi cells of the synthetic set over all classes, in the current network's features
        with torch.no_grad():
            groups = clustering.cells(features, net.embed(images))  # type: ignore[operator]
    cells = problem.classes * problem.num_groups
    return risk.robust_risk(losses, groups, cells, config.tail, config.mean_weight, config.max_weight, erm_weight=1.0)
