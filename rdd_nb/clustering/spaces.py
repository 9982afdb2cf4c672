"""The spaces to look for groups in: each gives the data as points."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.reference_networks import biased_probabilities, depth_for, outputs
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import unknown
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.models import networks

__all__ = ["SPACES", "space"]


def _pixels(data: ImageDataset, seed: int, device: str) -> Tensor:
    """4 × 4 average-pooled normalised pixels: nearly the partition of raw ones at a sixteenth of the cost."""
    size = min(4, data.shape[-1] // 4) or 1
    return torch.cat(outputs(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu")))


def _style(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Mean and standard deviation of each channel of each image, ``[N, 2C]``, standardised over the data."""
    raw = torch.cat(outputs(lambda x: torch.cat([x.mean((2, 3)), x.std((2, 3))], 1), data, torch.device("cpu")))
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _features(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Embedding of a frozen random ConvNet, standardised: independent of every model that is compared."""
    where = pick_device(device)
    net = networks.build(
        "convnet", data.shape, data.num_classes, width=16, depth=depth_for(data), seed=seed_of(seed, "frozen network")
    ).to(where)
    raw = torch.cat(outputs(net.embed, data, where)).cpu()
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _probabilities(data: ImageDataset, seed: int, device: str) -> Tensor:
    return biased_probabilities(data, seed, device=device)


def _predicted_class(data: ImageDataset, seed: int, device: str) -> Tensor:
    """The class that the biased network says, one-hot: k-means finds just these, if ``num_groups`` allows."""
    return F.one_hot(biased_probabilities(data, seed, device=device).argmax(1), data.num_classes).float()


#: Each gives the data as points ``[N, D]``, from the data, a seed and a device.
SPACES: dict[str, Callable[[ImageDataset, int, str], Tensor]] = {
    "pixels": _pixels,
    "style": _style,
    "features": _features,
    "probabilities": _probabilities,
    "predicted-class": _predicted_class,
}


def space(data: ImageDataset, name: str, seed: int = 0, device: str = "auto") -> Tensor:
    """The data as points ``[N, D]`` in the space called ``name`` (one of :data:`SPACES`).

    Raises:
        RddError: no such space.
    """
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return SPACES[name](data, seed, device)
