"""Several images in the place of one: what decoding gives, what encoding keeps, and what a gradient becomes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rdd_nb.core.errors import RddError
from rdd_nb.data.formations import check_formations, decode, encode, stored_gradient
from rdd_nb.data.synthetic_set import load_synthetic, save_synthetic
from tests.helpers import made_set, one_line

SIZES = [(2, 16, 16), (3, 28, 28), (2, 9, 11), (4, 32, 20)]


def some(count, height, width, channels=2, dtype=torch.float32):
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(("factor", "height", "width"), SIZES)
def test_each_part_becomes_an_image_in_the_order_of_reading(factor, height, width):
    stored = some(3, height, width)
    shown = decode(stored, factor)
    assert shown.shape == (3 * factor**2, 2, height, width)
    rows, columns = (torch.arange(side).tensor_split(factor) for side in (height, width))
    for image in range(3):
        for row in range(factor):
            for column in range(factor):
                part = stored[image : image + 1, :, rows[row]][..., columns[column]]
                wanted = torch.nn.Upsample((height, width), mode="bilinear")(part)[0]
                torch.testing.assert_close(shown[image * factor**2 + row * factor + column], wanted)


@pytest.mark.parametrize(("factor", "height", "width"), SIZES)
def test_what_is_smooth_comes_back_and_every_image_fills_its_own_part(factor, height, width):
    across = torch.linspace(0, 1, width).expand(height, width)
    images = torch.arange(2.0 * factor**2).view(-1, 1, 1, 1) + across
    stored = encode(images, factor)
    assert stored.shape == (2, 1, height, width)
    inner = (..., slice(None), slice(width // 4, -(width // 4)))  # at the edge, enlarging repeats the last pixel
    torch.testing.assert_close(decode(stored, factor)[inner], images[inner], atol=1.5 / width, rtol=0)
    moved = images.clone()
    moved[factor**2 - 1] += 1
    changed = (encode(moved, factor) != stored)[0, 0]
    first = sum(map(len, torch.empty(height).tensor_split(factor)[:-1]))
    assert changed[first:].any() and not changed[:first].any(), "the last part alone"


def test_one_formation_is_the_image_itself():
    images = some(2, 8, 8)
    assert decode(images, 1) is images and encode(images, 1) is images and stored_gradient(images, 1) is images


@pytest.mark.parametrize(("factor", "height", "width"), SIZES)
def test_the_gradient_is_carried_back_exactly(factor, height, width):
    stored = some(2, height, width, dtype=torch.float64).requires_grad_()
    target = some(2 * factor**2, height, width, dtype=torch.float64)
    shown = decode(stored, factor)
    loss = F.mse_loss(shown, target, reduction="sum")
    (wanted,) = torch.autograd.grad(loss, stored, retain_graph=True)
    with torch.no_grad():  # as a step has it
        found = stored_gradient(2 * (shown - target), factor)
    torch.testing.assert_close(found, wanted)


def test_parts_too_small_to_show_anything_are_refused():
    check_formations(2, 8, 9)
    check_formations(1, 1, 1)
    for factor in (0, -1, 2.0, True, "2"):
        with pytest.raises(RddError, match="whole number"):
            check_formations(factor, 28, 28)
    for factor, height, width in ((3, 8, 28), (2, 28, 7), (16, 32, 32)):
        with pytest.raises(RddError) as caught:
            check_formations(factor, height, width)
        assert f"formations={factor}" in one_line(caught) and "at most" in one_line(caught)


def test_a_set_knows_what_networks_see_and_so_does_its_file(tmp_path):
    labels = torch.tensor([1, 0, 0, 1])
    made = made_set(images=some(4, 8, 12, channels=1), labels=labels, ipc=2, formations=2)
    whole = made.decoded
    assert (whole.ipc, whole.formations, len(whole.images)) == (8, 1, 16) and whole.decoded is whole
    assert torch.equal(whole.images, decode(made.images, 2))
    assert whole.labels.tolist() == [1] * 4 + [0] * 8 + [1] * 4
    pairs = made.as_tensor_dataset()
    assert torch.equal(pairs.tensors[0], whole.images) and torch.equal(pairs.tensors[1], whole.labels)
    assert made.to_uint8().shape == made.images.shape
    read = load_synthetic(save_synthetic(tmp_path / "a.safetensors", made))
    assert read.formations == 2 and torch.equal(read.images, made.images) and torch.equal(read.labels, labels)


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, 3])
def test_a_set_of_impossible_formations_is_refused(wrong):
    with pytest.raises(RddError) as caught:
        made_set(images=some(6, 8, 8, channels=1), formations=wrong)
    assert "formations=" in one_line(caught)


@pytest.mark.parametrize("said", ["two", "", "-2", "9", None])
def test_a_file_of_impossible_formations_is_refused(tmp_path, said):
    path = save_synthetic(tmp_path / "a.safetensors", made_set(images=some(6, 8, 8, channels=1), formations=2))
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].replace(b'"formations":"2",', b"" if said is None else f'"formations":"{said}",'.encode())
    assert header != data[8:end]
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])
    with pytest.raises(RddError) as caught:
        load_synthetic(path)
    assert str(path) in one_line(caught)
