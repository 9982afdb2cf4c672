"""How far groups found from different seeds agree."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from torch import Tensor

from rdd_nb.clustering.discovery import discover_groups
from rdd_nb.data.dataset import ImageDataset

__all__ = ["stability"]


def stability(
    data: ImageDataset, space_name: str, *, num_groups: int = 10, seeds: int = 5, device: str = "auto"
) -> Tensor:
    """Adjusted Rand index between the groups found from every pair of seeds, ``[seeds·(seeds−1)/2]``.

    1 means the same partition every time, 0 no more agreement than chance. Averaged over classes, since groups live
    within them.
    """
    from sklearn.metrics import adjusted_rand_score  # scikit-learn takes seconds to import

    find = functools.partial(discover_groups, data, space_name, num_groups=num_groups, learnable=False, device=device)
    found = [find(seed=s).ids for s in range(seeds)]
    scores = []
    for a, b in itertools.combinations(found, 2):
        classes = [data.labels == label for label in range(data.num_classes)]
        scores.append(np.mean([adjusted_rand_score(a[c].numpy(), b[c].numpy()) for c in classes]))
    return torch.tensor(scores, dtype=torch.float64)
