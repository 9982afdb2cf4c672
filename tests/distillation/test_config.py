"""The config says what is wrong with it."""

import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.distillation.config import DistillConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tail": 0}, "tail=0"),
        ({"tail": 1.5}, "tail=1.5"),
        ({"tails": 0.2}, "did you mean 'tail'"),
        ({"objective": "robst"}, "did you mean 'robust'"),
        ({"network": "convnt"}, "did you mean 'convnet'"),
        ({"reference": "robust"}, "outer ≥ 2"),
        ({"mean_weight": 0, "max_weight": 0}, "nothing is left"),
        ({"augment": "colour"}, "did you mean 'color'"),
        ({"ipc": 0}, "ipc=0"),
        ({"ipc": 10**400}, "ipc="),
        ({"width": 10**8}, "width=100000000"),
        ({"depth": 10**8}, "depth=100000000"),
        ({"iterations": 10**12}, "iterations=1000000000000"),
        ({"seed": 10**30}, "seed="),
        ({"lr_img": float("inf")}, "lr_img=inf"),
        ({"max_weight": float("nan")}, "max_weight=nan"),
        ({"augment": None}, "augment=None"),
        ({"network": ["convnet"]}, "network=['convnet']"),
    ],
)
def test_a_config_that_cannot_be_says_so_in_one_line(values, words):
    with pytest.raises(RddError) as caught:
        DistillConfig(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
