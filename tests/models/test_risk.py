"""What risk.py promises, held against brute force, linear programmes, closed forms and theory."""

import io
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, settings
from hypothesis import given as given_default
from hypothesis import strategies as st
from scipy.optimize import linprog

from rdd_nb.core.errors import RddError
from rdd_nb.models import risk


def given(*strategies):
    return lambda test: settings(deadline=None, max_examples=60)(given_default(*strategies)(test))


# Few distinct values make ties common; floats cover the rest. Sizes from 1, so that t·n < 1 happens often.
VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(-100, 100, allow_subnormal=False))
LOSSES = st.lists(VALUES, min_size=1, max_size=14)
TAILS = st.one_of(st.sampled_from([0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.8, 1.0]), st.floats(0.001, 1.0))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def near(a, b, tol=1e-10):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    return torch.allclose(a, b, rtol=tol, atol=tol)


def loop_weights(losses, tail, mass=None):
    """The definition, one sample at a time: take the worst until the tail is full, sharing ties by mass."""
    mass = [1.0] * len(losses) if mass is None else list(mass)
    left = limit = tail * sum(mass)
    weights = [0.0] * len(losses)
    for value in sorted(set(losses), reverse=True):
        tied = [i for i, x in enumerate(losses) if x == value]
        held = sum(mass[i] for i in tied)
        taken = min(held, max(left, 0.0))
        left -= held
        for i in tied:
            weights[i] = mass[i] / held * taken / limit if held else 0.0
    return weights


# ---- CVaR: the value ----


def test_worked_examples():
    ten = torch.arange(1.0, 11.0)
    assert risk.cvar(ten, 0.2).item() == pytest.approx(9.5)
    assert risk.cvar(ten, 0.8).item() == pytest.approx(6.5)  # the released code's 5.625 averages the other end
    assert risk.cvar(tensor([1.0, 2.0, 3.0, 4.0]), 0.6).item() == pytest.approx(3.25, abs=1e-12)  # no interpolation


@given(LOSSES, TAILS)
@example([1.0], 0.001)
@example([2.0, 2.0, 2.0, -1.0], 0.5)
def test_weights_are_the_definition(values, t):
    assert near(risk.cvar_weights(tensor(values), t), loop_weights(values, t))


@given(LOSSES)
def test_tail_one_is_the_mean_and_a_tiny_tail_the_maximum(values):
    x = tensor(values)
    assert near(risk.cvar(x, 1.0), x.mean())
    for t in (1 / len(values), 0.5 / len(values), 1e-300, 5e-324):
        assert near(risk.cvar(x, t), x.max())
    assert (risk.cvar_weights(x, 1.0) == 1 / len(values)).all()  # exactly the gradient of a mean


@given(LOSSES, TAILS, TAILS, st.floats(0, 1))
def test_monotone_continuous_and_concave_in_the_tail(values, s, t, mix):
    x = tensor(values)
    s, t = min(s, t), max(s, t)
    assert risk.cvar(x, s) >= risk.cvar(x, t) - 1e-9
    between = mix * s + (1 - mix) * t
    parts = mix * s * risk.cvar(x, s) + (1 - mix) * t * risk.cvar(x, t)
    assert between * risk.cvar(x, between) >= parts - 1e-9
    if t < 1:
        assert abs(risk.cvar(x, t) - risk.cvar(x, min(1.0, t * (1 + 1e-9)))) < 1e-6
    assert x.mean() - 1e-9 <= risk.cvar(x, t) <= x.max() + 1e-9


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12), TAILS, st.floats(-50, 50), st.floats(0, 20))
def test_coherent(pairs, t, shift, scale):
    x, y = tensor([a for a, _ in pairs]), tensor([b for _, b in pairs])
    assert near(risk.cvar(x + shift, t), risk.cvar(x, t) + shift, 1e-9)
    assert near(risk.cvar(scale * x, t), scale * risk.cvar(x, t), 1e-9)
    for m in (0.25, 0.5, 0.9):
        assert risk.cvar(m * x + (1 - m) * y, t) <= m * risk.cvar(x, t) + (1 - m) * risk.cvar(y, t) + 1e-9
    assert risk.cvar(torch.minimum(x, y), t) <= risk.cvar(x, t) + 1e-9


