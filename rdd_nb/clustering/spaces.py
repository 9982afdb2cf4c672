"""The spaces to look for groups in: each gives the data as points."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.reference_networks import biased_probabilities, biased_stages, depth_for, outputs
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import unknown
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.models import networks

__all__ = ["SPACES", "principal", "space"]


def _pixels(data: ImageDataset, seed: int, device: str) -> Tensor:
    """4 × 4 average-pooled normalised pixels: nearly the partition of raw ones at a sixteenth of the cost."""
    size = min(4, data.shape[-1] // 4) or 1
    return torch.cat(outputs(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu")))


def _style(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Mean and standard deviation of each channel of each image, ``[N, 2C]``, standardised over the data."""
    raw = torch.cat(outputs(lambda x: torch.cat([x.mean((2, 3)), x.std((2, 3))], 1), data, torch.device("cpu")))
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _colour(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Which colours an image has, and how many: two opponent channels' mean and logarithmic deviation, ``[N, 4]``.

    Standardised over the data. The logarithm sets grey images, which have no deviation, far apart. Brightness and
    contrast, which differ more and mean less, are left out. Grey data are one point.
    """

    def measured(x: Tensor) -> Tensor:
        if x.shape[1] < 3:
            return x.new_zeros(len(x), 4)
        pairs = torch.stack([x[:, 0] - x[:, 2], x[:, 1] - (x[:, 0] + x[:, 2]) / 2], 1)
        return torch.cat([pairs.mean((2, 3)), (pairs.std((2, 3)) + 0.01).log()], 1)

    unchanged = data.with_statistics((0.0,) * data.shape[0], (1.0,) * data.shape[0])  # grey stays grey
    raw = torch.cat(outputs(measured, unchanged, torch.device("cpu")))
    return (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6)


def _embedding(data: ImageDataset, seed: int, device: str) -> Tensor:
    """The biased network's features, as their 20 principal components (GEORGE, Sohoni et al., 2011.12945)."""
    return principal(biased_stages(data, seed, epochs=(2,), device=device)[2][1])


def principal(points: Tensor, most: int = 20) -> Tensor:
    """The first principal components of points ``[N, D]``: ``[N, most or fewer]``, by the covariance (exact)."""
    centred = points - points.mean(0)
    _, vectors = torch.linalg.eigh((centred.T @ centred).double())
    return centred @ vectors.flip(1)[:, :most].to(centred)


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
    "colour": _colour,
    "features": _features,
    "embedding": _embedding,
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
