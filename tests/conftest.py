"""What every test shares: one thread a process, so that two processes on two cores do not fight."""

import gc

import pytest
import torch

from rdd_nb.experiments.parameters import nbformat_module

nbformat_module()  # first, since it spares every test's module what their own import would wait for


def pytest_collection_finish():
    """Modules and tests stay to the end, so the collector of garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
