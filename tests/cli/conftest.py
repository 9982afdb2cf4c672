"""Fixtures that tests of this layer share."""

import functools

import pytest

from rdd_nb.experiments import doctor


@functools.cache
def _ceilings(device):
    return _measure(device, tries=1)


_measure = doctor.ceilings


@pytest.fixture(autouse=True)
def ceilings_once(monkeypatch):
    """What the machine can do takes seconds to measure; ``test_doctor`` does it as the command does."""
    monkeypatch.setattr(doctor, "ceilings", _ceilings)
