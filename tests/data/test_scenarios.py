"""Scenarios: exact counts, who is in which group, what happens to the pixels, and what each mistake is told."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.data import scenarios, textures
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.loading import load
from rdd_nb.data.scenarios import scenario


def make(train=100, test=20, classes=4, channels=1, size=(6, 6), seed=0):
    """Splits with ``train`` and ``test`` random images of each class, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count in (train, test):
        images = torch.randint(0, 256, (count * classes, channels, *size), generator=generator, dtype=torch.uint8)
        labels = torch.arange(classes).repeat_interleave(count)[torch.randperm(len(images), generator=generator)]
        names = tuple(f"class {i}" for i in range(classes))
        parts.append(ImageDataset(images, labels, names, (0.5,) * channels, (0.25,) * channels, name="toy"))
    return Splits(*parts, "toy")


def cells(data):
    """int64 [K, G]: how many images each class has in each group."""
    counts = torch.bincount(data.labels * data.num_groups + data.groups, minlength=data.num_classes * data.num_groups)
    return counts.reshape(data.num_classes, data.num_groups)


def nearest(value):
    """The nearest whole number, halves upwards, also where floating point puts them a little below."""
    return math.floor(round(value, 9) + 0.5)


def same(first, second):
    return all(
        torch.equal(getattr(getattr(first, split), field), getattr(getattr(second, split), field))
        for split in ("train", "test")
        for field in ("images", "labels", "groups", "minority")
    )


# ------------------------------------------------------------------------------------------------------------ coloured


@pytest.mark.parametrize(("name", "size"), [("coloured", (2, 2)), ("background", (12, 12))])
@settings(max_examples=20, deadline=None)
@given(st.integers(10, 60), st.integers(2, 6), st.integers(0, 95), st.integers(0, 10**6))
def test_counts_of_attributes_are_exact(name, size, train, classes, percent, seed):
    off = int(train * (100 - percent) / 100 + 0.5)
    assume(off > 0)  # a class that would give no image is an error, tested below
    shifted = scenario(make(train, 13, classes, size=size), name, bias=percent / 100, seed=seed)
    table = cells(shifted.train)
    assert table.diagonal().tolist() == [train - off] * classes
    others = table[~torch.eye(classes, dtype=torch.bool)].reshape(classes, classes - 1)
    assert (others.sum(1) == off).all() and int((others.max(1).values - others.min(1).values).max()) <= 1
    tested = cells(shifted.test)
    assert (tested.sum(1) == 13).all() and int(tested.max() - tested.min()) <= 1


def test_coloured_groups_are_named_and_the_minority_is_off_colour():
    shifted = scenario(make(), "coloured", bias=0.9)
    for part in (shifted.train, shifted.test):
        assert part.group_names == ("red", "green", "blue", "yellow")
        assert torch.equal(part.minority, part.groups != part.labels)
        assert part.minority_names == ("on-colour", "off-colour")
        assert part.name == shifted.name == "toy coloured bias=0.9 seed=0"
    assert int(shifted.train.minority.sum()) == 40
    assert cells(shifted.test).tolist() == [[5] * 4] * 4


def test_coloured_pixels_are_grey_times_colour():
    base = make()
    shifted = scenario(base, "coloured")
    colours = np.array(list(textures.PALETTE.values())[:4])
    for before, after in ((base.train, shifted.train), (base.test, shifted.test)):
        factors = colours[after.groups.numpy()][:, :, None, None]
        # Halves do not occur, as 255 is odd: rounding is the same in all conventions.
        assert np.array_equal(after.images.numpy(), np.rint(before.images.numpy() * factors / 255).astype(np.uint8))
        assert torch.equal(after.labels, before.labels)