@given(LOSSES, TAILS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_permuting_permutes_the_weights_exactly_and_replicating_changes_nothing(values, t, random, copies):
    x, order = tensor(values), list(range(len(values)))
    random.shuffle(order)
    assert torch.equal(risk.cvar_weights(x[order], t), risk.cvar_weights(x, t)[order])
    assert near(risk.cvar(x.repeat(copies), t), risk.cvar(x, t))
    assert near(risk.cvar_weights(x.repeat(copies), t).reshape(copies, -1).sum(0), risk.cvar_weights(x, t))


@given(LOSSES, TAILS)
def test_equals_the_linear_programme(values, t):
    """CVaR is the largest mean under weights of at most 1/(t·n)."""
    n = len(values)
    solved = linprog(-np.array(values), A_eq=np.ones((1, n)), b_eq=[1.0], bounds=[(0, 1 / (t * n))] * n)
    assert risk.cvar(tensor(values), t).item() == pytest.approx(-solved.fun, rel=1e-6, abs=1e-6)


@given(LOSSES, TAILS)
def test_equals_the_rockafellar_uryasev_minimum(values, t):
    x = tensor(values)
    at_samples = risk.rockafellar_uryasev(x, t, x)
    assert near(at_samples.min(), risk.cvar(x, t), 1e-9)
    anywhere = risk.rockafellar_uryasev(x, t, torch.linspace(-120, 120, 97, dtype=torch.float64))
    assert (anywhere >= risk.cvar(x, t) - 1e-9).all()


def test_rockafellar_uryasev_broadcasts_and_is_differentiable_in_the_threshold():
    x, eta = torch.randn(3, 8, dtype=torch.float64), tensor([-1.0, 0.0, 1.0, 2.0])
    grid = risk.rockafellar_uryasev(x, 0.3, eta[:, None])
    assert grid.shape == (4, 3)
    assert near(grid[2, 1], 1.0 + (x[1] - 1.0).clamp(min=0).mean() / 0.3)
    edge = tensor([0.5, 0.5, 0.5]).requires_grad_()
    risk.rockafellar_uryasev(x, 0.3, edge).sum().backward()
    assert near(edge.grad, 1 - (x > 0.5).double().mean(-1) / 0.3)


@pytest.mark.parametrize("t", [0.05, 0.1, 0.37, 1.0])
def test_closed_forms(t):
    """At the quantiles of a large sample: exponential 1 + ln(1/t), uniform on [0, 1] 1 − t/2."""
    p = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    assert risk.cvar(p, t).item() == pytest.approx(1 - t / 2, abs=1e-5)
    assert risk.cvar(-(1 - p).log(), t).item() == pytest.approx(1 + math.log(1 / t), abs=1e-3)


def test_small_batches_are_biased_as_documented():
    draws = torch.empty(20_000, 128, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(0))
    for n, expected in ((8, 2.72), (32, 3.16), (128, 3.27)):
        assert risk.cvar(draws[:, :n], 0.1).mean().item() == pytest.approx(expected, abs=0.03)


# ---- CVaR: the gradient ----


@given(LOSSES, TAILS)
def test_gradient_is_the_weights(values, t):
    x = tensor(values).requires_grad_()
    value = risk.cvar(x, t)
    (grad,) = torch.autograd.grad(value, x)
    assert torch.equal(grad, risk.cvar_weights(x, t))
    assert not risk.cvar_weights(x, t).requires_grad
    assert (grad >= 0).all() and near(grad.sum(), 1.0)
    assert (grad <= 1 / (t * len(values)) * (1 + 1e-12)).all()
    assert near(grad @ x.detach(), value.detach())  # Euler's identity: catches a graph that was cut


def test_gradcheck():
    x = tensor([[0.3, -1.0, 2.0, 0.7, 1.1], [4.0, 3.0, -2.0, 0.1, 0.0]]).requires_grad_()
    groups = torch.tensor([[0, 1, 0, 1, 2], [1, 1, 0, -1, 0]])
    weights = tensor([[0.5, 2.0, 1.0, 0.0, 3.0], [1.0, 1.5, 0.2, 4.0, 0.7]])
    for t in (0.1, 0.5, 0.77, 1.0):
        assert torch.autograd.gradcheck(lambda v, t=t: risk.cvar(v, t), x)
        assert torch.autograd.gradcheck(lambda v, t=t: risk.cvar(v, t, weights), x)
        assert torch.autograd.gradcheck(lambda v, t=t: risk.robust_risk(v, groups, 3, t, 1.0, 0.5, 0.2), x)
        assert torch.autograd.gradcheck(lambda v, t=t: risk.group_cvar(v, groups, 3, t).mean(), x)
        assert torch.autograd.gradcheck(lambda v, t=t: risk.group_cvar(v, groups, 3, t).worst(), x)


def test_second_derivatives_go_through_the_losses():
    """Gradient matching differentiates the gradient of the risk once more."""
    theta = tensor([0.3, -0.2]).requires_grad_()
    features = tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]])
    losses = lambda p: (features @ p).exp()  # noqa: E731
    weights = risk.cvar_weights(losses(theta), 0.5)
    ours = torch.autograd.functional.hessian(lambda p: risk.cvar(losses(p), 0.5), theta)
    assert near(ours, torch.autograd.functional.hessian(lambda p: weights @ losses(p), theta))
    assert ours.abs().sum() > 0


