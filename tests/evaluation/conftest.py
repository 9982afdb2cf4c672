"""Fixtures that tests of this layer share."""

import pytest

from rdd_nb.evaluation.predictions import predict
from tests.evaluation.helpers import quadrants, untrained


@pytest.fixture(scope="module")
def scores():
    return predict(untrained(), quadrants(61, groups=True))
