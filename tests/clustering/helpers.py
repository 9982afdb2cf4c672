"""What tests of this layer share."""

import torch

from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def quadrants(count, side=8, classes=3, noise=60, seed=0):
    """Grey images whose class is the quadrant that is bright."""
    labels = torch.arange(count) % classes
    pixels = 20 + noise * torch.rand(count, 1, side, side, generator=rng(seed))
    for label in range(classes):
        i, j = (side // 2 * k for k in divmod(label, 2))
        pixels[labels == label, :, i : i + side // 2, j : j + side // 2] += 90
    images = pixels.to(torch.uint8)
    return ImageDataset(images, labels, tuple("abcd"[:classes]), *statistics(images), name="quadrants")
