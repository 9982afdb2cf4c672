"""Fixtures that tests of this layer share."""

import pytest

from rdd_nb.data.dataset import Splits
from rdd_nb.data.scenarios import scenario
from tests.clustering.helpers import quadrants


@pytest.fixture(scope="module")
def coloured():
    data = quadrants(900)
    return scenario(Splits(data, data, "quadrants"), "coloured", bias=0.9).train
