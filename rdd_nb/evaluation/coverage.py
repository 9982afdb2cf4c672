"""How much of the real data a synthetic set reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation.intervals import as_codes

__all__ = ["coverage", "coverage_by_group", "nearest_distance"]

Array = NDArray[np.float64]


def nearest_distance(
    real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor, chunk: int = 2048
) -> Tensor:
    """Euclidean distance of every real sample to its nearest synthetic one of its class; ``inf`` where there is none.

    Features have the shapes ``[N, …]`` and ``[M, …]`` and are flattened; the result is ``[N]``, on their device.
    """
    real, synthetic = real.flatten(1).float(), synthetic.flatten(1).float()
    if (
        real.shape[1:] != synthetic.shape[1:]
        or len(real) != len(real_labels)
        or len(synthetic) != len(synthetic_labels)
    ):
        raise RddError(
            f"real {list(real.shape)} with {len(real_labels)} labels, synthetic {list(synthetic.shape)} with "
            f"{len(synthetic_labels)}: give both the same features and one label for each sample"
        )
    distance = real.new_full((len(real),), torch.inf)
    for label in synthetic_labels.unique():
        centres = synthetic[synthetic_labels == label]
        for rows in torch.nonzero(real_labels == label).flatten().split(chunk):
            # exact mode: the matrix-product trick gives a sample a distance from itself
            near = torch.cdist(real[rows], centres, compute_mode="donot_use_mm_for_euclid_dist")
            distance[rows] = near.min(dim=1).values
    return distance


def coverage(
    real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor, radii: Sequence[float]
) -> Array:
    """Share of the real samples within each radius of their nearest synthetic sample of the same class; NaN of none.

    Compare the curve with that of a random and of a k-medoid subset of the same size, in one fixed feature space.

    >>> real, labels = torch.tensor([[0.0], [1.0], [3.0], [9.0]]), torch.tensor([0, 0, 0, 1])
    >>> coverage(real, labels, torch.tensor([[0.0]]), torch.tensor([0]), radii=[0, 1, 5])
    array([0.25, 0.5 , 0.75])
    """
    return _within(nearest_distance(real, real_labels, synthetic, synthetic_labels), radii)


def _within(distance: Tensor, radii: Sequence[float]) -> Array:
    ordered = np.sort(distance.detach().cpu().numpy())
    return np.searchsorted(ordered, np.asarray(radii, ordered.dtype), side="right") / (len(ordered) or np.nan)


def coverage_by_group(
    real: Tensor,
    real_labels: Tensor,
    synthetic: Tensor,
    synthetic_labels: Tensor,
    groups: ArrayLike,
    radii: Sequence[float],
) -> pd.DataFrame:
    """:func:`coverage` in every group of the real samples, as a tidy table: group, n, radius, share."""
    distance = nearest_distance(real, real_labels, synthetic, synthetic_labels).cpu()
    codes, names = as_codes(groups, len(distance))
    parts = [distance[torch.as_tensor(codes == k)] for k in range(len(names))]
    rows = [(g, len(d), float(r), float(s)) for g, d in zip(names, parts) for r, s in zip(radii, _within(d, radii))]
    return pd.DataFrame(rows, columns=["group", "n", "radius", "share"])
