"""A few images of a data set, for a quick look in which nobody is missing."""

from __future__ import annotations

import torch

from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

__all__ = ["sample"]


def sample(data: ImageDataset, per_class: int, seed: int) -> ImageDataset:
    """As many random images of each class, at most ``per_class``; and one of every group that these leave out.

    Unlike :meth:`rdd_nb.data.dataset.ImageDataset.sample` it takes what there is: classes without images stay empty,
    and the smallest of the others says how many are taken of each. A group, or a side of majority and minority, within
    a class is never lost: of those without an image in the draw, the first image of the data is added.

    Args:
        data: any set; its images stay in their order.
        per_class: at least 1.
        seed: of the draw.

    >>> images, labels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 0, 0, 2])
    >>> groups = torch.tensor([0, 0, 0, 0, 1, 0])
    >>> data = ImageDataset(images, labels, ("a", "b", "c"), (0.5,), (0.5,), groups=groups, group_names=("x", "y"))
    >>> few = sample(data, 3, seed=0)
    >>> few.class_counts.tolist(), few.groups.tolist()
    ([2, 0, 1], [0, 1, 0])
    """
    counts = data.class_counts
    most = min(per_class, int(counts[counts > 0].min()))
    generator = stream(seed, "sample")  # the draw of ImageDataset.sample, where that has one
    chosen = torch.zeros(len(data), dtype=torch.bool)
    for label, count in enumerate(counts.tolist()):
        members = (data.labels == label).nonzero().squeeze(1)
        chosen[members[torch.randperm(count, generator=generator)[:most]]] = True
    told = [t for t in (data.labels, data.groups, data.minority) if t is not None]
    kinds = torch.stack([t.long() for t in told]).unique(dim=1, return_inverse=True)[1]
    for kind in kinds.unique().tolist():
        mine = (kinds == kind).nonzero().squeeze(1)
        if not chosen[mine].any():
            chosen[mine[0]] = True
    return data.subset(chosen)
