"""The training protocol: its defaults, and its mistakes in one line."""

import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.models.protocol import PROFILES, Protocol


def test_the_defaults_are_the_reference_protocol():
    p = Protocol()
    assert (p.epochs, p.lr, p.momentum, p.weight_decay, p.batch, p.augment) == (300, 0.01, 0.9, 5e-4, 256, "none")
    assert (p.network, p.width, p.depth, p.norm) == ("convnet", 128, 3, "instance")
    assert set(PROFILES) == {"smoke", "quick", "full"} and PROFILES["full"] == p


@pytest.mark.parametrize(
    "bad",
    [
        *({"epochs": 0}, {"batch": 0}, {"width": -1}, {"depth": 1.5}, {"steps": 0}, {"epochs": True}),
        *({"augment": None}, {"network": 3}, {"norm": ["instance"]}, {"objective": None}, {"precision": 32}),
        *({"width": 10**8}, {"depth": 10**8}, {"epochs": 10**30}, {"batch": 10**30}, {"lr": 10**400}),
        *({"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": "5e-4"}, {"momentum": 1.0}, {"weight_decay": -1.0}),
    ],
)
def test_a_protocol_out_of_range_names_the_field(bad):
    with pytest.raises(RddError, match=next(iter(bad))) as caught:
        Protocol(**bad)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_before_any_training():
    for field, name, meant in (("augment", "flp", "flip"), ("network", "convet", "convnet"), ("norm", "bach", "batch")):
        with pytest.raises(RddError, match=f"did you mean '{meant}'"):
            Protocol(**{field: name})
