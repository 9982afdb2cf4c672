"""Colours and background textures that tell nothing of what an image shows, and how they are laid on images.

:func:`tint` gives grey images a colour each, :func:`lay` puts a texture behind what they show. Both are pure functions
of uint8 tensors; :mod:`rdd_nb.data.scenarios` decides which image gets what.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["PALETTE", "SHIFTS", "TEXTURES", "is_dark", "lay", "palette", "texture", "texture_names", "tint"]

#: Told apart by their direction in RGB, not by their brightness: a grey image times a colour has every brightness.
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (255, 15, 15),
    "green": (0, 205, 70),
    "blue": (20, 80, 255),
    "yellow": (255, 240, 0),
    "magenta": (255, 0, 190),
    "cyan": (0, 225, 235),
    "orange": (255, 115, 0),
    "violet": (130, 20, 255),
    "white": (255, 255, 255),
    "lime": (120, 255, 0),
}
#: Told apart by their form alone, see :func:`texture`.
TEXTURES = ("rows", "columns", "rising", "falling", "checks", "dots", "lattice", "rings", "zigzag", "bricks")
SHIFTS = 24  #: a texture is shifted by 0 to 23 steps each way, some times its period
_BRIGHT = 128  # the brighter of a texture's two values: half of full brightness, the other is 0
_OBJECT = 24  # from this value on a pixel belongs wholly to the object, below it partly, at 0 to the background
_CHUNK = 4096  # images painted at a time, as whole numbers take four times the memory of the bytes


def palette(count: int) -> dict[str, tuple[int, int, int]]:
    """``count`` named colours (RGB, 0 to 255): the first of :data:`PALETTE`, or beyond ten, hues at even steps.

    >>> list(palette(3)), list(palette(12).items())[3]
    (['red', 'green', 'blue'], ('hue 90°', (153, 255, 51)))
    """
    if count <= len(PALETTE):
        return dict(list(PALETTE.items())[:count])
    colours = {}
    for index in range(count):
        saturation = 0.5 if index % 2 == 0 else 0.8  # neighbours in hue differ in saturation as well
        rgb = colorsys.hsv_to_rgb(index / count, saturation, 1.0)
        colours[f"hue {360 * index / count:g}°"] = (round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2]))
    return colours


def tint(images: Tensor, ids: Tensor, colours: Sequence[tuple[int, int, int]]) -> Tensor:
    """uint8 ``[N, 3, H, W]``: the luminance of ``images`` (ITU-R 601, as in Pillow) times each image's colour."""
    painted = torch.empty((len(images), 3, *images.shape[2:]), dtype=torch.uint8)
    table = torch.tensor(colours, dtype=torch.int32)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].to(torch.int32)
        if chunk.shape[1] == 3:
            grey = (19595 * chunk[:, 0] + 38470 * chunk[:, 1] + 7471 * chunk[:, 2] + 32768) >> 16
        else:
            grey = chunk[:, 0]
        factors = table[ids[start : start + _CHUNK]][:, :, None, None]
        product = grey[:, None] * factors + 128
        painted[start : start + _CHUNK] = (product + (product >> 8)) >> 8  # = round(grey * factor / 255), exactly
    return painted


# -------------------------------------------------------------------------------------------------------- the textures


def texture_names(count: int) -> tuple[str, ...]:
    """Names of the first ``count`` textures: those of :data:`TEXTURES`, then stripes at other angles and periods.

    >>> texture_names(12)[8:]
    ('zigzag', 'bricks', 'stripes 15° period 4', 'stripes 30° period 4')
    """
    more = (_stripes(index) for index in range(len(TEXTURES), count))
    return (*TEXTURES[:count], *(f"stripes {angle}° period {period}" for angle, period in more))


