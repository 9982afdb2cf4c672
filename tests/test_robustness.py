import numpy as np
import pytest
import scipy.ndimage
import torch
from conftest import rng
from test_evaluate import quadrants, untrained

from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError
from rdd_nb.robustness import cluster_groups, corrupt, robustness


def plain_images(images):
    return ImageDataset(
        images, torch.zeros(len(images), dtype=torch.int64), ("a",), (0.5,) * images.shape[1], (0.2,) * images.shape[1]
    )


def random_images(count=12, channels=2, height=9, width=14):
    return torch.randint(256, (count, channels, height, width), generator=rng(), dtype=torch.uint8)


@pytest.mark.parametrize(("side", "sigma"), [(32, 0.005**0.5), (64, 0.005**0.5), (96, 0.2)])
def test_noise_has_the_variance_of_the_released_code(side, sigma):
    images = torch.full((8, 1, side, side), 128, dtype=torch.uint8)
    change = (corrupt(plain_images(images), "noise").images.float() - 128) / 255
    assert float(change.std()) == pytest.approx(sigma, rel=0.04)
    assert float(change.mean()) == pytest.approx(0, abs=0.01)
    # independent in every image and pixel
    assert abs(float(torch.corrcoef(change.flatten(1)[:2])[0, 1])) < 0.15


def test_noise_is_clamped_and_follows_its_seed():
    data = plain_images(random_images())
    first, again, other = (corrupt(data, "noise", seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    black = corrupt(plain_images(torch.zeros(4, 1, 16, 16, dtype=torch.uint8)), "noise").images
    assert float((black == 0).float().mean()) == pytest.approx(0.5, abs=0.06)  # half would be negative, none wraps
    assert int(black.max()) < 128


def test_blur_is_a_gaussian_of_two_pixels_with_the_edge_repeated():
    images = random_images()
    found = corrupt(plain_images(images), "blur").images
    expected = scipy.ndimage.gaussian_filter(images.double().numpy(), sigma=(0, 0, 2, 2), mode="nearest")
    assert np.abs(found.double().numpy() - expected).max() < 0.51  # rounding
    assert float(found.float().std()) < 0.3 * float(images.float().std())


def test_blur_of_many_images_is_the_blur_of_each():
    images = random_images(1003, 1, 4, 4)
    found = corrupt(plain_images(images), "blur").images
    assert found.shape == images.shape
    for j in (0, 999, 1000, 1002):
        assert torch.equal(found[j : j + 1], corrupt(plain_images(images[j : j + 1]), "blur").images)


def test_invert_twice_is_nothing():
    data = plain_images(random_images())
    once = corrupt(data, "invert")
    assert torch.equal(once.images.int() + data.images.int(), torch.full_like(data.images, 255).int())
    assert torch.equal(corrupt(once, "invert").images, data.images)


def test_corruption_changes_the_pixels_and_nothing_else():
    data = quadrants(12, groups=True)
    before = data.images.clone()
    for kind in ("noise", "blur", "invert"):
        bent = corrupt(data, kind)
        assert bent.images.dtype == torch.uint8 and not torch.equal(bent.images, before)
        assert torch.equal(bent.labels, data.labels) and torch.equal(bent.groups, data.groups)
        assert bent.mean == data.mean and bent.minority_names == data.minority_names
    assert torch.equal(data.images, before)
    with pytest.raises(RddError, match="did you mean 'blur'"):
        corrupt(data, "blurr")


def test_cluster_groups_are_fixed_by_the_seed_and_find_what_is_there():
    data = quadrants(60, noise=20)
    ids = cluster_groups(data, k=3)
    assert ids.dtype == torch.int64 and torch.equal(ids, cluster_groups(data, k=3))
    assert len({(int(a), int(b)) for a, b in zip(ids, data.labels)}) == 3  # the quadrants
    noisy = plain_images(random_images(80, 1, 4, 4))
    assert sorted(cluster_groups(noisy, k=10).unique().tolist()) == list(range(10))
    assert not torch.equal(cluster_groups(noisy, seed=0), cluster_groups(noisy, seed=1))
    for k in (0, 61):
        with pytest.raises(RddError, match=f"k={k}"):
            cluster_groups(data, k=k)


def test_the_robustness_table_is_what_one_computes_by_hand():
    test = quadrants(60, seed=2)
    nets = untrained(2)  # wrong often enough for the clusters to differ
    table = robustness(nets, test, seed=3, k=4)
    assert list(table.columns) == ["net", "metric", "value"] and len(table) == 10
    values = table.set_index(["metric", "net"])["value"]

    def hits(i, data):
        return nets[i](data.normalised()).argmax(1) == test.labels

    ids = cluster_groups(test, 4, 3)
    for i in range(2):
        right = hits(i, test)
        assert values["Acc", i] == pytest.approx(float(right.double().mean()))
        worst = min(float(right[ids == c].double().mean()) for c in ids.unique())
        assert values["Cluster-min", i] == pytest.approx(worst)
        for kind in ("noise", "blur", "invert"):
            expected = float(hits(i, corrupt(test, kind, 3)).double().mean())
            assert values[kind.capitalize(), i] == pytest.approx(expected)
    assert (values["Cluster-min"] < values["Acc"]).all()
    assert (values["Invert"] != values["Acc"]).any()
