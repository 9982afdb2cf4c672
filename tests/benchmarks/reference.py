"""The straightforward way, for comparison: what one writes first, and what most published code of this kind does.

A loop over classes, a CVaR computed sample by sample in Python, a DataLoader over tensors that lie in memory anyway,
evaluation networks one after another, PyTorch's layers as they come. ``bench.py`` times it beside the package, in
turns; ``tests/test_reference.py`` holds the package to its values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rdd_nb.distillation.config import DistillConfig
from rdd_nb.models import augmentation
from rdd_nb.models.protocol import Protocol

Transform = Callable[[Tensor], Tensor]


class ConvNet(nn.Module):
    """ConvNet-3 from PyTorch's own layers, for images of 32 pixels."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (channels, width, width):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
        self.body, self.classifier = nn.Sequential(*layers), nn.Linear(width * 16, classes)

    def embed(self, x: Tensor) -> Tensor:
        """Features ``[N, 16·width]``."""
        return self.body(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]``."""
        return self.classifier(self.embed(x))


def cvar(losses: Sequence[float], tail: float) -> list[float]:
    """How much each sample counts in the mean of the worst ``tail`` of the losses, one after another."""
    left, weights = tail * len(losses), [0.0] * len(losses)
    for k in sorted(range(len(losses)), key=lambda k: -losses[k]):
        weights[k] = min(1.0, left) / (tail * len(losses))
        left = max(0.0, left - 1)
    return weights


def robust_weights(losses: Tensor, groups: Tensor, num_groups: int, tail: float, shares: Tensor | None) -> Tensor:
    """CVaR within each group and a weighted mean over groups, of one class: weights ``[B]``, group by group."""
    weights = torch.zeros(len(losses), device=losses.device)
    there = [g for g in range(num_groups) if (groups == g).any()]
    of = {g: 1.0 if shares is None else float(shares[g]) for g in there}
    for g in there:
        members = (groups == g).nonzero()[:, 0].tolist()
        for k, weight in zip(members, cvar([float(losses[m]) for m in members], tail)):
            weights[k] = weight * of[g] / sum(of.values())
    return weights


def match_gradients(net: nn.Module, real: Tensor, made: Tensor, label: int, weights: Tensor | None) -> Tensor:
    """One class of gradient matching: Σ over layers and rows of 1 − cosine; differentiable in ``made``."""
    parameters = [p for p in net.parameters() if p.ndim > 1]
    target = torch.full((len(real),), label, device=real.device)
    losses = F.cross_entropy(net(real), target, reduction="none")
    loss = losses.mean() if weights is None else (weights * losses).sum()
    wanted = [g.detach() for g in torch.autograd.grad(loss, parameters)]
    loss = F.cross_entropy(net(made), target[: len(made)])
    ours = torch.autograd.grad(loss, parameters, create_graph=True)
    return sum((1 - F.cosine_similarity(a.flatten(1), b.flatten(1), 1, 1e-6)).sum() for a, b in zip(wanted, ours))


def match_means(net: nn.Module, real: Tensor, made: Tensor, weigh: Callable[[Tensor, Tensor], Tensor] | None) -> Tensor:
    """One class of distribution matching: squared distance of (weighted) means; differentiable in ``made``."""
    with torch.no_grad():
        features = net.embed(real)
    mine = net.embed(made)
    if weigh is None:
        return (features.mean(0) - mine.mean(0)).square().sum()
    losses = torch.stack([(mine.detach() - f).square().sum(1).min() / len(f) for f in features])
    weights = weigh(losses, features)
    return (sum(w * f for w, f in zip(weights, features)) - mine.mean(0)).square().sum()


def iteration(
    images: Tensor,
    labels: Tensor,
    groups: Tensor | None,
    made: Tensor,
    config: DistillConfig,
    classes: int,
    draw: torch.Generator,
) -> float:
    """One iteration of a distillation, which moves ``made`` ``[classes·ipc, C, H, W]`` in place."""
    net, where = ConvNet(images.shape[1], config.width, classes).to(made.device), made.device
    optimiser = torch.optim.SGD([made], lr=config.step_size, momentum=config.momentum_img)
    updates = torch.optim.SGD(net.parameters(), lr=config.lr_net)
    total = 0.0
    for match in range(config.outer):
        optimiser.zero_grad()
        pool = []
        for c in range(classes):
            members = (labels == c).nonzero()[:, 0]
            chosen = members[torch.randperm(len(members), generator=draw)[: config.batch_real].to(where)]
            pool.append(chosen)
            transform = augmentation.draw(config.augment, 1, draw, device=where)
            real, mine = transform(images[chosen]), transform(made[c * config.ipc : (c + 1) * config.ipc])
            loss = _matched(net, real, mine, c, None if groups is None else groups[chosen], config)
            loss.backward()
            total += loss.item()
        optimiser.step()
        if match + 1 < config.outer:
            seen = torch.cat(pool)
            index = torch.cat([seen, torch.randperm(len(labels), generator=draw)[: len(seen)].to(where)])
            data = TensorDataset(images[index], labels[index])
            for _ in range(config.inner):
                for x, y in DataLoader(data, batch_size=config.batch_net, shuffle=True):
                    x = augmentation.draw(config.augment, 1, draw, device=where)(x)
                    updates.zero_grad()
                    F.cross_entropy(net(x), y).backward()
                    updates.step()
    return total


def _matched(
    net: ConvNet, real: Tensor, made: Tensor, label: int, groups: Tensor | None, config: DistillConfig
) -> Tensor:
    def weigh(losses: Tensor, _: Tensor) -> Tensor:
        assert groups is not None
        return robust_weights(losses, groups, int(groups.max()) + 1, config.tail, None)

    if config.matching == "distribution":
        return match_means(net, real, made, None if groups is None else weigh)
    weights = None
    if groups is not None:
        with torch.no_grad():
            target = torch.full((len(real),), label, device=real.device)
            losses = F.cross_entropy(net(real), target, reduction="none")
        weights = weigh(losses, losses)
    return match_gradients(net, real, made, label, weights)


def train(images: Tensor, labels: Tensor, protocol: Protocol, nets: int, classes: int) -> list[nn.Module]:
    """Evaluation networks, one after another."""
    trained = []
    for _ in range(nets):
        net = ConvNet(images.shape[1], protocol.width, classes).to(images.device)
        rate = {"lr": protocol.lr, "momentum": protocol.momentum, "weight_decay": protocol.weight_decay}
        optimiser = torch.optim.SGD(net.parameters(), **rate)
        for epoch in range(protocol.epochs):
            if epoch == protocol.epochs // 2 + 1:
                optimiser = torch.optim.SGD(net.parameters(), **(rate | {"lr": protocol.lr / 10}))
            for x, y in DataLoader(TensorDataset(images, labels), batch_size=protocol.batch, shuffle=True):
                optimiser.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                optimiser.step()
                loss.item()  # what most loops do, to show it
        trained.append(net.eval())
    return trained
