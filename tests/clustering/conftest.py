"""Fixtures that tests of this layer share."""

import dataclasses

import pytest
import torch

from rdd_nb.data.dataset import Splits
from rdd_nb.data.loading import load
from rdd_nb.data.scenarios import scenario
from tests.clustering.helpers import quadrants


@pytest.fixture(scope="module")
def coloured():
    data = quadrants(900)
    return scenario(Splits(data, data, "quadrants"), "coloured", bias=0.9).train


@pytest.fixture(scope="module")
def worn():
    """Three classes of the sample, a tenth of them in another class's colour: small, and hard enough to show it."""
    data = scenario(load("fashion-mnist-sample", size=20), "coloured", seed=0, bias=0.9).train
    kept = torch.cat([(data.labels == label).nonzero()[:300, 0] for label in range(3)])
    return dataclasses.replace(data.subset(kept), class_names=data.class_names[:3])
