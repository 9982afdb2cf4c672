"""Groups: one id for every real sample within its class, and the named groups a data set carries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["STARTS", "Benefit", "Groups", "Trial", "exemplars", "known_groups"]

#: Real images that a distillation with groups may start from, each in words.
STARTS = {
    "groups": "random images of each group",
    "medoids": "medoids of each class",
    "group-medoids": "medoids of each group",
}


@dataclass(frozen=True)
class Benefit:
    """What one way of raising groups brings on held-out images, against raising none; in points of accuracy.

    Attributes:
        balanced: change of the accuracy in which each group counts as its size to a power, by default 0.3.
        mean: change of the plain accuracy.
        error: standard error of :attr:`value`, over samples and over small sets.

    >>> Benefit(balanced=4.0, mean=1.0, error=0.5).value
    2.5
    """

    balanced: float
    mean: float
    error: float

    @property
    def value(self) -> float:
        """The average of the two changes: a gain of the small that the large pay for in full is none."""
        return (self.balanced + self.mean) / 2


@dataclass(frozen=True)
class Trial:
    """One way of raising groups that was tried, and what it brought against raising none, from random images.

    Attributes:
        groups: their source.
        how: how far they were raised.
        benefit: what that brought.
        final: whether it was tried on the sets that decide; those before only choose which candidates come to them.
        kept: of a candidate that it was tried again, of a final one that it is what is raised.
        start: what the small sets were, as of :class:`Groups`.
    """

    groups: str
    how: str
    benefit: Benefit
    final: bool
    kept: bool
    start: str = "groups"

    def row(self) -> dict[str, str | float | bool]:
        """As one row of a table: the benefit's numbers beside the rest.

        >>> Trial("colour (3 groups)", "strength 1", Benefit(4.0, 1.0, 0.5), final=True, kept=True).row()["value"]
        2.5
        """
        told = {name: value for name, value in vars(self).items() if name != "benefit"}
        return {**told, **vars(self.benefit), "value": self.benefit.value}


@dataclass(frozen=True, eq=False)
class Groups:
    """One group id for every real sample, counted within its class.

    Attributes:
        ids: int64 ``[N]``, 0 … ``num_groups`` − 1; sample ``j`` lies in the group (``labels[j]``, ``ids[j]``).
        num_groups: ids a class can have, ``G``; a class need not use all of them.
        source: how they came about, e.g. ``"probabilities"`` or ``"known"``.
        learnable: float64 ``[num_classes, num_groups]``, how far a group is to be raised above its natural part: 0 not
            at all, 1 in full, more further than that; None to raise all in full, as known groups are.
        report: what was tried to find them and what it said, as Markdown (:func:`discover_groups`).
        trials: the same as numbers, in the order in which they were tried or, of candidates, of what they brought.
        start: what a robust distillation starts from where nothing else is said, one of :data:`STARTS`; None for random
            images, spread over the groups where these are raised.
    """

    ids: Tensor
    num_groups: int
    source: str
    learnable: Tensor | None = None
    report: str = ""
    trials: tuple[Trial, ...] = ()
    start: str | None = None

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


def exemplars(points: Tensor, members: Tensor, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The ``members`` of a group nearest to their centre, those farthest from it, and random ones, at most so many.

    Args:
        points: ``[N, D]``, the data.
        members: int64 ``[n]``, indices into ``points``.
        count: of each kind. No member is both near and far; the random ones are drawn from all.
        draw: for the random ones.

    >>> points, draw = torch.tensor([[0.0], [9.0], [1.0], [2.0]]), torch.Generator().manual_seed(0)
    >>> near, far, chance = exemplars(points, torch.arange(4), 3, draw)  # the centre is 3
    >>> near.tolist(), far.tolist(), len(chance)
    ([3, 2], [1, 0], 3)
    """
    mine = points[members]
    order = members[(mine - mine.mean(0)).norm(dim=1).argsort(stable=True)]
    near = min(count, (len(order) + 1) // 2)
    return order[:near], order[near:].flip(0)[:count], members[torch.randperm(len(members), generator=draw)[:count]]
