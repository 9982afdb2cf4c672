"""The ConvNet that dataset distillation measures itself with, and four other architectures to check transfer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import seed_of
from rdd_nb.models.normalisation import InstanceNorm

__all__ = ["NORMS", "Network", "available", "batched", "build", "initialised_by"]

#: How a feature map [N, C, H, W] may be normalised after each convolution.
NORMS: dict[str, str] = {
    "instance": "each channel of each image (GroupNorm with as many groups as channels)",
    "batch": "each channel over the batch (BatchNorm; the only one that keeps running statistics)",
    "layer": "all channels of an image together (GroupNorm with one group)",
    "group": "four groups of channels of an image (GroupNorm with four groups)",
    "none": "no normalisation",
}

_NAMES: dict[str, str] = {
    "convnet": "ConvNet-D, the reference of dataset condensation: D blocks of conv 3×3, norm, ReLU, average pool 2",
    "alexnet": "AlexNet for small images: stem 5×5 with stride 1, max pool 2",
    "vgg11": "VGG-11 for small images: no hidden fully connected layers",
    "resnet18": "ResNet-18 for small images: stem 3×3 with stride 1, no max pool",
    "vit": "vision transformer on patches of 4 pixels: 6 layers, 4 heads",
}


def available() -> dict[str, str]:
    """The architectures that :func:`build` knows, with a line about each.

    >>> sorted(available())
    ['alexnet', 'convnet', 'resnet18', 'vgg11', 'vit']
    """
    return dict(_NAMES)


_building = threading.Lock()  # PyTorch initialises from a state that all threads share


@contextlib.contextmanager
def initialised_by(seed: int) -> Iterator[None]:
    """Modules that are made meanwhile draw their weights by ``seed``; the global random state is left as it was."""
    with _building, torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed every CUDA generator as well, and fork_rng would not put those back.
        torch.default_generator.manual_seed(seed)
        yield


class Network(nn.Module):
    """A ``body`` that ends in one vector an image, and a linear ``classifier`` on it.

    ``body`` is a sequence of stages; ``forward(x)`` is ``classifier(embed(x))`` for images ``x`` [N, C, H, W] in
    normalised units, and gives logits [N, K].
    """

    def __init__(self, body: nn.Sequential, embedding_size: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.embedding_size = embedding_size
        self.classifier = nn.Linear(embedding_size, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """The flattened last feature map, float [N, embedding_size]."""
        return self.body(x).flatten(1)

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every stage of the body, first to last (for a ConvNet: one map [N, width, h, w] a block)."""
        maps = []
        for stage in self.body:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K] of images [N, C, H, W]; never in less than the weights' precision, since losses are ranked."""
        features = self.embed(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.classifier(features.to(self.classifier.weight.dtype))


class AveragePool(nn.AvgPool2d):
    """Average pool 2, on the CPU as a sum of rows and a product with a small matrix: the same means up to rounding.

    PyTorch's own pooling loops over pixels there, and takes three times as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Means of 2 × 2 pixels: [N, C, H, W] to [N, C, H // 2, W // 2]."""
        n, c, h, w = x.shape
        if x.device.type != "cpu" or h % 2 or w % 2:
            return super().forward(x)
        upper, lower = x.reshape(-1, 2, w).unbind(1)
        rows = upper + lower
        # Pairs of neighbours in memory, whatever the width: products are fastest where they give 16 columns.
        many = 32 if rows.numel() % 32 == 0 else w
        mean = (torch.eye(many // 2, dtype=x.dtype) / 4).repeat_interleave(2, 0)
        return (rows.view(-1, many) @ mean).view(n, c, h // 2, w // 2)


class Stem(nn.Conv2d):
    """A first convolution of stride 1 that brings sides of 28 to 32, and leaves others as they are.

    For that it pads by a whole kernel of 3, which oneDNN's fast kernels refuse: colour then takes twice as long. On the
    CPU such images are padded first, with the same values. Grey ones are not: their gradient is faster without.
    """

    def __init__(self, shape: tuple[int, int, int], out: int, kernel: int, **options: Any) -> None:
        self.outer = [2 if side == 28 else 0 for side in shape[1:]]
        self.inner = kernel // 2
        height, width = (self.inner + more for more in self.outer)
        super().__init__(shape[0], out, kernel, padding=(height, width), **options)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, out, H or 32, W or 32]."""
        if x.device.type != "cpu" or self.in_channels == 1 or self.inner + max(self.outer) < self.kernel_size[0]:
            return super().forward(x)
        height, width = self.outer
        return F.conv2d(F.pad(x, (width, width, height, height)), self.weight, self.bias, padding=self.inner)


def build(
    name: str,
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: int = 128,
    depth: int = 3,
    norm: str = "instance",
    seed: int = 0,
) -> Network:
    """A freshly initialised network on the CPU, in training mode; no pretrained weights.

    The initialisation depends on ``seed`` and the arguments alone, also where several threads build; the global random
    state is left as it was.

    Args:
        name: one of :func:`available`.
        shape: (C, H, W) of one image. A side of 28 becomes 32 by padding the first convolution with two pixels more,
            as the reference protocol (Zhao & Bilen, "Dataset Condensation with Gradient Matching") does; the vision
            transformer takes it as it is.
        num_classes: how many logits.
        width: channels of each ConvNet block. The other architectures are scaled with it: 128 stands for the usual
            ResNet-18 (64 to 512 channels), VGG-11 and AlexNet, 64 for half their channels. For ``vit`` it is the
            size of a token.
        depth: blocks of the ConvNet; the other architectures have their own.
        norm: one of :data:`NORMS`; ``vit`` has its own layer norms and ignores it.
        seed: of the initialisation.

    Raises:
        RddError: unknown name or norm, an image too small for the network, or a width that cannot be divided.

    >>> net = build("convnet", (1, 28, 28), 10, width=16)
    >>> net.embed(torch.zeros(2, 1, 28, 28)).shape, net(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 256]), torch.Size([2, 10]))
    """
    if name not in _NAMES:
        raise unknown("network", name, _NAMES)
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS, f"network {name}")
    if len(shape) != 3 or min(shape) < 1:
        raise RddError(f"network {name}: shape {tuple(shape)} is not (channels, height, width)")
    if width < 1 or depth < 1 or num_classes < 1:
        raise RddError(
            f"network {name}: width={width}, depth={depth} and num_classes={num_classes} must each be at least 1"
        )
    if name in ("alexnet", "vgg11", "resnet18") and width % 2:
        raise RddError(f"network {name}: width={width} must be even, since some layers have half as many channels")
    with initialised_by(seed_of(seed, "network", name)):
        if name == "convnet":
            body, size = _plain(name, shape, [[width]] * depth, (3, 3), norm, AveragePool)
        elif name == "alexnet":
            stages = [[width // 2], [3 * width // 2], [3 * width, 2 * width, 2 * width]]
            body, size = _plain(name, shape, stages, (5, 5, 3), norm, nn.MaxPool2d)
        elif name == "vgg11":
            stages = [[width // 2], [width], *([[k * width] * 2 for k in (2, 4, 4)])]
            body, size = _plain(name, shape, stages, (3, 3), norm, nn.MaxPool2d)
        elif name == "resnet18":
            body, size = _resnet18(shape, width // 2, norm)
        else:
            body, size = _vit(shape, width)
        return Network(body, size, num_classes)


def batched(net: nn.Module, precision: str = "float32") -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    """``net`` as a function of n stacked copies of its weights (by name) and n batches of images ``[n, B, C, H, W]``.

    The function gives n batches of logits. It computes in ``precision`` (:data:`rdd_nb.core.device.PRECISIONS`) but for
    a :class:`Network`'s classifier, by short copies of the weights: autocast does not reach through vmap.
    """

    def one(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        if precision == "bfloat16":
            weights = {k: w if k.startswith("classifier.") else w.bfloat16() for k, w in weights.items()}
            images = images.bfloat16()
        return functional_call(net, dict(weights), (images,))

    return vmap(one, randomness="different")


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "instance":
        return InstanceNorm(channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    if norm == "group":
        if channels % 4:
            raise RddError(
                f"norm 'group' makes four groups of channels, and {channels} cannot be divided: change width"
            )
        return nn.GroupNorm(4, channels)
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def _padded(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width after the first convolution."""
    return (32 if shape[1] == 28 else shape[1], 32 if shape[2] == 28 else shape[2])


def _plain(
    name: str,
    shape: tuple[int, int, int],
    stages: list[list[int]],
    kernels: tuple[int, ...],
    norm: str,
    pool: type[nn.Module],
) -> tuple[nn.Sequential, int]:
    """Stages of (convolution, norm, ReLU), each closed by a pool 2; and the size of the flattened last map.

    ``stages`` holds output channels, ``kernels`` the kernel sizes of the first stages (3 after them).
    """
    height, width = (side >> len(stages) for side in _padded(shape))
    if min(height, width) < 1:
        raise RddError(
            f"network {name}: images of {shape[1]}×{shape[2]} pixels are too small for {len(stages)} poolings; "
            f"it needs at least {1 << len(stages)}" + (" (or lower depth)" if name == "convnet" else "")
        )
    body: list[nn.Module] = []
    channels = shape[0]
    for index, outs in enumerate(stages):
        layers: list[nn.Module] = []
        for out in outs:
            kernel = kernels[index] if index < len(kernels) else 3
            first = not body and not layers
            conv = Stem(shape, out, kernel) if first else nn.Conv2d(channels, out, kernel, padding=kernel // 2)
            layers += [conv, _norm(norm, out), nn.ReLU(inplace=True)]
            channels = out
        body.append(nn.Sequential(*layers, pool(2)))
    return nn.Sequential(*body), channels * height * width


def _resnet18(shape: tuple[int, int, int], base: int, norm: str) -> tuple[nn.Sequential, int]:
    """Stem, four stages of two residual blocks, global average pool (He et al., arXiv 1512.03385)."""
    if norm == "instance" and max(_padded(shape)) <= 8:
        raise RddError(
            f"network resnet18: images of {shape[1]}×{shape[2]} pixels shrink to one pixel, where norm 'instance' "
            "leaves nothing; use norm 'group', 'layer' or 'batch', or images of at least 9 pixels"
        )
    block = torchvision().models.resnet.BasicBlock
    stages: list[nn.Module] = [
        nn.Sequential(Stem(shape, base, 3, bias=False), _norm(norm, base), nn.ReLU(inplace=True))
    ]
    channels = base
    for index in range(4):
        out, stride = base << index, 1 if index == 0 else 2
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), _norm(norm, out))
        norm_layer = partial(_norm, norm)
        stages.append(
            nn.Sequential(
                block(channels, out, stride, shortcut, norm_layer=norm_layer),
                block(out, out, norm_layer=norm_layer),
            )
        )
        channels = out
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1)), channels


def _vit(shape: tuple[int, int, int], width: int) -> tuple[nn.Sequential, int]:
    """A small vision transformer (Dosovitskiy et al., arXiv 2010.11929); its embedding is the class token."""
    patch = 4
    if shape[1] != shape[2] or shape[1] % patch:
        raise RddError(
            f"network vit: images must be square with a side divisible by {patch}, got {shape[1]}×{shape[2]}"
        )
    if width % 4:
        raise RddError(f"network vit: width={width} must be divisible by its 4 attention heads")
    vit = torchvision().models.VisionTransformer(shape[1], patch, 6, 4, width, 4 * width, num_classes=1)
    stem = nn.Conv2d(shape[0], width, patch, stride=patch)
    nn.init.trunc_normal_(stem.weight, std=(shape[0] * patch**2) ** -0.5)
    nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
    vit.conv_proj, vit.heads = stem, nn.Identity()
    return nn.Sequential(vit), width
