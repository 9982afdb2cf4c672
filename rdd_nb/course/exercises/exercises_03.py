"""The exercises of notebook 03, on distillation: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.distillation import matching

__all__: list[str] = []


def _t(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --------------------------------------------------------------------------------------------------------- pixel-step

register(
    Exercise(
        "03-pixel-step",
        "the images after one step with momentum",
        lambda images, momentum, gradient, lr, mu: images - lr * (mu * momentum + gradient),
        (
            Case("one pixel at rest, gradient 2, step 0.1", (_t(1), _t(0), _t(2), 0.1, 0.5)),
            Case("one pixel with momentum 4, no gradient", (_t(1), _t(4), _t(0), 0.1, 0.5)),
            Case("momentum and gradient against each other", (_t(1), _t(4), _t(-2), 1.0, 0.5)),
            Case("four images of 2 × 2 pixels", (*(_drawn(4, 1, 2, 2, seed=s) for s in range(3)), 5.0, 0.9)),
        ),
        (
            Mistake(
                "That is gradient ascent: the loss is to become smaller, so subtract.",
                lambda images, momentum, gradient, lr, mu: images + lr * (mu * momentum + gradient),
            ),
            Mistake(
                "The momentum is not used: the pixels also keep μ of their velocity.",
                lambda images, momentum, gradient, lr, mu: images - lr * gradient,
            ),
            Mistake(
                "You move by the old momentum. First add the gradient to it, then move the pixels by the new one.",
                lambda images, momentum, gradient, lr, mu: images - lr * momentum,
            ),
            Mistake(
                "The whole old momentum is kept: multiply it by μ first.",
                lambda images, momentum, gradient, lr, mu: images - lr * (momentum + gradient),
            ),
            Mistake(
                "You damp the gradient by 1 − μ. Here it enters in full, as in PyTorch's SGD.",
                lambda images, momentum, gradient, lr, mu: images - lr * (mu * momentum + (1 - mu) * gradient),
            ),
            Mistake(
                "The step size belongs to the momentum, too: it multiplies the whole of v.",
                lambda images, momentum, gradient, lr, mu: images - mu * momentum - lr * gradient,
            ),
            Mistake(
                "That is the new momentum. Asked are the images after they moved by it.",
                lambda images, momentum, gradient, lr, mu: mu * momentum + gradient,
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------- group-mean


def _group_mean(features: Tensor, groups: Tensor, shares: Tensor, whole: bool = True) -> Tensor:
    sizes = torch.bincount(groups, minlength=len(shares))
    present = shares * (sizes > 0)
    if whole:
        present = present / present.sum()
    return (present / sizes.clamp(min=1))[groups].to(features.dtype) @ features


def _even(shares: Tensor) -> Tensor:
    return torch.full_like(shares, 1 / len(shares))


_FEATURES = _t([1.5, 0], [1, -2.5], [-4, 0], [10, 12])
register(
    Exercise(
        "03-group-mean",
        "the mean of features in which every group has its share",
        _group_mean,
        (
            Case("two groups of one image, shares 1/4 and 3/4", (_FEATURES[:2], torch.tensor([0, 1]), _t(0.25, 0.75))),
            Case("groups of 3 and 1, shares 0.5 and 0.5", (_FEATURES, torch.tensor([0, 0, 0, 1]), _t(0.5, 0.5))),
            Case("groups of 1 and 3, shares 0.2 and 0.8", (_FEATURES, torch.tensor([1, 1, 0, 1]), _t(0.2, 0.8))),
            Case("the second of three groups is absent", (_FEATURES, torch.tensor([0, 2, 0, 2]), _t(0.2, 0.5, 0.3))),
            Case("one group alone", (_FEATURES, torch.zeros(4, dtype=torch.int64), _t(0.4, 0.6))),
        ),
        (
            Mistake("That is the plain mean: the groups are not used yet.", lambda f, g, q: f.mean(0)),
            Mistake(
                "A group's share is all of its images' together: divide it by how many there are in the batch.",
                lambda f, g, q: q[g] @ f,
            ),
            Mistake(
                "You give each image its group's share and then divide by the sum, so large groups are counted twice.",
                lambda f, g, q: (q[g] / q[g].sum()) @ f,
            ),
            Mistake(
                "The weights do not sum to 1 where groups are absent: divide by the sum of the shares present.",
                lambda f, g, q: _group_mean(f, g, q, whole=False),
            ),
            Mistake("All groups count the same: use `shares`.", lambda f, g, q: _group_mean(f, g, _even(q))),
            Mistake(
                "Asked is one mean [D], not one for each group.",
                lambda f, g, q: torch.stack([f[g == k].mean(0) for k in range(len(q))]),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------ dm-loss


def _dm(synthetic: Tensor, real: Tensor, weights: Tensor) -> Tensor:
    one = torch.ones(1, 1, dtype=real.dtype)
    return matching.distribution_loss(real[None], synthetic[None], weights[None, None], one)


_UNEVEN = _t(0.5, 0.3, 0.2)
register(
    Exercise(
        "03-dm-loss",
        "the squared distance between the weighted real mean and the synthetic mean",
        _dm,
        (
            Case("one feature: real 0 and 4, synthetic 0", (_t([0]), _t([0], [4]), _t(0.5, 0.5))),
            Case("the same, but the second real one has 3/4 of the weight", (_t([0]), _t([0], [4]), _t(0.25, 0.75))),
            Case("two synthetic ones whose mean is right", (_t([0, 0], [2, 4]), _t([1, 2]), _t(1))),
            Case("two of three features, uneven weights", (_drawn(2, 3), _drawn(3, 3, seed=1), _UNEVEN)),
            Case("four of five features, uneven weights", (_drawn(4, 5, seed=2), _drawn(3, 5, seed=3), _UNEVEN)),
        ),
        (
            Mistake(
                "The weights are not used: a weighted mean is `weights @ real`.",
                lambda s, r, w: (r.mean(0) - s.mean(0)).square().sum(),
            ),
            Mistake(
                "Square before you sum, and take no root: asked is the squared distance.",
                lambda s, r, w: (w @ r - s.mean(0)).norm(),
            ),
            Mistake(
                "You average over the features. Asked is the sum over them.",
                lambda s, r, w: (w @ r - s.mean(0)).square().mean(),
            ),
            Mistake(
                "You match each synthetic image to the target. Only their *mean* has to match.",
                lambda s, r, w: (w @ r - s).square().sum(1).mean(),
            ),
            Mistake(
                "You match each synthetic image to the target, and sum. Only their *mean* has to match.",
                lambda s, r, w: (w @ r - s).square().sum(),
            ),
            Mistake(
                "That is the mean squared distance of the real ones from the synthetic mean. Average first.",
                lambda s, r, w: (w[:, None] * (r - s.mean(0)).square()).sum(),
            ),
            Mistake(
                "You take the sum of the synthetic features: divide by how many there are.",
                lambda s, r, w: (w @ r - s.sum(0)).square().sum(),
            ),
        ),
        gradient=True,
    )
)

# ----------------------------------------------------------------------------------------------------- layer-distance


def _layer(synthetic: Tensor, real: Tensor) -> Tensor:
    return matching.gradient_distance([real], [synthetic]) + synthetic[:0].sum()


def _cosines(synthetic: Tensor, real: Tensor, eps: float = 1e-6) -> Tensor:
    a, b = synthetic.flatten(1), real.flatten(1)
    return (a * b).sum(1) / (a.norm(dim=1).clamp(min=eps) * b.norm(dim=1).clamp(min=eps))


def _unless_bias(answer: Any) -> Any:
    """``answer``, but right for a bias."""
    return lambda s, r: answer(s, r) if s.ndim > 1 else s[:0].sum()


def _dead() -> Tensor:
    real = _drawn(3, 4, seed=9)
    real[1] = 0
    return real


register(
    Exercise(
        "03-layer-distance",
        "the sum of 1 − cosine over the outputs of a layer",
        _layer,
        (
            Case("two outputs, one alike and one opposite", (_t([1, 0], [0, 1]), _t([3, 0], [0, -2]))),
            Case("three outputs of a linear layer", (_drawn(3, 4), _drawn(3, 4, seed=1))),
            Case("a convolution of 2 filters of 3 × 2 × 2", (_drawn(2, 3, 2, 2, seed=2), _drawn(2, 3, 2, 2, seed=3))),
            Case("a square layer, 4 × 4", (_drawn(4, 4, seed=4), _drawn(4, 4, seed=5))),
            Case("a bias", (_drawn(3, seed=6), _drawn(3, seed=7))),
            Case("an output whose real gradient is zero", (_drawn(3, 4, seed=8), _dead())),
        ),
        (
            Mistake("That is the sum of the cosines. Alike must be 0: 1 − cosine.", lambda s, r: _cosines(s, r).sum()),
            Mistake(
                "You average over the outputs. Each counts by itself: sum them.",
                _unless_bias(lambda s, r: (1 - _cosines(s, r)).mean()),
            ),
            Mistake(
                "You take the layer as one long vector. Compare each output, the first dimension, by itself.",
                _unless_bias(lambda s, r: 1 - _cosines(s.flatten()[None], r.flatten()[None]).sum()),
            ),
            Mistake(
                "You take the cosine along the outputs: the rows are the outputs, so sum over everything else.",
                _unless_bias(lambda s, r: (1 - _cosines(s.flatten(1).T, r.flatten(1).T)).sum()),
            ),
            Mistake(
                "You compare inputs pixel by pixel: flatten all but the first dimension before you take the cosine.",
                _unless_bias(lambda s, r: (1 - torch.cosine_similarity(s, r, dim=1, eps=1e-6)).sum()),
            ),
            Mistake(
                "Lengths count in yours: divide by both norms, of each output's own row.",
                _unless_bias(lambda s, r: (1 - (s * r).flatten(1).sum(1)).sum()),
            ),
            Mistake(
                "That is the squared distance of the gradients. Only their directions count.",
                lambda s, r: (s - r).square().sum(),
            ),
            Mistake(
                "A bias is left out: its distance is 0.",
                lambda s, r: _layer(s, r) if s.ndim > 1 else 1 - _cosines(s[None], r[None]).sum(),
            ),
            Mistake(
                "0 divided by 0 is not a number: keep the lengths away from 0 (`clamp`) before you divide.",
                _unless_bias(lambda s, r: (1 - _cosines(s, r, eps=0.0)).sum()),
            ),
        ),
        gradient=True,
    )
)
