"""Small sets of real images, as a distillation may start from them: at random or medoids, spread over groups or not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.clustering.features import COMPONENTS, outputs, principal
from rdd_nb.clustering.kmeans import medoids_of_each
from rdd_nb.clustering.shares import quotas, rank_within
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

__all__ = ["SmallSets"]

LARGEST = 32  # pixels of a side, of the images whose medoids are looked for; larger ones are made smaller


class SmallSets:
    """Draws ``ipc`` images of each class, again and again, from a part of the data.

    Args:
        data: the training set.
        members: int64, the samples that sets may be of.
        ipc: images per class.
        seed: of all draws.
    """

    def __init__(self, data: ImageDataset, members: Tensor, ipc: int, seed: int = 0) -> None:
        self.labels, self.classes, self.ipc, self.seed = data.labels, data.num_classes, ipc, seed
        self.place = torch.zeros(len(data), dtype=torch.int64)
        self.place[members] = torch.arange(len(members))
        size = max(1, min(data.shape[1:]) // LARGEST)
        pixels = outputs(lambda x: F.avg_pool2d(x, size).flatten(1), data, torch.device("cpu"), members)
        self.points = principal(pixels, COMPONENTS)  # in which the medoids are nearly those of the pixels, and sooner
        self.known: list[tuple[Tensor, dict[tuple[int, ...], Tensor]]] = []  # medoids, by what groups they are of

    def draw(
        self, met: Tensor, ids: Tensor, shares: Tensor, which: Sequence[tuple[int, ...]], central: bool = False
    ) -> list[Tensor]:
        """Sets of samples in ``met``, as many of each group as its share: int64 indices each.

        ``which`` set it is decides about the order that all samples are met in, so that sets of other shares differ
        from it in as few images as may be. Where they are ``central``, they are the medoids of a group (of half of its
        members, the first in that order, as else all sets would be alike); else they are the first.

        Args:
            met: int64, of the data's indices.
            ids: int64 ``[N]``, each sample's group within its class.
            shares: ``[K, G]``, of the groups in their class.
            which: a name for each set.
        """
        sets: list[Tensor] = []
        keys: list[list[tuple[int, ...]]] = []  # of the medoids of each set
        known = self._known(ids) if central else {}
        missing: dict[tuple[int, int], list[tuple[tuple[int, ...], Tensor]]] = {}  # by members and medoids
        for name in which:
            draw = stream(self.seed, "trial set", *name)
            shuffled = met[torch.randperm(len(met), generator=draw)]
            cells = self.labels[shuffled] * shares.shape[1] + ids[shuffled]
            sizes = torch.bincount(cells, minlength=shares.numel())
            each = zip(shares, sizes.view(shares.shape))
            wanted = torch.cat([quotas(share, size, min(self.ipc, int(size.sum())), draw) for share, size in each])
            if not central:
                sets.append(shuffled[rank_within(cells) < wanted[cells]])
                continue
            parts = shuffled[cells.argsort(stable=True)].split(sizes.tolist())
            keys.append([(*name, cell, int(wanted[cell])) for cell in wanted.nonzero()[:, 0].tolist()])
            for key in keys[-1]:
                *_, cell, count = key
                if key not in known:
                    some = parts[cell][: max(count, (len(parts[cell]) + 1) // 2)]
                    missing.setdefault((len(some), count), []).append((key, some))
        for (size, count), asked in missing.items():
            members = torch.stack([some for _, some in asked])
            draw = stream(self.seed, "trial medoids", size, count, len(asked))
            chosen = medoids_of_each(self.points[self.place[members]], count, draw)
            known |= {key: some[mine] for (key, some), mine in zip(asked, chosen)}
        return [torch.cat([known[key] for key in mine]) for mine in keys] if central else sets

    def _known(self, ids: Tensor) -> dict[tuple[int, ...], Tensor]:
        """The medoids that were found of these groups: other strengths ask for many of them again."""
        for held, known in self.known:
            if torch.equal(held, ids):
                return known
        self.known.append((ids, {}))
        return self.known[-1][1]
