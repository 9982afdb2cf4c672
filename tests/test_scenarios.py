"""Scenarios: exact counts, who is in which group, what happens to the pixels, and what each mistake is told."""

import dataclasses
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from rdd_nb import painting, scenarios
from rdd_nb.datasets import ImageDataset, Splits, load, statistics
from rdd_nb.errors import RddError
from rdd_nb.scenarios import scenario


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


def same(first, second):
    return all(
        torch.equal(getattr(getattr(first, split), field), getattr(getattr(second, split), field))
        for split in ("train", "test")
        for field in ("images", "labels", "groups", "minority")
    )


# ------------------------------------------------------------------------------------------------------------ coloured


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 60), st.integers(2, 6), st.integers(0, 95), st.integers(0, 10**6))
def test_coloured_counts_are_exact(train, classes, percent, seed):
    off = int(train * (100 - percent) / 100 + 0.5)
    assume(off > 0)  # a class that would give no image is an error, tested below
    base = make(train, 13, classes, size=(2, 2))
    bent = scenario(base, "coloured", bias=percent / 100, seed=seed)
    table = cells(bent.train)
    assert table.diagonal().tolist() == [train - off] * classes
    others = table[~torch.eye(classes, dtype=torch.bool)].reshape(classes, classes - 1)
    assert (others.sum(1) == off).all() and int((others.max(1).values - others.min(1).values).max()) <= 1
    tested = cells(bent.test)
    assert (tested.sum(1) == 13).all() and int(tested.max() - tested.min()) <= 1


def test_coloured_groups_are_named_and_the_minority_is_off_colour():
    bent = scenario(make(), "coloured", bias=0.9)
    for part in (bent.train, bent.test):
        assert part.group_names == ("red", "green", "blue", "yellow")
        assert torch.equal(part.minority, part.groups != part.labels)
        assert part.minority_names == ("on-colour", "off-colour")
        assert part.name == bent.name == "toy coloured bias=0.9 seed=0"
    assert int(bent.train.minority.sum()) == 40
    assert cells(bent.test).tolist() == [[5] * 4] * 4


def test_coloured_pixels_are_grey_times_colour():
    base = make()
    bent = scenario(base, "coloured")
    colours = np.array(list(painting.PALETTE.values())[:4])
    for before, after in ((base.train, bent.train), (base.test, bent.test)):
        factors = colours[after.groups.numpy()][:, :, None, None]
        # Halves do not occur, as 255 is odd: rounding is the same in all conventions.
        assert np.array_equal(after.images.numpy(), np.rint(before.images.numpy() * factors / 255).astype(np.uint8))
        assert torch.equal(after.labels, before.labels)


def test_every_product_is_rounded_exactly():
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for value in range(256):
        got = painting.tint(grey, torch.tensor([0]), [(value, 0, 255)])
        assert np.array_equal(got[0, 0].numpy(), np.rint(grey[0, 0].double().numpy() * value / 255).astype(np.uint8))
        assert not got[0, 1].any() and torch.equal(got[0, 2], grey[0, 0])


def test_painting_in_pieces_is_painting():
    images = torch.randint(0, 256, (4100, 1, 1, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(4100) % 2
    whole = painting.tint(images, ids, [(255, 0, 0), (0, 0, 255)])
    assert torch.equal(whole[:, 0], images[:, 0] * (ids == 0)[:, None, None])
    assert torch.equal(whole[:, 2], images[:, 0] * (ids == 1)[:, None, None])


def test_rgb_becomes_the_luminance_that_pillow_gives():
    base = make(channels=3)
    white = painting.tint(base.train.images, torch.zeros(len(base.train), dtype=torch.int64), [(255, 255, 255)])
    for before, after in zip(base.train.images[:20], white[:20], strict=True):
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(before.permute(1, 2, 0).numpy())).convert("L"))
        assert all(np.array_equal(after[channel].numpy(), grey) for channel in range(3))
    assert scenario(base, "coloured").train.shape == (3, 6, 6)


