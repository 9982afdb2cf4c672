"""Groups: one id for every real sample within its class, and the named groups a data set carries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["Groups", "known_groups"]


@dataclass(frozen=True, eq=False)
class Groups:
    """One group id for every real sample, counted within its class.

    Attributes:
        ids: int64 ``[N]``, 0 … ``num_groups`` − 1; sample ``j`` lies in the group (``labels[j]``, ``ids[j]``).
        num_groups: ids a class can have, ``G``; a class need not use all of them.
        source: how they came about, e.g. ``"probabilities"`` or ``"known"``.
        learnable: float64 ``[num_classes, num_groups]`` in [0, 1], how far a group is to be raised above its natural
            part; None to raise all, as known groups are.
        report: what was tried to find them and what it said, as Markdown (:func:`discover_groups`).
    """

    ids: Tensor
    num_groups: int
    source: str
    learnable: Tensor | None = None
    report: str = ""

    @property
    def raised(self) -> bool:
        """Whether any group is to be raised above its natural part."""
        return self.learnable is None or bool((self.learnable > 0).any())

    def sizes(self, labels: Tensor, num_classes: int) -> Tensor:
        """Samples in each group: int64 ``[num_classes, num_groups]``."""
        flat = labels * self.num_groups + self.ids
        return torch.bincount(flat, minlength=num_classes * self.num_groups).view(num_classes, self.num_groups)


def known_groups(data: ImageDataset) -> Groups:
    """The named groups a dataset carries (the oracle of every comparison).

    Raises:
        RddError: the dataset names no groups.
    """
    if data.groups is None:
        raise RddError(
            f"dataset {data.name!r} names no groups: discover them (groups=discovered) or use a scenario that shifts it"
        )
    return Groups(data.groups, data.num_groups, "known")
