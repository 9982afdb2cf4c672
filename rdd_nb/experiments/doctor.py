"""What this machine is, how fast it can be, what slows it down, and how long a distillation will take on it.

Ceilings are measured, not looked up: a large matrix product and a large copy. What a distillation or an evaluation
reaches of them is in ``make bench`` and in the guide to speed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rdd_nb.clustering.groups import Groups
from rdd_nb.core.device import pick_device, tune_allocator
from rdd_nb.core.environment import describe
from rdd_nb.core.processes import THREAD_NAMES, cores, gpus, memory
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import epoch_seconds, expert_bytes, made_up_experts
from rdd_nb.distillation.initialization import State, given_decoder, initial_state, synthetic_of
from rdd_nb.distillation.step import steps
from rdd_nb.models.autoencoder import step_seconds, untrained_decoder
from rdd_nb.models.protocol import PROFILES, Protocol
from rdd_nb.models.training import train

__all__ = ["Ceilings", "Expected", "ceilings", "expected", "findings", "iteration", "seconds"]


@dataclass(frozen=True)
class Ceilings:
    """What a device reached in the best of several tries.

    Attributes:
        gflops: GFLOP/s of a float32 product of 2048³.
        gigabytes: GB/s of a copy.
        bfloat16: GFLOP/s of the same product in bfloat16; of a small one, and far below ``gflops``, where the processor
            only imitates it.
    """

    gflops: float
    gigabytes: float
    bfloat16: float

    @property
    def has_bfloat16(self) -> bool:
        """Whether ``precision=bfloat16`` may pay: the processor or card multiplies it much faster than float32."""
        return self.bfloat16 > 1.5 * self.gflops


@dataclass(frozen=True)
class Expected:
    """How long a distillation will take, by its first iterations here.

    Attributes:
        iteration: seconds of one, the median of those tried.
        iterations: how many the config asks for.
        images: real and synthetic images that are matched in a second.
        evaluation: seconds to train as many networks as were asked for on the set.
        nets: how many these are.
        experts: seconds that the experts of trajectory matching take, all of them, unless they are there already.
        expert_bytes: what they take on the disk, and in memory.
        decoder: seconds that the training of a decoder takes, or of an encoder for one that is given.
    """

    iteration: float
    iterations: int
    images: float
    evaluation: float
    nets: int
    experts: float = 0.0
    expert_bytes: int = 0
    decoder: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole distillation, the experts' and the decoder's included."""
        return self.iteration * self.iterations + self.experts + self.decoder


def ceilings(device: torch.device, tries: int = 8) -> Ceilings:
    """Measure what a device can do, in some two seconds.

    Args:
        device: where.
        tries: of which the best counts.
    """
    a, few = (torch.randn(n, n, device=device) for n in (2048, 256))
    b, c = torch.ones(64 * 2**20, device=device), torch.empty(64 * 2**20, device=device)
    copy = min(seconds(lambda: c.copy_(b), device) for _ in range(tries))
    short = _gflops(few.bfloat16(), device, tries)
    if short > 0.5 * _gflops(few, device, tries):  # else imitated, and a large product would take a minute
        short = _gflops(a.bfloat16(), device, tries)
    return Ceilings(_gflops(a, device, tries), 2 * b.nbytes / copy / 1e9, short)


