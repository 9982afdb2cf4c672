"""What tests of this layer share."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

from rdd_nb.data.dataset import ImageDataset, statistics
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.models import networks
from rdd_nb.models.protocol import Protocol
from tests.helpers import rng

SMALL = Protocol(epochs=4, width=4, depth=1, batch=5)


def quadrants(count, seed=0, noise=80, groups=False, channels=1):
    """Images of 8 × 8 whose class (of three) is the quadrant that is brighter; an odd place in it is group "odd"."""
    labels = torch.arange(count) % 3
    pixels = 20 + noise * torch.rand(count, channels, 8, 8, generator=rng(seed))
    for label in range(3):
        i, j = (4 * k for k in divmod(label, 2))
        pixels[labels == label, :, i : i + 4, j : j + 4] += 60
    images = pixels.to(torch.uint8)
    extra = {}
    if groups:
        extra = {
            "groups": torch.arange(count) // 3 % 2,
            "group_names": ("even", "odd"),
            "minority": torch.arange(count) % 5 == 0,
            "minority_names": ("often", "seldom"),
        }
    return ImageDataset(images, labels, ("a", "b", "c"), *statistics(images), name="quadrants", **extra)


def as_synthetic(data):
    return SyntheticSet(
        data.normalised(), data.labels, data.class_names, data.mean, data.std, ipc=int(data.class_counts[0])
    )


def parameters(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def same(a, b):
    return torch.equal(parameters(a), parameters(b))


def untrained(count=2):
    return [networks.build("convnet", (1, 8, 8), 3, width=4, depth=1, seed=i).eval() for i in range(count)]


CHECK = settings(max_examples=40, deadline=None)

counts = st.lists(
    st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=8
)
