import numpy as np
import pytest
import scipy.ndimage
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.evaluation.corruptions import (
    CORRUPTIONS,
    cluster_groups,
    corrupt,
    interaction,
    relative,
    reversed_pairs,
    robustness,
    severity_curves,
    spreads,
)
from rdd_nb.evaluation.predictions import predict
from tests.evaluation.helpers import quadrants, untrained
from tests.helpers import rng


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


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severity_1_is_the_default_and_0_is_nothing(kind):
    data = plain_images(random_images())
    assert torch.equal(corrupt(data, kind, 3).images, corrupt(data, kind, 3, 1.0).images)
    assert corrupt(data, kind, 3, 0) is data
    change = [
        float((corrupt(data, kind, 3, s).images.float() - data.images.float()).abs().mean()) for s in (0.2, 0.6, 1)
    ]
    assert 0 < change[0] < change[1] < change[2], "the stronger the further away"


def test_the_released_strength_gives_the_bits_that_it_always_gave():
    """What the study's table was measured on, worked out here without the module's own steps."""
    images = random_images(1, 1, 28, 28)
    data = plain_images(images)
    assert torch.equal(corrupt(data, "invert").images, 255 - images)
    noise = torch.randn(images.shape, generator=stream(5, "corrupt"))
    expected = (images.float() + 255 * 0.005**0.5 * noise).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(corrupt(data, "noise", 5).images, expected)


@pytest.mark.parametrize("severity", [0.3, 1.0, 1.7])
def test_severity_multiplies_the_width_of_the_blur(severity):
    images = random_images(6, 1, 20, 16)
    found = corrupt(plain_images(images), "blur", severity=severity).images.double().numpy()
    sigma = 2 * severity
    expected = scipy.ndimage.gaussian_filter(images.double().numpy(), sigma=(0, 0, sigma, sigma), mode="nearest")
    assert np.abs(found - expected).max() < 0.51


def test_severity_multiplies_one_pattern_of_noise():
    data = plain_images(torch.full((4, 1, 16, 16), 128, dtype=torch.uint8))
    weak, strong = (corrupt(data, "noise", 1, s).images.float() - 128 for s in (0.5, 1.5))
    assert float((strong - 3 * weak).abs().max()) <= 2  # rounding
    assert float(strong.std()) == pytest.approx(1.5 * 255 * 0.005**0.5, rel=0.06)


def test_half_way_to_the_negative_nothing_is_left():
    data = plain_images(random_images())
    assert len(corrupt(data, "invert", severity=0.5).images.unique()) == 1
    quarter = corrupt(data, "invert", severity=0.25).images.double()
    assert float((quarter - (0.5 * data.images.double() + 0.25 * 255)).abs().max()) <= 0.5


@pytest.mark.parametrize(("kind", "severity"), [("noise", -0.1), ("blur", float("inf")), ("invert", 1.01)])
def test_severities_that_mean_nothing_are_refused(kind, severity):
    with pytest.raises(RddError, match=f"'{kind}'.*"):
        corrupt(plain_images(random_images()), kind, severity=severity)
    with pytest.raises(RddError):
        corrupt(plain_images(random_images()), kind, severity=float("nan"))


def test_a_curve_is_the_accuracy_at_each_severity():
    test, nets = quadrants(40, seed=2), untrained(2)
    points = {"noise": (0, 2), "invert": (0, 0.75, 1)}
    table = severity_curves(nets, test, points, seed=3)
    assert list(table.columns) == ["kind", "severity", "net", "value"] and len(table) == 2 * 5
    for kind, severities in points.items():
        for severity in severities:
            mine = table[(table["kind"] == kind) & (table["severity"] == severity)]["value"]
            assert mine.tolist() == predict(nets, corrupt(test, kind, 3, severity)).accuracy.tolist()


def test_relative_counts_from_chance():
    clean, corrupted = [0.9, 0.4, 0.1], [[0.5, 0.9], [0.4, 0.1], [0.1, 0.3]]
    found = relative(clean, corrupted, chance=0.1)
    assert np.allclose(found[:2], [(0.4 / 0.8 + 1) / 2, 0.5]) and np.isnan(found[2]), "no net can lose below chance"
    assert np.allclose(relative([0.8], [[0.05]], 0.1), -0.05 / 0.7), "a misled net is worse than a guess"
    for wrong in ([0.5], [[0.5], [0.5]]):
        with pytest.raises(RddError, match="kinds"):
            relative([0.9], wrong, 0.1)


