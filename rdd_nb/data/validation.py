"""What is wrong with one's own data, before anything is distilled: found all at once, each with how to mend it.

:func:`files` looks at a folder's files, of which :func:`rdd_nb.data.loading.load` would name the first bad one and
stop. :func:`examine` looks at what was loaded: leaks between training and test set, classes and groups that are too
small, groups that tell the class. :func:`half_width` and :func:`images_needed` say how much a group's test images can
tell. Taught in ``notebooks/08_your_own_data.ipynb``.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import ndtri
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.image_folder import check_memory, heads_of, open_image, threads
from rdd_nb.data.image_listing import Row, listing

__all__ = ["SEVERITIES", "Finding", "cell_counts", "examine", "files", "half_width", "images_needed", "near_pairs"]

SEVERITIES = {
    "error": "the numbers would be wrong, or cannot be had",
    "warning": "the numbers would be right, and easily misread",
    "note": "good to know when reading them",
}
SHOWN = 3  # examples in a line
TINY = 10  # a group with fewer images, in training or test, says next to nothing
CLOSE = 2.0  # two images are near copies below this root mean square difference, in grey levels of 256
LOPSIDED = 5  # a class so many times as large as another is told
_SIDE = 8  # larger images are averaged down to about this for the search for near copies
_AT_ONCE = 32_768  # images that 512 others are held against at the same time


@dataclass(frozen=True)
class Finding:
    """One thing to know about the data: how grave, what, where, and how to mend it.

    >>> print(Finding("warning", "2 images are blank", "train 3, 8", "leave them out"))
    warning: 2 images are blank (train 3, 8): leave them out
    """

    severity: str
    what: str
    where: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.what} ({self.where}): {self.mend}"


def _sorted(found: Sequence[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: list(SEVERITIES).index(finding.severity))


def _some(names: Sequence[object]) -> str:
    """The first of some names.

    >>> _some("abcde")
    'a, b, c and 2 more'
    """
    return ", ".join(map(str, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _images(count: int) -> str:
    return f"{count:,} image" + "s" * (count != 1)


# ----------------------------------------------------------------------------------------------------------- the files


def files(
    name: str, size: int | None = None, channels: int | None = None, background: str | None = None
) -> list[Finding]:
    """What is wrong with the image files of ``folder:PATH``, all of it at once; opens every image.

    Args:
        name: the folder.
        size, channels, background: as :func:`rdd_nb.data.loading.load` will be given them; what they mend is not told.

    Finds files that are missing or cannot be read, sizes that differ, grey among colour, images with the same pixels,
    and files that are left out, with their names relative to the folder; and whether all images fit into the memory.

    Raises:
        RddError: the folder does not say what it holds: see :func:`rdd_nb.data.image_listing.listing`.
    """
    held = listing(name)
    rows, root = held.rows, held.folder
    heads = heads_of(rows, skip=True)
    with ThreadPoolExecutor(threads(heads)) as pool:
        looks = list(pool.map(lambda row: _look(row, background), rows))
    names = [os.path.relpath(row.path, root) for row in rows]
    broken = {file: why.replace(f"{root}{os.sep}", "") for file, (why, _, _) in zip(names, looks) if why}
    found = []
    if held.left_out:
        mend = "what is left out is neither learnt nor tested: move, convert or name it, or leave it so"
        found.append(Finding("warning", "files that are left out", held.counted(), mend))
    try:
        check_memory(heads, size, channels)
    except RddError as error:
        what, _, mend = str(error).partition(": ")
        found.append(Finding("error", "images that do not fit into the memory", what, mend))
    if broken:
        first = next(iter(broken.values())).split(": replace")[0]
        mend = f"replace or leave out each of them; of the first the loader says “{first}”"
        found.append(Finding("error", f"{_images(len(broken))} cannot be read", _some(list(broken)), mend))
    across = ["" if size else f"{kind[0]}×{kind[1]} " for _, kind, _ in looks if kind]
    shades = ["" if channels else kind[2] for _, kind, _ in looks if kind]
    kinds = Counter(map("".join, zip(across, shades)))
    if len(kinds) > 1:
        told = _some([f"{count:,} of {kind.strip()}" for kind, count in kinds.most_common()])
        mend = "load with size=… for one size, channels=… for one kind"
        found.append(Finding("error", f"{len(kinds)} sizes or kinds of image", told, mend))
    same: dict[str, list[int]] = {}
    for index, (_, _, digest) in enumerate(looks):
        if digest:
            same.setdefault(digest, []).append(index)
    return _sorted(found + _copies([[(names[i], rows[i]) for i in each] for each in same.values() if len(each) > 1]))


def _look(row: Row, background: str | None) -> tuple[str, tuple[int, int, str] | None, str]:
    """Why it cannot be read, or its size and kind and a digest of its pixels; blank images get none."""
    try:
        picture = open_image(row, background)
    except RddError as error:
        return str(error), None, ""
    plain = all(low == high for low, high in _extrema(picture.getextrema()))
    digest = "" if plain else hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    return "", (*picture.size, "grey" if picture.mode == "L" else "RGB"), digest


def _extrema(found: object) -> list[tuple[float, float]]:
    """Pillow's extrema, which is a pair for grey images and a pair of each channel for others."""
    return list(found) if isinstance(found, tuple) and isinstance(found[0], tuple) else [found]  # type: ignore[list-item]


