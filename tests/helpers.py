"""What tests of several layers share."""

import torch


def rng(seed: int = 0) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed)
