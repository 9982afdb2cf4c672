from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rdd_nb.core.errors import RddError
from rdd_nb.models import networks
from rdd_nb.models.networks import build
from rdd_nb.models.normalisation import InstanceNorm


def images(shape, n=2):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", networks.available())
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64)])
def test_every_network_takes_every_size(name, shape):
    net = build(name, shape, 7, width=8)
    x = images(shape)
    embedded = net.embed(x)
    assert embedded.shape == (2, net.embedding_size) == (2, net.classifier.in_features)
    assert isinstance(net.classifier, nn.Linear)
    torch.testing.assert_close(net(x), net.classifier(embedded))
    assert net(x).shape == (2, 7)
    torch.testing.assert_close(net.features(x)[-1].flatten(1), embedded)
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", networks.available())
def test_128_pixels(name):
    x = images((3, 128, 128), 1)
    assert build(name, (3, 128, 128), 3, width=4, depth=5)(x).shape == (1, 3)


@pytest.mark.parametrize(
    ("shape", "depth", "side"),
    [((1, 28, 28), 3, 4), ((3, 32, 32), 3, 4), ((3, 64, 64), 4, 4), ((3, 128, 128), 5, 4), ((1, 8, 8), 3, 1)],
)
def test_convnet_is_the_reference(shape, depth, side):
    net = build("convnet", shape, 10, width=6, depth=depth)
    assert net.embedding_size == 6 * side * side
    kinds = [type(layer) for stage in net.body for layer in stage]
    assert kinds == [networks.Stem, *[InstanceNorm, nn.ReLU, networks.AveragePool, nn.Conv2d] * depth][:-1]
    norm = net.body[0][1]
    assert (norm.num_groups, norm.num_channels, norm.affine) == (6, 6, True)
    sides = [f.shape[-1] for f in net.features(images(shape))]
    start = 32 if shape[1] == 28 else shape[1]
    assert sides == [start >> (i + 1) for i in range(depth)]


def test_reference_parameter_count():
    # ConvNet-3, width 128, 3×32×32, 10 classes: 3 convolutions with bias, 3 affine norms, linear 2048 → 10.
    expected = (27 * 128 + 128) + 2 * (9 * 128 * 128 + 128) + 3 * 256 + (2048 * 10 + 10)
    assert sum(p.numel() for p in build("convnet", (3, 32, 32), 10).parameters()) == expected


def test_width_128_is_the_usual_size():
    resnet = build("resnet18", (3, 32, 32), 10)
    # torchvision's ResNet-18 has 11,689,512 parameters; ours swaps a 7×7 stem for 3×3 and 1000 classes for 10.
    expected = 11_689_512 - 64 * 3 * (49 - 9) - (512 * 1000 + 1000) + (512 * 10 + 10)
    assert sum(p.numel() for p in resnet.parameters()) == expected
    convs = [m.out_channels for m in build("vgg11", (3, 32, 32), 10).modules() if isinstance(m, nn.Conv2d)]
    assert convs == [64, 128, 256, 256, 512, 512, 512, 512]
    convs = [m.out_channels for m in build("alexnet", (3, 32, 32), 10).modules() if isinstance(m, nn.Conv2d)]
    assert convs == [64, 192, 384, 256, 256]


@pytest.mark.parametrize("name", ["convnet", "alexnet", "vgg11", "resnet18"])
@pytest.mark.parametrize("norm", networks.NORMS)
def test_norms(name, norm):
    net = build(name, (1, 32, 32), 4, width=8, norm=norm)
    assert net(images((1, 32, 32))).isfinite().all()
    groups = {m.num_groups / m.num_channels for m in net.modules() if isinstance(m, nn.GroupNorm)}
    batch = any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert batch == (norm == "batch")
    if norm == "instance":
        assert groups == {1.0}
    elif norm == "layer":
        assert {m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)} == {1}
    elif norm == "group":
        assert {m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)} == {4}
    else:
        assert not groups
    assert bool(list(net.buffers())) == batch


