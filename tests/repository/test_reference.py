"""The package against the straightforward way (tests/benchmarks/reference.py): same values, same gradients."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdd_nb.distillation import matching
from rdd_nb.models import networks, risk

_path = Path(__file__).parents[1] / "benchmarks" / "reference.py"
_spec = importlib.util.spec_from_file_location("reference", _path)
reference = importlib.util.module_from_spec(_spec)
sys.modules["reference"] = reference
_spec.loader.exec_module(reference)


@pytest.fixture(scope="module")
def nets():
    """The same network from either side, in double precision."""
    torch.manual_seed(0)
    plain = reference.ConvNet(3, 8, 4).double()
    ours = networks.build("convnet", (3, 32, 32), 4, width=8, seed=0).double()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in plain.parameters()]
    with torch.no_grad():
        for mine, its in zip(ours.parameters(), plain.parameters()):
            mine.copy_(its + 0.1 * torch.randn_like(its))
            its.copy_(mine)
    return ours, plain


@pytest.fixture(scope="module")
def batch():
    draw = torch.Generator().manual_seed(1)
    real = torch.randn(4, 12, 3, 32, 32, generator=draw, dtype=torch.float64)
    made = torch.randn(4, 3, 3, 32, 32, generator=draw, dtype=torch.float64)
    groups = torch.randint(3, (4, 12), generator=draw)
    return real, made, groups


def test_the_networks_are_one(nets, batch):
    ours, plain = nets
    torch.testing.assert_close(ours(batch[0][0]), plain(batch[0][0]))


@given(
    sixtyfourths=st.lists(st.integers(0, 320), min_size=1, max_size=12, unique=True),  # ties may be shared either way
    tail=st.sampled_from([0.05, 0.2, 0.5, 0.8, 1.0]),
    groups=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_weights_sample_by_sample_and_all_at_once(sixtyfourths, tail, groups, seed):
    draw = torch.Generator().manual_seed(seed)
    values = torch.tensor(sixtyfourths) / 64
    ids = torch.randint(groups, (len(values),), generator=draw)
    shares = torch.rand(groups, generator=draw) + 0.1
    one = reference.robust_weights(values, ids, groups, tail, shares)
    all_at_once = risk.robust_weights(values[None], ids[None], groups, tail, 1.0, 0.0, group_shares=shares[None])[0]
    torch.testing.assert_close(all_at_once.float(), one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("robust", [False, True])
def test_distribution_matching_and_its_gradient(nets, batch, robust):
    ours, plain = nets
    real, made, groups = batch
    objective = "robust" if robust else "erm"
    mine = made.clone().requires_grad_()
    features = ours.embed(real.flatten(0, 1)).detach().view(4, 12, -1)
    synthetic = ours.embed(mine.flatten(0, 1)).view(4, 3, -1)
    losses = matching.coverage_losses(features, synthetic.detach())
    weights, shares = matching.objective_weights(objective, lambda: losses, groups, 3, tail=0.4, max_weight=0.0)
    loss = matching.distribution_loss(features, synthetic, weights, shares)
    its = made.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for c in range(4):
        weigh = (lambda x, _, c=c: reference.robust_weights(x, groups[c], 3, 0.4, None)) if robust else None
        total = total + reference.match_means(plain, real[c], its[c], weigh)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=0)
    got, wanted = (torch.autograd.grad(value, images)[0] for value, images in ((loss, mine), (total, its)))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("robust", [False, True])
def test_gradient_matching_and_its_gradient(nets, batch, robust):
    ours, plain = nets
    real, made, groups = batch
    for c in (0, 3):
        mine, its = (made[c].clone().requires_grad_() for _ in range(2))

        def weigh(losses, c=c):
            kind = "robust" if robust else "erm"
            found = matching.objective_weights(kind, lambda: losses, groups[c : c + 1], 3, tail=0.4, max_weight=0.0)
            return tuple(t.to(losses) for t in found)

        loss = matching.gradient_loss(ours, real[c], mine, c, weigh)
        weights = None
        if robust:
            losses = torch.nn.functional.cross_entropy(plain(real[c]), torch.full((12,), c), reduction="none")
            weights = reference.robust_weights(losses.detach(), groups[c], 3, 0.4, None)
        total = reference.match_gradients(plain, real[c], its, c, weights)
        torch.testing.assert_close(loss, total, rtol=1e-5, atol=0)
        got, wanted = (torch.autograd.grad(value, images)[0] for value, images in ((loss, mine), (total, its)))
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-8)
