"""A small auto-encoder, trained on the training set: codes in the place of images, and the network that decodes them.

Codes are maps of a quarter of an image's height and width, so that decoder and encoder are a few convolutions: the
decoder has some seven thousand weights, which are counted as part of what is stored. ``many`` codes have as many
numbers as one image. Each of their channels has mean 0 and variance 1 over the training set: the noise that a
distillation may start from is alike.

Source of the idea: GLaD (2305.01649), which distils in the latents of a large generator that others trained.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder
from rdd_nb.models.descent import cosine, descend
from rdd_nb.models.networks import initialised_by

__all__ = [
    "BATCH",
    "Autoencoder",
    "check_decoder",
    "code_shape",
    "step_seconds",
    "train_autoencoder",
    "untrained_decoder",
]

WIDTH = 8  # channels of the first map of the encoder, and of the last of the decoder
BATCH = 64
#: Step sizes, each tried where the one before it diverged.
RATES = (0.1, 0.03, 0.01, 0.003)
_AT_A_TIME = 256
_SOME = 10_000  # images whose codes say what mean and variance are


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """An encoder, images ``[N, C, H, W]`` to codes ``[N, *code]``, and the decoder that it was trained with."""

    encoder: nn.Module
    decoder: Decoder

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes ``[N, *code]`` of normalised images, where they are."""
        return torch.cat([self.encoder(part) for part in images.split(_AT_A_TIME)])


