"""Reference networks: small ones, trained briefly on the real data, that say who hides in it. No group label is read.

One is biased on purpose and betrays those who break the rule (:func:`biased_probabilities`). Others are trained on one
part of the data with the rare raised and asked about the other part (:func:`held_out_probabilities`): what they
get right there can be learnt from the data, and what they do not is ambiguous or wrongly labelled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdd_nb.clustering.features import outputs, reduction
from rdd_nb.core.device import pick_device, side_by_side, tune_allocator
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.models import networks
from rdd_nb.models.descent import BeforeStep, cosine, descend

__all__ = [
    "biased_network",
    "biased_probabilities",
    "biased_stages",
    "depth_for",
    "generalised_cross_entropy",
    "held_out_probabilities",
]

BATCH = 128
MOST_STEPS = 800  # of the biased network an epoch: on 500,000 images it has long learnt the easy rule
FEWEST_STEPS = 100  # of a held-out network: on a thousand images, four epochs would teach it nothing


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float = 0.7) -> Tensor:
    """(1 − p_y^q) / q per sample, ``[N]``: cross-entropy for q → 0, mean absolute error for q = 1.

    Its gradient is cross-entropy's times p_y^q: samples the network already gets right pull hardest, so a network
    trained with it for a moment learns the easy rule and leaves the exceptions alone. Source: Zhang and Sabuncu
    (1805.07836); as a finder of biased samples: Nam et al. (2007.02561).
    """
    p = F.softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    return (1 - p.clamp_min(1e-6) ** q) / q


def biased_network(
    data: ImageDataset, seed: int = 0, *, epochs: int = 2, width: int = 16, q: float = 0.7, device: str = "auto"
) -> nn.Module:
    """A small network trained briefly with generalised cross-entropy, in evaluation mode, on its device.

    It meets every sample ``epochs`` times (an epoch ends after 800 batches of 128), learns the rule that serves most of
    them, and its predictions betray those that break the rule: a shoe in the shirts' colour is called a shirt. Uses
    class labels, never groups.
    """
    where = pick_device(device)
    net = _network(data, width, seed_of(seed, "biased network"), where)
    _fit_biased(net, data, seed, epochs, BATCH, q, where)
    return net.eval()


def biased_stages(
    data: ImageDataset,
    seed: int = 0,
    *,
    epochs: Sequence[int] = (1, 2),
    width: int = 16,
    q: float = 0.7,
    device: str = "auto",
) -> dict[int, tuple[Tensor, Tensor]]:
    """What :func:`biased_network` says of its own data after each of ``epochs``, from one training.

    When it has learnt the easy rule and nothing else yet depends on the data: a small set is soon known by heart.

    Returns:
        epochs → class probabilities ``[N, K]`` and features ``[N, D]`` (of large data, their principal components:
        :func:`rdd_nb.clustering.features.reduction`).
    """
    where = pick_device(device)
    net = _network(data, width, seed_of(seed, "biased network"), where)
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def look(passed: int) -> None:
        if passed in epochs:
            keep = reduction(lambda x: net.embed(x).flatten(1), data, where, seed)  # type: ignore[operator]

            def told(x: Tensor) -> Tensor:
                made = net.embed(x)  # type: ignore[operator]
                points = made.flatten(1)
                said = F.softmax(net.classifier(made), 1)  # type: ignore[operator]
                return torch.cat([said, points if keep is None else keep(points)], 1)

            made = outputs(told, data, where)
            found[passed] = made[:, : data.num_classes].contiguous(), made[:, data.num_classes :].contiguous()

    batch = min(BATCH, max(16, len(data) // 60))  # more steps on a small set; more epochs would teach it by heart
    _fit_biased(net, data, seed, max(epochs), batch, q, where, look)
    return found


def _fit_biased(
    net: nn.Module,
    data: ImageDataset,
    seed: int,
    epochs: int,
    batch: int,
    q: float,
    device: torch.device,
    after_epoch: Callable[[int], None] = lambda passed: None,
) -> None:
    """The biased network's training; ``after_epoch`` is called with the number of epochs passed."""
    shuffle = stream(seed, "biased network", "batches")

    def batches() -> Iterator[Tensor]:
        for passed in range(epochs):
            yield from torch.randperm(len(data), generator=shuffle).split(batch)[:MOST_STEPS]
            after_epoch(passed + 1)

    _fit(net, data, batches(), lambda logits, labels: generalised_cross_entropy(logits, labels, q), device)


