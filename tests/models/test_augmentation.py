import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.core.errors import RddError
from rdd_nb.models.augmentation import OPERATIONS, AugmentParams, Transform, draw, parse
from tests.helpers import rng

ALL = "_".join(OPERATIONS)
P = AugmentParams()


def images(n=5, channels=3, side=9, dtype=torch.float64, seed=1):
    return torch.randn(n, channels, side, side, generator=rng(seed), dtype=dtype)


def bilinear(image, y, x):
    """The value of image [C, H, W] between pixels, zero outside, written out for one point."""
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total = total + image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def reference(operation, image, u, p=P):
    """One operation on one image [C, H, W] with the three numbers ``u``, in plain loops."""
    channels, height, width = image.shape
    a, b, c = (float(v) for v in u)
    out = torch.zeros_like(image)
    if operation == "flip":
        return torch.stack([row.flip(-1) for row in image]) if a < p.flip else image.clone()
    if operation == "color":
        image = image + (a - 0.5) * p.brightness
        grey = sum(image[k] for k in range(channels)) / channels
        image = (image - grey) * (b * p.saturation) + grey
        mean = image.sum() / image.numel()
        return (image - mean) * (c + p.contrast) + mean
    if operation == "crop":
        reach_y, reach_x = int(height * p.crop + 0.5), int(width * p.crop + 0.5)
        dy = int(a * (2 * reach_y + 1)) - reach_y
        dx = int(b * (2 * reach_x + 1)) - reach_x
        for i in range(height):
            for j in range(width):
                if 0 <= i + dy < height and 0 <= j + dx < width:
                    out[:, i, j] = image[:, i + dy, j + dx]
        return out
    if operation == "cutout":
        out = image.clone()
        size_y, size_x = int(height * p.cutout + 0.5), int(width * p.cutout + 0.5)
        top = int(a * (height + 1 - size_y % 2)) - size_y // 2
        left = int(b * (width + 1 - size_x % 2)) - size_x // 2
        for i in range(height):
            for j in range(width):
                if top <= i < top + size_y and left <= j < left + size_x:
                    out[:, i, j] = 0
        return out
    cy, cx = (height - 1) / 2, (width - 1) / 2
    angle = (2 * a - 1) * math.radians(p.rotate)
    for i in range(height):
        for j in range(width):
            if operation == "scale":
                y = cy + (i - cy) * (1 / p.scale + a * (p.scale - 1 / p.scale))
                x = cx + (j - cx) * (1 / p.scale + b * (p.scale - 1 / p.scale))
            else:
                x = cx + math.cos(angle) * (j - cx) - math.sin(angle) * (i - cy)
                y = cy + math.sin(angle) * (j - cx) + math.cos(angle) * (i - cy)
            out[:, i, j] = bilinear(image, y, x)
    return out


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 9)])
def test_against_loops(operation, channels, side):
    x = images(6, channels, side)
    u = torch.rand(6, 3, generator=rng(7), dtype=torch.float64)
    expected = torch.stack([reference(operation, image, row) for image, row in zip(x, u)])
    torch.testing.assert_close(Transform(operation, u)(x), expected)


@settings(max_examples=40, deadline=None)
@given(
    operation=st.sampled_from(["crop", "cutout", "scale"]),
    a=st.floats(0, 1, exclude_max=True),
    b=st.floats(0, 1, exclude_max=True),
    strength=st.floats(0, 1),
)
def test_against_loops_at_any_strength(operation, a, b, strength):
    p = AugmentParams(crop=strength, cutout=strength, scale=1 + strength)
    u = torch.tensor([[a, b, 0.0]], dtype=torch.float64)
    x = images(1, 2, 6)
    torch.testing.assert_close(Transform(operation, u, p)(x)[0], reference(operation, x[0], u[0], p))


@pytest.mark.parametrize("operation", ["scale", "rotate"])
def test_against_grid_sample_with_align_corners(operation):
    x = images(4, 3, 28, torch.float32)
    u = torch.rand(4, 3, generator=rng(3))
    if operation == "scale":
        s = 1 / 1.2 + u * (1.2 - 1 / 1.2)
        theta = torch.stack([torch.tensor([[s[i, 1], 0, 0], [0, s[i, 0], 0]]) for i in range(4)])
    else:
        t = (u[:, 0] - 0.5) * 2 * 15 / 180 * math.pi
        theta = torch.stack([torch.tensor([[v.cos(), -v.sin(), 0], [v.sin(), v.cos(), 0]]) for v in t])
    grid = F.affine_grid(theta, [4, 3, 28, 28], align_corners=True)
    expected = F.grid_sample(x, grid, align_corners=True)
    torch.testing.assert_close(Transform(operation, u)(x), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("operation", "params", "u"),
    [
        ("flip", AugmentParams(flip=0), (0.0, 0, 0)),
        ("crop", AugmentParams(crop=0), (0.7, 0.2, 0)),
        ("crop", P, (0.5, 0.5, 0)),
        ("cutout", AugmentParams(cutout=0), (0.5, 0.5, 0)),
        ("scale", AugmentParams(scale=1), (0.3, 0.9, 0)),
        ("rotate", AugmentParams(rotate=0), (0.9, 0, 0)),
        ("rotate", P, (0.5, 0, 0)),
        ("color", P, (0.5, 0.5, 0.5)),
        ("none", P, (0.1, 0.2, 0.3)),
    ],
)
def test_identities(operation, params, u):
    x = images()
    torch.testing.assert_close(Transform(operation, torch.tensor([u], dtype=torch.float64), params)(x), x)


