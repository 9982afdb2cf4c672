import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rdd_nb.core.errors import RddError
from rdd_nb.distillation.matching.distribution import coverage_losses, distribution_loss
from rdd_nb.distillation.matching.gradient import gradient_distance, gradient_loss, gradient_losses
from rdd_nb.distillation.matching.objectives import OBJECTIVES, group_means_weights, objective_weights
from rdd_nb.models import risk
from tests.helpers import rng


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)


def ids(*shape, groups, seed=0):
    return torch.randint(groups, shape, generator=rng(seed))


def unused():
    raise AssertionError("the losses were not needed")


# --- weights ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 6), st.integers(0, 99))
def test_group_means_weights_take_each_present_groups_mean(classes, batch, num_groups, seed):
    groups = ids(classes, batch, groups=num_groups, seed=seed)
    weights, shares = group_means_weights(groups, num_groups)
    assert weights.shape == (classes, num_groups, batch) and shares.shape == (classes, num_groups)
    for c in range(classes):
        there = set(groups[c].tolist())
        for g in range(num_groups):
            expected = torch.zeros(batch)
            for j in range(batch):
                if groups[c, j] == g:
                    expected[j] = 1 / sum(int(k) == g for k in groups[c])
            torch.testing.assert_close(weights[c, g], expected)
            torch.testing.assert_close(shares[c, g], torch.tensor(1 / len(there) if g in there else 0.0))


def test_plain_objectives_weigh_every_sample_the_same_and_never_look_at_losses():
    groups = ids(3, 5, groups=2)
    for objective in ("erm", "density"):
        weights, shares = objective_weights(objective, unused, groups, 2, tail=0.1)
        torch.testing.assert_close(weights, torch.full((3, 1, 5), 0.2))
        torch.testing.assert_close(shares, torch.ones(3, 1))


def test_the_group_objective_needs_no_losses_and_is_the_group_means():
    groups = ids(3, 6, groups=4)
    found, expected = objective_weights("group", unused, groups, 4), group_means_weights(groups, 4)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_robust_weights_are_those_of_the_double_objective_and_carry_no_gradient():
    losses = randn(3, 12, dtype=torch.float32).exp().requires_grad_()
    groups = ids(3, 12, groups=3)
    weights, shares = objective_weights("robust", lambda: losses, groups, 3, 0.3, mean_weight=1.0, max_weight=2.0)
    expected = risk.robust_weights(losses.detach(), groups, 3, 0.3, 1.0, 2.0)
    assert weights.shape == (3, 1, 12) and not weights.requires_grad and not shares.requires_grad
    torch.testing.assert_close(weights[:, 0], expected)
    torch.testing.assert_close(shares, torch.ones(3, 1))
    swapped = objective_weights("robust", lambda: losses, groups, 3, 0.3, mean_weight=2.0, max_weight=1.0)[0]
    assert not torch.allclose(weights, swapped)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_sum_to_one_where_their_group_is_present(objective):
    losses, groups = randn(2, 7).exp(), ids(2, 7, groups=5)
    weights, shares = objective_weights(objective, lambda: losses, groups, 5, 0.25)
    torch.testing.assert_close(weights.double().sum(2), (shares > 0).double())
    torch.testing.assert_close(shares.sum(1).double(), torch.ones(2).double())


def test_robust_weights_of_one_group_and_the_whole_tail_are_the_plain_ones():
    losses, groups = randn(2, 6).exp(), torch.zeros(2, 6, dtype=torch.int64)
    robust = objective_weights("robust", lambda: losses, groups, 1, tail=1.0)[0]
    torch.testing.assert_close(robust.float(), objective_weights("erm", unused, groups, 1)[0])


def test_an_unknown_objective_is_refused_with_the_nearest():
    with pytest.raises(RddError, match="did you mean 'robust'"):
        objective_weights("robst", unused, torch.zeros(1, 2, dtype=torch.int64), 1)


# --- distributions ------------------------------------------------------------------------------------------------


