"""The exercises of notebook 04, on robustness: right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register

__all__: list[str] = []


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -------------------------------------------------------------------------------------------------------- cluster-min


def _shares(correct: Tensor, sizes: Tensor, empty: float = math.inf) -> Tensor:
    return torch.where(sizes > 0, correct.double() / sizes, empty)


def _cluster_min(correct: Tensor, sizes: Tensor) -> Tensor:
    return _shares(correct, sizes).amin(1)


_ONE = torch.tensor([[3, 0, 5], [2, 1, 4]])
register(
    Exercise(
        "04-cluster-min",
        "the accuracy of each net on its worst cluster",
        _cluster_min,
        (
            Case("one net, clusters of 10 and 4", (torch.tensor([[8, 1]]), torch.tensor([10, 4]))),
            Case("two nets with different worst clusters", (torch.tensor([[8, 1], [2, 3]]), torch.tensor([10, 4]))),
            Case(
                "three nets and four clusters of several sizes",
                (torch.tensor([[50, 9, 30, 2], [60, 8, 25, 4], [70, 10, 12, 5]]), torch.tensor([80, 10, 40, 5])),
            ),
            Case("the second of three clusters is empty", (torch.tensor([[3, 0, 4]]), torch.tensor([4, 0, 5]))),
            Case("a cluster of one image, which one of two nets gets right", (_ONE, torch.tensor([4, 1, 6]))),
            Case("a net that is always right", (torch.tensor([[7, 3], [6, 0]]), torch.tensor([7, 3]))),
        ),
        (
            Mistake(
                "A cluster without images has no accuracy, neither 0 nor NaN: leave it out of the minimum.",
                lambda correct, sizes: _shares(correct, sizes, 0.0).amin(1),
            ),
            Mistake(
                "0 of 0 is NaN, and a minimum with a NaN in it is NaN: leave empty clusters out.",
                lambda correct, sizes: _shares(correct, sizes, math.nan).amin(1),
            ),
            Mistake(
                "That is the mean over nets of each cluster, and then the minimum. Each net has its own worst cluster.",
                lambda correct, sizes: _shares(correct, sizes).mean(0).amin().expand(len(correct)),
            ),
            Mistake(
                "You take the cluster with the fewest right answers; a small one has few of them. Compare shares.",
                lambda correct, sizes: correct.amin(1).double() / sizes[correct.argmin(1)],
            ),
            Mistake(
                "That is the mean over the clusters. Asked is the worst of them.",
                lambda correct, sizes: torch.where(sizes > 0, _shares(correct, sizes), 0).sum(1) / (sizes > 0).sum(),
            ),
            Mistake("That is how many are right: divide by the sizes.", lambda correct, sizes: correct.amin(1)),
            Mistake(
                "That is the accuracy on all images together.",
                lambda correct, sizes: correct.sum(1).double() / sizes.sum(),
            ),
        ),
    )
)

# ----------------------------------------------------------------------------------------------------------- relative


def _relative(clean: Tensor, corrupted: Tensor, chance: float) -> Tensor:
    return (corrupted.mean(1) - chance) / (clean - chance)


_THREE = torch.stack([_numbers(0.4, 0.35), _numbers(0.7, 0.85), _numbers(0.3, 0.65)])
register(
    Exercise(
        "04-relative",
        "the accuracy above chance retained under corruption, as a fraction of that on clean images",
        _relative,
        (
            Case("0.8 clean, 0.6 and 0.4 corrupted, chance 0.1", (_numbers(0.8), _numbers(0.6, 0.4)[None], 0.1)),
            Case(
                "a good net that loses much, and a poor one that loses little",
                (_numbers(0.9, 0.3), torch.stack([_numbers(0.5, 0.7), _numbers(0.3, 0.2)]), 0.1),
            ),
            Case("nothing is lost", (_numbers(0.7), _numbers(0.7, 0.7, 0.7)[None], 0.25)),
            Case("misled by one of three corruptions", (_numbers(0.8), _numbers(0.8, 0.5, 0.05)[None], 0.1)),
            Case("three nets, chance 0.25", (_numbers(0.5, 0.9, 0.7), _THREE, 0.25)),
            Case("misled by both corruptions", (_numbers(0.8), _numbers(0.06, 0.02)[None], 0.1)),
            Case("better under one corruption than clean", (_numbers(0.6), _numbers(0.7, 0.6)[None], 0.1)),
        ),
        (
            Mistake(
                "Without subtracting chance, a net that guesses before and after gets 1, the best value. Subtract it.",
                lambda clean, corrupted, chance: corrupted.mean(1) / clean,
            ),
            Mistake(
                "Subtract chance from the clean accuracy, too: only what is above it can be lost.",
                lambda clean, corrupted, chance: (corrupted.mean(1) - chance) / clean,
            ),
            Mistake(
                "Subtract chance from the corrupted accuracy, too.",
                lambda clean, corrupted, chance: corrupted.mean(1) / (clean - chance),
            ),
            Mistake(
                "That is the fraction lost. Asked is the fraction retained.",
                lambda clean, corrupted, chance: 1 - _relative(clean, corrupted, chance),
            ),
            Mistake(
                "That is the loss in points. A poor net has few points to lose, and would look robust: divide.",
                lambda clean, corrupted, chance: clean - corrupted.mean(1),
            ),
            Mistake(
                "You clip at chance. Below chance a net is misled: worse than guessing, and that must count.",
                lambda clean, corrupted, chance: ((corrupted - chance).clamp_min(0) / (clean - chance)[:, None]).mean(
                    1
                ),
            ),
            Mistake(
                "You clip the result at 0. A net below chance is misled: worse than guessing, and that must count.",
                lambda clean, corrupted, chance: _relative(clean, corrupted, chance).clamp_min(0),
            ),
            Mistake(
                "You clip the result at 1. A net may gain from a corruption, by luck at least: do not hide it.",
                lambda clean, corrupted, chance: _relative(clean, corrupted, chance).clamp_max(1),
            ),
            Mistake(
                "You clip the result at 0 and at 1. Below chance and above the clean accuracy must both show.",
                lambda clean, corrupted, chance: _relative(clean, corrupted, chance).clamp(0, 1),
            ),
            Mistake(
                "That is one number for all nets: average over the corruptions only.",
                lambda clean, corrupted, chance: ((corrupted.mean() - chance) / (clean.mean() - chance)).expand(
                    len(clean)
                ),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- honest


def _bits(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def _honest(correct: Tensor, choose: Tensor) -> Tensor:
    best = correct[:, choose].double().mean(1).argmax()
    return correct[best][~choose].double().mean()


_FIRST = _bits((1, 1, 1, 0, 0, 0, 0, 0))[0]
_NINE = _bits((1, 1, 1, 0, 0, 0, 1, 0, 0), (1, 0, 1, 0, 1, 1, 0, 1, 0), (0, 0, 0, 0, 1, 1, 1, 0, 1))
_LATE = _bits((1, 0, 0, 1, 1, 1, 0, 1), (1, 1, 0, 0, 1, 1, 0, 0), (1, 1, 1, 0, 0, 1, 0, 0))
register(
    Exercise(
        "04-honest",
        "the accuracy of the selected candidate on images that were not used for the selection",
        _honest,
        (
            Case("three candidates, the first four of nine images to select on", (_NINE, torch.arange(9) < 4)),
            Case(
                "three candidates, scattered images to select on",
                (
                    _bits((1, 0, 0, 1, 1, 0), (0, 0, 1, 1, 1, 1), (0, 1, 0, 0, 0, 1)),
                    _bits((1, 0, 0, 1, 0, 0))[0],
                ),
            ),
            Case("few images to select on", (_bits((0, 1, 1, 1, 1), (1, 0, 0, 0, 1)), _bits((1, 0, 0, 0, 0))[0])),
            Case("three candidates, of which the last is selected", (_LATE, _FIRST)),
            Case("one candidate only", (_bits((1, 0, 1, 0)), _bits((1, 1, 0, 0))[0])),
        ),
        (
            Mistake(
                "That is its accuracy on the images used for the selection. Report the other ones.",
                lambda correct, choose: correct[:, choose].double().mean(1).amax(),
            ),
            Mistake(
                "The best one on the images for the report: these were used for the selection after all.",
                lambda correct, choose: correct[:, ~choose].double().mean(1).amax(),
            ),
            Mistake(
                "You report on all images, and some of these were used for the selection.",
                lambda correct, choose: correct[correct[:, choose].double().mean(1).argmax()].double().mean(),
            ),
            Mistake(
                "You select on all images. Those of the report must not be used.",
                lambda correct, choose: correct[correct.double().mean(1).argmax()][~choose].double().mean(),
            ),
            Mistake(
                "You select on the images for the report, and report on those for the selection: the other way round.",
                lambda correct, choose: _honest(correct, ~choose),
            ),
            Mistake(
                "You select on all images and report on all of them. Select on `choose`, and report on the others.",
                lambda correct, choose: correct.double().mean(1).amax(),
            ),
            Mistake(
                "That is which one is selected. Asked is its accuracy.",
                lambda correct, choose: correct[:, choose].double().mean(1).argmax(),
            ),
            Mistake(
                "You take the worst candidate.",
                lambda correct, choose: correct[correct[:, choose].double().mean(1).argmin()][~choose].double().mean(),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- paired


def _interval(d: Tensor, quantile: float, *, root: bool = True, correction: int = 1) -> Tensor:
    half = quantile * d.std(correction=correction) / (math.sqrt(len(d)) if root else 1)
    return torch.stack([d.mean(), d.mean() - half, d.mean() + half])


def _paired(a: Tensor, b: Tensor, quantile: float) -> Tensor:
    return _interval((a - b).mean(1), quantile)


def _unpaired(a: Tensor, b: Tensor, quantile: float) -> Tensor:
    a, b = a.mean(1), b.mean(1)
    half = quantile * ((a.var() + b.var()) / len(a)).sqrt()
    return torch.stack([a.mean() - b.mean(), a.mean() - b.mean() - half, a.mean() - b.mean() + half])


_A = torch.stack([_numbers(0.80, 0.82), _numbers(0.55, 0.49), _numbers(0.30, 0.33)])
_B = torch.stack([_numbers(0.76, 0.75), _numbers(0.47, 0.48), _numbers(0.31, 0.27)])
register(
    Exercise(
        "04-paired",
        "the mean difference of two sets over architectures, with its interval",
        _paired,
        (
            Case("two architectures, one net each", (_numbers(0.8, 0.5)[:, None], _numbers(0.7, 0.3)[:, None], 12.706)),
            Case("three architectures, two nets each", (_A, _B, 4.303)),
            Case("the other way round", (_B, _A, 4.303)),
            Case("at another level", (_A, _B, 2.920)),
            Case("the architectures in another order", (_A.roll(1, 0), _B.roll(1, 0).flip(1), 4.303)),
        ),
        (
            Mistake(
                "Every net counts as a replicate in yours. Nets of one architecture share it: average over them first.",
                lambda a, b, quantile: _interval((a - b).flatten(), quantile),
            ),
            Mistake(
                "Yours is not paired: how far architectures lie apart is in both sets. Take differences, then spread.",
                _unpaired,
            ),
            Mistake(
                "That is how far single architectures lie apart. For the mean's interval divide by √A.",
                lambda a, b, quantile: _interval((a - b).mean(1), quantile, root=False),
            ),
            Mistake(
                "The standard deviation divides by A − 1: the mean difference was taken from the same differences.",
                lambda a, b, quantile: _interval((a - b).mean(1), quantile, correction=0),
            ),
            Mistake("a − b, not b − a.", lambda a, b, quantile: _paired(b, a, quantile)),
            Mistake(
                "The quantile is missing: mean ± standard error holds in far fewer than 95 % of the cases.",
                lambda a, b, quantile: _paired(a, b, 1.0),
            ),
        ),
    )
)