def test_flip_twice_and_crop_are_exact():
    x = images(dtype=torch.float32)
    flip = Transform("flip", torch.zeros(1, 3))
    assert torch.equal(flip(flip(x)), x)
    assert torch.equal(flip(x), x.flip(3))
    crop = Transform("crop", torch.tensor([[0.999, 0.5, 0]]))  # side 9: one row up, nothing sideways
    assert torch.equal(crop(x)[:, :, :-1], x[:, :, 1:])
    assert crop(x)[:, :, -1].abs().max() == 0


def test_grey_images_have_no_saturation():
    x = images(4, 1)
    low, high = (Transform("color", torch.tensor([[0.2, s, 0.4]], dtype=torch.float64))(x) for s in (0.0, 0.9))
    torch.testing.assert_close(low, high)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_siamese(operation):
    """The same object gives an image the same treatment in whatever batch it stands."""
    transform = draw(operation, 1, rng(2))
    real, synthetic = images(6), images(3, seed=4)
    both = transform(torch.cat((real, synthetic)))
    torch.testing.assert_close(transform(real), both[:6])
    torch.testing.assert_close(transform(synthetic), both[6:])
    one = transform(real[:1].expand(4, -1, -1, -1))
    torch.testing.assert_close(one[0], one[3])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_slots_pick_the_parameters(operation):
    transform = draw(operation, 3, rng(11))
    x = images(7)
    slots = torch.tensor([2, 0, 1, 1, 2, 0, 0])
    expected = torch.stack(
        [Transform(operation, transform.uniforms[s : s + 1])(x[i : i + 1])[0] for i, s in enumerate(slots.tolist())]
    )
    torch.testing.assert_close(transform(x, slots), expected)
    per_sample = draw(operation, 7, rng(11))
    torch.testing.assert_close(per_sample(x), per_sample(x, torch.arange(7)))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("slots", [1, 2])
def test_gradients(operation, slots):
    transform = draw(operation, slots, rng(5))
    x = images(2, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(transform, (x,))
    if operation == "rotate":  # grid sampling: twice differentiable in newer versions of torch alone
        return
    assert torch.autograd.gradgradcheck(lambda v: transform(v).pow(2), (x,))


def test_matching_gradients_needs_one_derivative_of_the_augmentation_only():
    """A gradient in the weights, then one in the pixels: each passes through the rotation at most once."""
    transform = draw("rotate", 1, rng(5))
    x = images(2, 2, 5).requires_grad_()
    weight = torch.randn(50, generator=rng(6), dtype=torch.float64).requires_grad_()

    def of_pixels(x):
        loss = (transform(x).flatten(1) @ weight).tanh().sum()
        return torch.autograd.grad(loss, weight, create_graph=True)[0]

    assert torch.autograd.gradcheck(of_pixels, (x,))


def test_same_generator_same_draw_and_global_state_untouched():
    before = torch.get_rng_state()
    a, b = (draw(ALL, 5, rng(9)) for _ in range(2))
    assert a.operation == b.operation
    assert torch.equal(a.uniforms, b.uniforms)
    x = images()
    assert torch.equal(a(x), b(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_operations_come_up_equally_often():
    generator = rng(0)
    counts = dict.fromkeys(OPERATIONS, 0)
    for _ in range(1200):
        counts[draw(ALL, 1, generator).operation] += 1
    assert all(abs(count - 200) < 60 for count in counts.values())  # ± 4.6 standard deviations


def test_the_stream_does_not_depend_on_the_strategy():
    states = []
    for strategy in ("flip", "color", ALL):
        generator = rng(1)
        draw(strategy, 4, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("strategy", ["none", ALL])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_are_kept(strategy, dtype):
    generator = rng(3)
    x = images(4, 3, 28, dtype)
    for _ in range(12):
        out = draw(strategy, 4, generator)(x)
        assert (out.shape, out.dtype) == (x.shape, dtype)
        assert out.isfinite().all()


def test_parse():
    assert parse("none") == ()
    assert parse(ALL) == OPERATIONS
    assert parse("crop") == ("crop",)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: parse("crop_flop"), "did you mean 'crop'|did you mean 'flip'"),
        (lambda: parse(""), "unknown augmentation"),
        (lambda: parse("crop_crop"), "twice"),
        (lambda: draw("flip", 0, rng()), "slots=0"),
        (lambda: draw("flip", 3, rng())(images(4)), "3 slots got 4 images"),
        (lambda: AugmentParams(scale=0.5), "scale=0.5"),
        (lambda: AugmentParams(flip=1.5), "flip=1.5"),
        (lambda: AugmentParams(rotate=-1), "rotate=-1"),
    ],
)
def test_errors_are_one_line(act, words):
    with pytest.raises(RddError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)
