"""The exercises of notebook 08, on one's own data: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register

__all__: list[str] = []


def _pictures(*values: int, like: tuple[int, int, int] = (1, 2, 2)) -> Tensor:
    """Images uint8 ``[N, C, H, W]``: 16 times the value, and in its last pixel 16 times the value plus 1."""
    images = (16 * torch.tensor(values, dtype=torch.uint8)).view(-1, 1, 1, 1).repeat(1, *like)
    images[:, -1, -1, -1] += 1
    return images


def _corner(*values: int, pixel: int = 0) -> Tensor:
    """The same, with one pixel set."""
    images = _pictures(*values)
    images[:, :, 0, 0] = pixel
    return images


def _tinted(*values: int) -> Tensor:
    """Colour images that differ from :func:`_pictures` in the last colour only."""
    images = _pictures(*values, like=(3, 2, 2))
    images[:, 2] += 40
    return images


# -------------------------------------------------------------------------------------------------------------- leaks


def _equal(train: Tensor, test: Tensor) -> Tensor:
    """bool ``[M, N, pixels]``."""
    return test.flatten(1)[:, None] == train.flatten(1)[None]


def _leaked(train: Tensor, test: Tensor) -> Tensor:
    return _equal(train, test).all(2).any(1)


def _same_place(train: Tensor, test: Tensor) -> Tensor:
    both = min(len(train), len(test))
    found = torch.zeros(len(test), dtype=torch.bool)
    found[:both] = (train[:both] == test[:both]).flatten(1).all(1)
    return found


_TURNED = torch.tensor([[[[1, 2], [3, 4]]], [[[4, 3], [2, 1]]]], dtype=torch.uint8)  # the same pixels, elsewhere

register(
    Exercise(
        "08-leaks",
        "which test images are exact copies of a training image",
        _leaked,
        (
            Case("training 1, 2, 3, test 5, 3", (_pictures(1, 2, 3), _pictures(5, 3))),
            Case("nothing leaks", (_pictures(1, 2), _pictures(3, 4, 5))),
            Case("a training image that is there twice", (_pictures(4, 4, 2), _pictures(9, 4))),
            Case("two copies of one training image", (_pictures(7, 8), _pictures(8, 8, 1))),
            Case("colour images", (_pictures(1, 2, like=(3, 4, 4)), _pictures(2, 9, 1, like=(3, 4, 4)))),
            Case("the same pixel values in other places", (_TURNED[:1], _TURNED)),
            Case("all have one black pixel", (_corner(1, 2), _corner(3, 2))),
            Case("one pixel is one grey level apart", (_pictures(1, 2), _corner(2, 1, pixel=33))),
            Case("alike in the first colour only", (_pictures(1, 2, like=(3, 2, 2)), _tinted(2, 1))),
            Case("as many training as test images", (_pictures(1, 2, 3), _pictures(3, 2, 9))),
        ),
        (
            Mistake("You compare images that stand in the same place. A copy may stand anywhere.", _same_place),
            Mistake(
                "Those have a pixel in common with a training image. A copy has all of them: `all` over the pixels.",
                lambda train, test: _equal(train, test).any(2).any(1),
            ),
            Mistake(
                "A test image need not equal all training images, one is enough: `any` over the training images.",
                lambda train, test: _equal(train, test).all(2).all(1),
            ),
            Mistake(
                "That says which training images are in the test set. Asked is a flag for each test image.",
                lambda train, test: _equal(train, test).all(2).any(0),
            ),
            Mistake(
                "That is how many copies each has. Asked is whether there is one.",
                lambda train, test: _equal(train, test).all(2).sum(1),
            ),
            Mistake(
                "Nearly equal is not equal: yours lets a pixel be one grey level off.",
                lambda train, test: (
                    (test.flatten(1)[:, None].int() - train.flatten(1).int()).abs().amax(2).le(1).any(1)
                ),
            ),
            Mistake(
                "You compare the first colour only: a copy has all of them.",
                lambda train, test: _leaked(train[:, :1], test[:, :1]),
            ),
            Mistake(
                "You compare a sum or a mean. Other images have it, too: compare pixel by pixel.",
                lambda train, test: torch.isin(test.flatten(1).sum(1), train.flatten(1).sum(1)),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- needed


def _half(share: float, n: int, z: float) -> float:
    return z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)


def _needed(share: float, reach: float, z: float) -> int:
    n = 1
    while _half(share, n, z) > reach + 1e-12:
        n += 1
    return n


def _textbook(share: float, reach: float, z: float) -> int:
    return max(1, math.ceil(z**2 * share * (1 - share) / reach**2 - 1e-9))


register(
    Exercise(
        "08-needed",
        "the fewest test images whose Wilson interval reaches no further than `reach` to either side of its centre",
        _needed,
        (
            Case("accuracy 0.5, ±0.1, z = 1.96", (0.5, 0.1, 1.96)),
            Case("accuracy 0.9, ±0.1", (0.9, 0.1, 1.96)),
            Case("accuracy 0.8, ±0.05", (0.8, 0.05, 1.96)),
            Case("accuracy 1.0, ±0.1", (1.0, 0.1, 1.96)),
            Case("accuracy 0.5, ±0.1, for 20 groups at once (z = 3.02)", (0.5, 0.1, 3.02)),
            Case("accuracy 0.5, ±0.4, z = 1 (one image is enough)", (0.5, 0.4, 1.0)),
            Case("accuracy 1.0, ±0.25, z = 2 (reached exactly)", (1.0, 0.25, 2.0)),
        ),
        (
            Mistake(
                "That is the textbook's z²·p(1 − p)/h². At an accuracy of 1 it says that one image is enough.",
                _textbook,
            ),
            Mistake(
                "`reach` is half of the interval, not the whole of it.",
                lambda share, reach, z: _needed(share, reach / 2, z),
            ),
            Mistake(
                "That one is still too wide: go on until the interval reaches no further than `reach`.",
                lambda share, reach, z: _needed(share, reach, z) - 1,
            ),
            Mistake(
                "The division by 1 + z²/n is missing: Wilson's half width is shorter than that.",
                lambda share, reach, z: next(
                    n for n in range(1, 10**6) if _half(share, n, z) * (1 + z**2 / n) <= reach + 1e-12
                ),
            ),
            Mistake(
                "You plan for an accuracy of one half, the worst case. Asked is the number at `share`.",
                lambda share, reach, z: _needed(0.5, reach, z),
            ),
        ),
    )
)

# -------------------------------------------------------------------------------------------------------------- split


def _half_up(number: float) -> int:
    return int(number + 0.5)


def _split(
    cells: Tensor,
    fraction: float,
    draw: Tensor,
    *,
    least: int = 1,
    keep: bool = True,
    last: bool = False,
    rounded: Callable[[float], int] = _half_up,
) -> Tensor:
    """The test images; the options switch parts of the task off."""
    chosen = torch.zeros(len(cells), dtype=torch.bool)
    for cell in cells.unique():
        members = (cells == cell).nonzero()[:, 0]
        wanted = max(rounded(fraction * len(members)), least)
        wanted = min(wanted, len(members) - 1) if keep else wanted
        chosen[members[draw[members].argsort(descending=last)[:wanted]]] = True
    return chosen


def _drawn(count: int) -> Tensor:
    """Numbers from 0 to 1 in an order that is mixed, and always the same."""
    return (torch.arange(count) * 7 + 3) % count / count


_HALVES = torch.tensor([2] * 10 + [0] * 6)
register(
    Exercise(
        "08-split",
        "a stratified split that leaves no pair of class and group empty on either side",
        _split,
        (
            Case("cells 0 × 10 and 1 × 5, a fifth is tested", (torch.tensor([0] * 10 + [1] * 5), 0.2, _drawn(15))),
            Case("a cell of 2 among 20", (torch.tensor([0] * 18 + [1] * 2), 0.2, _drawn(20))),
            Case("a cell of one image", (torch.tensor([0] * 9 + [3]), 0.3, _drawn(10))),
            Case("cells in a mixed order", (torch.arange(23) % 3, 0.25, _drawn(23))),
            Case("cells 2 × 10 and 0 × 6, of which 2.5 and 1.5 are asked", (_HALVES, 0.25, _drawn(16))),
            Case("nearly all is tested", (torch.tensor([0] * 5 + [1] * 3), 0.95, _drawn(8))),
        ),
        (
            Mistake(
                "You draw from all images at once: a small pair may come out empty, or whole. Go pair by pair.",
                lambda cells, fraction, draw: _split(torch.zeros_like(cells), fraction, draw),
            ),
            Mistake(
                "A pair with two images or more must be tested with one at least.",
                lambda cells, fraction, draw: _split(cells, fraction, draw, least=0),
            ),
            Mistake(
                "Of every pair one image must stay in training, also if the pair has only one.",
                lambda cells, fraction, draw: _split(cells, fraction, draw, keep=False),
            ),
            Mistake(
                "`round` takes a half to the even number, 2.5 to 2. Halves go up here.",
                lambda cells, fraction, draw: _split(cells, fraction, draw, rounded=round),
            ),
            Mistake(
                "`int` cuts off: add one half first, to round to the nearest number.",
                lambda cells, fraction, draw: _split(cells, fraction, draw, rounded=int),
            ),
            Mistake(
                "The images with the *smallest* numbers in `draw` are tested.",
                lambda cells, fraction, draw: _split(cells, fraction, draw, last=True),
            ),
            Mistake(
                "Your answers stand sorted by pair. The result has a place for each image, in the order of `cells`.",
                lambda cells, fraction, draw: _split(cells, fraction, draw)[cells.argsort(stable=True)],
            ),
        ),
    )
)