@pytest.mark.parametrize("name", networks.available())
def test_seeded_and_alone(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(name, (1, 32, 32), 4, width=8, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = build(name, (1, 32, 32), 4, width=8, seed=3)
    other = build(name, (1, 32, 32), 4, width=8, seed=4)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_every_stage_takes_double_backward():
    net = build("convnet", (1, 8, 8), 3, width=4, depth=2)
    x = images((1, 8, 8)).requires_grad_()
    grads = torch.autograd.grad(net(x).square().sum(), list(net.parameters()), create_graph=True)
    (outer,) = torch.autograd.grad(sum(g.square().sum() for g in grads), x)
    assert outer.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "convnt"}, "did you mean 'convnet'"),
        ({"norm": "instanse"}, "did you mean 'instance'"),
        ({"shape": (1, 4, 4)}, "too small"),
        ({"shape": (28, 28)}, "not \\(channels"),
        ({"name": "vgg11", "shape": (3, 16, 16)}, "at least 32"),
        ({"name": "resnet18", "shape": (3, 8, 8)}, "one pixel"),
        ({"name": "resnet18", "width": 7}, "even"),
        ({"name": "vit", "shape": (3, 30, 30)}, "divisible by 4"),
        ({"name": "vit", "width": 10}, "heads"),
        ({"norm": "group", "width": 6}, "four groups"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_errors_are_one_line(options, words):
    options = {"name": "convnet", "shape": (1, 28, 28), "width": 8} | options
    with pytest.raises(RddError, match=words) as caught:
        build(options.pop("name"), options.pop("shape"), 10, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [(8, 8), (4, 6), (7, 9), (2, 2)])
def test_average_pool_is_torch_s(side):
    x = torch.randn(2, 3, *side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ours, theirs = networks.AveragePool(2), nn.AvgPool2d(2)
    torch.testing.assert_close(ours(x), theirs(x))
    assert torch.autograd.gradcheck(ours, (x,)) and torch.autograd.gradgradcheck(lambda v: ours(v).pow(2), (x,))
    batched = torch.func.vmap(ours)(torch.stack((x, 2 * x)))
    torch.testing.assert_close(batched, torch.stack((theirs(x), 2 * theirs(x))))


@pytest.mark.parametrize("shape", [(3, 28, 28), (2, 28, 32), (1, 28, 28), (3, 32, 32)])
def test_the_first_convolution_is_torch_s_and_never_pads_colour_by_a_whole_kernel(shape, monkeypatch):
    stem = build("convnet", shape, 2, width=3).double().body[0][0]
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs = (x, stem.weight, stem.bias)
    found, expected = stem(x), F.conv2d(x, stem.weight, stem.bias, padding=stem.padding)
    assert found.shape == (2, 3, 32, 32)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        *(torch.autograd.grad(y.pow(3).sum(), inputs, create_graph=True) for y in (found, expected))
    ):
        torch.testing.assert_close(ours, theirs)
        twice = [torch.autograd.grad(g.pow(2).sum(), inputs, retain_graph=True) for g in (ours, theirs)]
        torch.testing.assert_close(*twice)
    torch.testing.assert_close(torch.func.vmap(stem)(torch.stack((x, 2 * x)))[1], stem(2 * x))
    seen, convolve = [], torch.conv2d

    def conv2d(*given, **named):
        seen.append(named.get("padding", given[4] if len(given) > 4 else None))
        return convolve(*given, **named)

    monkeypatch.setattr(F, "conv2d", conv2d)
    stem(x)
    assert [max(torch.tensor(padding).flatten().tolist()) for padding in seen] == [3 if shape == (1, 28, 28) else 1]


def test_threads_that_build_at_the_same_time_do_not_disturb_one_another():
    def weights(seed):
        net = networks.build("vgg11", (1, 32, 32), 10, width=16, seed=seed)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    alone = [weights(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(weights, range(24)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together))