def test_coloured_statistics_are_those_of_the_bent_training_images():
    shifted = scenario(make(), "coloured")
    assert (shifted.train.mean, shifted.train.std) == statistics(shifted.train.images)
    assert (shifted.test.mean, shifted.test.std) == (shifted.train.mean, shifted.train.std)
    normalised = shifted.train.normalised()
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("bias", "on"), [(1.0, 100), (1, 100), (0.0, 0), (0.25, 25)])
def test_coloured_at_the_ends(bias, on):
    # 0.25 with four classes: colour says nothing about the class.
    shifted = scenario(make(), "coloured", bias=bias)
    assert cells(shifted.train).diagonal().tolist() == [on] * 4


def test_a_bias_of_nine_tenths_leaves_a_tenth_exactly():
    # 1 - 0.9 is a little less than 0.1 in floating point, and a tenth of 5 images is rounded up.
    assert cells(scenario(make(train=5), "coloured", bias=0.9).train).diagonal().tolist() == [4] * 4


def test_halves_are_rounded_up_whatever_floating_point_makes_of_them():
    assert 50 * 0.29 < 14.5, "the half that this is about"
    for percent in range(1, 100):
        for train in (10, 50, 58):
            off = (train * percent + 50) // 100
            if off:
                shifted = scenario(make(train, 2, 2, size=(1, 1)), "coloured", bias=1 - percent / 100)
                assert int(shifted.train.minority.sum()) == 2 * off


def test_the_shipped_sample_coloured():
    shifted = scenario(load("fashion-mnist-sample"), "coloured", bias=0.9, seed=0)
    table = cells(shifted.train)
    assert table.diagonal().tolist() == [900] * 10 and int(shifted.train.minority.sum()) == 1000
    assert sorted(set(table.flatten().tolist())) == [11, 12, 900]
    assert cells(shifted.test).unique().tolist() == [20]
    # The content stays: the brightest channel is the grey image, nearly.
    grey = load("fashion-mnist-sample").test.images[:, 0].float()
    assert (shifted.test.images.amax(1).float() >= 0.78 * grey - 1).all()


def test_groups_ride_along():
    train = scenario(load("fashion-mnist-sample"), "coloured").train
    rest, held = train.hold_out(0.1, seed=1)
    assert held.class_counts.tolist() == [100] * 10 and int(held.minority.sum()) + int(rest.minority.sum()) == 1000
    assert (cells(held) >= 1).all(), "each colour of each class, although some have 11 images"
    few = train.sample(50, seed=1)
    assert torch.equal(few.minority, few.groups != few.labels) and few.group_names == train.group_names


def test_rgb_can_be_coloured():
    assert scenario(make(channels=3), "coloured").train.shape == (3, 6, 6)


def test_coloured_with_many_classes():
    shifted = scenario(make(train=30, test=12, classes=12), "coloured", bias=0.9)
    assert shifted.train.num_groups == 12 and cells(shifted.test).unique().tolist() == [1]
    assert shifted.train.group_names[1] == "hue 30°"