# ---- sample weights, batches, tails, dtypes ----


COUNTED = st.lists(st.tuples(VALUES, st.integers(0, 4)), min_size=1, max_size=12)


@given(COUNTED.filter(lambda pairs: any(count for _, count in pairs)), TAILS)
def test_integer_weights_equal_replication(pairs, t):
    x, c = tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])
    weighted = risk.cvar_weights(x, t, c)
    assert near(risk.cvar(x, t, c), risk.cvar(x.repeat_interleave(c), t))
    assert near(weighted, loop_weights(x.tolist(), t, c.tolist()))
    assert near(risk.cvar_weights(x, t, 7.3 * c.double()), weighted)  # only proportions matter
    assert torch.equal(risk.cvar_weights(x, t, c.bool()) > 0, risk.cvar_weights(x, t, c.bool().double()) > 0)


def test_light_groups_survive_beside_heavy_ones():
    x, groups = tensor([1.0, 2.0, 3.0, 1.0, 2.0, 3.0]), torch.tensor([0, 0, 0, 1, 1, 1])
    c = tensor([1e12, 1e12, 1e12, 1e-12, 1e-12, 1e-12])
    assert near(risk.group_cvar(x, groups, 2, 0.5, c).values, [8 / 3, 8 / 3])


def test_batched_equals_a_loop_over_rows():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-3, 4, (3, 4, 17), generator=generator).double()
    groups = torch.randint(-1, 5, x.shape, generator=generator)
    c = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    for t, weights in itertools.product((0.1, 0.6, 1.0), (None, c)):
        value, shares = risk.cvar(x, t, weights), risk.robust_weights(x, groups, 5, t, 1, 2, 0.5, weights)
        cells = risk.group_cvar(x, groups, 5, t, weights)
        assert value.shape == (3, 4) and cells.values.shape == (3, 4, 5) and cells.empty.shape == (3, 4)
        for i in itertools.product(range(3), range(4)):
            row = None if weights is None else weights[i]
            assert near(value[i], risk.cvar(x[i], t, row))
            assert near(shares[i], risk.robust_weights(x[i], groups[i], 5, t, 1, 2, 0.5, row))
            alone = risk.group_cvar(x[i], groups[i], 5, t, row)
            assert torch.allclose(cells.values[i], alone.values, equal_nan=True)
            assert torch.equal(cells.counts[i], alone.counts)


