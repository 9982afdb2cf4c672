"""One iteration of trajectory matching: a student sets out from an expert's weights, and is told where to arrive."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from rdd_nb.core.device import phase
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.distillation import matching
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import Experts
from rdd_nb.distillation.initialization import State
from rdd_nb.models import augmentation, networks
from rdd_nb.models.descent import images_at_once
from rdd_nb.models.soft_labels import soft_labels

__all__ = ["Students"]

#: How much one iteration may change the logarithm of a student's step size, either way: by half of its value.
LARGEST_CHANGE = math.log(1.5)
#: The least probability that a learnt label starts from: the logarithm of 0 could not be learnt away.
SMALLEST = 1e-4


class Students:
    """What stays fixed through a distillation by trajectories; :meth:`step` is one iteration."""

    def __init__(self, data: ImageDataset, config: DistillConfig, experts: Experts, device: torch.device) -> None:
        self.config, self.experts, self.device = config, experts, device
        self.labels = torch.arange(data.num_classes, device=device).repeat_interleave(config.decoded_ipc)
        c = config
        net: nn.Module = networks.build(
            c.network, data.shape, data.num_classes, width=c.width, depth=c.depth, norm=c.norm
        )
        self.net = net.to(device).train()
        self.at_once = images_at_once(self.net, data.shape, twice=True)  # the same for every student

    def step(self, state: State) -> State:
        """The state after one more student; ``state`` stays untouched."""
        config, began, iteration = self.config, time.perf_counter(), state.iteration
        draw = stream(config.seed, "student", iteration)
        expert, start = self._whom(iteration, draw)
        with phase("data"):
            path = self.experts.paths[expert]
            ends = path[start].to(self.device), path[start + config.match_epochs].to(self.device)
            images = state.shown(config)
            batches = [(part.to(self.device), transform) for part, transform in self._batches(len(images), draw)]
        logits = None if state.labels is None else state.labels.to(self.device)
        if config.learn_labels and logits is None:
            logits = self._told_by_experts(images)
        labels = self.labels if logits is None else logits.softmax(1)
        size = state.step_sizes[-1] if state.step_sizes else config.student_lr
        found = matching.match_trajectory(
            self.net, *ends, images, labels, batches, torch.tensor(size, device=self.device), self.at_once
        )
        slid = state.parameterisation(config).carried_back(state.stored, found.images)
        momentum = config.momentum_img * state.momentum + slid
        stored = state.stored - config.step_size * momentum
        fine = stored.isfinite().all().to(found.loss)
        told, slope, well = torch.stack([found.loss, size * found.step, fine]).tolist()  # one wait for the device
        if not (math.isfinite(told) and well):
            raise RddError(
                f"the {'images are' if math.isfinite(told) else f'matching loss is {told},'} no longer finite at "
                f"iteration {iteration + 1}: lower lr_img (now {config.step_size:g}) or student_lr (now "
                f"{config.student_lr:g}); the last checkpoint is kept"
            )
        step_momentum = config.momentum_img * state.step_momentum + slope
        change = math.exp(min(LARGEST_CHANGE, max(-LARGEST_CHANGE, -config.lr_step * step_momentum)))
        return state.moved(
            stored,
            momentum,
            began,
            losses=(*state.losses, told),
            weighing=(*state.weighing, 0.0),
            step_sizes=(*state.step_sizes, size * change),
            step_momentum=step_momentum,
            **self._learnt(state, logits, found.labels),
        )

    def _learnt(self, state: State, logits: Tensor | None, gradient: Tensor | None) -> dict[str, Tensor]:
        """The labels after one step along the ``gradient`` with respect to the probabilities ``[M, K]``."""
        if logits is None or gradient is None:
            return {}
        probabilities = logits.softmax(1)
        gradient = probabilities * (gradient - (gradient * probabilities).sum(1, keepdim=True))
        before = torch.zeros_like(logits) if state.label_momentum is None else state.label_momentum.to(self.device)
        momentum = self.config.momentum_img * before + gradient
        return {"labels": logits - self.config.lr_label * momentum, "label_momentum": momentum}

    def _told_by_experts(self, images: Tensor) -> Tensor:
        """Logits ``[M, K]`` of what the experts, as their training left them, say of the images on average."""
        told = torch.zeros(())
        for path in self.experts.paths:
            vector_to_parameters(path[-1].to(self.device), self.net.parameters())
            told = told.to(self.device) + soft_labels([self.net], images)
        return (told / len(self.experts.paths)).clamp(min=SMALLEST).log()

    def _whom(self, iteration: int, draw: torch.Generator) -> tuple[int, int]:
        """Which expert a student follows, and from which epoch on."""
        expert = torch.randint(len(self.experts.paths), (), generator=draw)
        start = torch.randint(self.config.start_epochs(iteration) + 1, (), generator=draw)
        return int(expert), int(start)

    def _batches(self, images: int, draw: torch.Generator) -> list[tuple[Tensor, augmentation.Transform]]:
        """Shuffled passes over the synthetic set, in mini-batches, until there is one for each of the steps."""
        config = self.config
        parts: list[Tensor] = []
        while len(parts) < config.student_steps:
            parts += torch.randperm(images, generator=draw).split(config.student_batch or images)
        return [
            (part, augmentation.draw(config.augment, len(part), draw, device=self.device))
            for part in parts[: config.student_steps]
        ]
