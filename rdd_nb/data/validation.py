"""What is wrong with one's own data, before anything is distilled: found all at once, each with how to mend it.

:func:`rdd_nb.data.file_checks.files` looks at files, of which :func:`rdd_nb.data.loading.load` would name the first bad
one and stop. :func:`examine` looks at what was loaded: leaks between training and test set, classes and groups that are
too small, groups that tell the class. :func:`half_width` and :func:`images_needed` say how much a group's test images
can tell. Taught in ``notebooks/08_your_own_data.ipynb``.
"""

from __future__ import annotations

import math

import torch
from scipy.special import ndtri
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.file_checks import files
from rdd_nb.data.findings import SEVERITIES, Finding, by_severity, counted, some
from rdd_nb.data.near_copies import chunks, near_pairs

__all__ = ["SEVERITIES", "Finding", "cell_counts", "examine", "files", "half_width", "images_needed", "near_pairs"]

TINY = 10  # a group with fewer images, in training or test, says next to nothing
LOPSIDED = 5  # a class so many times as large as another is told


# -------------------------------------------------------------------------------------------------- what was loaded


def cell_counts(data: ImageDataset) -> Tensor:
    """How many images each class has of each group: int64 ``[K, G]``; ``[K, 1]`` where no groups are named."""
    groups, width = (torch.zeros_like(data.labels), 1) if data.groups is None else (data.groups, data.num_groups)
    return torch.bincount(data.labels * width + groups, minlength=data.num_classes * width).view(-1, width)


def examine(splits: Splits, ipc: int = 10) -> list[Finding]:
    """What is wrong with loaded data, or easily misread; the gravest first. Reads nothing and changes nothing.

    Args:
        splits: training and test set.
        ipc: images per class that are to be made.

    >>> images = torch.arange(24, dtype=torch.uint8).view(24, 1, 1, 1).repeat(1, 1, 4, 4).contiguous()
    >>> images[:, :, 0, 0] = 99
    >>> data = ImageDataset(images, torch.arange(24) % 2, ("bag", "boot"), mean=(0.5,), std=(0.5,))
    >>> splits = Splits(data.subset(torch.arange(16)), data.subset(torch.arange(15, 24)), "demo")
    >>> print(examine(splits, ipc=4)[0])
    error: 1 image shown both in training and in the test set (test 0 = train 15): keep each on one side alone
    """
    found = [*_leaks(splits), *_blank(splits), *_classes(splits, ipc)]
    if splits.train.groups is None:
        what = "no groups are named, so nobody can be looked for by name"
        where = "column `group` of metadata.csv"
        found.append(Finding("note", what, where, "name what may matter: camera, place, person, date"))
    else:
        found += [*_groups(splits), *_confounded(splits)]
    return by_severity(found)


def _leaks(splits: Splits) -> list[Finding]:
    train, test = splits.train, splits.test
    pairs = near_pairs(test.images, train.images)
    same = [(test.images[i] == train.images[j]).flatten(1).all(1) for i, j in chunks(pairs)]
    exact = torch.cat(same) if same else torch.zeros(0, dtype=torch.bool)
    found = []
    kinds = (("error", exact, "shown both in training and in the test set"), ("warning", ~exact, "nearly in both"))
    for severity, mine, what in kinds:
        leaked = pairs[mine]
        if len(leaked):
            where = some([f"test {i} = train {j}" for i, j in leaked.tolist()])
            count = counted(len(leaked[:, 0].unique()))
            found.append(Finding(severity, f"{count} {what}", where, "keep each on one side alone"))
    return found


def _blank(splits: Splits) -> list[Finding]:
    where = []
    for name, part in (("train", splits.train), ("test", splits.test)):
        flat = part.images.flatten(2)
        where += [f"{name} {i}" for i in (flat.amin(2) == flat.amax(2)).all(1).nonzero()[:, 0].tolist()]
    if not where:
        return []
    return [Finding("warning", f"{counted(len(where))} of one colour all over", some(where), "look at them")]


def _classes(splits: Splits, ipc: int) -> list[Finding]:
    found, names = [], splits.train.class_names
    train, test = splits.train.class_counts.tolist(), splits.test.class_counts.tolist()
    small = [f"{name!r} {count:,}" for name, count in zip(names, train) if count < ipc]
    if small:
        what = f"classes with fewer training images than the {ipc} that are to be made"
        found.append(Finding("error", what, some(small), "lower ipc or add images"))
    absent = [repr(name) for name, count in zip(names, test) if not count]
    if absent:
        found.append(Finding("error", "classes without test images", some(absent), "add some, or leave the class out"))
    if min(train) and max(train) >= LOPSIDED * min(train):
        large, least = names[train.index(max(train))], names[train.index(min(train))]
        what = f"the largest class has {max(train) / min(train):.0f} times as many training images as the smallest"
        mend = "look at accuracy class by class; the average over images is that of the large"
        found.append(Finding("warning", what, f"{large!r} {max(train):,}, {least!r} {min(train):,}", mend))
    return found