def _gflops(a: torch.Tensor, device: torch.device, tries: int) -> float:
    """Of the product of a matrix ``[n, n]`` with itself: the best of ``tries``, after one to warm up."""
    taken = [seconds(lambda: a @ a, device) for _ in range(tries + 1)]
    return 2 * len(a) ** 3 / 1e9 / min(taken[1:])


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall clock of one call, with the device's work done."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def iteration(data: ImageDataset, config: DistillConfig, device: str = "auto") -> float:
    """Seconds of one iteration, the median of some that are tried; random groups, as :func:`expected` says.

    Raises:
        RddError: as :func:`rdd_nb.distillation.step.steps`.
    """
    where = pick_device(device)
    experts = made_up_experts(data, config) if config.matching == "trajectory" else None
    endless = config.model_copy(update={"iterations": 10**9})
    going = steps(data, endless, _random_groups(data, config), _start(data, config), device, experts)
    taken = [seconds(lambda: next(going), where)]  # the first one also warms up
    while len(taken) < 3 or (sum(taken) < 3 and len(taken) < 20):
        taken.append(seconds(lambda: next(going), where))
    return sorted(taken[1:])[len(taken[1:]) // 2]


def expected(
    data: ImageDataset, config: DistillConfig, device: str = "auto", *, protocol: Protocol | None = None, nets: int = 5
) -> Expected:
    """Try a distillation and an evaluation for some seconds, and say how long the whole would take.

    Groups that the config would have discovered are drawn at random: their number costs time, who is in them does not.
    Discovering them takes some seconds more, once.

    Args:
        data: the training set.
        config: see :class:`rdd_nb.distillation.config.DistillConfig`.
        device: as there.
        protocol: of the evaluation; by default that of ``profile=quick``.
        nets: how many it trains.

    Raises:
        RddError: as :func:`rdd_nb.distillation.step.steps`.
    """
    where, middle = pick_device(device), iteration(data, config, device)
    held = synthetic_of(_start(data, config), data, config)
    protocol = protocol or PROFILES["quick"]
    few = replace(protocol, epochs=max(2, protocol.epochs // 20))
    judged = seconds(lambda: train(held, few, nets=min(nets, 2), device=device), where)
    judged *= protocol.epochs / few.epochs * nets / min(nets, 2)
    taught, size = 0.0, 0
    if config.matching == "trajectory":
        epochs, size = config.num_experts * config.expert_epochs, expert_bytes(data, config)
        taught = epochs * epoch_seconds(data, config, _random_groups(data, config), where)
    coded = 0.0
    if config.parameterisation == "latent":
        coded = config.decoder_steps * step_seconds(data, config.latents, where, given_decoder(config))
    images = config.matched(data.num_classes) / middle
    return Expected(middle, config.num_iterations, images, judged, nets, taught, size, coded)


def _start(data: ImageDataset, config: DistillConfig) -> State:
    """A start from noise, with a decoder of the right size that knows nothing: it costs as much time as another."""
    blank = None
    if config.parameterisation == "latent" and config.decoder is None:
        blank = untrained_decoder(data.shape, config.latents, config.seed)
    groups = _random_groups(data, config)
    return initial_state(data, config.model_copy(update={"init": "noise"}), groups, blank)


def _random_groups(data: ImageDataset, config: DistillConfig) -> Groups | None:
    """In place of those that the config would have discovered."""
    return Groups(torch.arange(len(data)) % 10, 10, "random") if config.objective in ("robust", "group") else None


def findings(device: str = "auto") -> list[str]:
    """What is worth knowing about this machine, a line each; what slows it down begins with ``mind:``."""
    where, said = pick_device(device), describe(pick_device(device))
    cards = gpus()
    lines = [
        f"rdd_nb {said['rdd_nb']}, Python {said['python']}, torch {said['torch']}",
        f"device {said['device']}; processor {said['processor']}, {cores()} cores for this process, "
        f"{torch.get_num_threads()} threads, {memory() / 1e9:.1f} GB of memory free",
    ]
    if where.type == "cpu" and cards:
        lines.append(f"mind: there are {len(cards)} graphics cards, but this torch does not use them")
    if where.type == "cpu" and torch.get_num_threads() > cores():
        lines.append(
            f"mind: {torch.get_num_threads()} threads on {cores()} cores wait for one another: set {THREAD_NAMES[0]}"
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if where.type == "cpu" and load > 0.5:
        lines.append(
            f"mind: {load:.1f} processes were busy in the last minute; beside another one, two threads wait for one "
            "another at every step, and all takes two to five times as long"
        )
    kept = tune_allocator() if where.type == "cpu" else True
    if not kept:
        lines.append("mind: freed memory goes back to the system at once here, which costs half of the speed on Linux")
    lines.append(
        "nothing is compiled: torch.compile cannot go through a double backward, and where it can, it halves the time "
        "on some processors and lengthens it on others, after half a minute of compiling"
    )
    return lines
