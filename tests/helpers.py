"""What tests of several layers share."""

import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import SyntheticSet


def rng(seed: int = 0) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def made_set(channels: int = 1, classes: int = 2, ipc: int = 3, **changes) -> SyntheticSet:
    fields = {
        "images": torch.randn(classes * ipc, channels, 4, 5, generator=torch.Generator().manual_seed(0)),
        "labels": torch.arange(classes).repeat(ipc),
        "class_names": tuple(f"class {i}" for i in range(classes)),
        "mean": (0.4,) * channels,
        "std": (0.2,) * channels,
        "ipc": ipc,
        "meta": {"dataset": "digits", "objective": "robust"},
    }
    return SyntheticSet(**{**fields, **changes})


def one_line(caught: pytest.ExceptionInfo[RddError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text
