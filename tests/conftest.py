"""What every test shares: one thread a process, so that two processes on two cores do not fight."""

import pytest
import torch


def rng(seed: int = 0) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
