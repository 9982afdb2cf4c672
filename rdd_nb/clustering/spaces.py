"""The spaces to look for groups in: each gives the data as points."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.features import embedded, outputs, principal, standardised
from rdd_nb.clustering.reference_networks import biased_probabilities, biased_stages, depth_for
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import unknown
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.models import networks

__all__ = ["SPACES", "principal", "space"]


def _pixels(data: ImageDataset, seed: int, device: str) -> Tensor:
    """4 × 4 average-pooled normalised pixels: nearly the partition of raw ones at a sixteenth of the cost."""
    size = min(4, data.shape[-1] // 4) or 1
    return embedded(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu"), seed)


def _style(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Mean and standard deviation of each channel of each image, ``[N, 2C]``, standardised over the data."""
    measured = outputs(lambda x: torch.cat([x.mean((2, 3)), x.std((2, 3))], 1), data, torch.device("cpu"))
    return standardised(measured)


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
    return standardised(outputs(measured, unchanged, torch.device("cpu")))


def _embedding(data: ImageDataset, seed: int, device: str) -> Tensor:
    """The biased network's features, as their 20 principal components (GEORGE, Sohoni et al., 2011.12945)."""
    return principal(biased_stages(data, seed, epochs=(2,), device=device)[2][1])


def _features(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Embedding of a frozen random ConvNet, standardised: independent of every model that is compared."""
    where = pick_device(device)
    net = networks.build(
        "convnet", data.shape, data.num_classes, width=16, depth=depth_for(data), seed=seed_of(seed, "frozen network")
    ).to(where)
    return embedded(lambda x: net.embed(x).flatten(1), data, where, seed, standardise=True)


def _probabilities(data: ImageDataset, seed: int, device: str) -> Tensor:
    return biased_probabilities(data, seed, device=device)


def _predicted_class(data: ImageDataset, seed: int, device: str) -> Tensor:
    """The class that the biased network says, one-hot: k-means finds just these, if ``num_groups`` allows."""
    return F.one_hot(biased_probabilities(data, seed, device=device).argmax(1), data.num_classes).float()


def _errors(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Whether the biased network is right, one-hot: its error set, as JTT has it (Liu et al., 2107.09044)."""
    wrong = biased_probabilities(data, seed, device=device).argmax(1) != data.labels
    return F.one_hot(wrong.long(), 2).float()


BATCH, NEIGHBOURS = 64, 4


def _dbscan(data: ImageDataset, seed: int, device: str) -> Tensor:
    """Which cluster an image is in among a batch of its class, by size, one-hot; what is in none comes last.

    DBSCAN of the pixels of random batches of 64, as group-wise matching without labels would have it (FairDD,
    2411.19623, clusters every batch that it matches; these are drawn once). Its radius is the distance within which
    nine in ten images of the batch have four others. A batch can have 16 clusters: ask for more groups than these.
    """
    from sklearn.cluster import DBSCAN  # scikit-learn takes seconds to import

    order = torch.randperm(len(data), generator=stream(seed, "batches of a class"))
    ids = torch.zeros(len(data), dtype=torch.int64)
    for label in range(data.num_classes):
        for batch in order[data.labels[order] == label].split(BATCH):
            points = data.normalised(batch).flatten(1)
            distances = torch.cdist(points, points)
            near = distances.sort(1).values[:, min(NEIGHBOURS, len(batch) - 1)]
            radius = float(near.quantile(0.9).clamp_min(1e-6))
            model = DBSCAN(eps=radius, min_samples=NEIGHBOURS, metric="precomputed")
            found = torch.from_numpy(model.fit_predict(distances.numpy())).long()
            by_size = torch.bincount(found[found >= 0]).argsort(descending=True, stable=True)
            rank = torch.empty(len(by_size) + 1, dtype=torch.int64)
            rank[by_size], rank[-1] = torch.arange(len(by_size)), BATCH  # that of −1, in no cluster
            ids[batch] = rank[found]
    _, told = ids.unique(return_inverse=True)
    return F.one_hot(told).float()


#: Each gives the data as points ``[N, D]``, from the data, a seed and a device.
SPACES: dict[str, Callable[[ImageDataset, int, str], Tensor]] = {
    "pixels": _pixels,
    "style": _style,
    "colour": _colour,
    "features": _features,
    "embedding": _embedding,
    "probabilities": _probabilities,
    "predicted-class": _predicted_class,
    "errors": _errors,
    "dbscan": _dbscan,
}


def space(data: ImageDataset, name: str, seed: int = 0, device: str = "auto") -> Tensor:
    """The data as points ``[N, D]`` in the space called ``name`` (one of :data:`SPACES`).

    Raises:
        RddError: no such space.
    """
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return SPACES[name](data, seed, device)