def texture(index: int, height: int, width: int, step: int = 1) -> Tensor:
    """uint8 ``[height, width]``: texture ``index``, drawn from its number alone, its dots ``step`` pixels large.

    Each has two values, 0 and 128, each on about half of the pixels. So textures are alike in mean and deviation of
    brightness, and only their form tells them apart. Periods are 6 to 12 steps (4 to 15 beyond the tenth).

    >>> texture(0, 6, 2)[:, 0].tolist(), texture(1, 2, 6)[0].tolist()
    ([128, 128, 128, 0, 0, 0], [128, 128, 128, 0, 0, 0])
    """
    y, x = torch.arange(height)[:, None] // step, torch.arange(width)[None] // step
    if index < len(TEXTURES):
        bright = _form(TEXTURES[index], y, x, (height // step // 2, width // step // 2))
    else:
        angle, period = _stripes(index)
        along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
        bright = (2 * along / period).floor() % 2 == 0
    return bright.expand(height, width).to(torch.uint8) * _BRIGHT


def _form(name: str, y: Tensor, x: Tensor, centre: tuple[int, int]) -> Tensor:
    """bool, of the shape that ``y`` and ``x`` broadcast to: where the texture is bright. Exact."""
    if name == "rows":
        return y % 6 < 3
    if name == "columns":
        return x % 6 < 3
    if name == "rising":
        return (x + y) % 8 < 4
    if name == "falling":
        return (x - y) % 8 < 4
    if name == "checks":
        return (x // 4 + y // 4) % 2 == 0
    if name == "dots":  # discs of 32 pixels in squares of 64; in halves of a pixel
        return (2 * (x % 8) - 7) ** 2 + (2 * (y % 8) - 7) ** 2 < 40
    if name == "lattice":
        return (x % 7 < 2) | (y % 7 < 2)
    if name == "rings":  # radii 0 to 3, 6 to 9, …
        square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        return square.double().sqrt() % 6 < 3
    if name == "zigzag":
        return (y + (x % 12 - 6).abs()) % 6 < 3
    return (y % 6 < 4) & ((x + 4 * (y // 6)) % 8 < 6)  # bricks


def _stripes(index: int) -> tuple[int, int]:
    """Angle in degrees and period in steps of the stripes beyond the named textures."""
    angles = (15, 30, 60, 75, 105, 120, 150, 165)
    place = index - len(TEXTURES)
    return angles[place % len(angles)], 4 + place // len(angles)


def is_dark(images: Tensor) -> bool:
    """Whether the background of ``images`` (uint8 ``[N, C, H, W]``) is dark: the median of their outermost pixels."""
    brightest = images.amax(1)
    edges = torch.cat([brightest[:, 0], brightest[:, -1], brightest[:, :, 0], brightest[:, :, -1]], 1)
    return int(edges.flatten().median()) < _OBJECT


def lay(images: Tensor, ids: Tensor, shifts: Tensor, dark: bool) -> Tensor:
    """uint8 like ``images``: a texture each behind what they show.

    Args:
        images: uint8 ``[N, C, H, W]``.
        ids: int64 ``[N]``, which texture each gets.
        shifts: int64 ``[N, 2]``, 0 to :data:`SHIFTS` - 1: where in the texture each image lies.
        dark: the dark is background: ``x + texture * max(0, 1 - g / 24)``, where ``g`` is the pixel's brightest
            channel; from 24 on pixels stay to the bit. Otherwise nobody can say where an object ends, and the texture
            is a frame: only the photograph up to 0.7 of the half side from the centre, only the texture from the half
            side on, a blend between.
    """
    height, width = images.shape[2:]
    step = max(1, min(height, width) // 28)
    count = int(ids.max()) + 1 if len(ids) else 0
    sheets = torch.empty(count, height + SHIFTS * step, width + SHIFTS * step, dtype=torch.uint8)
    for index in range(count):
        sheets[index] = texture(index, sheets.shape[1], sheets.shape[2], step)
    frame = _frame(height, width)
    laid = torch.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = images[part].to(torch.int32)
        rows = shifts[part, 0, None] * step + torch.arange(height)
        columns = shifts[part, 1, None] * step + torch.arange(width)
        behind = sheets[ids[part, None, None], rows[:, :, None], columns[:, None, :]][:, None].to(torch.int32)
        if dark:
            share = (_OBJECT - chunk.amax(1, keepdim=True)).clamp(min=0)
            laid[part] = chunk + (behind * share + _OBJECT // 2) // _OBJECT
        else:
            laid[part] = (chunk * (256 - frame) + behind * frame + 128) >> 8
    return laid


def _frame(height: int, width: int) -> Tensor:
    """int32 ``[H, W]``, 0 to 256: how much of the texture shows, more with the distance from the centre."""
    y = (2 * torch.arange(height) + 1 - height)[:, None] / height
    x = (2 * torch.arange(width) + 1 - width)[None] / width
    return (((y**2 + x**2).sqrt() - 0.7) / 0.3 * 256).round().clamp(0, 256).to(torch.int32)