def _copies(same: Sequence[Sequence[tuple[str, Row]]]) -> list[Finding]:
    leaks = [each for each in same if len({row.split for _, row in each}) > 1]
    torn = [each for each in same if len({row.label for _, row in each}) > 1]
    within = [each for each in same if each not in leaks and each not in torn]
    kinds = (
        ("error", leaks, "shown both in training and in the test set", "keep each on one side alone"),
        ("error", torn, "shown under several labels", "decide which label is right"),
        ("warning", within, "there several times on the same side", "keep one of each, or they count more than others"),
    )
    return [
        Finding(severity, f"{_images(len(each))} {what}", _some([" = ".join(n for n, _ in e) for e in each]), mend)
        for severity, each, what, mend in kinds
        if each
    ]


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
    return _sorted(found)


def near_pairs(first: Tensor, second: Tensor, close: float = CLOSE) -> Tensor:
    """Pairs of an image of ``first`` and one of ``second`` that are all but the same: int64 ``[P, 2]``.

    Args:
        first, second: uint8 ``[N, C, H, W]`` and ``[M, C, H, W]``, of at most 512 × 512 pixels for speed's sake.
        close: the largest root mean square difference, in grey levels of 256; 0 finds exact copies alone.

    It finds copies that were saved anew, not those that are shifted, cropped or turned: next shots of a burst must be
    kept together by whoever took them. Blank images are left out.
    """
    (mine, side), (other, _) = _pooled(first), _pooled(second)
    shown = [part.flatten(1).amin(1) < part.flatten(1).amax(1) for part in (first, second)]
    # Averaging brings images nearer to each other: what is far there need not be looked at.
    reach, found = close * math.sqrt(math.prod(first.shape[1:])) / side, [torch.zeros(0, 2, dtype=torch.int64)]
    for start in range(0, len(first), 512):
        for begin in range(0, len(second), _AT_ONCE):
            # The matrix product rounds: look a little further, and then at the pixels themselves.
            hits = (torch.cdist(mine[start : start + 512], other[begin : begin + _AT_ONCE]) <= reach + 3).nonzero()
            hits = hits + torch.tensor([start, begin])
            hits = hits[shown[0][hits[:, 0]] & shown[1][hits[:, 1]]]
            apart = [
                (first[i].float() - second[j].float()).square().flatten(1).mean(1).sqrt() for i, j in _chunks(hits)
            ]
            found.append(hits[torch.cat(apart) <= close] if apart else hits)
    pairs = torch.cat(found)
    return pairs[(pairs[:, 0] * len(second) + pairs[:, 1]).argsort()]


def _pooled(images: Tensor) -> tuple[Tensor, int]:
    """Images averaged to about 8 × 8 pixels: ``[N, D]``, and over how many pixels a side."""
    side = max(1, min(images.shape[-2:]) // _SIDE)
    return torch.cat([F.avg_pool2d(part.float(), side).flatten(1) for part in images.split(4096)]), side


def _chunks(pairs: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(part[:, 0], part[:, 1]) for part in pairs.split(1024) if len(part)]


def _leaks(splits: Splits) -> list[Finding]:
    train, test = splits.train, splits.test
    pairs = near_pairs(test.images, train.images)
    same = [(test.images[i] == train.images[j]).flatten(1).all(1) for i, j in _chunks(pairs)]
    exact = torch.cat(same) if same else torch.zeros(0, dtype=torch.bool)
    found = []
    kinds = (("error", exact, "shown both in training and in the test set"), ("warning", ~exact, "nearly in both"))
    for severity, mine, what in kinds:
        leaked = pairs[mine]
        if len(leaked):
            where = _some([f"test {i} = train {j}" for i, j in leaked.tolist()])
            count = _images(len(leaked[:, 0].unique()))
            found.append(Finding(severity, f"{count} {what}", where, "keep each on one side alone"))
    return found


def _blank(splits: Splits) -> list[Finding]:
    where = []
    for name, part in (("train", splits.train), ("test", splits.test)):
        flat = part.images.flatten(2)
        where += [f"{name} {i}" for i in (flat.amin(2) == flat.amax(2)).all(1).nonzero()[:, 0].tolist()]
    if not where:
        return []
    return [Finding("warning", f"{_images(len(where))} of one colour all over", _some(where), "look at them")]


def _classes(splits: Splits, ipc: int) -> list[Finding]:
    found, names = [], splits.train.class_names
    train, test = splits.train.class_counts.tolist(), splits.test.class_counts.tolist()
    small = [f"{name!r} {count:,}" for name, count in zip(names, train) if count < ipc]
    if small:
        what = f"classes with fewer training images than the {ipc} that are to be made"
        found.append(Finding("error", what, _some(small), "lower ipc or add images"))
    absent = [repr(name) for name, count in zip(names, test) if not count]
    if absent:
        found.append(Finding("error", "classes without test images", _some(absent), "add some, or leave the class out"))
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
            found.append(Finding(severity, f"groups that are {kind}", _some(absent), "add images, or merge groups"))
    tiny = [f"{n!r}: {a} + {b}" for n, a, b in zip(names, train, test) if 0 < min(a, b) < TINY or 0 < a + b < TINY]
    if tiny:
        mend = "add images, or merge groups; and trust no number about them"
        found.append(Finding("warning", f"groups with fewer than {TINY} images (train + test)", _some(tiny), mend))
    blind = ((cells[0] == 0) & (cells[1] > 0)).nonzero().tolist()
    if blind:
        told = [f"{splits.train.class_names[c]!r} / {names[g]!r}" for c, g in blind]
        mend = "nothing can be learnt of them: judge them apart"
        found.append(Finding("warning", "pairs of class and group that only the test set has", _some(told), mend))
    needed = images_needed()
    few = [f"{name!r} ±{100 * half_width(n):.0f}" for name, n in zip(names, test) if TINY <= n < needed]
    if few:
        what = f"groups with fewer than {needed} test images: not known to ±10 points"
        found.append(Finding("note", what, _some(few), "add test images, or report the interval"))
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