def test_spreads_take_an_additive_table_apart():
    methods, protocols = np.array([0.1, 0.3, 0.2]), np.array([0.0, 0.4])
    found = spreads((0.2 + methods[:, None] + protocols)[..., None].repeat(2, 2))
    assert found["methods"] == pytest.approx(0.1) and found["protocols"] == pytest.approx(0.4 / 2**0.5)
    assert found["both"] == pytest.approx(0, abs=1e-12) and found["nets"] == pytest.approx(0)


def test_spreads_find_what_was_put_in():
    draw, (m, p, n) = np.random.default_rng(0), (200, 150, 4)
    shape = {"methods": (m, 1, 1), "protocols": (1, p, 1), "both": (m, p, 1), "nets": (m, p, n)}
    put_in = {"methods": 5.0, "protocols": 2.0, "both": 1.0, "nets": 0.5}
    found = spreads(sum(put_in[k] * draw.standard_normal(shape[k]) for k in shape))
    assert found["methods"] == pytest.approx(5, rel=0.12) and found["protocols"] == pytest.approx(2, rel=0.15)
    assert found["both"] == pytest.approx((1 + 0.5**2 / n) ** 0.5, rel=0.05)
    assert found["nets"] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 2), (3, 1, 2), (3, 4, 0)])
def test_spreads_need_two_of_each(shape):
    with pytest.raises(RddError, match="two of the first two"):
        spreads(np.zeros(shape))


def test_networks_noise_looks_like_an_interaction_and_the_test_knows():
    draw, shown, noise, false = np.random.default_rng(0), [], [], 0
    for _ in range(600):
        start = 3 * draw.standard_normal((1, 1, 2))  # what a start does everywhere alike is no noise here
        x = 2.1 * draw.standard_normal((4, 7, 2)) + 5 * draw.standard_normal((4, 1, 1)) + start
        shown.append(spreads(x)["both"])
        found = interaction(x)
        noise.append(found.noise)
        false += found.p_value <= 0.05
    assert np.sqrt(np.mean(np.square(shown))) == pytest.approx(2.1 / 2**0.5, rel=0.04)
    assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(2.1 / 2**0.5, rel=0.04)
    assert 0.03 < false / 600 < 0.075
    assert interaction(x + 9 * draw.standard_normal((4, 7, 1))).p_value < 1e-4
    for shape in ((3, 4), (3, 4, 1), (1, 4, 2)):
        with pytest.raises(RddError, match="two of each"):
            interaction(np.zeros(shape))


def test_pairs_in_reversed_order_are_those_of_a_loop():
    x = np.random.default_rng(4).standard_normal((5, 4)) + np.arange(4)
    mean, within, across = x.mean(0), [], []
    for a in range(4):
        for b in range(a):
            for p in range(5):
                for q in range(5):
                    turned = (x[p, a] > x[q, b]) != (mean[a] > mean[b])
                    (within if p == q else across).append(turned)
    found = reversed_pairs(x)
    assert found.within == pytest.approx(np.mean(within)) and found.across == pytest.approx(np.mean(across))
    assert 0 < found.within < 0.5 and 0 < found.across < 0.5
    # protocols that only shift all methods reverse nothing within one, and half of all pairs across two
    shifted = reversed_pairs(np.arange(3) + 100 * np.arange(4)[:, None])
    assert shifted == (0, 0.5)
    assert reversed_pairs([[1, 1], [1, 1]]) == (0, 0) and reversed_pairs([[1, 2], [2, 2]]).within == 0.5
    for shape in ((3,), (1, 4), (4, 1)):
        with pytest.raises(RddError, match="at least two of each"):
            reversed_pairs(np.zeros(shape))


def test_corruption_changes_the_pixels_and_nothing_else():
    data = quadrants(12, groups=True)
    before = data.images.clone()
    for kind in ("noise", "blur", "invert"):
        corrupted = corrupt(data, kind)
        assert corrupted.images.dtype == torch.uint8 and not torch.equal(corrupted.images, before)
        assert torch.equal(corrupted.labels, data.labels) and torch.equal(corrupted.groups, data.groups)
        assert corrupted.mean == data.mean and corrupted.minority_names == data.minority_names
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
