"""Groups in a file: what comes back is what was found, and what does not fit is refused in a line."""

import dataclasses

import pytest
import torch

from rdd_nb.clustering.groups import Benefit, Groups, Trial
from rdd_nb.clustering.groups_file import groups_from_bytes, groups_to_bytes
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

DATA = ImageDataset(torch.zeros(3, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1, 1]), ("a", "b"), (0,), (1,))
TRIALS = (Trial("style", "strength 1", Benefit(0.1 + 0.2, -1.0, 0.5), final=True, kept=False),)
GROUPS = Groups(torch.tensor([0, 2, 1]), 3, "style", report="Raised: | style |", trials=TRIALS)


@pytest.mark.parametrize("learnable", [None, torch.tensor([[0.1, 0.0, 1 / 3]] * 2, dtype=torch.float64)])
def test_groups_come_back_as_they_were(learnable):
    groups = dataclasses.replace(GROUPS, learnable=learnable)
    back, seconds = groups_from_bytes(groups_to_bytes(groups, 1.5), DATA)
    for field in dataclasses.fields(Groups):
        here, there = getattr(groups, field.name), getattr(back, field.name)
        assert torch.equal(here, there) if torch.is_tensor(here) else here == there, field.name
    assert seconds == 1.5


@pytest.mark.parametrize(
    "change",
    [
        {"ids": torch.tensor([0, 3, 1])},
        {"ids": torch.tensor([0, -1, 1])},
        {"ids": torch.tensor([0, 1])},
        {"ids": torch.tensor([0.0, 2.0, 1.0])},
        {"learnable": torch.zeros(3, 3, dtype=torch.float64)},
        {"learnable": torch.zeros(2, 3)},
        {"trials": (dataclasses.replace(TRIALS[0], benefit="much"),)},
        {"report": 3},
    ],
)
def test_groups_that_do_not_fit_are_refused(change):
    with pytest.raises(RddError, match="find them anew"):
        groups_from_bytes(groups_to_bytes(dataclasses.replace(GROUPS, **change)), DATA)


def test_other_bytes_are_refused():
    whole = groups_to_bytes(GROUPS)
    for held in (b"", b"broken", whole[: len(whole) // 2]):
        with pytest.raises(RddError, match="find them anew"):
            groups_from_bytes(held, DATA)
