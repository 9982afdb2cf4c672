"""Fixtures that tests of this layer share."""

import warnings

import pytest

from rdd_nb.evaluation.predictions import predict
from tests.evaluation.helpers import quadrants, untrained


@pytest.fixture(scope="module")
def scores():
    return predict(untrained(), quadrants(61, groups=True))


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an empty group must not pass through 0/0
        yield
