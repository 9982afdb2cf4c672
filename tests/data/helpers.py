"""What tests of this layer share."""

import torch

from rdd_nb.data.dataset import ImageDataset


def make(n=12, classes=3, channels=1, size=4, **changes):
    """A small set: label i % classes, group (i // classes) % 2; pixel values tell the index."""
    index = torch.arange(n)
    fields = dict(
        images=(index[:, None, None, None] % 256).expand(n, channels, size, size).to(torch.uint8).contiguous(),
        labels=index % classes,
        class_names=tuple("abcdefghij"[:classes]),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        groups=index // classes % 2,
        group_names=("g0", "g1"),
        minority=index // classes % 2 == 1,
        name="toy",
    )
    return ImageDataset(**(fields | changes))
