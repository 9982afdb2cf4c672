"""Several images in the place of one: stored images that hold a grid of smaller ones, and are decoded before use.

Neighbouring pixels of a distilled image say much the same, so that a few pixels may be better spent on more images.
With ``formations=f`` each stored image is a grid of f × f parts, and each part, enlarged to the full size, is an image
of its own. Storage stays what it was: as many numbers as before, and nothing beside them is needed to decode.

Source: Kim et al., *Dataset Condensation via Efficient Synthetic-Data Parameterization* (IDC, 2205.14959), section 3.
There the grid's last row and column are padded where f does not divide the size; here parts differ by one pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.core.errors import RddError

__all__ = ["SMALLEST_PART", "Formations", "check_formations", "decode", "encode", "stored_gradient"]

#: Pixels: a part's height and width at least.
SMALLEST_PART = 4


def check_formations(factor: int, height: int, width: int) -> None:
    """Whether images of this size can hold a grid of ``factor`` × ``factor`` parts.

    Raises:
        RddError: ``factor`` is no whole number from 1 on, or parts would be smaller than :data:`SMALLEST_PART`.
    """
    if type(factor) is not int or factor < 1:
        raise RddError(f"formations={factor!r}: give a whole number, 1 where each image is one")
    most = max(1, min(height, width) // SMALLEST_PART)
    if factor > most:
        raise RddError(
            f"formations={factor} makes parts of {height // factor} × {width // factor} pixels, of images of {height} "
            f"× {width}: take {most} at most, so that a part has {SMALLEST_PART} × {SMALLEST_PART}"
        )


def decode(stored: Tensor, factor: int) -> Tensor:
    """``[M, C, H, W]`` to ``[M · factor², C, H, W]``: each part enlarged (bilinear), those of an image one by one.

    Linear in ``stored``. With ``factor`` 1 it is ``stored`` itself.

    >>> two_by_two = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    >>> decode(two_by_two.view(1, 1, 8, 8), 2).mean((1, 2, 3)).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    if factor == 1:
        return stored
    size = tuple(stored.shape[-2:])
    parts = [part for row in stored.tensor_split(factor, -2) for part in row.tensor_split(factor, -1)]
    whole = [F.interpolate(part, size=size, mode="bilinear", align_corners=False) for part in parts]
    return torch.stack(whole, 1).flatten(0, 1)


def encode(images: Tensor, factor: int) -> Tensor:
    """``[M · factor², C, H, W]`` to ``[M, C, H, W]``: each image made smaller (bilinear, antialiased), into its part.

    What a start from real images takes. :func:`decode` gives them back with the detail that a part can hold.

    >>> encode(torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8), 2)[0, 0, ::4, ::4].round().tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    if factor == 1:
        return images
    grid = images.unflatten(0, (-1, factor, factor))
    height, width = (
        [len(part) for part in torch.empty(side).tensor_split(factor)]  # as decode splits them
        for side in images.shape[-2:]
    )

    def small(row: int, column: int) -> Tensor:
        size = (height[row], width[column])
        return F.interpolate(grid[:, row, column], size=size, mode="bilinear", align_corners=False, antialias=True)

    return torch.cat([torch.cat([small(r, c) for c in range(factor)], -1) for r in range(factor)], -2)


def stored_gradient(gradient: Tensor, factor: int) -> Tensor:
    """The gradient with respect to what is stored, ``[M, C, H, W]``, of one with respect to what :func:`decode` gives.

    So a matching needs to know nothing of how its images are kept.
    """
    if factor == 1:
        return gradient
    stored = gradient.new_zeros(len(gradient) // factor**2, *gradient.shape[1:]).requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(decode(stored, factor), stored, gradient)[0]


class Formations(NamedTuple):
    """How images are kept: a grid of ``factor`` × ``factor`` in each, with 1 as they are.

    :class:`rdd_nb.data.decoders.Decoder` is the other way, and has the same two methods: whoever changes stored numbers
    by a gradient of their images needs no more of either.
    """

    factor: int = 1

    def decode(self, stored: Tensor) -> Tensor:
        """Images of what is stored: see :func:`decode`."""
        return decode(stored, self.factor)

    def carried_back(self, stored: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with respect to ``stored``, of one with respect to its images: see :func:`stored_gradient`."""
        return stored_gradient(gradient, self.factor)