def test_coloured_statistics_are_those_of_the_bent_training_images():
    bent = scenario(make(), "coloured")
    assert (bent.train.mean, bent.train.std) == statistics(bent.train.images)
    assert (bent.test.mean, bent.test.std) == (bent.train.mean, bent.train.std)
    normalised = bent.train.normalised()
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("bias", "on"), [(1.0, 100), (1, 100), (0.0, 0), (0.25, 25)])
def test_coloured_at_the_ends(bias, on):
    # 0.25 with four classes: colour says nothing about the class.
    bent = scenario(make(), "coloured", bias=bias)
    assert cells(bent.train).diagonal().tolist() == [on] * 4


def test_a_bias_of_nine_tenths_leaves_a_tenth_exactly():
    # 1 - 0.9 is a little less than 0.1 in floating point, and a tenth of 5 images is rounded up.
    assert cells(scenario(make(train=5), "coloured", bias=0.9).train).diagonal().tolist() == [4] * 4


def test_the_shipped_sample_coloured():
    bent = scenario(load("fashion-mnist-sample"), "coloured", bias=0.9, seed=0)
    table = cells(bent.train)
    assert table.diagonal().tolist() == [900] * 10 and int(bent.train.minority.sum()) == 1000
    assert sorted(set(table.flatten().tolist())) == [11, 12, 900]
    assert cells(bent.test).unique().tolist() == [20]
    # The content stays: the brightest channel is the grey image, nearly.
    grey = load("fashion-mnist-sample").test.images[:, 0].float()
    assert (bent.test.images.amax(1).float() >= 0.78 * grey - 1).all()


def test_groups_ride_along():
    train = scenario(load("fashion-mnist-sample"), "coloured").train
    rest, held = train.hold_out(0.1, seed=1)
    assert held.class_counts.tolist() == [100] * 10 and int(held.minority.sum()) + int(rest.minority.sum()) == 1000
    assert (cells(held) >= 1).all(), "each colour of each class, although some have 11 images"
    few = train.sample(50, seed=1)
    assert torch.equal(few.minority, few.groups != few.labels) and few.group_names == train.group_names


# ------------------------------------------------------------------------------------------------------------- palette


def test_palette_colours_are_far_apart_in_direction():
    colours = torch.tensor(list(painting.PALETTE.values()), dtype=torch.float64)
    assert len(painting.PALETTE) == 10 and colours.amax(1).min() > 200
    unit = colours / colours.norm(dim=1, keepdim=True)
    angles = [math.degrees(math.acos(min(1.0, float(a @ b)))) for a, b in combinations(unit, 2)]
    assert min(angles) > 18


@pytest.mark.parametrize("count", [1, 10, 11, 37, 100, 200])
def test_palette_of_any_size(count):
    colours = painting.palette(count)
    assert len(colours) == count == len(set(colours.values()))
    assert all(0 <= value <= 255 for colour in colours.values() for value in colour)


def test_coloured_with_many_classes():
    bent = scenario(make(train=30, test=12, classes=12), "coloured", bias=0.9)
    assert bent.train.num_groups == 12 and cells(bent.test).unique().tolist() == [1]
    assert bent.train.group_names[1] == "hue 30°"