# ------------------------------------------------------------------------------------------------------------- rotated


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 60), st.integers(5, 100), st.sampled_from([90, 180, 270, -90]), st.integers(0, 10**6))
def test_rotated_counts_are_exact_and_pixels_move(train, percent, angle, seed):
    base = make(train, 3, 3, size=(4, 4))
    shifted = scenario(base, "rotated-minority", fraction=percent / 100, angle=angle, seed=seed)
    wanted = int(train * percent / 100 + 0.5)
    assert cells(shifted.train).tolist() == [[train - wanted, wanted]] * 3
    for before, after, turned in zip(base.train.images, shifted.train.images, shifted.train.minority, strict=True):
        expected = np.rot90(before[0].numpy(), angle // 90) if turned else before[0].numpy()
        assert np.array_equal(after[0].numpy(), expected)


def test_rotated_test_set_shows_each_image_both_ways():
    base = make()
    shifted = scenario(base, "rotated-minority")
    half = len(base.test)
    assert len(shifted.test) == 2 * half and cells(shifted.test).tolist() == [[20, 20]] * 4
    assert torch.equal(shifted.test.images[:half], base.test.images)
    assert torch.equal(shifted.test.images[half:], base.test.images.rot90(1, (2, 3)))
    assert torch.equal(shifted.test.labels[half:], shifted.test.labels[:half])
    assert torch.equal(shifted.test.minority, shifted.test.groups == 1) and not shifted.test.minority[:half].any()


def test_rotated_names_and_statistics():
    base = make()
    shifted = scenario(base, "rotated-minority", fraction=0.2, seed=3)
    for part in (shifted.train, shifted.test):
        assert part.group_names == part.minority_names == ("upright", "rotated")
        assert part.name == shifted.name == "toy rotated-minority fraction=0.2 angle=90 seed=3"
        assert (part.mean, part.std) == (base.train.mean, base.train.std)
    assert int(scenario(base, "rotated-minority", fraction=0).train.minority.sum()) == 0
    assert bool(scenario(base, "rotated-minority", fraction=1.0).train.minority.all())


def test_half_a_turn_needs_no_square():
    shifted = scenario(make(size=(4, 6)), "rotated-minority", angle=180)
    assert shifted.train.shape == (1, 4, 6)


# ---------------------------------------------------------------------------------------------------------- background


def test_background_names_and_statistics():
    base = make(channels=3, size=(14, 12))
    shifted = scenario(base, "background", seed=2)
    for part in (shifted.train, shifted.test):
        assert part.shape == (3, 14, 12) and part.group_names == ("rows", "columns", "rising", "falling")
        assert torch.equal(part.minority, part.groups != part.labels)
        assert part.minority_names == ("own background", "other background")
        assert part.name == shifted.name == "toy background bias=0.9 seed=2"
        assert (part.mean, part.std) == statistics(shifted.train.images)
    assert torch.equal(shifted.train.labels, base.train.labels) and torch.equal(shifted.test.labels, base.test.labels)


def test_the_shipped_sample_before_textures():
    base = load("fashion-mnist-sample")
    shifted = scenario(base, "background", bias=0.9, seed=0)
    assert cells(shifted.train).diagonal().tolist() == [900] * 10 and cells(shifted.test).unique().tolist() == [20]
    for before, after in ((base.train.images, shifted.train.images), (base.test.images, shifted.test.images)):
        assert torch.equal(after[before >= 24], before[before >= 24]), "objects stay as they are"
        assert after[before == 0].unique().tolist() == [0, 128]
    # Shifts differ between images: black corners show all six phases of the rows.
    own = shifted.train.images[(shifted.train.groups == 0) & (base.train.images[:, 0, :6, 0].amax(1) == 0), 0, :6, 0]
    assert len(own.unique(dim=0)) == 6


def test_where_a_texture_lies_is_drawn_by_the_seed():
    base = make(size=(12, 12))
    dark = Splits(*(dataclasses.replace(part, images=part.images * 0) for part in (base.train, base.test)), "dark")
    first, other = (scenario(dark, "background", bias=1, seed=seed) for seed in (0, 1))
    assert torch.equal(first.train.groups, other.train.groups)
    assert not torch.equal(first.train.images, other.train.images)
    # Training and test images are shifted apart: on the rows, whose shifts are plain to see.
    parts = (part.images[part.groups == 0, 0, :, 0][:20] for part in (first.train, first.test))
    assert not torch.equal(*parts)


def test_only_the_form_of_a_background_tells_of_the_class():
    # Where there is nothing but background, all textures are equally bright.
    black = make(train=60, test=40, classes=10, size=(28, 28))
    black = Splits(*(dataclasses.replace(part, images=part.images * 0) for part in (black.train, black.test)), "black")
    test = scenario(black, "background").test
    means = test.images.float().mean((1, 2, 3))
    by_texture = torch.stack([means[test.groups == g].mean() for g in range(10)])
    assert float(by_texture.max() - by_texture.min()) < 6 and abs(float(by_texture.mean()) - 64) < 3


# ----------------------------------------------------------------------------------------------------------- long-tail


def uneven(counts, test=6):
    """Splits with so many training images in each class."""
    base = make(train=max(counts), test=test, classes=len(counts), size=(3, 3))
    keep = torch.cat([(base.train.labels == label).nonzero()[:count, 0] for label, count in enumerate(counts)])
    return Splits(base.train.subset(keep.sort().values), base.test, "toy")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(4, 60), min_size=2, max_size=9), st.floats(1, 8), st.integers(0, 10**6))