def test_coverage_is_the_squared_distance_to_the_nearest_synthetic_sample_per_dimension():
    real, synthetic = randn(2, 40, 3, seed=1), randn(2, 30, 3, seed=2)
    found = coverage_losses(real, synthetic)
    assert found.shape == (2, 40)
    for c in range(2):
        for j in range(40):
            nearest = min(float((real[c, j] - s).square().sum()) for s in synthetic[c])
            assert float(found[c, j]) == pytest.approx(nearest / 3, rel=1e-6, abs=1e-9)


def test_distribution_loss_equals_loops():
    real, synthetic = randn(2, 5, 3, seed=1), randn(2, 4, 3, seed=2)
    weights, shares = randn(2, 3, 5, seed=3).softmax(2), randn(2, 3, seed=4).softmax(1)
    expected = 0.0
    for c in range(2):
        ours = sum(synthetic[c, m] for m in range(4)) / 4
        for r in range(3):
            target = sum(weights[c, r, j] * real[c, j] for j in range(5))
            expected += float(shares[c, r]) * float((target - ours).square().sum())
    assert float(distribution_loss(real, synthetic, weights, shares)) == pytest.approx(expected)


def test_plain_weights_give_the_loss_of_distribution_matching():
    real, synthetic = randn(3, 6, 4, seed=1), randn(3, 2, 4, seed=2)
    weights, shares = objective_weights("erm", unused, torch.zeros(3, 6, dtype=torch.int64), 1)
    plain = ((real.mean(1) - synthetic.mean(1)) ** 2).sum()
    torch.testing.assert_close(distribution_loss(real, synthetic, weights, shares), plain, rtol=1e-6, atol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_matching_each_groups_mean_pulls_like_matching_the_group_balanced_mean(seed):
    # Σ_g ‖t_g − s‖² / G and ‖Σ_g t_g / G − s‖² differ by a constant in s.
    groups = ids(2, 9, groups=4, seed=seed)
    real, synthetic = randn(2, 9, 3, seed=seed + 1), randn(2, 2, 3, seed=seed + 2).requires_grad_()
    weights, shares = (w.double() for w in group_means_weights(groups, 4))
    apart = distribution_loss(real, synthetic, weights, shares)
    balanced = (shares[:, :, None] * weights).sum(1, keepdim=True)
    together = distribution_loss(real, synthetic, balanced, torch.ones(2, 1))
    pulls = [torch.autograd.grad(loss, synthetic)[0] for loss in (apart, together)]
    torch.testing.assert_close(*pulls)
    assert float(apart.detach()) >= float(together.detach()) - 1e-5
    sizes = [len(set(row.tolist())) for row in groups]
    centres = [torch.stack([real[c][groups[c] == g].mean(0) for g in groups[c].unique()]) for c in range(2)]
    constant = sum(float((m - m.mean(0)).square().sum()) / n for m, n in zip(centres, sizes))
    assert float(apart.detach() - together.detach()) == pytest.approx(constant, rel=1e-5)


def test_the_gradient_goes_to_the_synthetic_features():
    real, synthetic = randn(2, 9, 3, seed=1).requires_grad_(), randn(2, 2, 3, seed=2).requires_grad_()
    weights, shares = objective_weights(
        "robust", lambda: coverage_losses(real, synthetic), ids(2, 9, groups=2), 2, tail=0.5
    )
    assert not weights.requires_grad
    (found,) = torch.autograd.grad(distribution_loss(real.detach(), synthetic, weights, shares), synthetic)
    expected = 2 * (synthetic.mean(1, keepdim=True) - weights @ real).detach() / 2  # d mean / d sample = 1 / 2
    torch.testing.assert_close(found, expected.expand_as(found))


# --- gradients ----------------------------------------------------------------------------------------------------


def tiny_net(seed=0, channels=2):
    """Smooth, float64, with every kind of parameter: a convolution, a norm, a linear layer and biases."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 3, 3, padding=1),
            nn.GroupNorm(3, 3),
            nn.Softplus(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 4),
        )
    return net.double()


def erm(losses):
    return objective_weights("erm", unused, torch.zeros(losses.shape, dtype=torch.int64), 1)


def robust(tail, groups, num_groups):
    return lambda losses: objective_weights("robust", lambda: losses, groups[None], num_groups, tail)


REAL, MADE = randn(8, 2, 4, 4, seed=5), randn(3, 2, 4, 4, seed=6)


def test_gradient_distance_is_one_minus_cosine_over_every_output_row():
    shapes = [(3, 2, 2, 2), (3,), (4, 5), (4,)]
    real, made = ([randn(*s, seed=i + k) for i, s in enumerate(shapes)] for k in (0, 10))
    expected = 0.0
    for r, s in zip(real, made):
        if r.ndim == 1:
            continue
        for a, b in zip(r.reshape(len(r), -1), s.reshape(len(s), -1)):
            dot = sum(float(x * y) for x, y in zip(a, b))
            expected += 1 - dot / (float(a.norm()) * float(b.norm()))
    assert float(gradient_distance(real, made)) == pytest.approx(expected)


def test_gradient_distance_of_equal_gradients_is_zero_whatever_their_length():
    real = [randn(3, 4, seed=1), randn(3, seed=2)]
    assert float(gradient_distance(real, real)) == pytest.approx(0, abs=1e-12)
    made = [randn(3, 4, seed=3), randn(3, seed=4)]
    assert float(gradient_distance([7 * r for r in real], made)) == pytest.approx(float(gradient_distance(real, made)))
    assert float(gradient_distance([-r for r in real], real)) == pytest.approx(6)  # 2 a row
    assert float(gradient_distance(real, [made[0], -made[1]])) == float(gradient_distance(real, made))  # 1-D left out


def test_gradient_loss_of_the_real_images_themselves_is_zero():
    net = tiny_net()
    assert float(gradient_loss(net, REAL, REAL.clone(), 1, erm).detach()) == pytest.approx(0, abs=1e-5)
    assert float(gradient_loss(net, REAL, MADE, 1, erm).detach()) > 0.05


def per_sample_gradients(net, images, label):
    kept = [p for p in net.parameters() if p.ndim > 1]
    loss = [F.cross_entropy(net(x[None]), torch.tensor([label])) for x in images]
    return [torch.autograd.grad(one, kept) for one in loss], torch.stack(loss).detach()


def test_gradient_loss_matches_the_weighted_sum_of_per_sample_gradients():
    net, groups = tiny_net(), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    gradients, losses = per_sample_gradients(net, REAL, 2)
    ours, _ = per_sample_gradients(net, MADE, 2)
    mean = [sum(g[k] for g in ours) / len(ours) for k in range(2)]
    for weigh in (erm, robust(0.4, groups, 3), lambda _: group_means_weights(groups[None], 4)):
        weights, shares = weigh(losses[None])
        expected = sum(
            float(share)
            * float(gradient_distance([sum(w * g[k] for w, g in zip(row, gradients)) for k in (0, 1)], mean))
            for row, share in zip(weights[0], shares[0])
        )
        assert float(gradient_loss(net, REAL, MADE, 2, weigh).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", ["erm", "robust", "group"])
def test_gradient_loss_has_the_derivative_that_finite_differences_give(objective):
    net, groups = tiny_net(), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])

    def weigh(losses):
        return objective_weights(objective, lambda: losses, groups[None], 3, 0.4)

    made = MADE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gradient_loss(net, REAL, made, 1, weigh), made)
    direction, step = randn(*MADE.shape, seed=9), 1e-5
    ahead, behind = (float(gradient_loss(net, REAL, MADE + s * direction, 1, weigh).detach()) for s in (step, -step))
    assert float((slope * direction).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)
    assert float(slope.abs().max()) > 1e-4


def test_gradient_loss_leaves_no_gradient_on_the_network():
    net = tiny_net()
    made = MADE.clone().requires_grad_()
    gradient_loss(net, REAL, made, 0, erm).backward()
    assert made.grad is not None and float(made.grad.abs().max()) > 0
    before = [p.detach().clone() for p in net.parameters()]
    real = REAL.clone().requires_grad_()
    assert torch.autograd.grad(gradient_loss(net, real, made, 0, erm), real, allow_unused=True)[0] is None
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


def test_the_weights_are_made_from_losses_without_a_gradient():
    net = tiny_net()

    def weigh(losses):
        assert losses.shape == (1, 8) and not losses.requires_grad
        torch.testing.assert_close(losses[0], per_sample_gradients(net, REAL, 1)[1])
        return erm(losses)

    gradient_loss(net, REAL, MADE, 1, weigh)


@pytest.mark.parametrize("objective", ["erm", "robust", "group"])
def test_classes_all_at_once_are_the_sum_of_one_after_another(objective):
    net, labels = tiny_net(), torch.tensor([2, 0, 1])
    real, made = randn(3, *REAL.shape, seed=11), randn(3, *MADE.shape, seed=12)
    groups = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2], [2, 1, 1, 0, 0, 0, 0, 0], [0] * 8])

    def weigh(rows):
        return lambda losses: objective_weights(objective, lambda: losses, groups[rows], 3, 0.4)

    together, apart = (made.clone().requires_grad_() for _ in range(2))
    loss = gradient_losses(net, real, together, labels, weigh(slice(None)))
    each = [gradient_loss(net, real[c], apart[c], int(labels[c]), weigh(slice(c, c + 1))) for c in range(3)]
    torch.testing.assert_close(loss, sum(each), rtol=1e-9, atol=0)
    got, wanted = torch.autograd.grad(loss, together)[0], torch.autograd.grad(sum(each), apart)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-12)
    assert all(p.grad is None for p in net.parameters())


def slope(weigh):
    made = MADE.clone().requires_grad_()
    return torch.autograd.grad(gradient_loss(tiny_net(), REAL, made, 1, weigh), made)[0]


def difference(a, b):
    return float((a - b).norm() / b.norm())


def test_the_tail_and_the_groups_reach_the_gradient():
    # The released code's CVaR does not: whatever its tail or cells, the gradient is the plain one.
    one, groups = torch.zeros(8, dtype=torch.int64), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    plain = slope(erm)
    assert difference(slope(robust(1.0, one, 1)), plain) < 1e-5
    assert difference(slope(robust(0.2, one, 1)), plain) > 0.05
    assert difference(slope(robust(0.2, groups, 3)), slope(robust(1.0, groups, 3))) > 0.05
    shuffled = groups[torch.randperm(8, generator=rng(3))]
    assert not torch.equal(shuffled, groups)
    assert difference(slope(robust(1.0, shuffled, 3)), slope(robust(1.0, groups, 3))) > 0.05


def test_the_tail_and_the_groups_reach_the_features():
    real, groups = randn(2, 8, 3, seed=1), ids(2, 8, groups=3)

    def pull(tail, groups):
        made = randn(2, 2, 3, seed=2).requires_grad_()
        losses = coverage_losses(real, made.detach())
        weights, shares = objective_weights("robust", lambda: losses, groups, 3, tail)
        return torch.autograd.grad(distribution_loss(real, made, weights, shares), made)[0]

    assert difference(pull(0.2, groups), pull(1.0, groups)) > 0.05
    assert difference(pull(1.0, groups.flip(1)), pull(1.0, groups)) > 0.05


def test_group_shares_weigh_groups_in_both_objectives():
    groups, shares = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]]), torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0]])
    weights, parts = objective_weights("group", unused, groups, 3, group_shares=shares)
    torch.testing.assert_close(parts, torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0]]))
    weights, parts = objective_weights(
        "robust", lambda: torch.ones(2, 4), groups, 3, max_weight=0.0, group_shares=shares
    )
    torch.testing.assert_close(weights[:, 0].float(), torch.tensor([[0.3, 0.3, 0.3, 0.1], [0.25] * 4]))
