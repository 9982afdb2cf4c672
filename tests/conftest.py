"""What every test shares: one thread a process, so that two processes on two cores do not fight."""

import functools
import gc
import hashlib

import pytest
import torch

from rdd_nb.data import sources
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


@pytest.fixture(autouse=True, scope="session")
def resized_once():
    """The known sets in another size, as many tests want them: Pillow makes images smaller one by one."""
    made, real = {}, sources.resized

    @functools.wraps(real)
    def once(images, reading):
        key = (hashlib.sha256(images.numpy().tobytes()).digest(), tuple(images.shape), repr(reading))
        if key not in made:
            made[key] = real(images, reading)
        return made[key][0].clone(), made[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "resized", once)
        yield