def test_a_tensor_of_tails_is_a_curve_or_one_tail_a_problem():
    x = torch.randn(4, 9, dtype=torch.float64)
    tails = tensor([0.1, 0.3, 0.5, 1.0])
    curve = risk.cvar(x[0], tails)
    assert near(curve, torch.stack([risk.cvar(x[0], float(t)) for t in tails]))
    each = risk.cvar(x, tails)
    assert near(each, torch.stack([risk.cvar(row, float(t)) for row, t in zip(x, tails)]))
    assert risk.cvar(x, tails[:, None, None]).shape == (4, 1, 4)
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 1, -1, 2])
    many = risk.group_cvar(x[0], groups, 3, tails)
    assert near(many.values, torch.stack([risk.group_cvar(x[0], groups, 3, float(t)).values for t in tails]))
    shares = risk.robust_weights(x[0], groups, 3, tails, erm_weight=0.3)
    assert near(shares[1], risk.robust_weights(x[0], groups, 3, 0.3, erm_weight=0.3))
    assert near(many.worst(), many.values.amax(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype):
    x = (torch.rand(4096, generator=torch.Generator().manual_seed(0)) * 60_000).to(dtype).requires_grad_()
    value = risk.cvar(x, 0.3)
    assert value.dtype == torch.float32
    assert near(value, risk.cvar(x.detach().double(), 0.3), 1e-5)  # neither overflow nor a sum in 8 bits
    value.backward()
    assert x.grad.dtype == dtype and x.grad.sum().item() == pytest.approx(1.0, abs=0.02)
    groups = torch.arange(4096) % 3
    assert risk.group_cvar(x, groups, 3, 0.3).values.dtype == torch.float32
    assert near(risk.robust_weights(x, groups, 3, 0.3).sum(), 1.0, 1e-5)
    assert risk.rockafellar_uryasev(x, 0.3, 100.0).dtype == torch.float32


def test_float32_at_size():
    """Ranks are counted exactly: at 300,000 samples float32 sums of ones would still do, sums of 1/n would not."""
    x = torch.rand(300_000, generator=torch.Generator().manual_seed(0))
    assert risk.cvar(x, 0.1).item() == pytest.approx(
        x.double().sort(descending=True).values[:30_000].mean().item(), rel=1e-6
    )
    assert int((risk.cvar_weights(x, 0.1) > 0).sum()) in (30_000, 30_001)


# ---- groups ----

GROUPED = st.lists(st.tuples(VALUES, st.integers(-1, 4), st.integers(0, 3)), min_size=1, max_size=20)


@given(GROUPED, TAILS, st.booleans())
def test_groups_equal_a_loop_over_groups(rows, t, weighted):
    x, groups, c = tensor([a for a, *_ in rows]), torch.tensor([g for _, g, _ in rows]), tensor([w for *_, w in rows])
    weights = c if weighted else None
    within, counts = risk.group_cvar_weights(x, groups, 5, t, weights)
    found = risk.group_cvar(x, groups, 5, t, weights)
    assert (within[groups == -1] == 0).all() and counts.dtype == torch.int64
    assert torch.equal(found.counts, counts) and torch.equal(found.present, counts > 0)
    assert found.empty == (counts == 0).sum()
    for g in range(5):
        mine = (groups == g) & ((c > 0) if weighted else True)
        assert counts[g] == mine.sum()
        if mine.any():
            row = c[mine] if weighted else None
            assert near(within[mine], risk.cvar_weights(x[mine], t, row))
            assert near(found.values[g], risk.cvar(x[mine], t, row))
            assert near(within[groups == g].sum(), 1.0)
        else:
            assert found.values[g].isnan() and (within[groups == g] == 0).all()


def test_small_groups_are_not_padded_with_zeros():
    """The released code pads every cell with zero losses, so that a small cell looks harmless."""
    x, groups = tensor([5.0, *[1.0] * 50]), torch.tensor([1, *[0] * 50])
    found = risk.group_cvar(x, groups, 2, 0.8)
    assert found.values.tolist() == [pytest.approx(1.0), 5.0] and found.worst() == 5.0
    negative = risk.group_cvar(-x, groups, 2, 0.5)
    assert negative.values.tolist() == [pytest.approx(-1.0), -5.0]


def test_empty_groups_are_skipped_and_counted():
    x, groups = tensor([-3.0, -1.0, 7.0]), torch.tensor([2, 2, -1])
    found = risk.group_cvar(x.requires_grad_(), groups, 4, 0.5)
    assert found.empty == 3 and found.counts.tolist() == [0, 0, 2, 0]
    assert found.values.isnan().tolist() == [True, True, False, True]
    assert found.mean() == -1.0 and found.worst() == -1.0  # an empty group at risk 0 would be the worst
    (grad,) = torch.autograd.grad(found.mean() + found.worst(), x)
    assert grad.tolist() == [0.0, 2.0, 0.0]  # no NaN leaks back
    none = risk.group_cvar(x, torch.tensor([-1, -1, -1]), 2, 0.5)
    assert none.empty == 2 and none.mean().isnan() and none.worst().isnan()


def test_effective_tail():
    counts = torch.tensor([[1, 4, 10], [0, 30, 7]])
    found = risk.effective_tail(counts, 0.2)
    assert torch.allclose(found, torch.tensor([[1.0, 0.25, 0.2], [math.nan, 0.2, 0.2]]), equal_nan=True)
    assert torch.allclose(risk.effective_tail(counts, tensor([0.5, 0.1]))[:, 1], torch.tensor([0.5, 0.1]))
    # It is the share really averaged: one sample out of four.
    assert (risk.cvar_weights(tensor([1.0, 2.0, 3.0, 4.0]), 0.2) > 0).double().mean() == 0.25


# ---- the double robust objective ----

PART = st.sampled_from([0.0, 0.5, 1.0, 3.0])


@given(GROUPED, TAILS, PART, PART, PART, st.booleans())
def test_robust_weights_are_the_gradient_of_the_objective(rows, t, mean, worst, erm, weighted):
    x, groups, c = tensor([a for a, *_ in rows]), torch.tensor([g for _, g, _ in rows]), tensor([w for *_, w in rows])
    weights = c if weighted else None
    arguments = (groups, 5, t, mean, worst, erm, weights)
    if mean + worst + erm == 0 or not ((groups >= 0) & ((c > 0) if weighted else True)).any():
        with pytest.raises(RddError):
            risk.robust_weights(x, *arguments)
        return
    x.requires_grad_()
    value, shares = risk.robust_risk(x, *arguments), risk.robust_weights(x, *arguments)
    assert not shares.requires_grad and (shares >= 0).all() and near(shares.sum(), 1.0)
    (grad,) = torch.autograd.grad(value, x)
    assert torch.equal(grad, shares)
    cells = risk.group_cvar(x, groups, 5, t, weights)
    plain = (x * c).sum() / c.sum() if weighted else x.mean()
    assert near(value, (mean * cells.mean() + worst * cells.worst() + erm * plain) / (mean + worst + erm), 1e-9)
    # A subgradient supports the (convex) objective from below, at any other point.
    other = x.detach().flip(0) + 0.5
    assert risk.robust_risk(other, *arguments) >= value + shares @ (other - x) - 1e-7


@given(GROUPED, TAILS, st.lists(st.sampled_from([0.0, 0.2, 1.0, 5.0]), min_size=5, max_size=5))
def test_group_shares_weigh_the_mean_over_groups(rows, t, parts):
    x, groups = tensor([a for a, *_ in rows]), torch.tensor([g for _, g, _ in rows])
    parts = torch.tensor(parts, dtype=torch.float64)
    cells = risk.group_cvar(x, groups, 5, t)
    there = parts * cells.present
    if there.sum() == 0:
        with pytest.raises(RddError):
            risk.robust_risk(x, groups, 5, t, 1, 2, group_shares=parts)
        return
    expected = ((there * cells.values.nan_to_num()).sum() / there.sum() + 2 * cells.worst()) / 3
    assert near(risk.robust_risk(x, groups, 5, t, 1, 2, group_shares=parts), expected, 1e-9)
    alike = risk.robust_weights(x, groups, 5, t, 1, 2, group_shares=torch.ones(5))
    assert near(alike, risk.robust_weights(x, groups, 5, t, 1, 2), 1e-12)


def test_groups_that_tie_for_the_maximum_share_it():
    x, groups = torch.tensor([3.0, 1.0, 1.0, 3.0, 2.0]), torch.tensor([0, 0, 1, 1, 2])
    shares = risk.robust_weights(x, groups, 4, 0.5, mean_weight=0.0)
    assert shares.tolist() == [0.5, 0.0, 0.0, 0.5, 0.0]
    all_equal = risk.robust_weights(torch.ones(6), torch.tensor([0, 0, 0, 0, 1, 2]), 3, 0.1)
    assert near(all_equal, [1 / 12] * 4 + [1 / 3] * 2, 1e-6)


def test_one_group_at_tail_one_is_erm():
    x, groups = torch.randn(12), torch.zeros(12, dtype=torch.int64)
    for parts in ((1, 1, 0), (0, 1, 0), (1, 0, 2)):
        assert near(risk.robust_weights(x, groups, 1, 1.0, *parts), [1 / 12] * 12, 1e-6)


def test_padding_of_weight_zero_changes_nothing():
    x, groups = tensor([5.0, 1.0, 2.0]), torch.tensor([0, 0, 1])
    alone = risk.robust_weights(x, groups, 2, 0.5, 1, 1, 1)
    padded = risk.robust_weights(
        tensor([5.0, 1.0, 2.0, 99.0, 99.0]), torch.tensor([0, 0, 1, 1, -1]), 2, 0.5, 1, 1, 1, tensor([1, 1, 1, 0, 0])
    )
    assert near(padded, [*alone.tolist(), 0.0, 0.0])


def train(objective, steps=30):
    """Logistic regression from one seed, by gradient descent on an objective of the losses."""
    generator = torch.Generator().manual_seed(0)
    inputs, noise = torch.randn(64, 3, generator=generator), torch.randn(64, generator=generator)
    labels = (inputs[:, 0] + noise > 0).float()
    groups = torch.arange(64) % 4
    theta = torch.zeros(4, requires_grad=True)
    for _ in range(steps):
        logits = inputs @ theta[:3] + theta[3]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        (grad,) = torch.autograd.grad(objective(losses, groups), theta)
        theta = (theta - 0.5 * grad).detach().requires_grad_()
    return theta.detach()


def test_training_feels_the_tail():
    """The check that the released code fails: its robust step equals the plain one to the last bit."""
    plain = train(lambda losses, groups: losses.mean())
    assert torch.equal(train(lambda losses, groups: risk.cvar(losses, 1.0)), plain)
    assert (train(lambda losses, groups: risk.cvar(losses, 0.1)) - plain).abs().max() > 0.05
    assert (train(lambda losses, groups: risk.robust_risk(losses, groups, 4, 0.2)) - plain).abs().max() > 0.05


# ---- group DRO ----


def test_group_dro_is_the_textbook_update():
    dro, q = risk.GroupDRO(4, step=0.3), np.full(4, 0.25)
    for losses in np.random.default_rng(0).normal(size=(20, 4)):
        q = q * np.exp(0.3 * losses)
        q /= q.sum()
        assert near(dro.update(tensor(losses)), q) and near(dro.weights, q)


@given(st.lists(st.tuples(st.lists(st.floats(-5, 50), min_size=5, max_size=5), st.integers(0, 31)), max_size=12), PART)
def test_group_dro_keeps_absent_groups_and_the_floor(batches, share):
    floor = min(share, 1.0) / 5
    dro = risk.GroupDRO(5, step=0.7, floor=floor)
    for losses, mask in batches:
        present = torch.tensor([bool(mask >> g & 1) for g in range(5)])
        before = dro.weights
        after = dro.update(tensor(losses).where(present, math.nan), present)
        assert torch.equal(after[~present], before[~present])
        assert near(after.sum(), 1.0) and (after >= floor * (1 - 1e-9)).all() and after.isfinite().all()


def test_the_floor_is_the_projection():
    """Of the weights above the floor, the one nearest (in relative entropy) to the free update; found by search."""
    dro, losses, floor = risk.GroupDRO(3, step=1.0, floor=0.15), tensor([3.0, 2.0, 0.0]), 0.15
    free = losses.softmax(0)
    found = dro.update(losses)
    grid = [tensor([a, b, 1 - a - b]) for a in np.linspace(0.15, 0.7, 111) for b in np.linspace(0.15, 0.7, 111)]
    grid = torch.stack([q for q in grid if q[2] >= floor])
    entropy = lambda q: (q * (q / free).log()).sum(-1)  # noqa: E731
    assert found[2].item() == pytest.approx(floor) and entropy(found) <= entropy(grid).min() + 1e-12
    assert (found[0] / found[1]).item() == pytest.approx((free[0] / free[1]).item())  # the others keep their odds


def test_group_dro_comes_back_from_far_below_the_smallest_float():
    dro = risk.GroupDRO(2, step=1.0)
    for losses in ([2000.0, 0.0], [0.0, 2000.0]):
        dro.update(tensor(losses))
    assert near(dro.weights, [0.5, 0.5])
    dro.update(tensor([math.nan, math.nan]), torch.tensor([False, False]))
    assert near(dro.weights, [0.5, 0.5])


def test_group_dro_takes_a_group_risk_and_a_checkpoint():
    dro = risk.GroupDRO(3, step=0.5, floor=0.01)
    found = risk.group_cvar(torch.tensor([1.0, 2.0, 3.0]).requires_grad_(), torch.tensor([0, 2, 2]), 3, 0.5)
    dro.update(found.values, found.present)
    assert not dro.weights.requires_grad and dro.weights[1].item() == pytest.approx(1 / 3)
    held = io.BytesIO()
    torch.save(dro.state_dict(), held)
    held.seek(0)
    other = risk.GroupDRO(3, step=0.5, floor=0.01)
    other.load_state_dict(torch.load(held, weights_only=True))
    assert torch.equal(other.weights, dro.weights)
    other.update(torch.ones(3) * torch.arange(3))
    assert not torch.equal(other.weights, dro.weights)  # a copy, not a share
    for bad in ({}, {"log_q": torch.zeros(4)}, {"log_q": tensor([0.0, -50.0, -50.0])}):
        with pytest.raises(RddError, match="not a state of group DRO over 3 groups"):
            other.load_state_dict(bad)


# ---- the dual form ----


def test_the_dual_form_is_unbiased_where_the_batch_form_is_not():
    """Batches of 8 exponential losses a group at tail 0.1: the truth is 3.30, the batch form says 2.72."""
    generator = torch.Generator().manual_seed(0)
    dual, groups = risk.DualCVaR(40, tail=0.1), torch.arange(40).repeat_interleave(8)
    seen, batch = [], []
    for _ in range(600):
        losses = torch.empty(320, dtype=torch.float64).exponential_(generator=generator)
        seen.append(dual.update(losses, groups).values)
        batch.append(risk.group_cvar(losses, groups, 40, 0.1).values)
    assert torch.stack(seen[200:]).mean().item() == pytest.approx(1 + math.log(10), abs=0.05)
    assert torch.stack(batch[200:]).mean().item() == pytest.approx(2.72, abs=0.05)
    assert dual.eta.mean().item() == pytest.approx(math.log(10), abs=0.15)


def test_the_dual_form_leaves_absent_groups_and_has_the_right_gradient():
    dual = risk.DualCVaR(3, tail=0.5, lr=0.1)
    x = tensor([1.0, 3.0, 5.0, 9.0]).requires_grad_()
    found = dual.update(x, torch.tensor([0, 0, 2, -1]))
    assert found.values[[0, 2]].tolist() == [3.0, 5.0]  # thresholds start at the means 2 and 5; 2 + mean(0, 1)/0.5
    assert found.values[1].isnan() and found.present.tolist() == [True, False, True]
    assert dual.eta[1].isnan() and dual.eta[0].item() == pytest.approx(2.0)  # half the losses lie beyond: no move
    assert dual.eta[2].item() == pytest.approx(4.9)
    (grad,) = torch.autograd.grad(found.values[0], x)
    assert grad.tolist() == [0.0, 1.0, 0.0, 0.0]
    before = dual.eta.clone()
    dual.update(x, torch.tensor([0, 0, -1, -1]))
    assert dual.eta[2] == before[2]
    fresh = risk.DualCVaR(2, tail=0.5)  # a sample of no group borrows no threshold, least of all one not yet set
    assert fresh.update(x, torch.tensor([-1, 1, 1, -1])).values[1] == 5.0


# ---- bad input, and devices ----

THREE, IDS = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, -1])
FAULTS = {
    "tail 0": (lambda: risk.cvar(THREE, 0.0), "tail must lie in (0, 1], got 0.0"),
    "tail 1.5": (lambda: risk.group_cvar(THREE, IDS, 2, 1.5), "got 1.5"),
    "tail nan": (lambda: risk.rockafellar_uryasev(THREE, math.nan, 0.0), "got nan"),
    "one bad tail": (lambda: risk.cvar(THREE, torch.tensor([0.5, -0.25])), "got -0.25"),
    "effective": (lambda: risk.effective_tail(torch.tensor([3]), 2.0), "got 2.0"),
    "dual": (lambda: risk.DualCVaR(2, tail=7.0), "got 7.0"),
    "nan": (lambda: risk.cvar(torch.tensor([1.0, math.nan]), 0.5), "1 of 2 losses are not finite"),
    "inf": (lambda: risk.robust_risk(THREE * math.inf, IDS, 2, 0.5), "3 of 3 losses are not finite"),
    "nan in eta": (lambda: risk.rockafellar_uryasev(THREE * math.nan, 0.5, 0.0), "3 of 3 losses are not finite"),
    "empty": (lambda: risk.cvar(torch.empty(0), 0.5), "N ≥ 1"),
    "empty rows": (lambda: risk.cvar(torch.empty(3, 0), 0.5), "[3, 0]"),
    "scalar": (lambda: risk.cvar(torch.tensor(1.0), 0.5), "losses must be floats [..., N]"),
    "integers": (lambda: risk.cvar(torch.tensor([1, 2]), 0.5), "got torch.int64 [2]"),
    "groups shape": (lambda: risk.group_cvar(THREE, IDS[:2], 2, 0.5), "groups [2] on cpu must match the losses [3]"),
    "weights shape": (lambda: risk.cvar(THREE, 0.5, torch.ones(1, 3)), "weights [1, 3] on cpu must match"),
    "groups dtype": (lambda: risk.group_cvar(THREE, IDS.float(), 2, 0.5), "groups must be int64"),
    "num_groups": (lambda: risk.group_cvar(THREE, IDS, 0, 0.5), "num_groups 0"),
    "id too high": (lambda: risk.group_cvar(THREE, IDS, 1, 0.5), "1 of 3 group ids lie outside -1 … 0"),
    "id too low": (lambda: risk.group_cvar(THREE, IDS - 1, 2, 0.5), "1 of 3 group ids lie outside -1 … 1"),
    "negative": (lambda: risk.cvar(THREE, 0.5, torch.tensor([1.0, -1.0, 0.0])), "1 of 3 sample weights are negative"),
    "nan weight": (lambda: risk.cvar(THREE, 0.5, THREE * math.nan), "3 of 3 sample weights"),
    "no weight": (lambda: risk.cvar(THREE.expand(2, 3), 0.5, torch.tensor([[0.0] * 3, [1.0] * 3])), "1 of 2 problems"),
    "no group": (lambda: risk.robust_weights(THREE, IDS * 0 - 1, 2, 0.5, erm_weight=1.0), "problems have no group"),
    "all zero": (lambda: risk.robust_weights(THREE, IDS, 2, 0.5, 0, 0, 0), "not all zero"),
    "negative part": (lambda: risk.robust_risk(THREE, IDS, 2, 0.5, 1, -1, 1), "nonnegative"),
    "dro size": (lambda: risk.GroupDRO(0), "num_groups ≥ 1"),
    "dro step": (lambda: risk.GroupDRO(2, step=math.nan), "step ≥ 0"),
    "dro floor": (lambda: risk.GroupDRO(2, floor=0.6), "floor ≤ 1/num_groups"),
    "dro shape": (lambda: risk.GroupDRO(2).update(THREE), "group DRO over 2 groups"),
    "dro present": (lambda: risk.GroupDRO(3).update(THREE, torch.ones(3)), "a bool `present`"),
    "dro nan": (lambda: risk.GroupDRO(3).update(THREE * math.nan), "3 of 3 groups are present but"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_refused_in_one_line(name):
    call, message = FAULTS[name]
    with pytest.raises(RddError) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_where_values_cannot_be_read_bad_ones_become_nan(monkeypatch):
    """What happens on an accelerator, played on the CPU: no look at a value, and no fault that passes unseen."""
    monkeypatch.setattr("rdd_nb.models.risk.validation.readable", lambda x: False)
    x, groups = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[0, 1, -1], [1, 1, 0]])

    def spoils_only_the_first_row(losses=x, groups=groups, tail=0.5, weights=None, through_groups=True):
        found = [risk.robust_weights(losses, groups, 2, tail, 1, 1, 1, weights)]
        if through_groups:
            found.append(risk.group_cvar_weights(losses, groups, 2, tail, weights)[0])
        for w in found:
            assert w[0].isnan().all() and near(w[1].isfinite().sum(), 3)

    for value in (math.nan, math.inf, -math.inf):
        for i in range(3):  # also where the sample belongs to no group
            losses = x.clone()
            losses[0, i] = value
            spoils_only_the_first_row(losses)
            assert risk.cvar(losses, 0.5).isnan().tolist() == [True, False]
    spoils_only_the_first_row(groups=torch.tensor([[0, 2, -1], [1, 1, 0]]))
    spoils_only_the_first_row(groups=torch.tensor([[0, 1, -2], [1, 1, 0]]))
    spoils_only_the_first_row(weights=tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]))
    spoils_only_the_first_row(tail=tensor([1.5, 0.5]))
    spoils_only_the_first_row(groups=torch.tensor([[-1, -1, -1], [1, 1, 0]]), through_groups=False)
    assert risk.cvar(x, 0.5, tensor([[0.0] * 3, [1.0] * 3])).isnan().tolist() == [True, False]


