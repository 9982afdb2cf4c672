"""Fixtures that tests of this layer share."""

import pytest

from rdd_nb.data.loading import load


@pytest.fixture(scope="module")
def sample():
    return load("fashion-mnist-sample")
