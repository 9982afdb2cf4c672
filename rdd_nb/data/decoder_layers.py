"""What a decoder may be built of, so that a file from anybody can tell of it: known layers, of checked sizes.

A layer is told as a pair of its kind and its arguments, such as ``["PixelShuffle", {"upscale_factor": 2}]``. Whoever
reads such pairs makes the layers himself: no program is in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line

__all__ = ["LARGEST_CODE", "LAYERS", "MOST_LAYERS", "check_sizes", "made", "plain_layers", "told"]

#: The layers that a file can tell of, each with the arguments that it is made by.
LAYERS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    kind.__name__: (kind, names)
    for kind, names in (
        (nn.Linear, ("in_features", "out_features", "bias")),
        (nn.Conv2d, ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")),
        (
            nn.ConvTranspose2d,
            ("in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups", "bias"),
        ),
        (nn.BatchNorm2d, ("num_features", "eps", "momentum", "affine")),
        (nn.GroupNorm, ("num_groups", "num_channels", "eps", "affine")),
        (nn.Upsample, ("size", "scale_factor", "mode", "align_corners")),
        (nn.PixelShuffle, ("upscale_factor",)),
        (nn.Unflatten, ("dim", "unflattened_size")),
        (nn.Flatten, ("start_dim", "end_dim")),
        (nn.ReLU, ()),
        (nn.LeakyReLU, ("negative_slope",)),
        (nn.SiLU, ()),
        (nn.GELU, ("approximate",)),
        (nn.Tanh, ()),
        (nn.Sigmoid, ()),
        (nn.Identity, ()),
    )
}
WORDS = ("nearest", "bilinear", "bicubic", "none", "tanh")  # what an argument may say in letters
MOST_LAYERS = 64
#: Numbers: of an argument; of a code; of a layer's output for one image, and of what a convolution unfolds for it.
LARGEST_ARGUMENT, LARGEST_CODE, LARGEST_MAP, LARGEST_UNFOLDED = 65_536, 2**24, 2**24, 2**28
LARGEST_KERNEL = 16
_NO_MATTER = {"training", "inplace"}  # attributes of a layer that do not change what it gives here


def plain_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested sequences, one after another.

    >>> [type(each).__name__ for each in plain_layers(nn.Sequential(nn.Tanh(), nn.Sequential(nn.ReLU(), nn.Tanh())))]
    ['Tanh', 'ReLU', 'Tanh']
    """
    if type(module) is nn.Sequential:
        for each in module:
            yield from plain_layers(each)
    else:
        yield module


def told(layers: Sequence[nn.Module]) -> list[list[Any]] | None:
    """Kind and arguments of each layer; None where one is of no known kind, or does more than its arguments say.

    >>> told([nn.PixelShuffle(2), nn.Tanh()])
    [['PixelShuffle', {'upscale_factor': 2}], ['Tanh', {}]]
    """
    found: list[list[Any]] = []
    for number, layer in enumerate(layers):
        kind, names = LAYERS.get(type(layer).__name__, (None, ()))
        if kind is not type(layer) or layer._forward_hooks or layer._forward_pre_hooks:
            return None
        arguments = {name: getattr(layer, name) for name in names}
        if "bias" in arguments:
            arguments["bias"] = arguments["bias"] is not None
        each = [type(layer).__name__, {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}]
        try:
            if _settings(made(number, each)) != _settings(layer):  # such as padding with something else than 0
                return None
        except RddError:
            return None
        found.append(each)
    return found if 0 < len(found) <= MOST_LAYERS else None


def _settings(layer: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(layer).items() if k[0] != "_" and k not in _NO_MATTER}


def made(number: int, pair: Any) -> nn.Module:
    """The layer of a pair, its arguments checked, in evaluation mode; its weights have sizes, and take no memory.

    Args:
        number: of the layer, for an error.
        pair: as :func:`told` tells it, or whatever a file says in its place.

    Raises:
        RddError: no such pair, an unknown kind or argument, or a value out of bounds.
    """
    where = f"layer {number} of the decoder"
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], dict):
        raise RddError(f"{where} is {str(pair)[:60]}: give a pair of its kind and its arguments")
    if pair[0] not in LAYERS:
        raise unknown("kind of layer", pair[0], LAYERS, where)
    kind, names = LAYERS[pair[0]]
    for name, value in pair[1].items():
        if name not in names:
            raise unknown("argument", name, names, f"{where}, {pair[0]}")
        if not all(map(_fits, value if isinstance(value, list) and 1 <= len(value) <= 3 else [value])):
            raise RddError(f"{where}, {pair[0]}: {name}={str(value)[:60]} is out of bounds")
    try:
        with torch.device("meta"):
            layer = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in pair[1].items()})
    except Exception as error:  # whatever a layer says of its arguments
        raise RddError(f"{where}, {pair[0]}, cannot be made ({one_line(error)})") from None
    return layer.eval().requires_grad_(False)


def _fits(value: Any) -> bool:
    if isinstance(value, str):
        return value in WORDS
    return value is None or (isinstance(value, (bool, int, float)) and -1 <= value <= LARGEST_ARGUMENT)


@torch.no_grad()
def check_sizes(module: nn.Sequential, code: Sequence[int]) -> None:
    """Go through the layers with one code; each is asked how large its output can be before it makes it.

    Raises:
        RddError: a map that is too large, or a layer that does not take what the one before it gives.
    """
    if math.prod(code) > LARGEST_CODE:
        raise RddError(f"a decoder's code={list(code)} has more than {LARGEST_CODE:,} numbers: give a smaller one")
    x = torch.zeros(1, *code)
    for number, layer in enumerate(module):
        try:
            numbers, unfolded = _largest(layer, x)
            fits = 0 < numbers <= LARGEST_MAP and unfolded <= LARGEST_UNFOLDED
            x = layer(x) if fits else x
        except Exception as error:  # whatever a layer says of its input
            raise RddError(f"layer {number} of the decoder, {layer}, does not fit ({one_line(error)})") from None
        if not fits:
            raise RddError(f"layer {number} of the decoder, {layer}, makes maps that are too large for one image")


def _largest(layer: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """How many numbers a layer makes of ``x``, and a convolution unfolds for it: at most."""
    if isinstance(layer, nn.Linear):
        return x.numel() / x.shape[-1] * layer.out_features, 0
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        apart = layer.stride if isinstance(layer, nn.ConvTranspose2d) else (1, 1)
        if max(layer.kernel_size) > LARGEST_KERNEL:
            return math.inf, math.inf
        places = 1.0
        for axis in (0, 1):
            reach = layer.dilation[axis] * layer.kernel_size[axis] + 2 * int(layer.padding[axis])
            places *= x.shape[axis - 2] * apart[axis] + reach + layer.output_padding[axis]
        return places * layer.out_channels, places * math.prod(layer.kernel_size) * layer.in_channels
    if isinstance(layer, nn.Upsample):
        said = layer.scale_factor if layer.size is None else layer.size
        more = math.prod(map(float, said if isinstance(said, tuple) else (said, said)))  # type: ignore[arg-type]
        return (x.numel() if layer.size is None else x.shape[0] * x.shape[1]) * more, 0
    return x.numel(), 0
