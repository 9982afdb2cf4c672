"""Experts for trajectory matching: networks trained on the real data, with their weights after each epoch.

What is matched is the path of networks trained on the real data (MTT, Cazenavette et al., 2203.11932), so this is the
place where the risk counts: an expert that is trained robustly leads the student where the minority is served as well.
``expert_objective`` says how an expert is trained:

=============  =====================================================================================================
``erm``        shuffled epochs, the mean loss: plain
``robust``     batches with all classes alike, within a class as often as the ``objective`` draws (the groups' shares)
``cvar``       the same batches, and in them the double objective: CVaR within groups, mean and maximum across them
``group-dro``  batches with all (class, group) pairs alike, weighted by exponentiated gradient (Sagawa, 1911.08731)
``auto``       ``erm`` where the ``objective`` is, or where no group is to be raised; else ``robust``
=============  =====================================================================================================

Each epoch has its own random streams and there is no momentum, as in MTT: so an expert goes on from its last snapshot
with the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdd_nb.clustering.groups import Groups
from rdd_nb.core.device import arithmetic, pick_device
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import awaited
from rdd_nb.core.folders import Folder
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import fingerprint, sampling_weights
from rdd_nb.distillation.matching import objective_weights
from rdd_nb.distillation.matching.trajectory import flat_parameters
from rdd_nb.distillation.sampling import Sampler
from rdd_nb.models import augmentation, networks
from rdd_nb.models.descent import descend, images_at_once, loss_in_parts
from rdd_nb.models.risk.online import GroupDRO
from rdd_nb.models.training import balanced_order, dro_weights

__all__ = [
    "Experts",
    "epoch_seconds",
    "expert_bytes",
    "expert_key",
    "expert_objective",
    "load_or_train_experts",
    "made_up_experts",
]

SAVE_EVERY = 30.0  # seconds between two writings of an expert that is under way


@dataclass(frozen=True, eq=False)
class Experts:
    """Paths of networks through training: ``paths[e]`` is float32 ``[epochs + 1, P]``, before training and after each.

    ``seconds`` is what training took just now; of those that lay ready it is not known.
    """

    paths: tuple[Tensor, ...]
    seconds: float = 0.0


def expert_settings(config: DistillConfig, groups: Groups | None = None) -> dict[str, Any]:
    """What decides an expert, of a config: two that agree in it share their experts.

    ``objective``, ``group_power`` and the risk count only where the experts' own objective looks at them.
    """
    objective = expert_objective(config, groups)
    names = ["num_experts", "expert_epochs", "lr_net", "batch_net", "augment", "network", "width", "depth", "norm"]
    names += ["seed", "precision"]
    if objective in ("robust", "cvar"):
        names += ["objective", "group_power"]
    if objective == "cvar":
        names += ["tail", "mean_weight", "max_weight"]
    return {"expert_objective": objective, **{name: getattr(config, name) for name in names}}


def expert_objective(config: DistillConfig, groups: Groups | None = None) -> str:
    """How the experts are trained, ``auto`` resolved; groups of which none is to be raised leave them plain."""
    if config.expert_objective != "auto":
        return config.expert_objective
    return "erm" if config.objective == "erm" or (groups is not None and not groups.raised) else "robust"


def expert_key(data: ImageDataset, config: DistillConfig, groups: Groups | None) -> tuple[str, dict[str, Any]]:
    """A name for the experts of these data, groups and settings, and what it stands for."""
    seen = groups if expert_objective(config, groups) != "erm" else None
    told = {"settings": expert_settings(config, groups), "data": fingerprint(data, seen)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16], told


def expert_bytes(data: ImageDataset, config: DistillConfig) -> int:
    """What all experts take, on the disk and in memory: float32, a snapshot before the first epoch and after each."""
    net = _network(data, config, 0)
    return 4 * config.num_experts * (config.expert_epochs + 1) * sum(p.numel() for p in net.parameters())


def made_up_experts(data: ImageDataset, config: DistillConfig) -> Experts:
    """Experts of the right shape that know nothing, for whoever wants to know how long a student takes."""
    start = flat_parameters(_network(data, config, 0))
    return Experts((torch.stack([start * (1 + 0.01 * epoch) for epoch in range(config.expert_epochs + 1)]),))


def epoch_seconds(
    data: ImageDataset, config: DistillConfig, groups: Groups | None = None, device: str | torch.device = "auto"
) -> float:
    """How long one epoch of an expert takes here, by a few of its steps."""
    where = pick_device(device)
    training = _Training(_network(data, config, 0).to(where).train(), data, config, groups, 0, where)
    steps = list(training._batches(stream(config.seed, "expert", "tried")))
    taken = []
    for batch in steps[:6]:
        began = time.perf_counter()
        descend(training.net.parameters(), [batch], training._loss, lr=config.lr_net)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2] * len(steps)


def load_or_train_experts(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None = None,
    *,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Experts:
    """The experts of these data, groups and settings: trained here, or as they lie in ``out``.

    Args:
        data: the training set.
        config: of the distillation; see `expert_settings` for the part that counts.
        groups: known or discovered; ``robust``, ``cvar`` and ``group-dro`` look at them.
        out: a folder that many runs may share, also at the same time: each kind of experts has a folder of its own in
            it, one safetensors file an expert. One that is under way is kept twice a minute and gone on with.
        device: where to train.
        progress: called with (epochs done, epochs in all).

    Raises:
        RddError: a loss that is not finite, a folder that cannot be written, a file there that is no expert of these.
    """
    paths, seconds = [], 0.0
    key, told = expert_key(data, config, groups)
    folder = None if out is None else Folder(out).part(f"experts-{key}")
    total = config.num_experts * config.expert_epochs

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total)

    with contextlib.ExitStack() as held:
        if folder is not None:
            folder.make()
            held.enter_context(awaited(folder.path))  # another run may make the same
            folder.write("manifest.json", json.dumps(told, indent=2) + "\n")
        for number in range(config.num_experts):
            kept, began = _kept(folder, number, key), time.perf_counter()
            paths.append(_train(data, config, groups, number, kept, folder, key, device, tell))
            seconds += time.perf_counter() - began
    return Experts(tuple(paths), seconds)


def _network(data: ImageDataset, config: DistillConfig, number: int) -> nn.Module:
    c = config
    seed = seed_of(c.seed, "expert", number)
    return networks.build(c.network, data.shape, data.num_classes, width=c.width, depth=c.depth, norm=c.norm, seed=seed)


def _name(number: int) -> str:
    return f"expert-{number:03d}.safetensors"


def _kept(folder: Folder | None, number: int, key: str) -> dict[str, Tensor]:
    """What was kept of an expert: its ``path`` so far, and the ``log_q`` of group DRO. Empty where nothing was."""
    if folder is None or not folder.has(_name(number)):
        return {}
    where, mend = folder.path / _name(number), "delete it, and it is trained anew"
    try:
        data = folder.read(_name(number))
        held = safetensors.torch.load(data)
        said = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (OSError, safetensors.SafetensorError, ValueError, TypeError, KeyError):
        raise RddError(f"{where} is truncated or no safetensors file: {mend}") from None
    if said.get("experts") != key or "path" not in held or held["path"].dtype != torch.float32:
        raise RddError(f"{where} is no expert of these data and settings: {mend}")
    return held


def _train(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None,
    number: int,
    kept: dict[str, Tensor],
    folder: Folder | None,
    key: str,
    device: str | torch.device,
    tell: Callable[[int], None],
) -> Tensor:
    """One expert, from where it stands to its last epoch; float32 ``[epochs + 1, P]`` on the CPU."""
    net, where = _network(data, config, number), pick_device(device)
    start = flat_parameters(net)
    path = list(kept["path"]) if kept else [start]
    if len(path) > config.expert_epochs + 1 or any(p.shape != start.shape or not p.isfinite().all() for p in path):
        held_in = _name(number) if folder is None else folder.path / _name(number)
        raise RddError(f"{held_in} is no expert of these data and settings: delete it, and it is trained anew")
    epochs = config.expert_epochs
    tell(number * epochs + len(path) - 1)
    if len(path) == epochs + 1:
        return torch.stack(path)
    torch.nn.utils.vector_to_parameters(path[-1].clone(), net.parameters())  # they become views of it
    training = _Training(net.to(where).train(), data, config, groups, number, where)
    if training.dro is not None and "log_q" in kept:
        training.dro.load_state_dict({"log_q": kept["log_q"]})
    saved = time.monotonic()
    while len(path) <= epochs:
        training.epoch(len(path))
        path.append(flat_parameters(training.net).cpu())
        if not bool(path[-1].isfinite().all()):
            raise RddError(f"expert {number} diverged in epoch {len(path) - 1}: lower lr_net (now {config.lr_net:g})")
        tell(number * epochs + len(path) - 1)
        if folder is not None and (len(path) > epochs or time.monotonic() - saved > SAVE_EVERY):
            held = {"path": torch.stack(path)}
            held |= {} if training.dro is None else {"log_q": training.dro.log_q.cpu()}
            folder.write(_name(number), safetensors.torch.save(held, {"experts": key, "format": "rdd_nb.expert"}))
            saved = time.monotonic()
    return torch.stack(path)


class _Training:
    """The epochs of one expert."""

    def __init__(
        self,
        net: nn.Module,
        data: ImageDataset,
        config: DistillConfig,
        groups: Groups | None,
        number: int,
        device: torch.device,
    ) -> None:
        self.net, self.data, self.config, self.number, self.device = net, data, config, number, device
        self.objective = expert_objective(config, groups)
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.mean, self.std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self.groups = None if groups is None else groups.ids.to(device)
        self.num_groups = 1 if groups is None else groups.num_groups
        self.at_once = images_at_once(net, data.shape)
        self.cells: Tensor | None = None
        self.dro: GroupDRO | None = None
        if self.objective in ("robust", "cvar"):
            order = torch.randperm(len(data), generator=stream(config.seed, "order"))
            if groups is not None:
                order = order[groups.ids[order].argsort(stable=True)]
            mass = sampling_weights(data, config, groups)
            self.sampler = Sampler(data.labels, data.num_classes, mass, order, torch.device("cpu"))
        elif self.objective == "group-dro":
            ids = torch.zeros_like(data.labels) if groups is None else groups.ids
            self.cells = (data.labels * self.num_groups + ids).unique(return_inverse=True)[1]
            self.dro = GroupDRO(int(self.cells.max()) + 1, device=device)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, the ``epoch``-th, counted from 1."""
        draw = stream(self.config.seed, "expert", self.number, "epoch", epoch)
        descend(self.net.parameters(), self._batches(draw), self._loss, lr=self.config.lr_net)

    def _batches(self, draw: torch.Generator) -> Iterator[tuple[Tensor, augmentation.Transform]]:
        samples, batch = len(self.labels), self.config.batch_net
        if self.objective in ("robust", "cvar"):
            each = max(1, batch // self.data.num_classes)
            steps = max(1, samples // (each * self.data.num_classes))
            parts: Sequence[Tensor] = [self.sampler.draw(each, draw).flatten() for _ in range(steps)]
        elif self.cells is not None:
            parts = balanced_order(self.cells, draw).split(batch)
        else:
            parts = torch.randperm(samples, generator=draw).split(batch)
        for part in parts:
            yield part, augmentation.draw(self.config.augment, len(part), draw, device=self.device)

    def _loss(self, batch: tuple[Tensor, augmentation.Transform]) -> Iterator[Tensor]:
        part, transform = batch
        index = part.to(self.device)
        pixels = transform((self.images[index].float() / 255 - self.mean) / self.std)

        def losses_of(some: slice) -> Tensor:
            with arithmetic(self.config.precision, self.device):
                logits = self.net(pixels[some]).to(pixels.dtype)
            return F.cross_entropy(logits, self.labels[index[some]], reduction="none")

        def weigh(losses: Tensor) -> Tensor:
            if self.dro is not None and self.cells is not None:
                return dro_weights(self.dro, losses, self.cells.to(self.device)[index])
            return self._risk_weights(losses, index)

        plain = self.objective in ("erm", "robust")
        return loss_in_parts(losses_of, len(index), self.at_once, None if plain else weigh)

    def _risk_weights(self, losses: Tensor, index: Tensor) -> Tensor:
        """The double objective of each class, all classes alike: weights ``[B]`` that sum to 1.

        In the mean over groups each counts by its number in the batch, which was drawn by the groups' shares: shares on
        top of that would count them twice, and a group that a small batch rarely holds hardly at all.
        """
        classes, c = self.data.num_classes, self.config
        groups = (torch.zeros_like(index) if self.groups is None else self.groups[index]).view(classes, -1)
        weights, _ = objective_weights(
            "robust",
            lambda: losses.view(classes, -1),
            groups,
            self.num_groups,
            c.tail,
            c.mean_weight,
            c.max_weight,
            F.one_hot(groups, self.num_groups).sum(1),
        )
        return weights[:, 0].flatten() / classes