# ------------------------------------------------------------------------------------------------------------- rotated


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 60), st.integers(5, 100), st.sampled_from([90, 180, 270, -90]), st.integers(0, 10**6))
def test_rotated_counts_are_exact_and_pixels_move(train, percent, angle, seed):
    base = make(train, 3, 3, size=(4, 4))
    bent = scenario(base, "rotated-minority", fraction=percent / 100, angle=angle, seed=seed)
    wanted = int(train * percent / 100 + 0.5)
    assert cells(bent.train).tolist() == [[train - wanted, wanted]] * 3
    for before, after, turned in zip(base.train.images, bent.train.images, bent.train.minority, strict=True):
        expected = np.rot90(before[0].numpy(), angle // 90) if turned else before[0].numpy()
        assert np.array_equal(after[0].numpy(), expected)


def test_rotated_test_set_shows_each_image_both_ways():
    base = make()
    bent = scenario(base, "rotated-minority")
    half = len(base.test)
    assert len(bent.test) == 2 * half and cells(bent.test).tolist() == [[20, 20]] * 4
    assert torch.equal(bent.test.images[:half], base.test.images)
    assert torch.equal(bent.test.images[half:], base.test.images.rot90(1, (2, 3)))
    assert torch.equal(bent.test.labels[half:], bent.test.labels[:half])
    assert torch.equal(bent.test.minority, bent.test.groups == 1) and not bent.test.minority[:half].any()


def test_rotated_names_and_statistics():
    base = make()
    bent = scenario(base, "rotated-minority", fraction=0.2, seed=3)
    for part in (bent.train, bent.test):
        assert part.group_names == part.minority_names == ("upright", "rotated")
        assert part.name == bent.name == "toy rotated-minority fraction=0.2 angle=90 seed=3"
        assert (part.mean, part.std) == (base.train.mean, base.train.std)
    assert int(scenario(base, "rotated-minority", fraction=0).train.minority.sum()) == 0
    assert bool(scenario(base, "rotated-minority", fraction=1.0).train.minority.all())


def test_half_a_turn_needs_no_square():
    bent = scenario(make(size=(4, 6)), "rotated-minority", angle=180)
    assert bent.train.shape == (1, 4, 6)


# ----------------------------------------------------------------------------------------------------------------- all


@pytest.mark.parametrize("name", ["coloured", "rotated-minority"])
def test_same_seed_same_bits_and_another_seed_another_choice(name):
    first, again, other = (scenario(make(), name, seed=seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert not torch.equal(first.train.groups, other.train.groups)


def test_the_seed_of_the_test_set_matters_too():
    first, other = (scenario(make(), "coloured", seed=seed) for seed in (5, 6))
    assert not torch.equal(first.test.groups, other.test.groups)


@pytest.mark.parametrize("name", ["coloured", "rotated-minority"])
def test_the_base_data_stay_as_they_are_and_no_other_generator_moves(name):
    base, copy = make(), make()
    state = torch.get_rng_state()
    scenario(base, name)
    assert torch.equal(state, torch.get_rng_state())
    for split in ("train", "test"):
        assert torch.equal(getattr(base, split).images, getattr(copy, split).images)
        assert getattr(base, split).groups is None


def test_old_groups_are_replaced():
    base = make()
    grouped = Splits(*(scenario(base, "coloured").train for _ in range(2)), "toy")
    bent = scenario(grouped, "rotated-minority")
    assert bent.train.group_names == ("upright", "rotated") and bent.train.num_groups == 2


def test_none_gives_the_data_back():
    base = make()
    assert scenario(base, "none", seed=3) is base


def test_help():
    assert sorted(scenarios.available()) == [
        "background",
        "coloured",
        "hidden-strata",
        "long-tail",
        "none",
        "rotated-minority",
    ]
    assert all(line.endswith(".") and "\n" not in line for line in scenarios.available().values())
    assert scenarios.describe("coloured").startswith("coloured (bias=0.9): Each class has its own colour")
    assert "fraction=0.1, angle=90" in scenarios.describe("rotated-minority")
    assert scenarios.describe("none") == "none (no options): The data as they are."


def test_a_scenario_can_be_added(monkeypatch):
    monkeypatch.setattr(scenarios, "_registry", dict(scenarios._registry))

    @scenarios._register("inverted")
    def inverted(splits, *, seed, strength=1.0):
        """Light becomes dark."""
        images = 255 - splits.train.images
        return dataclasses.replace(splits, train=dataclasses.replace(splits.train, images=images))

    assert scenarios.available()["inverted"] == "Light becomes dark."
    assert torch.equal(scenario(make(), "inverted", strength=1).train.images, 255 - make().train.images)


def tiny(**changes):
    return make(**(dict(train=4, test=4, classes=2, size=(2, 2)) | changes))


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
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(RddError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
