"""Right answers in other styles than the notebooks', which must pass, and wrong ones, which need a true hint."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import binom

from rdd_nb.course.exercise import Case, Exercise, _registry, exercises_of, judge, register
from rdd_nb.models import risk

EXERCISES = {name: e for k in range(1, 9) for name, e in exercises_of(f"{k:02d}").items()}

# ------------------------------------------------------------------------------------------------------- other styles


def cvar_by_loop(losses, tail):
    left, total = tail * len(losses), 0.0
    for loss in losses.sort(descending=True).values:
        part = min(max(left, 0.0), 1.0)
        total, left = total + part * loss, left - 1
    return total / (tail * len(losses))


def cvar_by_threshold(losses, tail):
    threshold = losses.sort(descending=True).values[max(math.ceil(tail * len(losses) - 1e-9) - 1, 0)]
    return threshold + (losses - threshold).clamp_min(0).mean() / tail


def kl_upper_by_root(seen, radius):
    if seen == 1 or radius == 0:
        return seen
    return brentq(lambda q: rel_entr(seen, q) + rel_entr(1 - seen, 1 - q) - radius, seen, 1 - 1e-12)


def group_cvar_by_table(losses, groups, num_groups, tail):
    members = groups == torch.arange(num_groups)[:, None]
    count = tail * members.sum(1, keepdim=True)
    worst_first = torch.where(members, losses, -torch.inf).sort(dim=1, descending=True).values
    part = (count - torch.arange(len(losses))).clamp(0, 1)
    return (part * worst_first.where(part > 0, 0)).sum(1) / count[:, 0]


def lloyd_by_loop(points, centres):
    distance = ((points[:, None] - centres[None]) ** 2).sum(-1)
    ids, far = distance.argmin(1), distance.amin(1)
    order, moved = iter(far.argsort(descending=True)), []
    for k in range(len(centres)):
        moved.append(points[ids == k].mean(0) if (ids == k).any() else points[next(order)])
    return torch.stack(moved)


def coverage_by_loop(real, labels, made, made_labels, radii):
    found = []
    for r in radii:
        near = [bool(((x - made[made_labels == y]).norm(dim=1) <= r).any()) for x, y in zip(real, labels)]
        found.append(np.mean(near))
    return np.array(found)


def group_mean_by_loop(features, groups, shares):
    total, whole = 0, 0
    for g, share in enumerate(shares):
        if (groups == g).any():
            total, whole = total + share * features[groups == g].mean(0), whole + share
    return total / whole


def layer_by_cosine_similarity(synthetic, real):
    if synthetic.ndim == 1:
        return (synthetic * 0).sum()
    return (1 - torch.nn.functional.cosine_similarity(synthetic.flatten(1), real.flatten(1), dim=1)).sum()


def holm_by_loop(p):
    values, order, largest = p.numpy(), np.argsort(p.numpy()), 0.0
    found = np.empty(len(values))
    for rank, k in enumerate(order):
        largest = max(largest, (len(values) - rank) * values[k])
        found[k] = min(largest, 1)
    return found


def interaction_by_loop(table):
    found = []
    for _, runs in table.groupby("seed"):
        y = runs.groupby(["a", "b"])["value"].mean()
        if len(y) == 4:
            found.append(y[1, 1] - y[0, 1] - y[1, 0] + y[0, 0])
    return np.array([np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))])


def front_by_loop(points):
    rows = points.tolist()
    beaten = [any(a != b and all(x >= y for x, y in zip(a, b)) for a in rows) for b in rows]
    return torch.tensor([not b for b in beaten])


def honest_in_numpy(values, count):
    x, claimed, held = values.numpy(), [], []
    for some in itertools.combinations(range(x.shape[1]), count):
        winner = x[:, some].mean(1).argmax()
        claimed.append(x[winner, list(some)].mean())
        held.append(np.delete(x[winner], some).mean())
    return np.array([np.mean(claimed), np.mean(held)])


def right_tail_by_loop(table, counts, tail):
    return torch.stack(
        [cvar_by_loop(row[:n], tail) if n else torch.tensor(math.nan).double() for row, n in zip(table, counts)]
    )


def true_gradient_by_backward(objective, losses):
    x = losses.clone().requires_grad_(True)
    value = objective(x)
    if value.requires_grad:
        value.backward()
    gradient = torch.zeros_like(losses) if x.grad is None else x.grad
    for k in range(len(losses)):
        up, down = losses.clone(), losses.clone()
        up[k] += 1e-6
        down[k] -= 1e-6
        slope = float((objective(up) - objective(down)).detach()) / 2e-6
        if abs(slope - gradient[k]) > 1e-4:
            return False
    return True


def split_by_loop(cells, fraction, draw):
    chosen = np.zeros(len(cells), bool)
    for cell in set(cells.tolist()):
        members = np.flatnonzero(cells.numpy() == cell)
        wanted = min(max(1, math.floor(fraction * len(members) + 0.5)), len(members) - 1)
        chosen[members[np.argsort(draw.numpy()[members])[:wanted]]] = True
    return chosen


STYLES = [
    ("01-carried", lambda losses, members: (losses * members).sum() / losses.sum()),
    ("01-carried", lambda losses, members: np.average(members.numpy(), weights=losses.numpy())),
    ("01-shift-tail", lambda here, there: 1 / (there / here).nan_to_num(0, posinf=torch.inf).max()),
    ("01-shift-tail", lambda here, there: min(h / t for h, t in zip(here.tolist(), there.tolist()) if t > 0)),
    ("01-exact-cvar", cvar_by_loop),
    ("01-exact-cvar", cvar_by_threshold),
    ("01-kl-upper", kl_upper_by_root),
    ("01-group-cvar", group_cvar_by_table),
    ("02-cells", lambda real, synthetic: np.array([((synthetic - x) ** 2).sum(1).argmin() for x in real])),
    ("02-purity", lambda ids, names: sum(int(names[ids == k].bincount().max()) for k in ids.unique()) / len(ids)),
    (
        "02-mass",
        lambda ids, marked, power: (
            sum(len(ids[ids == k]) ** power * marked[ids == k].double().mean() for k in ids.unique())
            / sum(len(ids[ids == k]) ** power for k in ids.unique())
        ),
    ),
    ("02-lloyd", lloyd_by_loop),
    ("02-coverage", coverage_by_loop),
    ("03-pixel-step", lambda images, momentum, gradient, lr, mu: images - lr * gradient - lr * mu * momentum),
    ("03-group-mean", group_mean_by_loop),
    ("03-dm-loss", lambda s, r, w: ((w[:, None] * r).sum(0) - s.sum(0) / len(s)).norm() ** 2),
    ("03-layer-distance", layer_by_cosine_similarity),
    (
        "04-cluster-min",
        lambda correct, sizes: np.nanmin(np.where(sizes > 0, correct / sizes.clamp_min(1), np.nan), axis=1),
    ),
    (
        "04-relative",
        lambda clean, corrupted, chance: ((corrupted - chance) / (clean - chance)[:, None]).mean(1).numpy(),
    ),
    (
        "04-honest",
        lambda correct, choose: (
            max(((c[choose].sum(), -k, c[~choose]) for k, c in enumerate(correct)))[2].float().mean()
        ),
    ),
    (
        "04-paired",
        lambda a, b, quantile: (
            np.mean((a - b).numpy())
            + np.array([0, -1, 1]) * quantile * np.std((a - b).mean(1).numpy(), ddof=1) / np.sqrt(len(a))
        ),
    ),
    (
        "05-accuracy",
        lambda correct, groups, num_groups: torch.stack(
            [correct[groups == g].float().mean() for g in range(num_groups)]
        ),
    ),
    (
        "05-wilson",
        lambda right, size, z: np.sort(
            np.roots([1 + z**2 / size, -2 * right / size - z**2 / size, (right / size) ** 2])
        ),
    ),
    ("05-holm", holm_by_loop),
    (
        "05-minimum",
        lambda size, groups, truth: (
            sum(
                k * (binom.sf(k - 1, size, truth) ** groups - binom.sf(k, size, truth) ** groups)
                for k in range(size + 1)
            )
            / size
        ),
    ),
    ("06-interaction", interaction_by_loop),
    ("06-front", front_by_loop),
    ("06-honest", honest_in_numpy),
    ("07-expected-best", lambda values, k: np.mean([max(c) for c in itertools.combinations(values.tolist(), k)])),
    (
        "07-masked-mean",
        lambda table, counts: np.array([np.mean(row[:n]) if n else np.nan for row, n in zip(table.numpy(), counts)]),
    ),
    (
        "07-masked-mean",
        lambda table, counts: table.masked_fill(torch.arange(table.shape[1]) >= counts[:, None], torch.nan).nanmean(1),
    ),
    ("07-right-tail", right_tail_by_loop),
    ("07-true-gradient", true_gradient_by_backward),
    ("08-leaks", lambda train, test: [any(torch.equal(x, y) for y in train) for x in test]),
    ("08-leaks", lambda train, test: (torch.cdist(test.flatten(1).double(), train.flatten(1).double()) == 0).any(1)),
    (
        "08-needed",
        lambda share, reach, z: next(
            n
            for n in itertools.count(1)
            if z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / 4 / n**2) <= reach
        ),
    ),
    ("08-split", split_by_loop),
]


@pytest.mark.parametrize("name, answer", STYLES, ids=[name for name, _ in STYLES])
def test_a_right_answer_passes_in_any_style(name, answer):
    verdict = judge(name, answer)
    assert verdict, str(verdict)


def test_every_exercise_has_another_style():
    assert {name for name, _ in STYLES} == set(EXERCISES)


# ------------------------------------------------------------------------------------------------------- wrong answers


def group_cvar_by_loop(losses, groups, num_groups, tail):
    rows = [losses[groups == g] for g in range(num_groups)]
    return torch.stack([risk.cvar(r, tail) if len(r) else torch.tensor(torch.nan).double() for r in rows])


def group_cvar_by_map(losses, groups, num_groups, tail):
    def of(g):
        mine = losses[groups == g]
        return cvar_by_threshold(mine, tail) if len(mine) else torch.tensor(torch.nan).double()

    return torch.stack(list(map(of, range(num_groups))))


def norms_alike(objective, losses):
    x = losses.clone().requires_grad_()
    value = objective(x)
    found = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    moves = 1e-6 * torch.eye(len(losses), dtype=losses.dtype)
    slope = torch.stack([(objective(losses + m) - objective(losses - m)).detach() / 2e-6 for m in moves])
    return bool(abs((0 if found is None else found.norm()) - slope.norm()) < 1e-5)


def tail_padded_with_0(table, counts, tail):
    place = torch.arange(table.shape[1])
    worst_first = table.where(place < counts[:, None], 0).sort(dim=1, descending=True).values
    count = tail * counts[:, None]
    return ((count - place).clamp(0, 1) * worst_first).sum(1) / count[:, 0]


def hochberg(p):
    order = p.argsort(descending=True)
    running = (p[order] * torch.arange(1, len(p) + 1)).cummin(0).values
    return torch.empty_like(p).scatter(0, order, running.clamp_max(1))


def nearly_equal(train, test):
    return torch.stack([((x.int() - train.int()).abs() <= 1).flatten(1).all(1).any() for x in test])


WRONG = [
    ("01-shift-tail", lambda here, there: here[-1] / there[-1], "the last group"),
    ("01-group-cvar", group_cvar_by_loop, "one call do all groups at once"),
    ("01-group-cvar", group_cvar_by_map, "one call do all groups at once"),
    ("04-relative", lambda c, k, chance: ((k.mean(1) - chance) / (c - chance)).clamp(min=0), "clip the result at 0"),
    ("07-true-gradient", norms_alike, "lengths only"),
    ("07-masked-mean", lambda tb, c: (tb * (torch.arange(tb.shape[1]) < c[:, None])).sum(1) / c, "0 times NaN"),
    ("07-right-tail", tail_padded_with_0, "padding in as 0"),
    ("08-leaks", nearly_equal, "one grey level off"),
    ("05-holm", hochberg, "Hochberg's step-up"),
    ("08-split", lambda *a: split_with(round, *a), "half to the even number"),
]


def split_with(rounded, cells, fraction, draw):
    chosen = torch.zeros(len(cells), dtype=torch.bool)
    for cell in cells.unique():
        members = (cells == cell).nonzero()[:, 0]
        wanted = min(max(1, rounded(fraction * len(members))), len(members) - 1)
        chosen[members[draw[members].argsort()[:wanted]]] = True
    return chosen


@pytest.mark.parametrize("name, answer, hint", WRONG, ids=[name for name, *_ in WRONG])
def test_wrong_answers_that_once_passed_or_got_another_hint(name, answer, hint):
    verdict = judge(name, answer)
    assert not verdict and hint in verdict.hint and "Perhaps" not in verdict.hint


# --------------------------------------------------------------------------------------------- what a hint may not say


@pytest.fixture
def tripled():
    """An exercise on lists of numbers: three times each."""
    cases = [Case(f"of {values}", (torch.tensor(values),)) for values in ([1.0, 2.0], [3.0, 5.0], [0.0, -4.0])]
    yield register(Exercise("00-tripled", "three times each number", lambda x: 3 * x, tuple(cases)))
    del _registry["00-tripled"]


def test_a_factor_is_named_only_where_more_than_one_number_has_it(tripled):
    assert "factor of 2 in every case" in judge(tripled.name, lambda x: 6 * x).hint
    assert (
        "Here all values are off by the same factor of 2:"
        in judge(tripled.name, lambda x: 6 * x if len(x.unique()) and x[0] == 1 else 9 * x).hint
    )
    assert "factor" not in judge(tripled.name, lambda x: x + 1).hint
    assert "factor" not in judge("01-carried", lambda losses, members: losses.max() / 7).hint, "one number says nothing"
    assert judge(tripled.name, lambda x: -3 * x).hint == "Only the sign is wrong, in every case."
    assert "factor" not in judge(tripled.name, lambda x: 0 * x).hint


def test_infinity_and_nan_are_named(tripled):
    assert "Infinite" in judge(tripled.name, lambda x: x / 0).hint
    assert "NaN where a number is asked (2 of yours)" in judge(tripled.name, lambda x: x * math.nan).hint
    zero = judge("05-accuracy", lambda c, g, n: torch.bincount(g, c.double(), n) / torch.bincount(g, minlength=n) + 0.5)
    assert "NaN" not in zero.hint


def test_a_hint_is_certain_only_where_every_case_agrees():
    def mixed(p):
        """Holm's, but not put back; and the last one is not cut at 1."""
        return p.sort().values * torch.arange(len(p), 0, -1).double()

    assert judge("05-holm", mixed).hint.startswith(("Perhaps (it fits ", "Work this case out"))
    verdict = judge("02-mass", lambda ids, marked, power: marked.double().sum() ** power)
    assert verdict.hint.startswith("Perhaps (it fits 4 of the 6 cases): The weights")
    only_half_wrong = judge("01-shift-tail", lambda here, there: here.min() if len(here) < 4 else here.max())
    assert only_half_wrong.hint.startswith("Perhaps (it fits ")


