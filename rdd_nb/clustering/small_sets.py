"""Small sets of real images, as a distillation may start from them: at random or medoids, spread over groups or not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.features import COMPONENTS, outputs, principal
from rdd_nb.clustering.kmeans import medoids_of_each
from rdd_nb.clustering.shares import quotas_of_sets
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

__all__ = ["SmallSets"]

LARGEST = 32  # pixels of a side, of the images whose medoids are looked for; larger ones are made smaller


class SmallSets:
    """Draws ``ipc`` images of each class, again and again, from parts of the data.

    Args:
        data: the training set.
        members: int64, the samples that sets may be of.
        part_of: int64, alike: which part of the data each is in, from 0; a set is of one part.
        ipc: images per class.
        seed: of all draws.
    """

    def __init__(self, data: ImageDataset, members: Tensor, part_of: Tensor, ipc: int, seed: int = 0) -> None:
        self.labels, self.ipc, self.seed = data.labels, ipc, seed
        self.parts = [members[part_of == part] for part in range(int(part_of.max()) + 1)]
        self.place = torch.zeros(len(data), dtype=torch.int64)
        self.place[members] = torch.arange(len(members))
        size = max(1, min(data.shape[1:]) // LARGEST)
        pixels = outputs(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu"), members)
        self.points = principal(pixels, COMPONENTS)  # in which the medoids are nearly those of the pixels, and sooner
        self._shuffled: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self._known: list[tuple[Tensor, dict[tuple[int, ...], list[int]]]] = []  # medoids, by what groups they are of
        self._last: tuple[Tensor, dict[tuple[int, int], Tensor]] = (torch.empty(0), {})

    def draw(
        self, part: int, ids: Tensor, shares: Tensor, *, round: int = 0, count: int = 1, central: bool = False
    ) -> Tensor:
        """Sets of samples of a part, as many of each group as its share: int64 ``[count, ipc · classes or fewer]``.

        The ``round`` and its number within it decide about the order that a set meets all samples in, so that sets of
        other shares differ from it in as few images as may be. Where sets are ``central``, they are the medoids of a
        group (of half of its members, the first in that order, as else all sets would be alike); else they are the
        first.

        Args:
            part: which.
            ids: int64 ``[N]``, each sample's group within its class.
            shares: ``[K, G]``, of the groups in their class.
            round: a name for these sets.
            count: of sets.
            central: whether they are medoids.
        """
        cells = self.labels[self.parts[part]] * shares.shape[1] + ids[self.parts[part]]
        sizes = torch.bincount(cells, minlength=shares.numel())
        orders = [self._order(round, part, number) for number in range(count)]
        draws = [torch.Generator().set_state(state) for _, state in orders]
        by_class = sizes.view(shares.shape)
        wanted = quotas_of_sets(shares, by_class, by_class.sum(1).clamp_max(self.ipc), draws).flatten(1)
        met = self._by_cell(ids, round, part, [order for order, _ in orders])
        if central:
            return self._medoids(ids, (round, part), met.split(sizes.tolist(), 1), wanted)
        rank = torch.arange(met.shape[1]) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        first = rank < wanted.repeat_interleave(sizes, 1)
        return met[first].view(count, -1)

    def _order(self, round: int, part: int, number: int) -> tuple[Tensor, Tensor]:
        """The order in which a set meets the samples of its part, and the state of the draw after it."""
        name = (round, part, number)
        if name not in self._shuffled:
            draw = stream(self.seed, "trial set", *name)
            met = self.parts[part]
            self._shuffled[name] = met[torch.randperm(len(met), generator=draw)], draw.get_state()
        return self._shuffled[name]

    def _by_cell(self, ids: Tensor, round: int, part: int, orders: Sequence[Tensor]) -> Tensor:
        """The samples of a part in these orders, sorted by class and group. Kept until other groups are asked for."""
        if not torch.equal(self._last[0], ids):
            self._last = ids, {}
        kept = self._last[1]
        if (round, part) not in kept or len(kept[round, part]) < len(orders):
            met = torch.stack(list(orders))
            cells = self.labels[met] * (int(ids.max()) + 1) + ids[met]
            kept[round, part] = met.gather(1, cells.argsort(dim=1, stable=True))
        return kept[round, part][: len(orders)]

    def _medoids(self, ids: Tensor, name: tuple[int, int], met: Sequence[Tensor], wanted: Tensor) -> Tensor:
        """The sets of as many medoids as ``wanted`` ``[sets, cells]``, of samples ``met``, ``[sets, n]`` for a cell.

        They are kept: other strengths ask for many of them again.
        """
        known = next((kept for held, kept in self._known if torch.equal(held, ids)), None)
        if known is None:
            self._known.append((ids, known := {}))
        keys = [
            [(*name, number, cell, count) for cell, count in enumerate(counts) if count]
            for number, counts in enumerate(wanted.tolist())
        ]
        missing: dict[tuple[int, int], list[tuple[int, ...]]] = {}  # by how many members and medoids
        for key in (key for mine in keys for key in mine if key not in known):
            *_, cell, count = key
            some = max(count, (met[cell].shape[1] + 1) // 2)
            missing.setdefault((some, count), []).append(key)
        for (some, count), asked in missing.items():
            members = torch.stack([met[cell][number, :some] for *_, number, cell, _ in asked])
            draw = stream(self.seed, "trial medoids", some, count, len(asked))
            chosen = medoids_of_each(self.points[self.place[members]], count, draw)
            known.update(zip(asked, members.gather(1, chosen).tolist()))
        return torch.tensor([[sample for key in mine for sample in known[key]] for mine in keys])
