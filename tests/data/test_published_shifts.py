"""FairDD's colour biases: exact counts, the published colours, threshold and padding, and what each mistake is told."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from rdd_nb.core.errors import RddError
from rdd_nb.data import published_shifts, scenarios
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.loading import load
from rdd_nb.data.scenarios import scenario

PUBLISHED = [  # as the paper's released code has them, in the order of its classes
    (255, 0, 0),
    (255, 128, 0),
    (255, 255, 0),
    (255, 255, 128),
    (0, 255, 0),
    (0, 255, 255),
    (0, 0, 255),
    (128, 0, 255),
    (255, 0, 255),
    (255, 255, 255),
]
NAMES = ("coloured-foreground", "coloured-background", "grey-half")
PAINTED = pytest.mark.parametrize("name", NAMES[:2])
EACH = pytest.mark.parametrize("name", NAMES)


def make(train=50, test=20, classes=10, channels=1, size=(4, 4)):
    """Splits with ``train`` and ``test`` random images of each class, in mixed order."""
    generator = torch.Generator().manual_seed(1)
    parts = []
    for count in (train, test):
        images = torch.randint(0, 256, (count * classes, channels, *size), generator=generator, dtype=torch.uint8)
        labels = torch.arange(classes).repeat_interleave(count)[torch.randperm(len(images), generator=generator)]
        names = tuple(f"class {i}" for i in range(classes))
        parts.append(ImageDataset(images, labels, names, (0.5,) * channels, (0.25,) * channels, name="toy"))
    return Splits(*parts, "toy")


def fit(name, **options):
    """Splits that the scenario takes."""
    return make(**({"channels": 3 if name == "grey-half" else 1} | options))


def cells(data):
    """int64 [K, G]: how many images each class has in each group."""
    counts = torch.zeros(data.num_classes, data.num_groups, dtype=torch.int64)
    return counts.index_put_((data.labels, data.groups), torch.ones(len(data), dtype=torch.int64), accumulate=True)


def painted_by_hand(image, colour, name, rest="kept"):
    """Pixel by pixel, on uint8 [H, W]: RGB [3, H, W]."""
    result = np.zeros((3, *image.shape), dtype=np.uint8)
    for row, column in np.ndindex(*image.shape):
        value = int(image[row, column])
        takes = value > 127 if name == "coloured-foreground" else value <= 127
        left = (value, value, value) if rest == "kept" else (0, 0, 0)
        result[:, row, column] = PUBLISHED[colour] if takes else left
    return result


# -------------------------------------------------------------------------------------------- foreground and background


@PAINTED
@settings(max_examples=20, deadline=None)
@given(st.integers(10, 60), st.integers(2, 10), st.integers(0, 95), st.integers(0, 10**6))
def test_counts_of_colours_are_exact(name, train, classes, percent, seed):
    off = (train * (100 - percent) + 50) // 100
    assume(off > 0)  # a class that would give no image is an error, tested below
    shifted = scenario(make(train, 13, classes, size=(2, 2)), name, bias=percent / 100, seed=seed)
    table = cells(shifted.train)
    assert table.diagonal().tolist() == [train - off] * classes
    others = table[~torch.eye(classes, dtype=torch.bool)].reshape(classes, classes - 1)
    assert (others.sum(1) == off).all() and int((others.max(1).values - others.min(1).values).max()) <= 1
    tested = cells(shifted.test)
    assert (tested.sum(1) == 13).all() and int(tested.max() - tested.min()) <= 1


@PAINTED
def test_the_shipped_sample_has_the_published_sizes_and_colours(name):
    base = load("fashion-mnist-sample")
    shifted = scenario(base, name, seed=0, bias=0.9)
    assert shifted.train.shape == shifted.test.shape == (3, 32, 32)
    table = cells(shifted.train)
    assert table.diagonal().tolist() == [900] * 10 and sorted(set(table.flatten().tolist())) == [11, 12, 900]
    assert cells(shifted.test).unique().tolist() == [20]
    assert list(published_shifts.COLOURS.values()) == PUBLISHED
    for part, before in ((shifted.train, base.train), (shifted.test, base.test)):
        padded = torch.zeros(len(before), 32, 32, dtype=torch.uint8)
        padded[:, 4:, 4:] = before.images[:, 0]
        takes = padded >= 128 if name == "coloured-foreground" else padded < 128
        pixels = part.images.permute(0, 2, 3, 1)
        for colour, rgb in enumerate(PUBLISHED):
            worn = part.groups == colour
            found = pixels[worn][takes[worn]]
            assert len(found) and bool((found == torch.tensor(rgb)).all())
        assert torch.equal(pixels[~takes], padded[~takes][:, None].expand(-1, 3)), "the others are grey as they were"
        assert torch.equal(part.labels, before.labels) and part.class_names == before.class_names


@PAINTED
@pytest.mark.parametrize("rest", ["kept", "black"])
def test_pixels_are_as_painted_by_hand(name, rest):
    base = make(train=10, test=10, size=(5, 3))
    shifted = scenario(base, name, rest=rest)
    for before, after in ((base.train, shifted.train), (base.test, shifted.test)):
        for image, colour, result in zip(before.images, after.groups.tolist(), after.images, strict=True):
            assert np.array_equal(result.numpy(), painted_by_hand(image[0].numpy(), colour, name, rest))


def test_the_threshold_lies_between_127_and_128():
    base = make(train=10, test=10, classes=2, size=(1, 4))
    values = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    base = Splits(*(dataclasses.replace(p, images=values.expand_as(p.images)) for p in (base.train, base.test)), "toy")
    red, orange = (255, 0, 0), (255, 128, 0)
    for name, first in (("coloured-foreground", False), ("coloured-background", True)):
        test = scenario(base, name).test
        for colour, rgb in enumerate((red, orange)):
            seen = test.images[test.groups == colour].permute(0, 2, 3, 1).unique(dim=0)[0, 0].tolist()
            grey = [[value] * 3 for value in values.tolist()]
            assert seen == ([[*rgb]] * 2 + grey[2:] if first else grey[:2] + [[*rgb]] * 2)


@PAINTED
def test_only_images_of_28_pixels_are_padded_at_the_top_and_at_the_left(name):
    for size, shape in (((28, 28), (3, 32, 32)), ((28, 27), (3, 28, 27)), ((32, 32), (3, 32, 32)), ((8, 8), (3, 8, 8))):
        base = make(train=10, test=10, size=size)
        white = Splits(*(dataclasses.replace(p, images=p.images * 0 + 255) for p in (base.train, base.test)), "white")
        test = scenario(white, name).test
        assert test.shape == shape
        if size == (28, 28):
            inside = torch.zeros(32, 32, dtype=torch.bool)
            inside[4:, 4:] = True
            outside = test.images[:, :, ~inside]
            if name == "coloured-foreground":
                assert not outside.any()
            else:
                rgb = torch.tensor(PUBLISHED, dtype=torch.uint8)[test.groups]
                assert torch.equal(outside, rgb[:, :, None].expand_as(outside))
                assert (test.images[:, :, inside] == 255).all()


@PAINTED
def test_names_and_statistics_of_the_painted(name):
    base = make(classes=4)
    for rest, given_ in (("kept", ""), ("black", " rest=black")):
        shifted = scenario(base, name, bias=0.8, rest=rest, seed=3)
        for part in (shifted.train, shifted.test):
            assert part.group_names == ("red", "orange", "yellow", "pale yellow"), "the first of ten"
            assert torch.equal(part.minority, part.groups != part.labels)
            assert part.minority_names == ("on-colour", "off-colour")
            assert part.name == shifted.name == f"toy {name} bias=0.8{given_} seed=3"
            assert (part.mean, part.std) == statistics(shifted.train.images)
    assert int(shifted.train.minority.sum()) == 40 and cells(shifted.test).tolist() == [[5] * 4] * 4
    other = scenario(base, name, bias=0.8, rest="kept", seed=3)
    assert torch.equal(other.train.groups, shifted.train.groups), "rest moves nothing else"


def test_digits_can_be_painted():
    shifted = scenario(load("digits"), "coloured-background")
    assert shifted.train.shape == (3, 32, 32) and shifted.train.num_groups == 10
    table = cells(shifted.test)
    assert int((table.max(1).values - table.min(1).values).max()) <= 1


# ------------------------------------------------------------------------------------------------------------ grey half


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 60), st.integers(2, 9), st.integers(0, 95), st.integers(0, 10**6))
def test_counts_of_forms_are_exact(train, classes, percent, seed):
    other = (train * (100 - percent) + 50) // 100
    assume(other > 0)
    shifted = scenario(make(train, 3, classes, 3, size=(2, 2)), "grey-half", bias=percent / 100, seed=seed)
    first = (classes + 1) // 2
    expected = [[train - other, other]] * first + [[other, train - other]] * (classes - first)
    assert cells(shifted.train).tolist() == expected
    assert cells(shifted.test).tolist() == [[3, 3]] * classes


def test_half_is_grey_as_pillow_has_it_and_half_is_as_it_was():
    base = make(channels=3)
    shifted = scenario(base, "grey-half", seed=2)
    assert cells(shifted.train).tolist() == [[45, 5]] * 5 + [[5, 45]] * 5

    def grey(image):
        seen = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).convert("L")
        return torch.from_numpy(np.asarray(seen).copy()).expand(3, -1, -1)

    for before, after, group in zip(base.train.images, shifted.train.images, shifted.train.groups, strict=True):
        assert torch.equal(after, grey(before) if group else before)
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    made = shifted.train.groups == 1
    exact = (base.train.images[made] * weights).sum(1, keepdim=True)
    assert float((shifted.train.images[made] - exact).abs().max()) < 0.51
    half = len(base.test)
    assert len(shifted.test) == 2 * half and torch.equal(shifted.test.images[:half], base.test.images)
    for before, after in zip(base.test.images, shifted.test.images[half:], strict=True):
        assert torch.equal(after, grey(before))
    assert torch.equal(shifted.test.labels, base.test.labels.repeat(2))


def test_names_and_statistics_of_grey_half():
    base = make(channels=3, classes=4)
    shifted = scenario(base, "grey-half", bias=0.8, seed=3)
    for part in (shifted.train, shifted.test):
        assert part.group_names == ("colour", "grey") and part.minority_names == ("own form", "other form")
        assert torch.equal(part.minority, (part.groups == 1) != (part.labels >= 2))
        assert part.name == shifted.name == "toy grey-half bias=0.8 seed=3"
        assert part.class_names == base.train.class_names
        assert (part.mean, part.std) == statistics(shifted.train.images)
    assert int(shifted.train.minority.sum()) == 40 and int(shifted.test.minority.sum()) == 80


@EACH
def test_with_a_bias_of_one_there_is_no_minority_in_training(name):
    shifted = scenario(fit(name), name, bias=1)
    assert not shifted.train.minority.any() and shifted.test.minority.any()


# ------------------------------------------------------------------------------------------------------------------ all


@EACH
def test_same_seed_same_bits_and_another_seed_another_choice(name):
    base = fit(name)
    first, again, other = (scenario(base, name, seed=seed) for seed in (5, 5, 6))
    for split in ("train", "test"):
        for field in ("images", "labels", "groups", "minority"):
            one, two = (getattr(getattr(each, split), field) for each in (first, again))
            assert torch.equal(one, two)
    assert not torch.equal(first.train.groups, other.train.groups)
    if name != "grey-half":
        assert not torch.equal(first.test.groups, other.test.groups)


@EACH
def test_the_base_data_stay_as_they_are_and_no_other_generator_moves(name):
    base, copy, state = fit(name), fit(name), torch.get_rng_state()
    scenario(base, name)
    assert torch.equal(state, torch.get_rng_state())
    for split in ("train", "test"):
        assert torch.equal(getattr(base, split).images, getattr(copy, split).images)
        assert getattr(base, split).groups is None


@EACH
def test_help_names_the_scenario_and_its_options(name):
    line = scenarios.available()[name]
    assert "FairDD" in line and line.endswith(".")
    options = "(bias=0.9)" if name == "grey-half" else "(bias=0.9, rest=kept)"
    assert scenarios.describe(name).startswith(f"{name} {options}: {line}")


@EACH
@pytest.mark.parametrize("bias", [1.1, -0.1, float("nan"), "0.9", True, None])
def test_a_wrong_bias_is_told(name, bias):
    with pytest.raises(RddError, match="bias must be a fraction from 0 to 1, not "):
        scenario(fit(name), name, bias=bias)


GREY_IN_RGB = dataclasses.replace(make(channels=3).train, images=make().train.images.repeat(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *(
            (lambda name=name, options=options, given=given: scenario(make(**options), name, **given), words)
            for name in NAMES[:2]
            for options, given, words in (
                ({"channels": 3}, {}, f"'{name}' needs grey images, toy has 3 channels: load it with channels=1"),
                ({"classes": 11}, {}, f"'{name}' has 10 colours, toy has 11 classes: take the scenario 'coloured'"),
                ({"classes": 1}, {}, f"'{name}' needs at least 2 classes, toy has 1: there is no other colour"),
                ({"train": 4}, {}, "class 'class 0' has 4 training images, too few to give another colour to"),
                ({"test": 9}, {}, "class 'class 0' has 9 test images, too few for 10 colours"),
                ({}, {"rest": "white"}, "rest must be 'kept' or 'black', not 'white'"),
                ({}, {"rest": None}, "rest must be 'kept' or 'black', not None"),
                ({}, {"rest": ["black"]}, "rest must be 'kept' or 'black', not ['black']"),
            )
        ),
        (lambda: scenario(make(), "grey-half"), "'grey-half' needs images in colour, those of toy are grey: take"),
        (lambda: scenario(Splits(GREY_IN_RGB, GREY_IN_RGB, "toy"), "grey-half"), "those of toy are grey: take other"),
        (lambda: scenario(make(channels=3, classes=1), "grey-half"), "'grey-half' needs at least 2 classes, toy has 1"),
        (
            lambda: scenario(make(channels=3, train=4), "grey-half"),
            "class 'class 0' has 4 training images, too few to give the other form to a fraction of 0.1",
        ),
        (lambda: scenario(make(), "colored-foreground"), "did you mean 'coloured-foreground'?"),
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(RddError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
