"""Groups in a file: what comes back is what was found, and what does not fit is refused in a line."""

import dataclasses

import pytest
import torch

from rdd_nb.clustering import discovery, groups_file
from rdd_nb.clustering.groups import Benefit, Groups, Trial
from rdd_nb.clustering.groups_file import KeptGroups, groups_from_bytes, groups_to_bytes, kept_files
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

DATA = ImageDataset(torch.zeros(3, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1, 1]), ("a", "b"), (0,), (1,))
TRIALS = (Trial("style", "strength 1", Benefit(0.1 + 0.2, -1.0, 0.5), final=True, kept=False),)
GROUPS = Groups(torch.tensor([0, 2, 1]), 3, "style", report="Raised: | style |", trials=TRIALS)


@pytest.mark.parametrize("start", [None, "group-medoids"])
@pytest.mark.parametrize("learnable", [None, torch.tensor([[0.1, 0.0, 1 / 3]] * 2, dtype=torch.float64)])
def test_groups_come_back_as_they_were(learnable, start):
    groups = dataclasses.replace(GROUPS, learnable=learnable, start=start)
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
        {"start": "noise"},
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


# --- groups that were found before --------------------------------------------------------------------------------


def same(one, other):
    return groups_to_bytes(one) == groups_to_bytes(other)


class Search:
    """Groups of ``DATA``, and how often they were looked for."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return (GROUPS, dataclasses.replace(GROUPS, ids=torch.tensor([1, 0, 0]), learnable=torch.zeros(2, 3).double()))


def test_what_was_found_is_not_looked_for_again(tmp_path):
    search = Search()
    for here in (False, True):
        found, told = KeptGroups(tmp_path / "groups", DATA, "cpu", seed=1).or_found(search, price=0.1)
        assert told == here and search.times == 1
        assert all(same(one, other) for one, other in zip(found, search(), strict=True))
        search.times = 1
    assert len(kept_files(tmp_path / "groups")) == 1
    assert KeptGroups(None, DATA, "cpu").or_found(search)[1] is False and search.times == 2


OTHERS = {
    "pixels": dataclasses.replace(DATA, images=DATA.images + 1),
    "labels": dataclasses.replace(DATA, labels=torch.tensor([1, 1, 0])),
    "statistics": DATA.with_statistics((1,), (1,)),
    "classes": dataclasses.replace(DATA, class_names=("a", "b", "c")),
}


@pytest.mark.parametrize("change", [*OTHERS, "seed", "price", "code", "threads"])
def test_whatever_decides_about_groups_is_asked_for(tmp_path, change, monkeypatch):
    search, asked = Search(), {"seed": 0, "price": 0.1}
    KeptGroups(tmp_path, DATA, "cpu", seed=0).or_found(search, price=0.1)
    if change == "code":
        monkeypatch.setattr(groups_file, "_code", lambda: "another")
    if change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    asked |= {change: 1} if change in asked else {}
    kept = KeptGroups(tmp_path, OTHERS.get(change, DATA), "cpu", seed=asked["seed"])
    assert not kept.or_found(search, price=asked["price"])[1] and search.times == 2


@pytest.mark.parametrize("bytes_lost", [1, 50, 600])
def test_what_is_damaged_or_cannot_be_written_is_found_anew(tmp_path, bytes_lost):
    search = Search()
    KeptGroups(tmp_path / "groups", DATA, "cpu").or_found(search)
    (file,) = kept_files(tmp_path / "groups")
    file.write_bytes(file.read_bytes()[:-bytes_lost])
    assert not KeptGroups(tmp_path / "groups", DATA, "cpu").or_found(search)[1]
    assert KeptGroups(tmp_path / "groups", DATA, "cpu").or_found(search)[1], "and kept again"
    (tmp_path / "file").write_text("in the way")
    assert same(KeptGroups(tmp_path / "file" / "groups", DATA, "cpu").or_found(search)[0][0], GROUPS)
    (tmp_path / "groups" / "notes.npz").write_text("somebody's")
    assert kept_files(tmp_path / "groups") == [file]


def test_for_another_price_only_the_trial_is_made_anew(coloured, tmp_path, monkeypatch):
    few, how = coloured.subset(torch.arange(60)), {"num_groups": 2, "ipc": 1, "device": "cpu"}
    first = discovery.discover_groups(few, kept=tmp_path, **how)
    assert same(first, discovery.discover_groups(few, **how)), "to the bit what is found without a folder"
    monkeypatch.setattr(discovery, "candidates", pytest.fail)
    assert {t.how for t in discovery.discover_groups(few, kept=tmp_path, price=1, **how).trials} >= {"strength 1"}
    monkeypatch.setattr(discovery, "Trials", pytest.fail)
    again = discovery.discover_groups(few, kept=tmp_path, **how)
    assert same(first, again) and again.trials == first.trials


def test_the_digest_of_the_code_is_of_every_module():
    told = groups_file._code()
    assert len(told) == 64 and told == groups_file._code()
    assert (groups_file.PACKAGE / "clustering" / "trials.py").is_file()