def _groups(splits: Splits) -> list[Finding]:
    names = splits.train.group_names
    cells = cell_counts(splits.train), cell_counts(splits.test)
    train, test = (each.sum(0).tolist() for each in cells)
    found = []
    for kind, mine, other in (("tested, but absent from training", train, test), ("never tested", test, train)):
        absent = [repr(name) for name, here, there in zip(names, mine, other) if there and not here]
        if absent:
            severity = "error" if kind.startswith("tested") else "warning"
            found.append(Finding(severity, f"groups that are {kind}", some(absent), "add images, or merge groups"))
    tiny = [f"{n!r}: {a} + {b}" for n, a, b in zip(names, train, test) if 0 < min(a, b) < TINY or 0 < a + b < TINY]
    if tiny:
        mend = "add images, or merge groups; and trust no number about them"
        found.append(Finding("warning", f"groups with fewer than {TINY} images (train + test)", some(tiny), mend))
    blind = ((cells[0] == 0) & (cells[1] > 0)).nonzero().tolist()
    if blind:
        told = [f"{splits.train.class_names[c]!r} / {names[g]!r}" for c, g in blind]
        mend = "nothing can be learnt of them: judge them apart"
        found.append(Finding("warning", "pairs of class and group that only the test set has", some(told), mend))
    needed = images_needed()
    few = [f"{name!r} ±{100 * half_width(n):.0f}" for name, n in zip(names, test) if TINY <= n < needed]
    if few:
        what = f"groups with fewer than {needed} test images: not known to ±10 points"
        found.append(Finding("note", what, some(few), "add test images, or report the interval"))
    return found


def _confounded(splits: Splits) -> list[Finding]:
    """Whether the group alone tells the class in training, and whether the test set would notice."""
    train, test = cell_counts(splits.train).double(), cell_counts(splits.test).double()
    says = train.argmax(0)  # the class that each group has most of
    told, guess = (float(x / train.sum()) for x in (train.amax(0).sum(), train.sum(1).max()))
    if told < max(1.5 * guess, guess + 0.05):
        return []
    tested = float(test.gather(0, says[None]).sum() / test.sum().clamp(min=1))
    c, g = divmod(int((train / train.sum(1, keepdim=True).clamp(min=1)).argmax()), train.shape[1])
    example = (
        f"{train[c, g] / train[c].sum():.0%} of {splits.train.class_names[c]!r} are {splits.train.group_names[g]!r}"
    )
    what = f"the group alone tells the class of {told:.0%} of the training images, where {guess:.0%} could be guessed"
    mend = "networks may read the group: look at pairs of class and group"
    if tested > (guess + told) / 2:
        mend += f"; and reading it pays in the test set, too ({tested:.0%}): test on an even mixture"
    return [Finding("warning", what, example, mend)]


# ------------------------------------------------------------------------------------------------- how much they tell


def _quantile(groups: int, level: float) -> float:
    if groups < 1 or not 0 < level < 1:
        raise RddError(f"groups={groups} must be at least 1, and level={level} between 0 and 1")
    return float(-ndtri((1 - level) / 2 / groups))


def half_width(n: int, groups: int = 1, level: float = 0.95) -> float:
    """Half of Wilson's interval for a group of ``n`` test images where it is widest, at an accuracy of one half.

    ``groups`` intervals are to hold at once (Bonferroni). Another training adds to it: see
    :func:`rdd_nb.evaluation.subgroups.group_table`.

    >>> round(half_width(50), 3), round(half_width(50, groups=10), 3)
    (0.134, 0.184)
    """
    if n < 0:
        raise RddError(f"n={n} test images: give 0 or more")
    z = _quantile(groups, level)
    return z / (2 * math.sqrt(n + z**2))


def images_needed(reach: float = 0.1, groups: int = 1, level: float = 0.95) -> int:
    """The fewest test images that bring :func:`half_width` to ``reach`` or below it, whatever the accuracy.

    >>> images_needed(0.1), images_needed(0.05), images_needed(0.1, groups=10)
    (93, 381, 190)
    """
    if not 0 < reach < 1:
        raise RddError(f"reach={reach} must lie between 0 and 1: 0.1 is ±10 points")
    z = _quantile(groups, level)
    return max(0, math.ceil(z**2 * (1 / (4 * reach**2) - 1)))
