"""Groups in a file: what comes back is what was found, and what does not fit is refused in a line."""

import dataclasses

import pytest
import torch

from rdd_nb.clustering import discovery, groups_file
from rdd_nb.clustering.groups import Benefit, Groups, Trial
from rdd_nb.clustering.groups_file import groups_from_bytes, groups_to_bytes, kept_files
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


# --- groups that were found before --------------------------------------------------------------------------------


def searched(data, folder, **how):
    """What is found, and how many networks' worth of views and trials it took."""
    made = {"views": 0, "trials": 0}

    def count(name, function):
        def counted(*given, **more):
            made[name] += 1
            return function(*given, **more)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "candidates", count("views", discovery.candidates))
        patch.setattr(discovery, "Trials", count("trials", discovery.Trials))
        found = discovery.discover_groups(data, kept=folder, **{"num_groups": 2, "ipc": 2, "device": "cpu", **how})
    return found, made


@pytest.fixture
def few(coloured):
    return coloured.subset(torch.arange(90))


def same(one, other):
    return groups_to_bytes(one) == groups_to_bytes(other)


def test_who_asks_the_same_again_does_not_wait_again(few, tmp_path):
    first, made = searched(few, tmp_path / "groups")
    assert made == {"views": 1, "trials": 1} and len(kept_files(tmp_path / "groups")) == 2
    again, made = searched(few, tmp_path / "groups")
    assert made == {"views": 0, "trials": 0} and same(first, again) and again.trials == first.trials
    assert same(first, searched(few, None)[0]), "to the bit what is found without a folder"


@pytest.mark.parametrize("how", [{"price": 0.5}, {"ipc": 1}, {"group_power": 0}, {"known": torch.arange(90) % 3 - 1}])
def test_the_views_serve_for_another_trial(few, tmp_path, how):
    searched(few, tmp_path)
    found, made = searched(few, tmp_path, **how)
    assert made == {"views": 0, "trials": 1} and same(found, searched(few, None, **how)[0])


@pytest.mark.parametrize("change", ["seed", "images", "labels", "statistics", "code"])
def test_what_decides_about_groups_is_asked_for(few, tmp_path, change, monkeypatch):
    searched(few, tmp_path)
    how, data = {"seed": 1} if change == "seed" else {}, few
    if change == "images":
        data = dataclasses.replace(few, images=few.images.flip(3))
    if change == "labels":
        data = dataclasses.replace(few, labels=few.labels.roll(1))
    if change == "statistics":
        data = few.with_statistics((0.1,) * 3, few.std)
    if change == "code":
        monkeypatch.setattr(groups_file, "_code", lambda: "another")
    assert searched(data, tmp_path, **how)[1] == {"views": 1, "trials": 1}


def test_what_is_damaged_or_cannot_be_written_is_found_anew(few, tmp_path):
    first, _ = searched(few, tmp_path / "groups")
    for file in kept_files(tmp_path / "groups"):
        file.write_bytes(file.read_bytes()[:-50])
    again, made = searched(few, tmp_path / "groups")
    assert made == {"views": 1, "trials": 1} and same(first, again)
    (tmp_path / "file").write_text("in the way")
    assert same(searched(few, tmp_path / "file" / "groups")[0], first)
    (tmp_path / "groups" / "notes.npz").write_text("somebody's")
    assert len(kept_files(tmp_path / "groups")) == 2


def test_the_digest_of_the_code_is_of_every_module():
    told = groups_file._code()
    assert len(told) == 64 and told == groups_file._code()
    assert (groups_file.PACKAGE / "clustering" / "trials.py").is_file()