def code_shape(shape: tuple[int, int, int], many: int) -> tuple[int, int, int]:
    """Of each of ``many`` codes in the place of one image ``(C, H, W)``: the channels that fit, a quarter of its sides.

    Raises:
        RddError: more codes than an image can hold.

    >>> code_shape((1, 28, 28), 4), code_shape((3, 32, 32), 8)
    ((4, 7, 7), (6, 8, 8))
    """
    channels, height, width = shape
    high, wide = -(-height // 4), -(-width // 4)
    most = channels * height * width // (high * wide)
    if not 1 <= many <= most:
        raise RddError(f"latents={many}: in the place of one image of {channels} × {height} × {width} fit 1 to {most}")
    return most // many, high, wide


def untrained_decoder(shape: tuple[int, int, int], many: int, seed: int = 0) -> Decoder:
    """A decoder as :func:`train_autoencoder` begins with: of the right size, and it knows nothing.

    >>> decoder = untrained_decoder((1, 28, 28), 4)
    >>> decoder.code, decoder.shape, decoder.numbers
    ((4, 7, 7), (1, 28, 28), 7129)
    """
    code = code_shape(shape, many)
    return Decoder(_decoder(shape, code, seed), code)


def _decoder(shape: tuple[int, int, int], code: tuple[int, ...], seed: int) -> nn.Sequential:
    with initialised_by(seed_of(seed, "decoder")):
        layers: list[nn.Module] = [nn.Conv2d(code[0], 2 * WIDTH, 1), nn.SiLU()]
        for before in (2 * WIDTH, WIDTH):
            layers += [nn.Conv2d(before, 4 * WIDTH, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()]
        layers.append(nn.Conv2d(WIDTH, shape[0], 3, padding=1))
        if (4 * code[1], 4 * code[2]) != shape[1:]:
            layers.append(nn.Upsample(size=shape[1:], mode="bilinear"))
    return nn.Sequential(*layers)


def _encoder(shape: tuple[int, int, int], code: tuple[int, ...], own: bool, seed: int) -> nn.Sequential:
    """Two convolutions that halve, and a linear map to codes: of each place, or of all for a code of any shape."""
    high, wide = -(-shape[1] // 4), -(-shape[2] // 4)
    with initialised_by(seed_of(seed, "encoder")):
        layers: list[nn.Module] = []
        for before, after in ((shape[0], WIDTH), (WIDTH, 2 * WIDTH)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        if own:
            layers.append(nn.Conv2d(2 * WIDTH, code[0], 1))
        else:
            layers += [nn.Flatten(), nn.Linear(2 * WIDTH * high * wide, math.prod(code)), nn.Unflatten(1, code)]
    return nn.Sequential(*layers)


def check_decoder(data: ImageDataset, decoder: Decoder) -> None:
    """Whether a decoder makes images as large as those of ``data``.

    Raises:
        RddError: of another shape.
    """
    if decoder.shape != data.shape:
        made, wanted = (" × ".join(map(str, shape)) for shape in (decoder.shape, data.shape))
        raise RddError(f"the decoder makes images of {made}, and {data.name!r} has {wanted}: take one of that shape")


def train_autoencoder(
    data: ImageDataset,
    many: int,
    *,
    steps: int = 1000,
    seed: int = 0,
    device: str | torch.device = "auto",
    decoder: Decoder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Autoencoder:
    """Train encoder and decoder to give back the training images, by the mean squared error in normalised units.

    Args:
        data: the training set; its labels and groups are not looked at.
        many: codes that have as many numbers as one image.
        steps: batches of ``BATCH`` images.
        seed: of the initial weights and the order of the images.
        device: where to train; what comes back is on the CPU.
        decoder: one that others trained: it stays as it is, and only an encoder is trained for it.
        progress: called with (steps done, steps in all).

    Raises:
        RddError: more codes than an image can hold; a decoder of images of another shape; a loss that is not finite at
            any of ``RATES``.
    """
    where = pick_device(device)
    code = code_shape(data.shape, many) if decoder is None else decoder.code
    if decoder is not None:
        check_decoder(data, decoder)
    for rate in RATES:
        encoder = _encoder(data.shape, code, decoder is None, seed).to(where)
        made = (_decoder(data.shape, code, seed) if decoder is None else decoder.to(where).module).to(where)
        _fit(encoder, made, data, steps, rate, seed, where, progress)
        if all(bool(p.isfinite().all()) for p in (*encoder.parameters(), *made.parameters())):
            break
    else:
        raise RddError(
            f"the {'encoder' if decoder else 'auto-encoder'} diverged at every step size from {RATES[0]:g} to "
            f"{RATES[-1]:g}: look at the images' mean and std, or at the decoder's scale"
        )
    if decoder is not None:
        return Autoencoder(encoder.cpu(), decoder)
    some = torch.randperm(len(data), generator=stream(seed, "codes"))[:_SOME].split(_AT_A_TIME)
    with torch.no_grad():
        codes = torch.cat([encoder(data.normalised(part, where)) for part in some])
        _standardise(cast(nn.Conv2d, encoder[-1]), cast(nn.Conv2d, cast(nn.Sequential, made)[0]), codes)
    return Autoencoder(encoder.cpu(), Decoder(made, code))


def step_seconds(data: ImageDataset, many: int, device: torch.device, decoder: Decoder | None = None) -> float:
    """How long one step of :func:`train_autoencoder` takes here, by a few of them."""
    code = code_shape(data.shape, many) if decoder is None else decoder.code
    encoder = _encoder(data.shape, code, decoder is None, 0).to(device)
    made = (_decoder(data.shape, code, 0) if decoder is None else decoder.to(device).module).to(device)
    taken = [time.perf_counter()]

    def note(done: int, steps: int) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter())

    _fit(encoder, made, data, 8, RATES[-1], 0, device, note)
    return sorted(after - before for before, after in itertools.pairwise(taken))[4]


def _fit(
    encoder: nn.Module,
    decoder: nn.Module,
    data: ImageDataset,
    steps: int,
    rate: float,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> None:
    draw = stream(seed, "autoencoder")

    def batches() -> Iterator[Tensor]:
        done = 0
        while done < steps:
            for part in torch.randperm(len(data), generator=draw).split(BATCH)[: steps - done]:
                yield data.normalised(part, device)
                done += 1

    def tell(step: int, _: Tensor) -> None:
        if progress is not None:
            progress(step + 1, steps)

    descend(
        [p for p in (*encoder.parameters(), *decoder.parameters()) if p.requires_grad],
        batches(),
        lambda images: F.mse_loss(decoder(encoder(images)), images),
        lr=rate,
        momentum=0.9,
        before_step=cosine(steps),
        after_step=tell,
    )


def _standardise(last: nn.Conv2d, first: nn.Conv2d, codes: Tensor) -> None:
    """Give each channel of the codes mean 0 and variance 1, while the images stay what they were.

    The encoder's last layer and the decoder's first are linear at each place, so that they take it in.
    """
    mean, std = codes.mean((0, 2, 3)), codes.std((0, 2, 3)).clamp(min=1e-6)
    bias, out = first.bias, last.bias
    assert bias is not None and out is not None  # as they were made
    bias += first.weight[:, :, 0, 0] @ mean
    first.weight *= std.view(1, -1, 1, 1)
    last.weight /= std.view(-1, 1, 1, 1)
    out.copy_((out - mean) / std)
