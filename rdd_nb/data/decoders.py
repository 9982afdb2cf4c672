"""Decoders: networks that make images of codes, and their files, in which nothing can be executed.

A set of images can be kept as *codes* (latents), fewer numbers for each image, with the network that makes images of
them. A :class:`Decoder` is told as a list of known layers (:mod:`rdd_nb.data.decoder_layers`) and weights in
safetensors, so that a file from anybody can be read: the layers are made here, of checked sizes, and no program is in
the file. A module of another kind decodes all the same, but no file can carry it.

Source: Cazenavette et al., *Generalizing Dataset Distillation via Deep Generative Prior* (GLaD, 2305.01649).
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write, one_line
from rdd_nb.core.folders import parse_json, read_regular
from rdd_nb.core.version import __version__
from rdd_nb.data import decoder_layers
from rdd_nb.data.decoder_layers import LARGEST_CODE, LAYERS, MOST_LAYERS

__all__ = ["Decoder", "Latents", "load_decoder", "save_decoder"]

FORMAT, FORMAT_VERSION = "rdd_nb.decoder", "1"
MOST_TEXT = 65_536  # letters in which a decoder is told
LARGEST_DECODED = 2_000_000_000  # bytes of all images that codes may become, as of arrays in core.folders
AT_A_TIME = 2**23  # numbers of the largest map of the images that are decoded together: 32 MB


class Decoder:
    """A network that makes an image of each code, and does nothing else: its weights are fixed.

    Args:
        module: codes ``[N, *code]`` to images ``[N, C, H, W]`` in the units that networks see, ``(pixel / 255 - mean) /
            std`` with the training set's mean and std. It is copied, in evaluation mode. For a generator with values
            from -1 to 1 append ``nn.Conv2d(C, C, 1)`` with weights and bias that bring those to these.
        code: the shape of one code, such as ``(64,)`` or ``(4, 7, 7)``.

    Attributes:
        module, code: as given; of known layers the module is an ``nn.Sequential`` of them, one after another.
        shape: ``(C, H, W)`` of one image.
        layers: how a file tells of it, a pair of kind and arguments for each; None where no file can.

    Raises:
        RddError: a module that fails on such codes, gives something else than finite images of float32, gives others
            the second time, or an image that depends on the codes beside it; weights that are not float32 or finite.

    >>> twice = nn.Conv2d(1, 1, 1, bias=False)
    >>> _ = nn.init.constant_(twice.weight, 2.0)
    >>> decoder = Decoder(nn.Sequential(nn.Unflatten(1, (1, 2, 3)), twice), code=(6,))
    >>> decoder.shape, decoder.numbers, decoder.decode(torch.ones(2, 6)).sum().item()
    ((1, 2, 3), 1, 24.0)
    """

    def __init__(self, module: nn.Module, code: Sequence[int]) -> None:
        self.code = tuple(code)
        if not 1 <= len(self.code) <= 3 or any(type(n) is not int or n < 1 for n in self.code):
            raise RddError(f"a decoder's code={code!r}: give the shape of one code, such as (64,) or (4, 7, 7)")
        if self.code_numbers > LARGEST_CODE:
            raise RddError(f"a decoder's code={code!r} has more than {LARGEST_CODE:,} numbers: give a smaller one")
        plain = list(decoder_layers.plain_layers(module))
        self.layers = decoder_layers.told(plain)
        self.module: nn.Module = copy.deepcopy(module if self.layers is None else nn.Sequential(*plain)).cpu()
        self.module.eval().requires_grad_(False)
        _check_weights(self.module)
        self.shape, self._largest = self._tried()

    def __repr__(self) -> str:
        return f"Decoder(code={self.code}, shape={self.shape}, numbers={self.numbers:,}, digest={self.digest})"

    @property
    def code_numbers(self) -> int:
        """How many numbers one code has."""
        return math.prod(self.code)

    @property
    def numbers(self) -> int:
        """How many numbers the weights are."""
        return sum(t.numel() for t in self.module.state_dict().values() if t.is_floating_point())

    @functools.cached_property
    def digest(self) -> str:
        """Of architecture and weights: 16 hexadecimal digits, the same for the same decoder anywhere."""
        told = repr(self.module) if self.layers is None else json.dumps(self.layers)
        digest = hashlib.sha256(f"{self.code} {told}".encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {list(tensor.shape)}".encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: str | torch.device) -> Decoder:
        """The same on another device; itself where it is there."""
        if all(t.device == torch.device(device) for t in self.module.state_dict().values()):
            return self
        moved = copy.copy(self)
        moved.module = copy.deepcopy(self.module).to(device)
        return moved

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` of codes ``[N, *code]``, some at a time."""
        return torch.cat([self.module(part) for part in codes.split(self._at_a_time)])

    def carried_back(self, codes: Tensor, gradient: Tensor) -> Tensor:
        """The gradient ``[N, *code]`` with respect to codes, of one with respect to their images ``[N, C, H, W]``.

        A product of ``gradient`` with the decoder's Jacobian, by one more pass through it, some codes at a time: the
        graph of these is held, no more. So a matching needs to know nothing of how its images are kept.
        """
        found = []
        for part, coming in zip(codes.split(self._at_a_time), gradient.split(self._at_a_time)):
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                found.append(torch.autograd.grad(self.module(part), part, coming)[0])
        return torch.cat(found)

    @property
    def _at_a_time(self) -> int:
        return max(1, AT_A_TIME // self._largest)

    @torch.no_grad()
    def _tried(self) -> tuple[tuple[int, int, int], int]:
        """The shape of an image, and how many numbers the largest map on its way has."""
        sizes = [1]
        seen = [
            each.register_forward_hook(lambda *told: sizes.append(told[2].numel() // 2 if _is_map(told[2]) else 1))
            for each in self.module.modules()
        ]
        two = torch.linspace(-1, 1, 2 * self.code_numbers).view(2, *self.code)
        try:
            made, again, alone = self.module(two), self.module(two), self.module(two[:1])
        except Exception as error:  # whatever a module raises
            raise RddError(
                f"the decoder fails on codes of shape {list(self.code)} ({type(error).__name__}: {one_line(error)})"
            ) from None
        finally:
            for hook in seen:
                hook.remove()
        if not _is_map(made) or made.ndim != 4 or len(made) != 2 or made.dtype != torch.float32:
            what = f"{made.dtype} {list(made.shape)}" if _is_map(made) else type(made).__name__
            raise RddError(f"the decoder makes {what} of two codes: it should make float32 [2, C, H, W]")
        if not bool(made.isfinite().all()):
            raise RddError("the decoder makes NaN or infinite pixels: train it again")
        if not torch.equal(made, again):
            raise RddError("the decoder makes another image the second time: take what is random out of it")
        if not torch.allclose(made[:1], alone, atol=1e-3, rtol=1e-3):
            raise RddError(
                "the decoder's image depends on the codes beside it: normalise within each image, or with running "
                "statistics"
            )
        return (made.shape[1], made.shape[2], made.shape[3]), max(sizes)

    # ----------------------------------------------------------------------------------------------------- its file

    def told(self) -> tuple[str, dict[str, Tensor]]:
        """What a file keeps: code and layers as JSON, and the weights by name, on the CPU.

        Raises:
            RddError: it has layers that no file can tell of.
        """
        if self.layers is None:
            raise RddError(
                f"a decoder of {type(self.module).__name__} cannot be kept in a file: build it of nn.Sequential and "
                f"{', '.join(LAYERS)}"
            )
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.module.state_dict().items()}
        return json.dumps({"code": list(self.code), "layers": self.layers}), tensors

    @classmethod
    def rebuilt(cls, text: str, tensors: Mapping[str, Tensor]) -> Decoder:
        """The decoder that :meth:`told` told of; from anybody, so nothing is made before its size is known.

        Raises:
            RddError: an unknown layer, an argument or a map out of bounds, or weights that do not fit the layers.
        """
        if len(text) > MOST_TEXT:
            raise RddError(f"a decoder is told in {len(text):,} letters: {MOST_TEXT:,} at most")
        held = parse_json(text, "what is told of a decoder", "write it with save_decoder")
        code, layers = held.get("code"), held.get("layers")
        if not isinstance(code, list) or not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
            raise RddError(f"a decoder should tell its code and 1 to {MOST_LAYERS} layers: write it with save_decoder")
        if not 1 <= len(code) <= 3 or any(type(n) is not int or not 1 <= n <= LARGEST_CODE for n in code):
            raise RddError(f"a decoder's code={str(code)[:60]}: up to three whole numbers from 1 on")
        module = nn.Sequential(*map(decoder_layers.made, range(len(layers)), layers))  # nothing is allocated
        wanted = {name: (t.dtype, t.shape) for name, t in module.state_dict().items()}
        given = {name: (t.dtype, t.shape) for name, t in tensors.items()}
        for name in sorted(wanted.keys() | given.keys()):
            if wanted.get(name) != given.get(name):
                shown = [f"{v[0]} {list(v[1])}" if v else "absent" for v in (given.get(name), wanted.get(name))]
                raise RddError(f"the decoder's weight {name!r} is {shown[0]}, and its layers need {shown[1]}")
        module.load_state_dict(dict(tensors), assign=True)
        decoder_layers.check_sizes(module, code)
        return cls(module, code)


@dataclass(frozen=True, eq=False)
class Latents:
    """Codes float32 ``[M, *code]``, and the decoder that makes images of them.

    Raises:
        RddError: codes of another shape or type, that are not finite, or whose images would fill the memory.
    """

    codes: Tensor
    decoder: Decoder

    def __post_init__(self) -> None:
        codes, decoder = self.codes, self.decoder
        if codes.dtype != torch.float32 or codes.shape[1:] != decoder.code or not len(codes):
            raise RddError(
                f"codes are {str(codes.dtype).removeprefix('torch.')} {list(codes.shape)}: give float32 "
                f"{['M', *decoder.code]}, as the decoder takes them".replace("'M'", "M")
            )
        if 4 * len(codes) * math.prod(decoder.shape) > LARGEST_DECODED:
            raise RddError(f"{len(codes):,} codes would become more than {LARGEST_DECODED / 1e9:g} GB of images")
        if not bool(torch.isfinite(codes).all()):
            raise RddError("codes are NaN or infinite: the distillation diverged; lower its lr")

    @functools.cached_property
    def images(self) -> Tensor:
        """Float32 ``[M, C, H, W]``, normalised."""
        return self.decoder.decode(self.codes)


def save_decoder(path: str | os.PathLike[str], decoder: Decoder) -> Path:
    """Write a decoder as safetensors, atomically, for ``rdd-nb distill --decoder`` and :func:`load_decoder`.

    Raises:
        RddError: it has layers that no file can tell of; the place cannot be written.
    """
    text, tensors = decoder.told()
    said = {"format": FORMAT, "format_version": FORMAT_VERSION, "decoder": text, "rdd_nb": __version__}
    return atomic_write(path, safetensors.torch.save(tensors, said))


def load_decoder(path: str | os.PathLike[str]) -> Decoder:
    """Read what :func:`save_decoder` wrote; nothing in the file is executed.

    Raises:
        RddError: no such file, or it holds no decoder that fits together.
    """
    make = "write one with rdd_nb.data.decoders.save_decoder"
    try:
        data = read_regular(path)
        tensors = safetensors.torch.load(data)
        said = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except OSError as error:
        raise RddError(f"cannot read the decoder {path} ({error.strerror or error}): {make}") from None
    except (safetensors.SafetensorError, TypeError, KeyError) as error:
        raise RddError(f"{path} is truncated or no safetensors file ({one_line(error)}): {make}") from None
    if said.get("format") != FORMAT or said.get("format_version") != FORMAT_VERSION:
        raise RddError(f"{path} holds no decoder of version {FORMAT_VERSION}: {make}")
    try:
        return Decoder.rebuilt(said.get("decoder", ""), tensors)
    except RddError as error:
        raise RddError(f"{path} does not fit together: {error}") from None


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor)


def _check_weights(module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise RddError(f"the decoder's weight {name!r} is {tensor.dtype}: make it float32")
        if not bool(tensor.isfinite().all()):
            raise RddError(f"the decoder's weight {name!r} holds NaN or infinite numbers: train it again")
