"""Instance normalisation: the values, gradients and second gradients of PyTorch's group norm."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from rdd_nb.models import networks
from rdd_nb.models.normalisation import InstanceNorm, _Norm


def pair(channels: int) -> tuple[InstanceNorm, nn.GroupNorm]:
    ours, theirs = InstanceNorm(channels).double(), nn.GroupNorm(channels, channels).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1, 2, 1, 7), (2, 1, 8, 8), (2, 3, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_gradients_and_second_gradients_are_those_of_group_norm(shape, layout):
    torch.manual_seed(sum(shape))
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    found = []
    for norm in pair(shape[1]):
        y = norm(x)
        wanted = [x, norm.weight, norm.bias]
        first = torch.autograd.grad((y.square() * y + y).mean(), wanted, create_graph=True)
        mixed = sum((g * torch.arange(1.0, g.numel() + 1).view(g.shape).cos()).sum() for g in first)
        found.append([y, *first, *torch.autograd.grad(mixed, wanted, allow_unused=True)])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, atol=1e-9, rtol=1e-9)


def test_second_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 2, 3), 3, 3))
    assert torch.autograd.gradgradcheck(lambda *given: _Norm.apply(*given, 1e-5), (x, weight, bias))


def test_a_constant_channel_has_finite_second_gradients():
    x = torch.full((1, 1, 3, 3), 2.0, requires_grad=True)
    norm = InstanceNorm(1)
    (first,) = torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()


def test_a_batched_network_gives_what_each_gives_alone():
    nets = [networks.build("convnet", (1, 8, 8), 3, width=4, depth=2, seed=s) for s in range(2)]
    assert isinstance(nets[0].body[0][1], InstanceNorm)
    x = torch.randn(2, 5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = {n: torch.stack([dict(net.named_parameters())[n] for net in nets]) for n, _ in nets[0].named_parameters()}
    together = vmap(lambda w, i: functional_call(nets[0], w, (i,)))(weights, x)
    torch.testing.assert_close(together, torch.stack([net(i) for net, i in zip(nets, x)]), atol=1e-5, rtol=1e-5)