def test_nothing_waits_for_the_device_or_assumes_one():
    """On the meta device there are no values: a read of one, or a tensor left on the CPU, fails."""
    x = torch.empty(3, 16, device="meta", requires_grad=True)
    groups, c = torch.zeros(3, 16, dtype=torch.int64, device="meta"), torch.ones(3, 16, device="meta")
    assert risk.cvar(x, 0.2, c).device.type == "meta"
    assert risk.cvar(x, torch.full((3,), 0.5, device="meta")).shape == (3,)
    risk.robust_risk(x, groups, 4, 0.2, 1, 1, 1, c).sum().backward()
    assert x.grad.device.type == "meta"
    found = risk.group_cvar(x, groups, 4, 0.2)
    assert found.worst().shape == found.mean().shape == (3,)
    assert risk.effective_tail(found.counts, 0.1).device.type == "meta"
    assert risk.rockafellar_uryasev(x, 0.5, 0.3).shape == (3,)
    dro = risk.GroupDRO(4, floor=0.01, device="meta")
    assert dro.update(found.values[0], found.present[0]).device.type == "meta"
    assert risk.DualCVaR(4, 0.1, device="meta").update(x[0], groups[0]).values.device.type == "meta"


def test_the_same_under_inference_mode_and_with_a_graph_around():
    x, groups = torch.randn(10), torch.arange(10) % 3
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        still = risk.robust_risk(x, groups, 3, 0.4)
    assert torch.equal(still, risk.robust_risk(x, groups, 3, 0.4))
