"""Parameters that several notebooks read alike."""

import inspect

import pytest

from rdd_nb import course
from rdd_nb.core.errors import RddError
from rdd_nb.data.scenarios import SCENARIOS


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "none"])
def test_the_strength_of_every_scenario_is_an_option_of_its_own(name):
    ((option, value),) = course.scenario_options(name, 0.25).items()
    assert value == 0.25
    assert next(p for p in inspect.signature(SCENARIOS[name]).parameters if p not in ("splits", "seed")) == option
    assert course.scenario_options(name, None) == {}


def test_a_value_that_is_not_known_is_refused_with_the_nearest():
    with pytest.raises(RddError, match=r"unknown part to score on 'helt-out': did you mean 'held-out'\?"):
        course.one_of("part to score on", "helt-out", ("test", "held-out"))


def test_fields_win_over_parameters_and_parameters_over_the_profile():
    profiled = {"both": {"iterations": 6, "width": 8, "batch_real": 16}, "distribution": {"iterations": 7}}
    settled = course.settle(profiled, {"width": 16, "batch_real": 32, "tail": None}, {"batch_real": 64})
    assert (settled.iterations, settled.width, settled.batch_real) == (7, 16, 64)
    assert course.settle(profiled, {"matching": "gradient"}, {}).iterations == 6
