"""The spaces in which groups are looked for."""

import torch

from rdd_nb.clustering.spaces import SPACES, space
from rdd_nb.data.dataset import ImageDataset, statistics
from tests.helpers import rng


def test_every_space_gives_finite_points_and_probabilities_are_probabilities(coloured):
    for name in SPACES:
        points = space(coloured, name)
        assert points.shape[0] == 900 and points.ndim == 2 and torch.isfinite(points).all()
    probabilities = space(coloured, "probabilities")
    assert probabilities.shape == (900, 3) and float(probabilities.min()) >= 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(900))


def test_pixel_and_style_spaces_equal_loops(coloured):
    few = coloured.subset(torch.arange(7))
    x = few.normalised()
    pixels = torch.stack([torch.stack([row.mean() for row in _patches(image, 2)]) for image in x])
    torch.testing.assert_close(space(few, "pixels"), pixels)
    raw = torch.stack([torch.tensor([*(c.mean() for c in image), *(c.std() for c in image)]) for image in x])
    torch.testing.assert_close(space(few, "style"), (raw - raw.mean(0)) / raw.std(0))


def _patches(image, size):
    return [
        image[c, i : i + size, j : j + size]
        for c in range(image.shape[0])
        for i in range(0, image.shape[1], size)
        for j in range(0, image.shape[2], size)
    ]


def test_named_baselines_put_apart_what_they_are_named_for(coloured):
    """JTT's error set, and clusters in batches: of images that are all one colour but for a few, those few."""
    said = space(coloured, "probabilities").argmax(1)
    assert torch.equal(space(coloured, "errors").argmax(1).bool(), said != coloured.labels)
    shade = torch.full((256, 1, 8, 8), 60, dtype=torch.uint8)
    shade[:52] = 200
    images = shade + torch.randint(0, 9, shade.shape, generator=rng(0), dtype=torch.uint8)
    images[-2:] = torch.tensor([0, 120], dtype=torch.uint8).view(2, 1, 1, 1)  # like no other
    data = ImageDataset(images, torch.arange(256) % 2, ("even", "odd"), *statistics(images))
    found = space(data, "dbscan").argmax(1)
    assert (found[52:-2] == 0).all() and (found[:52] > 0).all()  # the largest cluster of each batch comes first
    assert found.max() == found[-2] == found[-1]
