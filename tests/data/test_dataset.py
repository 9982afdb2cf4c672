"""Data sets in memory: subsets, statistics, samples, held-out parts, and mistakes in one line."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.loading import load
from tests.data.helpers import make


def test_sizes_names_and_repr():
    data = make(n=14, channels=3, size=5)
    assert (len(data), data.shape, data.num_classes, data.num_groups) == (14, (3, 5, 5), 3, 2)
    assert data.class_counts.tolist() == [5, 5, 4]
    assert make(groups=None, group_names=(), minority=None).num_groups == 0
    assert repr(data) == "ImageDataset('toy': 14 images of 3×5×5, 3 classes, 2 groups)"
    assert make(class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


def test_class_counts_count_empty_classes():
    data = make().subset(torch.tensor([0, 3]))
    assert data.class_counts.tolist() == [2, 0, 0]


def test_subset_carries_everything_along():
    data = make()
    part = data.subset(torch.tensor([7, 2]))
    assert part.images[:, 0, 0, 0].tolist() == [7, 2]
    assert part.labels.tolist() == [1, 2]
    assert part.groups.tolist() == [0, 0]
    assert data.subset(data.groups == 1).minority.all()
    assert data.subset(data.minority).images[:, 0, 0, 0].tolist() == [3, 4, 5, 9, 10, 11]
    assert (part.group_names, part.minority_names, part.name) == (("g0", "g1"), ("majority", "minority"), "toy")
    assert len(data.subset(torch.tensor([], dtype=torch.int64))) == 0


def test_normalised_values_and_dtype():
    data = make(channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    got = data.normalised(torch.tensor([9, 4]))
    assert got.dtype == torch.float32 and got.shape == (2, 3, 4, 4)
    expected = [[(v / 255 - m) / s for m, s in ((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))] for v in (9, 4)]
    torch.testing.assert_close(got[:, :, 0, 0], torch.tensor(expected))
    assert data.normalised().shape == (12, 3, 4, 4)
    assert data.images.dtype == torch.uint8 and data.images[9, 0, 0, 0] == 9  # untouched


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 3))
def test_statistics_are_those_of_the_pixels(seed, channels):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (5, channels, 3, 4), generator=generator, dtype=torch.uint8)
    mean, std = statistics(images)
    values = images.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(channels, -1) / 255
    np.testing.assert_allclose(mean, values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(std, values.std(1), rtol=1e-12)


def test_statistics_of_a_constant_channel_can_be_divided_by():
    assert statistics(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_with_statistics():
    data = make().with_statistics([0.1], [0.2])
    assert (data.mean, data.std) == ((0.1,), (0.2,))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_sample_is_stratified_and_seeded(per_class, seed):
    data = make(n=18)
    chosen = data.sample(per_class, seed)
    values = chosen.images[:, 0, 0, 0].tolist()
    assert chosen.class_counts.tolist() == [per_class] * 3
    assert values == sorted(set(values)), "without repeats, in the old order"
    assert torch.equal(chosen.groups, data.groups[values])
    assert values == data.sample(per_class, seed).images[:, 0, 0, 0].tolist()


def test_sample_depends_on_the_seed():
    data = make(n=240)
    draws = {tuple(data.sample(5, seed).images[:, 0, 0, 0].tolist()) for seed in range(5)}
    assert len(draws) == 5


@settings(max_examples=50, deadline=None)
@given(st.data(), st.floats(0.1, 0.9), st.integers(0, 10**6))
def test_hold_out_splits_exactly_by_class_and_evenly_by_group(draw, fraction, seed):
    cells = draw.draw(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=2))
    cells = [[count + 2 * (group == 0) + 4 * (group == 1) for group, count in enumerate(row)] for row in cells]
    labels = torch.tensor([label for label, row in enumerate(cells) for count in row for _ in range(count)])
    groups = torch.tensor([group for row in cells for group, count in enumerate(row) for _ in range(count)])
    data = make(n=len(labels), classes=2, labels=labels, groups=groups, group_names=("x", "y", "z"), minority=None)
    rest, held = data.hold_out(fraction, seed)
    index = lambda part: part.images[:, 0, 0, 0].tolist()  # noqa: E731
    assert sorted(index(rest) + index(held)) == list(range(len(data)))
    for label, row in enumerate(cells):
        wanted = int(sum(row) * fraction + 0.5)
        assert int(held.class_counts[label]) == wanted
        for group, count in enumerate(row):
            got = int(((held.labels == label) & (held.groups == group)).sum())
            assert abs(got - count * wanted / sum(row)) < 1 + 1e-9
    assert index(held) == index(data.hold_out(fraction, seed)[1])


def test_hold_out_of_a_small_minority_holds_some_of_it_out():
    # 1 % in group 1: by class alone, one seed in three would hold out none of it.
    groups = (torch.arange(400) >= 384).long()
    data = make(n=400, classes=2, groups=groups, group_names=("g0", "g1"), minority=None)
    for seed in range(20):
        rest, held = data.hold_out(0.25, seed)
        assert torch.bincount(held.groups).tolist() == [96, 4]
        assert torch.bincount(rest.groups).tolist() == [288, 12]
    first, second = (tuple(data.hold_out(0.25, seed)[1].images[:, 0, 0, 0].tolist()) for seed in (0, 1))
    assert first != second


def test_hold_out_without_groups():
    data = make(n=30)
    plain = ImageDataset(data.images, data.labels, data.class_names, data.mean, data.std)
    rest, held = plain.hold_out(0.2, 3)
    assert held.class_counts.tolist() == [2, 2, 2] and rest.class_counts.tolist() == [8, 8, 8]


long, byte = torch.int64, torch.uint8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make(images=torch.zeros(12, 1, 4, 4)), "images must be uint8 [N, C, H, W], not float32 [12, 1, 4, 4]"),
        (lambda: make(images=torch.zeros(12, 4, 4, dtype=byte)), "images must be uint8 [N, C, H, W], not uint8"),
        (lambda: make(labels=torch.zeros(11, dtype=long)), "labels must be int64 [12]"),
        (lambda: make(labels=torch.zeros(12)), "labels must be int64 [12], one for each image, not float32"),
        (lambda: make(labels=torch.full((12,), 3)), "labels must be 0 to 2, as there are 3 class_names, not 3 to 3"),
        (lambda: make(labels=torch.full((12,), -1)), "labels must be 0 to 2"),
        (lambda: make(class_names=("a", "b", "b")), "class_names must be different names"),
        (lambda: make(class_names=()), "class_names must be different names, at least one"),
        (lambda: make(groups=torch.full((12,), 2)), "groups must be 0 to 1, as there are 2 group_names"),
        (lambda: make(group_names=()), "group_names must be different names"),
        (lambda: make(groups=torch.zeros(3, dtype=long)), "groups must be int64 [12]"),
        (lambda: make(groups=None, group_names=("x",)), "group_names are given without groups"),
        (lambda: make(minority=torch.zeros(12)), "minority must be bool [12], not float32"),
        (lambda: make(minority=torch.zeros(2, dtype=torch.bool)), "minority must be bool [12], not bool [2]"),
        (lambda: make(minority_names=("one",)), "minority_names must be two names, not 1"),
        (lambda: make(mean=(0.5, 0.5)), "each of the 1 channels, not 2 and 1"),
        (lambda: make(std=(0.0,)), "std must be above 0"),
        (lambda: make(std=(float("nan"),)), "std must be above 0"),
        (lambda: make().subset(torch.tensor([12])), "indices must be 0 to 11, not 12 to 12"),
        (lambda: make().subset(torch.tensor([-1])), "indices must be 0 to 11, not -1 to -1"),
        (lambda: make().subset(torch.tensor([0.5])), "indices must be integers [n], not float32"),
        (lambda: make().subset(torch.tensor([[1]])), "indices must be integers [n], not int64 [1, 1]"),
        (lambda: make().subset(torch.ones(3, dtype=torch.bool)), "a mask for 12 images must be [12], not [3]"),
        (lambda: make().sample(5, 0), "class 'a' has 4 images, 5 were asked for"),
        (lambda: make().sample(0, 0), "per_class must be at least 1"),
        (lambda: make().hold_out(0.0, 0), "must lie between 0 and 1, not 0.0"),
        (lambda: make().hold_out(1.0, 0), "must lie between 0 and 1, not 1.0"),
        (lambda: make().hold_out(0.05, 0), "class 'a' has 4 images, too few to hold out 0.05"),
        (lambda: make().hold_out(0.95, 0), "class 'a' has 4 images, too few to hold out 0.95"),
        (lambda: Splits(make(), make(size=5), "x"), "x: training and test set must have the same shape"),
        (lambda: Splits(make(), make(mean=(0.1,)), "x"), "must have the same mean"),
        (lambda: Splits(make(), make(class_names=("x", "y", "z")), "x"), "must have the same class_names"),
        (lambda: load("fashion-mnst"), "unknown dataset 'fashion-mnst': did you mean 'fashion-mnist'?"),
        (lambda: load("folder"), "unknown dataset 'folder': did you mean 'folder:PATH'?"),
        (lambda: load("folder:"), "there is no such folder; write folder:PATH"),
        (lambda: load("folder:/no/where"), "'folder:/no/where': there is no such folder"),
        (lambda: load("digits", size=0), "size must be a number of pixels, at least 1, not 0"),
        (lambda: load("digits", size="28"), "size must be a number of pixels, at least 1, not '28'"),
        (lambda: load("digits", channels=2), "channels must be 1 (grey) or 3 (RGB), not 2"),
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(RddError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_size_and_channels_change_pixels_and_statistics(sample):
    with_colour = load("fashion-mnist-sample", size=16, channels=3)
    assert with_colour.train.shape == (3, 16, 16) and with_colour.train.mean == with_colour.test.mean
    assert torch.equal(with_colour.test.images[:, 0], with_colour.test.images[:, 2])
    assert (with_colour.train.mean, with_colour.train.std) == statistics(with_colour.train.images)
    first = Image.fromarray(sample.test.images[0, 0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(with_colour.test.images[0, 1].numpy(), np.asarray(first))
    assert torch.equal(load("fashion-mnist-sample", size=28, channels=1).train.images, sample.train.images)
    assert load("fashion-mnist-sample", size=28).train.mean == (0.2861,)
