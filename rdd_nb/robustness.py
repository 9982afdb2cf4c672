"""The table of the paper's kind: Acc, Cluster-min, Noise, Blur, Invert, of nets that are trained already."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError, unknown
from rdd_nb.evaluate import predict
from rdd_nb.machine import stream

__all__ = ["cluster_groups", "corrupt", "robustness"]


def corrupt(test: ImageDataset, kind: str, seed: int = 0) -> ImageDataset:
    """``test`` with each image corrupted, as the released code of arXiv 2402.04676 does before scoring.

    Args:
        test: any set; groups and labels stay.
        kind: ``noise`` (Gaussian; variance 0.005 of pixels in [0, 1] up to 64 px, standard deviation 0.2 above),
            ``blur`` (Gaussian, standard deviation 2 pixels, border pixels repeated) or ``invert`` (255 − pixel).
        seed: of the noise.
    """
    x = test.images
    if kind == "noise":
        sigma = 255 * (0.005**0.5 if max(test.shape[1:]) <= 64 else 0.2)
        draw = stream(seed, "corrupt")
        parts = (p.float() + sigma * torch.randn(p.shape, generator=draw).to(p.device) for p in x.split(1000))
        x = torch.cat([part.round_().clamp_(0, 255).to(torch.uint8) for part in parts])
    elif kind == "blur":
        rows, columns = (_blur_matrix(side).to(x.device) for side in test.shape[1:])
        x = torch.cat([(rows @ p.float() @ columns.T).round_().to(torch.uint8) for p in x.split(1000)])
    elif kind == "invert":
        x = 255 - x
    else:
        raise unknown("corruption", kind, ("noise", "blur", "invert"))
    return dataclasses.replace(test, images=x)


def _blur_matrix(side: int, sigma: float = 2.0) -> Tensor:
    """[side, side]: row i holds what each pixel gives to the blurred pixel i; what lies outside is the border pixel."""
    reach = int(4 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-offsets.double().square() / (2 * sigma**2))
    source = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, source, (weights / weights.sum()).expand(side, -1)).float()


def cluster_groups(test: ImageDataset, k: int = 10, seed: int = 0) -> Tensor:
    """Cluster-min's groups: k-means on the test set's normalised pixels, int64 ``[N]`` in 0..k-1.

    They depend on the test images alone, so they are fixed before any net is trained.

    Raises:
        RddError: fewer samples than clusters.
    """
    if not 1 <= k <= len(test):
        raise RddError(f"k={k} clusters of {len(test)} test images: give 1 to {len(test)}")
    points = test.normalised().flatten(1).numpy()
    return torch.from_numpy(KMeans(k, n_init=1, random_state=seed).fit_predict(points)).long()


def robustness(nets: Sequence[nn.Module], test: ImageDataset, seed: int = 0, k: int = 10) -> pd.DataFrame:
    """Acc, Cluster-min, Noise, Blur and Invert of each net: a tidy table net, metric, value (fractions).

    Cluster-min is the accuracy on the worst of the ``k`` clusters of :func:`cluster_groups`, of each net for itself: a
    minimum, so it falls below the true one the more the smaller the clusters are (see ``subgroups.minimum_band``).
    ``seed`` is that of the clusters and of the noise.
    """
    plain = predict(nets, test)
    clusters = plain.table_of(cluster_groups(test, k, seed).numpy(), tuple(map(str, range(k))))
    worst = (clusters["correct"] / clusters["n"].where(clusters["n"] > 0)).groupby(clusters["net"]).min()
    values = {"Acc": plain.accuracy, "Cluster-min": worst.to_numpy()}
    for kind in ("noise", "blur", "invert"):
        values[kind.capitalize()] = predict(nets, corrupt(test, kind, seed)).accuracy
    return pd.DataFrame(
        [{"net": net, "metric": m, "value": float(v)} for m, column in values.items() for net, v in enumerate(column)]
    )
