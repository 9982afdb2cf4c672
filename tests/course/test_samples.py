"""A quick look loses nobody, and draws what a plain sample draws where that is enough."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.course.samples import sample
from rdd_nb.data.dataset import ImageDataset


def data(labels, groups=None, minority=None):
    n = len(labels)
    images = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    named = {"groups": torch.tensor(groups), "group_names": ("x", "y", "z")} if groups is not None else {}
    flags = {"minority": torch.tensor(minority)} if minority is not None else {}
    return ImageDataset(images, torch.tensor(labels), ("a", "b", "c"), (0.5,), (0.5,), **named, **flags)


def test_without_rare_images_it_is_the_plain_sample():
    whole = data([0, 1, 2] * 20)
    assert torch.equal(sample(whole, 7, seed=3).images, whole.sample(7, seed=3).images)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=60), st.integers(1, 9)
)
@settings(max_examples=100, deadline=None)
def test_nobody_is_lost(rows, per_class):
    labels, groups, minority = map(list, zip(*rows))
    few = sample(data(labels, groups, minority), per_class, seed=0)
    there = set(zip(few.labels.tolist(), few.groups.tolist(), few.minority.tolist()))
    assert there == set(rows), "every kind has an image, and no other has"
    index = few.images[:, 0, 0, 0].tolist()
    assert index == sorted(set(index)) and [rows[i] for i in index] == list(
        zip(few.labels.tolist(), few.groups.tolist(), few.minority.tolist())
    )
    least = min(labels.count(c) for c in set(labels))
    kinds = [len({row for row in rows if row[0] == c}) for c in set(labels)]
    for c, more in zip(set(labels), kinds):
        drawn = int((few.labels == c).sum())
        assert min(per_class, least) <= drawn <= min(per_class, least) + more


@pytest.mark.parametrize("labels", [[0], [2, 2], [1, 1, 1, 1]])
def test_classes_without_images_stay_empty(labels):
    assert set(sample(data(labels), 3, seed=0).labels.tolist()) == set(labels)
