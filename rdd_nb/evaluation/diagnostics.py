"""How robust matching works, in three curves: what is matched, what the synthetic set covers, whom the nets fail.

:func:`trace` measures them for one synthetic set; a study keeps them for every run, and
:mod:`rdd_nb.figures.study_figures` draws them. The chain that they follow: rare samples get a larger part in what is
matched → the synthetic set comes nearer to them → nets trained on it lose the heavy tail of their losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rdd_nb.clustering.shares import matched_mass
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation import subgroups
from rdd_nb.evaluation.scores import Scores
from rdd_nb.models import risk

__all__ = ["COLUMNS", "RADII", "TAILS", "coverage_curve", "cvar_curve", "trace"]

#: Of each, ``side`` is ``all`` or a name from ``minority_names``; ``x`` is a radius or a tail.
COLUMNS = ("quantity", "side", "x", "value")
RADII = tuple(np.round(np.arange(0.1, 1.55, 0.05), 2).tolist())
TAILS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def coverage_curve(synthetic: SyntheticSet, real: ImageDataset, radii: Sequence[float] = RADII) -> pd.DataFrame:
    """Share of real samples within each radius of a synthetic one of their class; columns side, radius, share.

    Measured in 4 × 4 average-pooled pixels, so that no network that took part judges. A radius of 1 is the root mean
    square distance between two real samples of the same class, averaged over classes. Sides: ``all``, and where the
    data mark a minority, its two. The term is used as in k-centre coresets (Sener and Savarese, 1708.00489).
    """
    size = min(4, min(real.shape[-2:]) // 4) or 1
    points = torch.cat(
        [F.avg_pool2d(real.normalised(part), size).flatten(1) for part in torch.arange(len(real)).split(2048)]
    )
    made = synthetic.decoded
    pooled = F.avg_pool2d(made.images, size).flatten(1)
    spreads = [points[real.labels == c].var(0, correction=0).sum() for c in real.labels.unique()]
    unit = max(float(torch.stack(spreads).mul(2).sqrt().mean()), 1e-9)  # images all alike are no distance apart
    distance = subgroups.nearest_distance(points, real.labels, pooled, made.labels).numpy() / unit
    rows = []
    for side, chosen in _sides(real.minority, real.minority_names, len(real)):
        ordered = np.sort(distance[chosen])
        shares = np.searchsorted(ordered, radii, side="right") / len(ordered)
        rows += [(side, float(r), float(s)) for r, s in zip(radii, shares)]
    return pd.DataFrame(rows, columns=["side", "radius", "share"])


def cvar_curve(scores: Scores, tails: Sequence[float] = TAILS) -> pd.DataFrame:
    """CVaR of the nets' test losses at each tail, in nats, as the mean over nets; columns side, tail, cvar."""
    losses = torch.from_numpy(scores.losses).double()
    rows = []
    for side, chosen in _sides(scores.minority, scores.minority_names, losses.shape[1]):
        part = losses[:, torch.as_tensor(chosen)]
        rows += [(side, float(t), float(risk.cvar(part, float(t)).mean())) for t in tails]
    return pd.DataFrame(rows, columns=["side", "tail", "cvar"])


def _sides(
    minority: Tensor | NDArray[np.bool_] | None, names: tuple[str, str], count: int
) -> list[tuple[str, NDArray[np.bool_]]]:
    """The names and members of what is told apart; a side without members is left out."""
    sides = [("all", np.ones(count, dtype=bool))]
    if minority is not None:
        marked = np.asarray(minority, dtype=bool)
        sides += [(names[0], ~marked), (names[1], marked)]
    return [(name, chosen) for name, chosen in sides if chosen.any()]


def trace(
    scores: Scores, train: ImageDataset, synthetic: SyntheticSet | None = None, weights: Tensor | None = None
) -> pd.DataFrame:
    """All three curves of one run, tidy: quantity (``mass``, ``coverage``, ``cvar``), side, x, value.

    Args:
        scores: of nets trained on the set.
        train: the real training set.
        synthetic: the set; without it (the whole training set was trained on) nothing is said of coverage.
        weights: ``[N]``, see :func:`rdd_nb.clustering.matched_mass`; without them, or where ``train`` marks no
            minority, nothing is said of mass.
    """
    parts = []
    if weights is not None and train.minority is not None and bool(train.minority.any()):
        share = matched_mass(weights, train.labels, train.minority)
        parts.append(pd.DataFrame([("mass", train.minority_names[1], np.nan, share)], columns=list(COLUMNS)))
    if synthetic is not None:
        curve = coverage_curve(synthetic, train).set_axis(["side", "x", "value"], axis=1)
        parts.append(curve.assign(quantity="coverage"))
    curve = cvar_curve(scores).set_axis(["side", "x", "value"], axis=1)
    parts.append(curve.assign(quantity="cvar"))
    return pd.concat([part[list(COLUMNS)] for part in parts], ignore_index=True)