def test_long_tail_counts_are_exact(sizes, ratio, seed):
    base = uneven(sizes)
    shifted = scenario(base, "long-tail", ratio=ratio, seed=seed)
    classes, largest = len(sizes), min(sizes)
    expected = [nearest(largest * ratio ** (-rank / (classes - 1))) for rank in range(classes)]
    counts = shifted.train.class_counts
    assert counts.sort(descending=True).values.tolist() == expected and expected[0] == largest
    # The thirds follow the ranks, and the same classes are the tail in training and test.
    of_class = cells(shifted.test).argmax(1)
    assert (cells(shifted.train).argmax(1) == of_class).all() and ((cells(shifted.train) > 0).sum(1) == 1).all()
    assert cells(shifted.test).sum(0).tolist() == [6 * ((classes + extra) // 3) for extra in (2, 0, 1)]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        if (of_class == first).any() and (of_class == second).any():
            assert counts[of_class == first].min() >= counts[of_class == second].max()


def test_long_tail_names_and_statistics():
    base = make(train=100, classes=10)
    shifted = scenario(base, "long-tail", ratio=20, seed=4)
    assert shifted.train.class_counts.sort(descending=True).values.tolist() == [100, 72, 51, 37, 26, 19, 14, 10, 7, 5]
    for part in (shifted.train, shifted.test):
        assert part.group_names == ("head", "middle", "tail")
        assert part.minority_names == ("head and middle classes", "tail classes")
        assert torch.equal(part.minority, part.groups == 2)
        assert part.name == shifted.name == "toy long-tail ratio=20 seed=4"
        assert (part.mean, part.std) == statistics(shifted.train.images)
    assert int(shifted.train.minority.sum()) == 22 and int(shifted.test.minority.sum()) == 60
    assert torch.equal(shifted.test.images, base.test.images) and torch.equal(shifted.test.labels, base.test.labels)


def test_long_tail_keeps_images_of_the_base_in_their_old_order():
    base = make(train=30)
    places = torch.arange(120, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand_as(base.train.images)
    marked = Splits(dataclasses.replace(base.train, images=places), base.test, "toy")
    steep, flat = (scenario(marked, "long-tail", ratio=ratio).train for ratio in (10, 2))
    for kept in (steep, flat):
        at = kept.images[:, 0, 0, 0].long()
        assert (at.diff() > 0).all() and torch.equal(kept.labels, base.train.labels[at])
    # A steeper tail only takes away.
    assert set(steep.images[:, 0, 0, 0].tolist()) < set(flat.images[:, 0, 0, 0].tolist())


def test_each_class_is_rare_for_some_seed():
    base = make(train=20, test=4, classes=4, size=(2, 2))
    last = {int(scenario(base, "long-tail", ratio=10, seed=seed).train.class_counts.argmin()) for seed in range(30)}
    assert last == {0, 1, 2, 3}


def test_a_ratio_of_one_leaves_classes_alike():
    assert scenario(make(), "long-tail", ratio=1).train.class_counts.tolist() == [100] * 4


def test_the_shipped_sample_with_a_long_tail():
    train = scenario(load("fashion-mnist-sample"), "long-tail").train
    assert sorted(train.class_counts.tolist()) == [20, 31, 48, 74, 114, 176, 271, 419, 647, 1000]
    rest, held = train.hold_out(0.1, seed=0)
    assert held.class_counts.min() == 2 and int(rest.minority.sum()) + int(held.minority.sum()) == 99


# ------------------------------------------------------------------------------------------------------- hidden strata

STRATA = "left: class 0, class 1, class 2; right: class 4, CLASS 3; alone: class 5"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(40, 60), min_size=6, max_size=6), st.floats(0.05, 0.25), st.integers(0, 10**6))
def test_hidden_strata_counts_are_exact(sizes, fraction, seed):
    base = uneven(sizes)
    shifted = scenario(base, "hidden-strata", strata=STRATA, fraction=fraction, seed=seed)
    kept = torch.bincount(shifted.train.groups, minlength=6).tolist()
    rare = sorted(shifted.test.groups[shifted.test.minority].unique().tolist())
    assert len(rare) == 2 and rare[0] in (0, 1, 2) and rare[1] in (3, 4)
    for coarse in ((0, 1, 2), (3, 4), (5,)):
        others = sum(sizes[label] for label in coarse if label not in rare)
        for label in coarse:
            wanted = nearest(others * fraction / (1 - fraction)) if label in rare else sizes[label]
            assert kept[label] == wanted
    for part in (shifted.train, shifted.test):
        assert torch.equal(part.minority, torch.isin(part.groups, torch.tensor(rare)))
        assert torch.equal(part.labels, torch.tensor([0, 0, 0, 1, 1, 2])[part.groups])


def test_hidden_strata_names_and_statistics():
    base = make(classes=6)
    shifted = scenario(base, "hidden-strata", strata=STRATA, seed=1)
    for part in (shifted.train, shifted.test):
        assert part.class_names == ("left", "right", "alone") and part.group_names == base.train.class_names
        assert part.minority_names == ("common strata", "rare strata")
        assert part.name == shifted.name == f"toy hidden-strata fraction=0.05 strata='{STRATA}' seed=1"
        assert (part.mean, part.std) == statistics(shifted.train.images)
    assert shifted.train.class_counts.tolist() == [211, 105, 100] and int(shifted.train.minority.sum()) == 16
    assert torch.equal(shifted.test.images, base.test.images) and torch.equal(shifted.test.groups, base.test.labels)
    assert shifted.test.class_counts.tolist() == [60, 40, 20] and int(shifted.test.minority.sum()) == 40


def test_each_stratum_is_rare_for_some_seed_but_never_one_alone():
    base = make(train=20, test=4, classes=6, size=(2, 2))
    rare = set()
    for seed in range(30):
        test = scenario(base, "hidden-strata", strata=STRATA, fraction=0.2, seed=seed).test
        rare |= set(test.groups[test.minority].tolist())
    assert rare == {0, 1, 2, 3, 4}


def test_the_shipped_sample_with_hidden_strata():
    base = load("fashion-mnist-sample")
    shifted = scenario(base, "hidden-strata")
    assert shifted.train.class_names == ("tops", "dresses and trousers", "shoes", "bags")
    assert shifted.train.class_counts.tolist() == [3158, 1053, 2105, 1000] and int(shifted.train.minority.sum()) == 316
    assert torch.equal(shifted.test.images, base.test.images) and torch.equal(shifted.test.groups, base.test.labels)
    assert shifted.test.class_counts.tolist() == [800, 400, 600, 200] and int(shifted.test.minority.sum()) == 600
    # A tenth held out has each rare stratum in it.
    held = shifted.train.hold_out(0.1, seed=0)[1]
    shares = torch.bincount(held.groups) - torch.bincount(shifted.train.groups) / 10
    assert float(shares.abs().max()) <= 1


# ----------------------------------------------------------------------------------------------------------------- all


EACH = [
    ("coloured", {}),
    ("background", {}),
    ("rotated-minority", {}),
    ("long-tail", {}),
    ("hidden-strata", {"strata": "left: class 0, class 1; right: class 2, class 3"}),
]
each = pytest.mark.parametrize(("name", "options"), EACH)


@each
def test_same_seed_same_bits_and_another_seed_another_choice(name, options):
    base = make(size=(12, 12))
    first, again, other = (scenario(base, name, seed=seed, **options) for seed in (5, 5, 6))
    assert same(first, again)
    assert not torch.equal(first.train.groups, other.train.groups)
    assert not torch.equal(first.train.images, other.train.images)


def test_the_seed_of_the_test_set_matters_too():
    first, other = (scenario(make(), "coloured", seed=seed) for seed in (5, 6))
    assert not torch.equal(first.test.groups, other.test.groups)


@each
def test_the_base_data_stay_as_they_are_and_no_other_generator_moves(name, options):
    base, copy = make(size=(12, 12)), make(size=(12, 12))
    state = torch.get_rng_state()
    scenario(base, name, **options)
    assert torch.equal(state, torch.get_rng_state())
    for split in ("train", "test"):
        assert torch.equal(getattr(base, split).images, getattr(copy, split).images)
        assert torch.equal(getattr(base, split).labels, getattr(copy, split).labels)
        assert getattr(base, split).groups is None


@each
def test_old_groups_are_replaced(name, options):
    base = make(size=(12, 12))
    plain, grouped = (scenario(splits, name, **options) for splits in (base, scenario(base, "rotated-minority")))
    for part in (grouped.train, grouped.test):
        assert part.group_names == plain.train.group_names and part.minority_names == plain.train.minority_names
    assert torch.equal(grouped.train.groups, plain.train.groups)


def test_none_gives_the_data_back():
    base = make()
    assert scenario(base, "none", seed=3) is base


def test_help():
    assert sorted(scenarios.available()) == [
        "background",
        "coloured",
        "coloured-background",
        "coloured-foreground",
        "grey-half",
        "hidden-strata",
        "long-tail",
        "none",
        "rotated-minority",
    ]
    assert all(line.endswith(".") and "\n" not in line for line in scenarios.available().values())
    assert scenarios.describe("coloured").startswith("coloured (bias=0.9): Each class has its own colour")
    assert "fraction=0.1, angle=90" in scenarios.describe("rotated-minority")
    assert scenarios.describe("hidden-strata").startswith("hidden-strata (fraction=0.05, strata=auto): ")
    assert scenarios.describe("long-tail").startswith("long-tail (ratio=50): ")
    assert scenarios.describe("none") == "none (no options): The data as they are."


def test_a_scenario_can_be_added(monkeypatch):
    def inverted(splits, *, seed, strength=1.0):
        """Light becomes dark."""
        images = 255 - splits.train.images
        return dataclasses.replace(splits, train=dataclasses.replace(splits.train, images=images))

    monkeypatch.setitem(scenarios.SCENARIOS, "inverted", inverted)
    assert scenarios.available()["inverted"] == "Light becomes dark."
    assert torch.equal(scenario(make(), "inverted", strength=1).train.images, 255 - make().train.images)


def tiny(**changes):
    return make(**(dict(train=4, test=4, classes=2, size=(2, 2)) | changes))


def hidden(**options):
    return scenario(make(), "hidden-strata", **({"strata": "a: class 0, class 1; b: class 2, class 3"} | options))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scenario(make(), "colored"), "unknown scenario 'colored': did you mean 'coloured'?"),
        (lambda: scenarios.describe("rotated"), "unknown scenario 'rotated': did you mean 'rotated-minority'?"),
        (
            lambda: scenario(make(), "coloured", bais=1),
            "unknown option 'bais' in scenario 'coloured': did you mean 'bias'?",
        ),
        (
            lambda: scenario(make(), "rotated-minority", bias=1),
            "unknown option 'bias' in scenario 'rotated-minority': ",
        ),
        (lambda: scenario(make(), "none", bias=1), "scenario 'none' takes no options, but 'bias' was given"),
        (lambda: scenario(make(), "coloured", bias=1.1), "bias must be a fraction from 0 to 1, not 1.1"),
        (lambda: scenario(make(), "coloured", bias=-0.1), "bias must be a fraction from 0 to 1, not -0.1"),
        (lambda: scenario(make(), "coloured", bias=float("nan")), "bias must be a fraction from 0 to 1, not nan"),
        (lambda: scenario(make(), "coloured", bias="0.9"), "bias must be a fraction from 0 to 1, not '0.9'"),
        (lambda: scenario(make(), "coloured", bias=True), "bias must be a fraction from 0 to 1, not True"),
        (lambda: scenario(make(), "rotated-minority", fraction=2), "fraction must be a fraction from 0 to 1, not 2"),
        (lambda: scenario(make(), "rotated-minority", angle=45), "angle must be 90, 180 or 270 degrees, not 45"),
        (lambda: scenario(make(), "rotated-minority", angle=360), "angle must be 90, 180 or 270 degrees, not 360"),
        (lambda: scenario(make(), "rotated-minority", angle=0), "angle must be 90, 180 or 270 degrees, not 0"),
        (lambda: scenario(make(), "rotated-minority", angle=90.5), "angle must be 90, 180 or 270 degrees, not 90.5"),
        (lambda: scenario(make(size=(4, 6)), "rotated-minority"), "needs square images to turn by 90°, toy has 4×6"),
        (
            lambda: scenario(tiny(), "coloured"),
            "class 'class 0' has 4 training images, too few to give another colour to",
        ),
        (lambda: scenario(tiny(), "rotated-minority"), "class 'class 0' has 4 training images, too few to rotate"),
        (lambda: scenario(tiny(train=20, test=1), "coloured"), "has 1 test images, too few for 2 colours"),
        (lambda: scenario(tiny(classes=1), "coloured"), "'coloured' needs at least 2 classes, toy has 1"),
        (lambda: scenario(tiny(), "background"), "'background' needs images of at least 12×12 pixels, toy has 2×2"),
        (lambda: scenario(tiny(size=(12, 12)), "background"), "4 training images, too few to give another texture to"),
        (
            lambda: scenario(tiny(train=20, test=1, size=(12, 12)), "background"),
            "1 test images, too few for 2 textures",
        ),
        (lambda: scenario(tiny(classes=1, size=(12, 12)), "background"), "'background' needs at least 2 classes"),
        (lambda: scenario(make(size=(12, 12)), "background", bias=2), "bias must be a fraction from 0 to 1, not 2"),
        (lambda: scenario(make(), "long-tail", ratio=0.5), "ratio must be a number of at least 1, not 0.5"),
        (lambda: scenario(make(), "long-tail", ratio=math.nan), "ratio must be a number of at least 1, not nan"),
        (lambda: scenario(make(), "long-tail", ratio=math.inf), "ratio must be a number of at least 1, not inf"),
        (lambda: scenario(make(), "long-tail", ratio="50"), "ratio must be a number of at least 1, not '50'"),
        (lambda: scenario(make(), "long-tail", ratio=True), "ratio must be a number of at least 1, not True"),
        (lambda: scenario(tiny(), "long-tail", ratio=9), "has 4 training images, too few for a ratio of 9"),
        (lambda: scenario(tiny(classes=1), "long-tail"), "'long-tail' needs at least 2 classes, toy has 1"),
        (lambda: hidden(fraction=0), "fraction must lie between 0 and 1, not 0"),
        (lambda: hidden(fraction=1.0), "fraction must lie between 0 and 1, not 1.0"),
        (lambda: hidden(fraction="1/2"), "fraction must lie between 0 and 1, not '1/2'"),
        (lambda: hidden(fraction=0.6), "a fraction of 0.6 of 'a' would be 150 images of 'class"),
        (lambda: hidden(fraction=0.001), "which has 100: raise the fraction or add images"),
        (lambda: hidden(strata="auto"), "no known table of strata fits the classes of toy: give one, such as strata="),
        (lambda: hidden(strata="a: class 0, klass 1; b: class 2, class 3"), "unknown class 'klass 1' in the strata of"),
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(RddError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_validation_set_is_left_out_aloud():
    toy = make()
    with_validation = dataclasses.replace(toy, validation=toy.test)
    assert scenario(with_validation, "none").validation is toy.test
    with pytest.warns(
        UserWarning, match="validation images, as scenario 'coloured' shifts training and test set alone"
    ):
        assert scenario(with_validation, "coloured").validation is None
