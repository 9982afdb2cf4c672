"""Colours and textures: rounding, how far apart they are, and what of an image stays to the bit."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdd_nb.data import textures

# ------------------------------------------------------------------------------------------------------------- colours


def test_every_product_is_rounded_exactly():
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for value in range(256):
        got = textures.tint(grey, torch.tensor([0]), [(value, 0, 255)])
        assert np.array_equal(got[0, 0].numpy(), np.rint(grey[0, 0].double().numpy() * value / 255).astype(np.uint8))
        assert not got[0, 1].any() and torch.equal(got[0, 2], grey[0, 0])


def test_painting_in_pieces_is_painting():
    images = torch.randint(0, 256, (4100, 1, 1, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(4100) % 2
    whole = textures.tint(images, ids, [(255, 0, 0), (0, 0, 255)])
    assert torch.equal(whole[:, 0], images[:, 0] * (ids == 0)[:, None, None])
    assert torch.equal(whole[:, 2], images[:, 0] * (ids == 1)[:, None, None])


def test_rgb_becomes_the_luminance_that_pillow_gives():
    images = torch.randint(0, 256, (20, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    white = textures.tint(images, torch.zeros(20, dtype=torch.int64), [(255, 255, 255)])
    for before, after in zip(images, white, strict=True):
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(before.permute(1, 2, 0).numpy())).convert("L"))
        assert all(np.array_equal(after[channel].numpy(), grey) for channel in range(3))


def test_palette_colours_are_far_apart_in_direction():
    colours = torch.tensor(list(textures.PALETTE.values()), dtype=torch.float64)
    assert len(textures.PALETTE) == 10 and colours.amax(1).min() > 200
    unit = colours / colours.norm(dim=1, keepdim=True)
    angles = [math.degrees(math.acos(min(1.0, float(a @ b)))) for a, b in combinations(unit, 2)]
    assert min(angles) > 18


@pytest.mark.parametrize("count", [1, 10, 11, 37, 100, 200])
def test_palette_of_any_size(count):
    colours = textures.palette(count)
    assert len(colours) == count == len(set(colours.values()))
    assert all(0 <= value <= 255 for colour in colours.values() for value in colour)


# ------------------------------------------------------------------------------------------------------------ textures


def random_images(count, channels, height, width, low=0, high=256):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def closeness(first, second):
    """The greatest correlation of the middle of ``first`` with any window of ``second`` of the same size."""
    window = first[12:40, 12:40] - first[12:40, 12:40].mean()
    patches = second.unfold(0, 28, 1).unfold(1, 28, 1).reshape(-1, 28 * 28)
    patches = patches - patches.mean(1, keepdim=True)
    return float(((patches @ window.flatten()) / (patches.norm(dim=1) * window.norm())).max())


def test_textures_are_alike_in_brightness_and_differ_in_form_wherever_they_are_shifted():
    sheets = [textures.texture(index, 52, 52).float() for index in range(14)]
    for sheet in sheets:
        assert sheet.unique().tolist() == [0, 128]
        assert abs(float(sheet.mean()) - 64) < 3 and abs(float(sheet.std()) - 64) < 1
    for first, second in combinations(range(10), 2):
        assert max(closeness(sheets[first], sheets[second]), closeness(sheets[second], sheets[first])) < 0.75
    for first, second in combinations(range(14), 2):
        assert closeness(sheets[first], sheets[second]) < 0.9


def test_known_forms():
    rows, columns, rising, falling, checks = (textures.texture(index, 24, 24) for index in range(5))
    assert torch.equal(rows, columns.T) and len(rows.unique(dim=1)[0]) == 1
    assert torch.equal(rising, rising.T) and torch.equal(rising[1:, :-1], rising[:-1, 1:])
    assert torch.equal(falling[1:, 1:], falling[:-1, :-1])
    assert torch.equal(checks[4:], 128 - checks[:-4])
    rings = textures.texture(7, 41, 41)
    assert torch.equal(rings, rings.T) and torch.equal(rings, rings.flip(0))


@pytest.mark.parametrize("count", [1, 10, 11, 100, 300])
def test_texture_names_and_pictures_are_all_different(count):
    names = textures.texture_names(count)
    assert len(set(names)) == count and names[:10] == textures.TEXTURES[:count]
    if count <= 100:
        assert len({textures.texture(index, 52, 52).numpy().tobytes() for index in range(count)}) == count


def test_a_step_of_two_enlarges():
    for index in range(10):
        small, large = textures.texture(index, 30, 30), textures.texture(index, 60, 60, step=2)
        assert torch.equal(large, small.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_the_edges_tell_whether_the_background_is_dark():
    bright = random_images(20, 3, 8, 8)
    assert not textures.is_dark(bright)
    framed = torch.zeros(20, 3, 10, 10, dtype=torch.uint8)
    framed[:, :, 1:-1, 1:-1] = bright
    assert textures.is_dark(framed)
    framed[:, 2, 0] = framed[:, 2, :, 0] = framed[:, 2, -1] = framed[:, 2, :, -1] = 200  # one bright channel is bright
    assert not textures.is_dark(framed)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(12, 30), st.integers(12, 30), st.integers(0, 9))
def test_a_texture_behind_a_dark_background(channels, height, width, index):
    images = random_images(9, channels, height, width, high=60)
    shifts = torch.randint(textures.SHIFTS, (9, 2), generator=torch.Generator().manual_seed(index))
    laid = textures.lay(images, torch.full((9,), index), shifts, dark=True)
    sheet = textures.texture(index, height + textures.SHIFTS, width + textures.SHIFTS).double()
    for image, got, (y, x) in zip(images.double(), laid.double(), shifts.tolist(), strict=True):
        share = (1 - image.amax(0, keepdim=True) / 24).clamp(min=0)
        exact = image + share * sheet[y : y + height, x : x + width]
        assert float((got - exact).abs().max()) <= 0.5
    kept = images.amax(1, keepdim=True).expand_as(images) >= 24
    assert torch.equal(laid[kept], images[kept])


def test_photographs_are_framed():
    images = random_images(6, 3, 32, 32)
    ids = torch.arange(6)
    laid = textures.lay(images, ids, torch.zeros(6, 2, dtype=torch.int64), dark=False)
    assert torch.equal(laid[:, :, 8:24, 8:24], images[:, :, 8:24, 8:24]), "the middle stays"
    behind = torch.stack([textures.texture(index, 56, 56)[:32, :32] for index in range(6)])[:, None].expand_as(images)
    for corner in (laid[..., :4, :4] == behind[..., :4, :4], laid[..., -4:, -4:] == behind[..., -4:, -4:]):
        assert corner.all(), "the corners are texture"
    assert ((laid >= torch.minimum(images, behind)) & (laid <= torch.maximum(images, behind))).all()


def test_laying_in_pieces_is_laying():
    images = random_images(4100, 1, 12, 12)
    ids, shifts = torch.arange(4100) % 3, torch.arange(8200).reshape(-1, 2) % textures.SHIFTS
    whole = textures.lay(images, ids, shifts, dark=True)
    assert torch.equal(whole[4090:], textures.lay(images[4090:], ids[4090:], shifts[4090:], dark=True))
    assert textures.lay(images[:0], ids[:0], shifts[:0], dark=True).shape == (0, 1, 12, 12)


def test_textures_are_told_apart_by_their_form_alone():
    ids = torch.arange(1500) % 10
    shifts = torch.randint(textures.SHIFTS, (1500, 2), generator=torch.Generator().manual_seed(0))
    laid = textures.lay(torch.zeros(1500, 1, 28, 28, dtype=torch.uint8), ids, shifts, dark=True).float()
    spectrum = torch.fft.rfft2(laid[:, 0] - laid.mean((2, 3))[:, :, None]).abs().flatten(1)  # a shift leaves it, nearly
    centres = torch.stack([spectrum[:500][ids[:500] == index].mean(0) for index in range(10)])
    told = torch.cdist(spectrum[500:], centres).argmin(1)
    assert float((told == ids[500:]).float().mean()) > 0.95  # by chance: 0.1
