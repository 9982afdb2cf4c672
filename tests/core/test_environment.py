"""Profiles, what a number was measured on, and torchvision beside any torch."""

import pytest
import torch

from rdd_nb.core import environment
from rdd_nb.core.environment import pick_profile
from rdd_nb.core.errors import RddError
from tests.core.helpers import python


def test_profiles():
    assert pick_profile("quick") == "quick"
    with pytest.raises(RddError, match="did you mean 'quick'"):
        pick_profile("quik")


def test_setup_says_what_it_runs_on(capsys):
    environment.setup("smoke", "cpu")
    assert "profile smoke: seconds, for tests: the numbers mean nothing" in capsys.readouterr().out


def test_torchvision_imports_beside_this_torch_whatever_it_was_built_for():
    said = python(
        "from rdd_nb.core.environment import torchvision; t = torchvision(); import torch; "
        "print(t.models.resnet18(num_classes=3)(torch.zeros(2, 3, 32, 32)).shape[1], t.transforms.CenterCrop(2).size)"
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split(maxsplit=1)[0] == "3"


def test_describe_stands_beside_numbers():
    said = environment.describe()
    assert {"torch", "processor", "cores", "threads", "date", "device", "rdd_nb"} <= set(said)
    assert said["processor"].endswith(f"({torch.backends.cpu.get_cpu_capability()})")
    assert said["device"] == "cpu"
