"""The exercises of notebook 02, on clusters and coverage: right answers, cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering.groups import Groups
from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.evaluation import subgroups

__all__: list[str] = []


def _points(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


# -------------------------------------------------------------------------------------------------------------- cells

# The second centre is far from the origin, so that a large scalar product is not a small distance.
_LINE = _points((0.0,), (1.0,), (2.0,), (4.0,), (9.0,))
_PLANE = _points((0.0, 0.0), (1.0, 2.0), (3.0, 3.0), (0.5, 0.0), (5.0, 4.0), (-2.0, 1.0))
register(
    Exercise(
        "02-cells",
        "for every real sample the index of its nearest synthetic sample",
        clustering.cells,
        (
            Case("real 0, 1, 2, 4, 9 on a line, synthetic 1 and 6", (_LINE, _points((1.0,), (6.0,)))),
            Case(
                "six real samples in the plane, three synthetic", (_PLANE, _points((4.0, 4.0), (0.0, 1.0), (-3.0, 0.0)))
            ),
            Case(
                "points that lie close together",
                (_points((0.45, -0.3), (-0.4, 0.1)), _points((0.4, -0.4), (-0.1, 0.3))),
            ),
            Case("one synthetic sample: a single cell", (_PLANE, _points((4.0, 4.0)))),
            Case(
                "three dimensions, of which one is long",
                (_points((0, 0, 0), (0.9, 0.9, 0.9), (2, 0, 0)), _points((1.6, 0, 0), (0.9, 0.9, 0.3), (0, 0, 1.7))),
            ),
        ),
        (
            Mistake(
                "That is the nearest *real* sample of each synthetic one: a medoid. Take the minimum along the other "
                "dimension.",
                lambda real, synthetic: torch.cdist(real, synthetic).argmin(0),
            ),
            Mistake(
                "That is the farthest synthetic sample: you took the maximum.",
                lambda real, synthetic: torch.cdist(real, synthetic).argmax(1),
            ),
            Mistake(
                "Those are the distances to the nearest. Asked is *which* one is nearest: `argmin` instead of `min`.",
                lambda real, synthetic: torch.cdist(real, synthetic).amin(1),
            ),
            Mistake(
                "The largest scalar product is not the smallest distance: it prefers long vectors.",
                lambda real, synthetic: (real @ synthetic.T).argmax(1),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- purity


def _table(ids: Tensor, names: Tensor) -> Tensor:
    """The contingency table, float64 ``[clusters, groups]``."""
    table = torch.zeros(int(ids.max()) + 1, int(names.max()) + 1, dtype=torch.float64)
    return table.index_put((ids, names), torch.ones(len(ids), dtype=torch.float64), accumulate=True)


def _mean_purity(ids: Tensor, names: Tensor) -> Tensor:
    table = _table(ids, names)
    table = table[table.sum(1) > 0]
    return (table.amax(1) / table.sum(1)).mean()


register(
    Exercise(
        "02-purity",
        "the share of samples that belong to the most frequent group of their cluster",
        lambda ids, names: _table(ids, names).amax(1).sum() / len(ids),
        (
            Case("clusters aaabbb, groups xxyyyy", (_ids(0, 0, 0, 1, 1, 1), _ids(0, 0, 1, 1, 1, 1))),
            Case("a cluster of five and one of two", (_ids(0, 0, 0, 0, 0, 1, 1), _ids(0, 0, 0, 1, 2, 1, 1))),
            Case("one cluster that holds all, nine of ten of one group", (_ids(*[0] * 10), _ids(*[0] * 9, 1))),
            Case("every sample a cluster of its own", (_ids(0, 1, 2, 3), _ids(0, 0, 1, 0))),
            Case("samples in a mixed order", (_ids(1, 0, 1, 0, 1, 2, 0), _ids(0, 1, 2, 1, 0, 2, 0))),
            Case("cluster 1 has no samples", (_ids(0, 0, 0, 2, 2), _ids(1, 1, 0, 0, 0))),
        ),
        (
            Mistake(
                "You took the most frequent *cluster of each group*. It is the other way round: each row's maximum.",
                lambda ids, names: _table(ids, names).amax(0).sum() / len(ids),
            ),
            Mistake(
                "That is the mean purity over clusters, in which a small cluster counts as much as a large one. Count "
                "samples.",
                _mean_purity,
            ),
            Mistake(
                "That is how many samples agree. Asked is their share: divide by how many there are.",
                lambda ids, names: _table(ids, names).amax(1).sum(),
            ),
            Mistake(
                "That is the largest single entry of the table. Every cluster has its own most frequent group.",
                lambda ids, names: _table(ids, names).max() / len(ids),
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------------- mass


def _mass(ids: Tensor, marked: Tensor, power: float) -> float:
    groups = Groups(ids, int(ids.max()) + 1, "exercise")
    return clustering.group_mass(groups, torch.zeros_like(ids), marked, power)


def _wrong_mass(weigh: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """An answer in which groups of ``sizes`` count as ``weigh(sizes, power)``."""

    def answer(ids: Tensor, marked: Tensor, power: float) -> Tensor:
        sizes, hits = torch.bincount(ids).double(), torch.bincount(ids, weights=marked.double())
        return (weigh(sizes, power) * hits / sizes.clamp_min(1)).sum()

    return answer


def _part(weights: Tensor) -> Tensor:
    return weights / weights.sum()


_TWO, _RARE = _ids(*[0] * 16, *[1] * 4), torch.arange(20) >= 16
_MIXED = _ids(0, 0, 0, 0, 0, 0, 1, 1, 1, 2)
_SOME = torch.tensor([False, False, False, False, False, True, True, True, False, True])
register(
    Exercise(
        "02-mass",
        "the marked samples' share of what is matched, when a group counts as its size to a power",
        _mass,
        (
            Case("groups of 16 and 4, the smaller is marked, power 0.5", (_TWO, _RARE, 0.5)),
            Case("the same, power 1 (as in the data)", (_TWO, _RARE, 1.0)),
            Case("the same, power 0 (groups equal)", (_TWO, _RARE, 0.0)),
            Case("groups of 6, 3 and 1 that mix, power 0.3", (_MIXED, _SOME, 0.3)),
            Case("samples in a mixed order, power 0.6", (_ids(2, 0, 1, 0, 2, 0), torch.arange(6) < 3, 0.6)),
            Case("id 1 has no samples, power 0", (_ids(0, 0, 0, 2), torch.arange(4) > 2, 0.0)),
        ),
        (
            Mistake(
                "That is their share of the data: the power is not used yet.",
                lambda ids, marked, power: marked.double().mean(),
            ),
            Mistake(
                "You let all groups count equally. Each counts as its size to the power.",
                _wrong_mass(lambda sizes, power: _part((sizes > 0).double())),
            ),
            Mistake(
                "0⁰ is 1: a group without samples got a share. Leave it out.",
                _wrong_mass(lambda sizes, power: _part(sizes**power)),
            ),
            Mistake(
                "You gave each *sample* the weight size^power. The group has that weight, and its samples share it.",
                _wrong_mass(lambda sizes, power: _part(sizes ** (power + 1))),
            ),
            Mistake(
                "The weights of the groups do not sum to 1 yet: divide by their sum.",
                _wrong_mass(lambda sizes, power: sizes**power * (sizes > 0)),
            ),
        ),
    )
)

# -------------------------------------------------------------------------------------------------------------- lloyd


def _lloyd(points: Tensor, centres: Tensor, empty: str = "farthest", summed: bool = False) -> Tensor:
    """One step of k-means, right or wrong in what is done with empty cells or in dividing the sums of the others."""
    distance, ids = torch.cdist(points, centres).min(1)
    moved = centres.clone()
    unfilled = []
    for k in range(len(centres)):
        mine = points[ids == k]
        if len(mine):
            moved[k] = mine.sum(0) if summed else mine.mean(0)
        else:
            unfilled.append(k)
    worst = distance.argsort(descending=True, stable=True)[: len(unfilled)]
    moved[unfilled] = {
        "farthest": points[worst],
        "one": points[worst[:1]].expand(len(unfilled), -1),
        "stay": centres[unfilled],
        "nan": torch.full_like(centres[unfilled], torch.nan),
        "zero": torch.zeros_like(centres[unfilled]),
        "nearest": points[distance.argsort(stable=True)[: len(unfilled)]],
    }[empty]
    return moved


_TOWN = _points((-0.5, 0), (1, 0), (0, 1), (5, 5), (6, 5), (5, 7), (20, 1))
register(
    Exercise(
        "02-lloyd",
        "the centres after one step of k-means",
        _lloyd,
        (
            Case("points 0, 1, 5, 9, centres 0 and 6", (_points((0,), (1,), (5,), (9,)), _points((0,), (6,)))),
            Case("seven points in the plane, two centres", (_TOWN, _points((0, 0), (6, 6)))),
            Case("a third centre whose cell is empty", (_TOWN, _points((0, 0), (6, 6), (-9, -9)))),
            Case("two centres whose cells are empty", (_TOWN, _points((-50, 0), (1, 1), (-9, 60), (6, 6)))),
            Case("one centre", (_TOWN, _points((3, 3)))),
            Case("a third centre with a single point", (_TOWN, _points((0, 0), (6, 6), (19, 0)))),
            Case(
                "points 0, 1, 4.6, 9, centres 1.4 and 8.4", (_points((0,), (1,), (4.6,), (9,)), _points((1.4,), (8.4,)))
            ),
        ),
        (
            Mistake(
                "That is the sum of each cell's points: divide by how many they are.",
                lambda points, centres: _lloyd(points, centres, summed=True),
            ),
            Mistake("The centres have not moved yet.", lambda points, centres: centres),
            Mistake(
                "The mean of no points is NaN. Move that centre to the point that is farthest from its nearest centre.",
                lambda points, centres: _lloyd(points, centres, empty="nan"),
            ),
            Mistake(
                "An empty cell's centre stays in place. Move it to the point farthest from its nearest centre.",
                lambda points, centres: _lloyd(points, centres, empty="stay"),
            ),
            Mistake(
                "A sum over no points is 0, and the origin is no centre: an empty cell needs its own rule.",
                lambda points, centres: _lloyd(points, centres, empty="zero"),
            ),
            Mistake(
                "You move empty centres to the point *nearest* to a centre: it is covered best already.",
                lambda points, centres: _lloyd(points, centres, empty="nearest"),
            ),
            Mistake(
                "Two empty centres went to the same point, and one of them will be empty again: the second takes the "
                "second farthest.",
                lambda points, centres: _lloyd(points, centres, empty="one"),
            ),
        ),
    )
)

# ----------------------------------------------------------------------------------------------------------- coverage


def _covered(*case: Tensor, distance: Tensor | None = None) -> Tensor:
    real, labels, made, made_labels, radii = case
    if distance is None:
        distance = subgroups.nearest_distance(real, labels, made, made_labels).double()
    return (distance[:, None] <= radii).double().mean(0)


_REAL = _points((0, 0), (3, 4), (0, 2), (10, 0), (10, 3), (4, 0))
_LABELS = _ids(0, 0, 0, 1, 1, 1)
_MADE, _MADE_LABELS = _points((0, 0), (10, 1), (0, 5)), _ids(0, 1, 1)
_RADII = torch.tensor([0.0, 1.0, 2.0, 4.5, 5.0, 6.1], dtype=torch.float64)
_CASE = (_REAL, _LABELS, _MADE, _MADE_LABELS)
_BELOW = (
    _points((-3.4, 0.3), (-0.4, -1.2), (2.3, -4.4), (-6, 1)),
    _ids(1, 0, 1, 0),
    _points((-3, -1.4), (1.6, -0.4)),
    _ids(1, 0),
)
register(
    Exercise(
        "02-coverage",
        "for every radius the share of real samples within it of a synthetic sample of their class",
        _covered,
        (
            Case("six real and three synthetic samples of two classes, six radii", (*_CASE, _RADII)),
            Case("radii in any order", (*_CASE, _RADII.flip(0))),
            Case("one radius", (*_CASE, _RADII[3:4])),
            Case("a class without a synthetic sample is never covered", (_REAL, _LABELS, _MADE[:1], _ids(0), _RADII)),
            Case("points below 0, classes in a mixed order", (*_BELOW, _RADII)),
            Case("the real samples themselves", (_REAL, _LABELS, _REAL, _LABELS, _RADII)),
        ),
        (
            Mistake(
                "You ignore the classes: a bag near a synthetic coat is not covered by it.",
                lambda *a: _covered(*a, distance=torch.cdist(a[0], a[2]).amin(1)),
            ),
            Mistake(
                "Within the radius means up to it: ≤, not <.", lambda *a: _covered(*a[:4], a[4].nextafter(a[4] - 1))
            ),
            Mistake(
                "That is the share of synthetic samples with a real one near. Coverage is over the real ones.",
                lambda *a: _covered(*a[2:4], *a[:2], a[4]),
            ),
            Mistake(
                "Those are counts. Divide by how many real samples there are.", lambda *a: _covered(*a) * len(a[0])
            ),
            Mistake(
                "You compare the *squared* distance with the radius: take the root.",
                lambda *a: _covered(*a, distance=subgroups.nearest_distance(a[0], a[1], a[2], a[3]).square()),
            ),
        ),
    )
)