def test_yes_and_no_agree_too_easily_for_a_perhaps():
    verdict = judge("07-true-gradient", lambda objective, losses: len(losses) == 3)
    assert "Perhaps" not in verdict.hint


def test_nan_in_a_gradient_is_told_from_wrong_weights():
    def hidden(table, counts, tail):
        weights = torch.where(torch.arange(table.shape[1]) < counts[:, None], 1.0, 0.0).double() / counts[:, None]
        return (weights * torch.where(weights > 0, table / table * table, 0)).sum(1) if tail == 1 else None

    verdict = judge("07-right-tail", hidden)
    assert "gradient is" in verdict.problem and "mask *before* you divide" in verdict.hint


@pytest.mark.parametrize(
    "answer", [lambda *a: [torch.ones(2)] * 2, lambda *a: {"a": 1}, lambda *a: np.array(["a"]), lambda *a: object()]
)
def test_what_is_no_number_is_refused_kindly(answer):
    verdict = judge("04-relative", answer)
    assert not verdict and "number or a tensor" in verdict.hint


def test_an_answer_that_fails_now_and_then_gets_a_hint_too():
    calls = itertools.count()

    def moody(losses, tail):
        if next(calls) % 2:
            raise ValueError("not now")
        return losses.sum() * 7

    assert judge("01-exact-cvar", moody).hint


def test_a_description_of_a_yes_or_no_case_says_what_is_right():
    exercise = EXERCISES["07-true-gradient"]
    for case in exercise.cases:
        assert exercise.answer(*case.arguments) is case.what.endswith(": yes"), case.what
