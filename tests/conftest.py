"""What every test shares: one thread a process, so that two processes on two cores do not fight."""

import copy
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
def known_sets_once():
    """The digits, and the known sets in another size: some hundred tests want them, and Pillow takes image by image."""
    digits, resized, made = functools.cache(sources._digits), sources.resized, {}

    def once(images, reading):
        key = (hashlib.sha256(images.numpy().tobytes()).digest(), tuple(images.shape), repr(reading))
        if key not in made:
            made[key] = resized(images, reading)
        found, remark = made[key]
        return (images if found.shape == images.shape else found.clone()), remark

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "resized", once)
        patch.setattr(sources, "_digits", lambda: copy.deepcopy(digits()))
        yield
