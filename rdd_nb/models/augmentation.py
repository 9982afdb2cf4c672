"""Differentiable siamese augmentation (Zhao & Bilen, arXiv 2102.08259): drawn once, applied to any batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rdd_nb.core.errors import RddError, unknown

__all__ = ["OPERATIONS", "AugmentParams", "Transform", "draw", "parse"]

#: What siamese augmentation can do to an image.
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


@dataclass(frozen=True)
class AugmentParams:
    """How strong each operation is; the defaults are those of the paper's code.

    Lengths are fractions of the image's side, brightness is in normalised units.
    """

    flip: float = 0.5  #: probability of a left-right flip
    scale: float = 1.2  #: each axis is scaled by a factor between 1/scale and scale
    rotate: float = 15.0  #: rotation by at most so many degrees either way
    crop: float = 0.125  #: shift by at most this fraction either way, zeros beyond the border
    cutout: float = 0.5  #: side of the square that is set to zero
    brightness: float = 1.0  #: adds up to half of this either way
    saturation: float = 2.0  #: multiplies the distance to grey by 0 to this
    contrast: float = 0.5  #: multiplies the distance to the image's mean by this to 1 + this

    def __post_init__(self) -> None:
        bounds = {"flip": 0 <= self.flip <= 1, "scale": self.scale >= 1, "cutout": 0 <= self.cutout <= 1}
        bounds["crop"] = 0 <= self.crop <= 1
        for name in ("rotate", "brightness", "saturation", "contrast"):
            bounds[name] = getattr(self, name) >= 0
        for name, good in bounds.items():
            if not good:
                raise RddError(f"AugmentParams: {name}={getattr(self, name)} is out of range; see its description")


def parse(strategy: str) -> tuple[str, ...]:
    """The operations named in ``strategy``, e.g. ``"color_crop_cutout_flip_scale_rotate"``; ``"none"`` gives ().

    Raises:
        RddError: a name that is no operation, or one given twice.

    >>> parse("crop_flip"), parse("none")
    (('crop', 'flip'), ())
    """
    if strategy == "none":
        return ()
    names = tuple(strategy.split("_"))
    for name in names:
        if name not in OPERATIONS:
            raise unknown("augmentation", name, (*OPERATIONS, "none"), f"strategy {strategy!r}")
    if len(set(names)) < len(names):
        raise RddError(f"strategy {strategy!r} names an operation twice: name each once")
    return names


@dataclass(frozen=True, eq=False)
class Transform:
    """One drawn operation with ``slots`` sets of parameters; calling it augments a batch.

    ``uniforms`` float [slots, 3] in [0, 1) decides everything, so the same transform treats real and synthetic images
    alike (the siamese part). Differentiable in the images (twice, but for rotation
    before torch 2.13).
    """

    operation: str  #: one of :data:`OPERATIONS`, or "none"
    uniforms: Tensor
    params: AugmentParams = AugmentParams()

    def __call__(self, images: Tensor, slots: Tensor | None = None) -> Tensor:
        """Augmented images [N, C, H, W], with zeros (the data's mean, in normalised units) beyond the border.

        Args:
            images: float [N, C, H, W], on the device of ``uniforms``.
            slots: int64 [N], which set of parameters each image gets; such as its class, for one draw a class.
                None: the one slot for every image, or with N slots the i-th for image i.

        Raises:
            RddError: without ``slots``, when there are neither 1 nor N sets of parameters.
        """
        if self.operation == "none":
            return images
        u = self.uniforms.to(dtype=images.dtype)
        if slots is not None:
            u = u[slots]
        if len(u) not in (1, len(images)):
            raise RddError(
                f"a transform of {len(u)} slots got {len(images)} images: draw 1 slot or one an image, or pass slots"
            )
        return _APPLY[self.operation](images, u, self.params)


def draw(
    strategy: str,
    slots: int,
    generator: torch.Generator,
    device: str | torch.device | None = None,
    params: AugmentParams | None = None,
) -> Transform:
    """Draw ONE operation of ``strategy``, each as likely, and ``slots`` independent sets of its parameters.

    The generator advances by the same amount whichever operation comes up. A generator on the CPU needs no
    synchronisation with an accelerator; the drawn numbers are then copied to ``device``.

    Args:
        strategy: operations joined by ``_``, or ``"none"`` (see :func:`parse`).
        slots: 1 for the same parameters on every image, N for an own set for each.
        generator: source of the draws, on any device.
        device: where the images are; None: the generator's device.
        params: strengths; None: :class:`AugmentParams` as in the paper's code.

    >>> transform = draw("flip", 4, torch.Generator().manual_seed(0))
    >>> images = torch.arange(4.0).reshape(1, 1, 1, 4).repeat(4, 1, 1, 1)
    >>> transform(images)[:, 0, 0].tolist()
    [[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]]
    """
    if slots < 1:
        raise RddError(f"augment.draw: slots={slots} must be at least 1")
    names = parse(strategy)
    params = AugmentParams() if params is None else params
    if not names:
        return Transform("none", torch.zeros(slots, 3, device=device), params)
    pick = torch.randint(len(names), (), generator=generator, device=generator.device)
    uniforms = torch.rand(slots, 3, generator=generator, device=generator.device)
    return Transform(names[int(pick)], uniforms if device is None else uniforms.to(device), params)


# Below, ``u`` is [1 or N, 3] uniform in [0, 1), and every function maps x [N, C, H, W] to the same shape.


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return (low + (high - low) * u)[:, None, None, None]


def _whole(u: Tensor, count: int) -> Tensor:
    """Uniform whole numbers 0..count-1 (clamped, since a product can round up to ``count``)."""
    return (u * count).floor().clamp(max=count - 1)


def _color(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    x = x + _between(u[:, 0], -p.brightness / 2, p.brightness / 2)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * _between(u[:, 1], 0, p.saturation) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * _between(u[:, 2], p.contrast, 1 + p.contrast) + mean


def _flip(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    return torch.where(u[:, 0, None, None, None] < p.flip, x.flip(3), x)


def _resample(source: Tensor, side: int) -> Tensor:
    """Matrices [S, side, side] of linear interpolation at the pixel positions ``source`` [S, side]; zeros outside."""
    pixels = torch.arange(side, device=source.device, dtype=source.dtype)
    return (1 - (source[:, :, None] - pixels).abs()).clamp(min=0)


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resample rows and columns independently: two small matrix products, exact for whole shifts, no gathering."""
    return _resample(rows, x.shape[2])[:, None] @ x @ _resample(columns, x.shape[3])[:, None].mT


def _crop(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    positions = []
    for axis, side in enumerate(x.shape[2:]):
        reach = int(side * p.crop + 0.5)
        shift = _whole(u[:, axis], 2 * reach + 1) - reach
        positions.append(torch.arange(side, device=x.device, dtype=x.dtype) + shift[:, None])
    return _separable(x, *positions)


def _cutout(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    inside = []
    for axis, side in enumerate(x.shape[2:]):
        size = int(side * p.cutout + 0.5)
        start = _whole(u[:, axis], side + 1 - size % 2) - size // 2
        offset = torch.arange(side, device=x.device, dtype=x.dtype) - start[:, None]
        inside.append((offset >= 0) & (offset < size))
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def _scale(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    # The factor multiplies positions measured from the centre between the outermost pixel centres (align_corners=True
    # in the words of grid sampling), so a factor below 1 enlarges. Drawn evenly from [1/scale, scale].
    positions = []
    for axis, side in enumerate(x.shape[2:]):
        factor = 1 / p.scale + (p.scale - 1 / p.scale) * u[:, axis]
        centred = torch.arange(side, device=x.device, dtype=x.dtype) - (side - 1) / 2
        positions.append(centred * factor[:, None] + (side - 1) / 2)
    return _separable(x, *positions)


def _rotate(x: Tensor, u: Tensor, p: AugmentParams) -> Tensor:
    angle = (2 * u[:, 0] - 1) * (p.rotate * math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack((torch.stack((cos, -sin, zero), 1), torch.stack((sin, cos, zero), 1)), 1)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


_APPLY = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}
