"""Images that are all but the same, among a million as among a hundred."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CLOSE", "chunks", "near_pairs"]

CLOSE = 2.0  # two images are near copies below this root mean square difference, in grey levels of 256
_SIDE = 8  # larger images are averaged down to about this for the search for near copies
_AT_ONCE = 32_768  # images that 512 others are held against at the same time


def near_pairs(first: Tensor, second: Tensor, close: float = CLOSE) -> Tensor:
    """Pairs of an image of ``first`` and one of ``second`` that are all but the same: int64 ``[P, 2]``.

    Args:
        first, second: uint8 ``[N, C, H, W]`` and ``[M, C, H, W]``, of at most 512 × 512 pixels for speed's sake.
        close: the largest root mean square difference, in grey levels of 256; 0 finds exact copies alone.

    It finds copies that were saved anew, not those that are shifted, cropped or turned: next shots of a burst must be
    kept together by whoever took them. Blank images are left out.
    """
    (mine, side), (other, _) = _pooled(first), _pooled(second)
    shown = [part.flatten(1).amin(1) < part.flatten(1).amax(1) for part in (first, second)]
    # Averaging brings images nearer to each other: what is far there need not be looked at.
    reach, found = close * math.sqrt(math.prod(first.shape[1:])) / side, [torch.zeros(0, 2, dtype=torch.int64)]
    for start in range(0, len(first), 512):
        for begin in range(0, len(second), _AT_ONCE):
            # The matrix product rounds: look a little further, and then at the pixels themselves.
            hits = (torch.cdist(mine[start : start + 512], other[begin : begin + _AT_ONCE]) <= reach + 3).nonzero()
            hits = hits + torch.tensor([start, begin])
            hits = hits[shown[0][hits[:, 0]] & shown[1][hits[:, 1]]]
            apart = [(first[i].float() - second[j].float()).square().flatten(1).mean(1).sqrt() for i, j in chunks(hits)]
            found.append(hits[torch.cat(apart) <= close] if apart else hits)
    pairs = torch.cat(found)
    return pairs[(pairs[:, 0] * len(second) + pairs[:, 1]).argsort()]


def _pooled(images: Tensor) -> tuple[Tensor, int]:
    """Images averaged to about 8 × 8 pixels: ``[N, D]``, and over how many pixels a side."""
    side = max(1, min(images.shape[-2:]) // _SIDE)
    return torch.cat([F.avg_pool2d(part.float(), side).flatten(1) for part in images.split(4096)]), side


def chunks(pairs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Pairs int64 ``[P, 2]``, some at a time: the first of each, and the second."""
    return [(part[:, 0], part[:, 1]) for part in pairs.split(1024) if len(part)]
