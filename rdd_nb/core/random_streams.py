"""Random streams: one for each purpose, derived from the seed of a run."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["seed_of", "stream"]


def seed_of(seed: int, *names: object) -> int:
    """A 63-bit seed for one purpose, derived from a run's ``seed`` and what it is for.

    Streams for different purposes are independent, and adding a purpose moves none of the others.

    >>> seed_of(0, "init") == seed_of(0, "init"), seed_of(0, "init") == seed_of(0, "batch")
    (True, False)
    """
    text = repr((int(seed), *map(str, names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator on ``device`` for one purpose of a run, seeded with :func:`seed_of`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *names))