def biased_probabilities(
    data: ImageDataset,
    seed: int = 0,
    *,
    asked: ImageDataset | None = None,
    epochs: int = 2,
    width: int = 16,
    q: float = 0.7,
    device: str = "auto",
) -> Tensor:
    """Class probabilities ``[N, K]`` that :func:`biased_network` of ``data`` gives to ``asked`` (or to ``data``).

    Both are normalised by the mean and standard deviation of ``data``.

    Raises:
        RddError: ``asked`` has images of another shape.
    """
    asked = data if asked is None else asked.with_statistics(data.mean, data.std)
    if asked.shape != data.shape:
        raise RddError(f"trained on images of {data.shape} and asked about {asked.shape}: give images of one shape")
    net = biased_network(data, seed, epochs=epochs, width=width, q=q, device=device)
    return outputs(lambda x: F.softmax(net(x), 1), asked, pick_device(device))


def held_out_probabilities(
    data: ImageDataset,
    weights: Tensor,
    seed: int = 0,
    *,
    epochs: float = 4,
    width: int = 16,
    device: str = "auto",
) -> Tensor:
    """Class probabilities ``[N, K]`` of each sample by a network that never met it.

    The data are halved at random; a network is trained on each half, drawn with ``weights``, and asked about the other.

    Args:
        weights: ``[N]``, at least 0: how often a sample is met, relative to the others.
        epochs: over each half, in at least 100 batches; the step size falls to 0 as a cosine. A batch has 128 images,
            or a quarter of what a small half has (at least 16).

    Raises:
        RddError: fewer than two samples, or weights of another length.
    """
    if len(data) < 2 or weights.shape != data.labels.shape:
        raise RddError(
            f"{len(data)} samples and weights {list(weights.shape)}: give two samples at least, a weight each"
        )
    where = pick_device(device)
    found = torch.zeros(len(data), data.num_classes)
    order = torch.randperm(len(data), generator=stream(seed, "halves"))
    nets = [_network(data, width, seed_of(seed, "held-out network", half), where) for half in range(2)]

    def judge(half: int, check: Callable[[], None]) -> None:
        met, asked, net = order[half::2], order[1 - half :: 2], nets[half]
        batch = min(BATCH, max(16, len(met) // 4))
        steps = max(FEWEST_STEPS, math.ceil(epochs * len(met) / batch))
        draw = stream(seed, "held-out network", half, "batches")
        drawn = torch.multinomial(weights[met].double(), steps * batch, replacement=True, generator=draw)
        losses = functools.partial(F.cross_entropy, reduction="none")
        _fit(net, data, met[drawn].split(batch), losses, where, cosine(steps))
        found[asked] = outputs(lambda x: F.softmax(net(x), 1), data, where, asked)

    side_by_side(judge, range(2), where)
    return found


def depth_for(data: ImageDataset) -> int:
    """Three pooling blocks, or as many as leave a map of at least 2 × 2."""
    return max(1, min(3, int(math.log2(data.shape[-1])) - 1))


def _network(data: ImageDataset, width: int, seed: int, device: torch.device) -> nn.Module:
    tune_allocator()
    net = networks.build("convnet", data.shape, data.num_classes, width=width, depth=depth_for(data), seed=seed)
    return net.to(device)


def _fit(
    net: nn.Module,
    data: ImageDataset,
    batches: Iterable[Tensor],
    losses: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    before_step: BeforeStep | None = None,
) -> None:
    """Train ``net`` on batches of indices into ``data``."""
    labels = data.labels.to(device)

    def loss(batch: Tensor) -> Tensor:
        return losses(net(data.normalised(batch, device)), labels[batch.to(device)]).mean()

    descend(net.parameters(), batches, loss, lr=0.05, momentum=0.9, weight_decay=5e-4, before_step=before_step)
