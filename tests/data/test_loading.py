"""ImageDataset and load: shapes, strata, normalisation, sources, and what each mistake is told."""

import gzip
import hashlib
import importlib.util
import shutil
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdd_nb.core import resources
from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.loading import load


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


# ---------------------------------------------------------------------------------------------------------------- type


def test_sizes_names_and_repr():
    data = make(n=14, channels=3, size=5)
    assert (len(data), data.shape, data.num_classes, data.num_groups) == (14, (3, 5, 5), 3, 2)
    assert data.class_counts.tolist() == [5, 5, 4]
    assert make(groups=None, group_names=(), minority=None).num_groups == 0
    assert repr(data) == "ImageDataset('toy': 14 images of 3×5×5, 3 classes, 2 groups)"
    assert make(class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


def test_class_counts_count_empty_classes():
    data = make().subset(torch.tensor([0, 3]))
    assert data.class_counts.tolist() == [2, 0, 0]


def test_subset_carries_everything_along():
    data = make()
    part = data.subset(torch.tensor([7, 2]))
    assert part.images[:, 0, 0, 0].tolist() == [7, 2]
    assert part.labels.tolist() == [1, 2]
    assert part.groups.tolist() == [0, 0]
    assert data.subset(data.groups == 1).minority.all()
    assert data.subset(data.minority).images[:, 0, 0, 0].tolist() == [3, 4, 5, 9, 10, 11]
    assert (part.group_names, part.minority_names, part.name) == (("g0", "g1"), ("majority", "minority"), "toy")
    assert len(data.subset(torch.tensor([], dtype=torch.int64))) == 0


def test_normalised_values_and_dtype():
    data = make(channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    got = data.normalised(torch.tensor([9, 4]))
    assert got.dtype == torch.float32 and got.shape == (2, 3, 4, 4)
    expected = [[(v / 255 - m) / s for m, s in ((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))] for v in (9, 4)]
    torch.testing.assert_close(got[:, :, 0, 0], torch.tensor(expected))
    assert data.normalised().shape == (12, 3, 4, 4)
    assert data.images.dtype == torch.uint8 and data.images[9, 0, 0, 0] == 9  # untouched


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 3))
def test_statistics_are_those_of_the_pixels(seed, channels):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (5, channels, 3, 4), generator=generator, dtype=torch.uint8)
    mean, std = statistics(images)
    values = images.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(channels, -1) / 255
    np.testing.assert_allclose(mean, values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(std, values.std(1), rtol=1e-12)


def test_statistics_of_a_constant_channel_can_be_divided_by():
    assert statistics(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_with_statistics():
    data = make().with_statistics([0.1], [0.2])
    assert (data.mean, data.std) == ((0.1,), (0.2,))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_sample_is_stratified_and_seeded(per_class, seed):
    data = make(n=18)
    chosen = data.sample(per_class, seed)
    values = chosen.images[:, 0, 0, 0].tolist()
    assert chosen.class_counts.tolist() == [per_class] * 3
    assert values == sorted(set(values)), "without repeats, in the old order"
    assert torch.equal(chosen.groups, data.groups[values])
    assert values == data.sample(per_class, seed).images[:, 0, 0, 0].tolist()


def test_sample_depends_on_the_seed():
    data = make(n=240)
    draws = {tuple(data.sample(5, seed).images[:, 0, 0, 0].tolist()) for seed in range(5)}
    assert len(draws) == 5


@settings(max_examples=50, deadline=None)
@given(st.data(), st.floats(0.1, 0.9), st.integers(0, 10**6))
def test_hold_out_splits_exactly_by_class_and_evenly_by_group(draw, fraction, seed):
    cells = draw.draw(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=2))
    cells = [[count + 2 * (group == 0) + 4 * (group == 1) for group, count in enumerate(row)] for row in cells]
    labels = torch.tensor([label for label, row in enumerate(cells) for count in row for _ in range(count)])
    groups = torch.tensor([group for row in cells for group, count in enumerate(row) for _ in range(count)])
    data = make(n=len(labels), classes=2, labels=labels, groups=groups, group_names=("x", "y", "z"), minority=None)
    rest, held = data.hold_out(fraction, seed)
    index = lambda part: part.images[:, 0, 0, 0].tolist()  # noqa: E731
    assert sorted(index(rest) + index(held)) == list(range(len(data)))
    for label, row in enumerate(cells):
        wanted = int(sum(row) * fraction + 0.5)
        assert int(held.class_counts[label]) == wanted
        for group, count in enumerate(row):
            got = int(((held.labels == label) & (held.groups == group)).sum())
            assert abs(got - count * wanted / sum(row)) < 1 + 1e-9
    assert index(held) == index(data.hold_out(fraction, seed)[1])


def test_hold_out_of_a_small_minority_holds_some_of_it_out():
    # 1 % in group 1: by class alone, one seed in three would hold out none of it.
    groups = (torch.arange(400) >= 384).long()
    data = make(n=400, classes=2, groups=groups, group_names=("g0", "g1"), minority=None)
    for seed in range(20):
        rest, held = data.hold_out(0.25, seed)
        assert torch.bincount(held.groups).tolist() == [96, 4]
        assert torch.bincount(rest.groups).tolist() == [288, 12]
    first, second = (tuple(data.hold_out(0.25, seed)[1].images[:, 0, 0, 0].tolist()) for seed in (0, 1))
    assert first != second


def test_hold_out_without_groups():
    data = make(n=30)
    plain = ImageDataset(data.images, data.labels, data.class_names, data.mean, data.std)
    rest, held = plain.hold_out(0.2, 3)
    assert held.class_counts.tolist() == [2, 2, 2] and rest.class_counts.tolist() == [8, 8, 8]


long, byte = torch.int64, torch.uint8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make(images=torch.zeros(12, 1, 4, 4)), "images must be uint8 [N, C, H, W], not float32 [12, 1, 4, 4]"),
        (lambda: make(images=torch.zeros(12, 4, 4, dtype=byte)), "images must be uint8 [N, C, H, W], not uint8"),
        (lambda: make(labels=torch.zeros(11, dtype=long)), "labels must be int64 [12]"),
        (lambda: make(labels=torch.zeros(12)), "labels must be int64 [12], one for each image, not float32"),
        (lambda: make(labels=torch.full((12,), 3)), "labels must be 0 to 2, as there are 3 class_names, not 3 to 3"),
        (lambda: make(labels=torch.full((12,), -1)), "labels must be 0 to 2"),
        (lambda: make(class_names=("a", "b", "b")), "class_names must be different names"),
        (lambda: make(class_names=()), "class_names must be different names, at least one"),
        (lambda: make(groups=torch.full((12,), 2)), "groups must be 0 to 1, as there are 2 group_names"),
        (lambda: make(group_names=()), "group_names must be different names"),
        (lambda: make(groups=torch.zeros(3, dtype=long)), "groups must be int64 [12]"),
        (lambda: make(groups=None, group_names=("x",)), "group_names are given without groups"),
        (lambda: make(minority=torch.zeros(12)), "minority must be bool [12], not float32"),
        (lambda: make(minority=torch.zeros(2, dtype=torch.bool)), "minority must be bool [12], not bool [2]"),
        (lambda: make(minority_names=("one",)), "minority_names must be two names, not 1"),
        (lambda: make(mean=(0.5, 0.5)), "each of the 1 channels, not 2 and 1"),
        (lambda: make(std=(0.0,)), "std must be above 0"),
        (lambda: make(std=(float("nan"),)), "std must be above 0"),
        (lambda: make().subset(torch.tensor([12])), "indices must be 0 to 11, not 12 to 12"),
        (lambda: make().subset(torch.tensor([-1])), "indices must be 0 to 11, not -1 to -1"),
        (lambda: make().subset(torch.tensor([0.5])), "indices must be integers [n], not float32"),
        (lambda: make().subset(torch.tensor([[1]])), "indices must be integers [n], not int64 [1, 1]"),
        (lambda: make().subset(torch.ones(3, dtype=torch.bool)), "a mask for 12 images must be [12], not [3]"),
        (lambda: make().sample(5, 0), "class 'a' has 4 images, 5 were asked for"),
        (lambda: make().sample(0, 0), "per_class must be at least 1"),
        (lambda: make().hold_out(0.0, 0), "must lie between 0 and 1, not 0.0"),
        (lambda: make().hold_out(1.0, 0), "must lie between 0 and 1, not 1.0"),
        (lambda: make().hold_out(0.05, 0), "class 'a' has 4 images, too few to hold out 0.05"),
        (lambda: make().hold_out(0.95, 0), "class 'a' has 4 images, too few to hold out 0.95"),
        (lambda: Splits(make(), make(size=5), "x"), "x: training and test set must have the same shape"),
        (lambda: Splits(make(), make(mean=(0.1,)), "x"), "must have the same mean"),
        (lambda: Splits(make(), make(class_names=("x", "y", "z")), "x"), "must have the same class_names"),
        (lambda: load("fashion-mnst"), "unknown dataset 'fashion-mnst': did you mean 'fashion-mnist'?"),
        (lambda: load("folder"), "unknown dataset 'folder': did you mean 'folder:PATH'?"),
        (lambda: load("folder:"), "there is no such folder; write folder:PATH"),
        (lambda: load("folder:/no/where"), "'folder:/no/where': there is no such folder"),
        (lambda: load("digits", size=0), "size must be a number of pixels, at least 1, not 0"),
        (lambda: load("digits", size="28"), "size must be a number of pixels, at least 1, not '28'"),
        (lambda: load("digits", channels=2), "channels must be 1 (grey) or 3 (RGB), not 2"),
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(RddError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------- the known sets


@pytest.fixture(scope="module")
def sample():
    return load("fashion-mnist-sample")


def test_sample_is_balanced_and_normalised_as_published(sample):
    assert sample.name == sample.train.name == "fashion-mnist-sample"
    assert sample.train.class_counts.tolist() == [1000] * 10
    assert sample.test.class_counts.tolist() == [200] * 10
    assert sample.train.shape == (1, 28, 28)
    assert (sample.test.mean, sample.test.std) == ((0.2861,), (0.3530,))
    normalised = sample.train.normalised()
    assert abs(float(normalised.mean())) < 0.01 and abs(float(normalised.std()) - 1) < 0.01
    assert sample.train.class_names[8] == "bag" and sample.train.groups is None


def test_sample_is_small_and_its_checksums_stand_in_the_readme():
    path = sources.REPOSITORY_DATA / sources.SAMPLE_FILE
    assert path.stat().st_size < 6_000_000
    readme = path.with_name("README.md").read_text(encoding="utf-8")
    assert sources.SAMPLE_DIGEST in readme
    assert hashlib.sha256(path.read_bytes()).hexdigest() in readme


def test_sample_comes_from_where_its_index_says(sample):
    if not sources.DEBIAN.is_dir():
        pytest.skip("the full Fashion-MNIST is not installed (Debian: dataset-fashion-mnist)")
    full = load("fashion-mnist", root="/nonexistent", download=False)
    with np.load(sources.REPOSITORY_DATA / sources.SAMPLE_FILE) as arrays:
        for split in ("train", "test"):
            index = torch.from_numpy(arrays[f"{split}_index"]).long()
            assert len(index.unique()) == len(index)
            chosen = getattr(full, split).subset(index)
            assert torch.equal(chosen.images, getattr(sample, split).images)
            assert torch.equal(chosen.labels, getattr(sample, split).labels)


def test_make_sample_writes_the_same_bytes_each_time(tmp_path):
    path = sources.REPOSITORY_DATA / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    full = Splits(make(n=200, classes=10, size=28), make(n=50, classes=10, size=28), "full")
    module.PER_CLASS = {"train": 7, "test": 3}
    digests = [module.make(full, tmp_path / name) for name in ("a.npz", "b.npz")]
    assert digests[0] == digests[1]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.bincount(arrays["train_labels"]).tolist() == [7] * 10
        assert np.array_equal(arrays["test_images"][:, 0, 0], arrays["test_index"])


def test_digest_sees_values_names_dtypes_and_shapes():
    base = {"a": np.arange(4, dtype=np.uint8)}
    others = [
        {"a": np.array([0, 1, 2, 4], np.uint8)},
        {"b": base["a"]},
        {"a": base["a"].astype(np.int8)},
        {"a": base["a"].reshape(2, 2)},
    ]
    assert len({sources.digest(arrays) for arrays in [base, *others]}) == 5


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "not npz"])
def test_damaged_sample(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(sources, "REPOSITORY_DATA", tmp_path / "none")
    target = tmp_path / sources.SAMPLE_FILE
    whole = (resources.folder("data") / sources.SAMPLE_FILE).read_bytes()
    if damage == "truncated":
        target.write_bytes(whole[:1000])
    elif damage == "changed":
        np.savez(target, train_images=np.zeros(3))
    elif damage == "not npz":
        target.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(RddError) as caught:
        load("fashion-mnist-sample", root=tmp_path)
    assert "git checkout -- data" in str(caught.value) and "data/make_sample.py" in str(caught.value)
    assert sources.SAMPLE_FILE in str(caught.value) and "\n" not in str(caught.value)


def test_sample_is_found_whatever_the_root(tmp_path, sample):
    assert torch.equal(load("fashion-mnist-sample", root=tmp_path).test.images, sample.test.images)


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RDD_NB_DATA", str(tmp_path))
    assert sources.default_root() == tmp_path
    monkeypatch.delenv("RDD_NB_DATA")
    assert sources.default_root() == sources.REPOSITORY_DATA
    monkeypatch.setattr(sources, "REPOSITORY_DATA", tmp_path / "none")
    assert sources.default_root() == Path("data")


def test_size_and_channels_change_pixels_and_statistics(sample):
    with_colour = load("fashion-mnist-sample", size=16, channels=3)
    assert with_colour.train.shape == (3, 16, 16) and with_colour.train.mean == with_colour.test.mean
    assert torch.equal(with_colour.test.images[:, 0], with_colour.test.images[:, 2])
    assert (with_colour.train.mean, with_colour.train.std) == statistics(with_colour.train.images)
    first = Image.fromarray(sample.test.images[0, 0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(with_colour.test.images[0, 1].numpy(), np.asarray(first))
    assert torch.equal(load("fashion-mnist-sample", size=28, channels=1).train.images, sample.train.images)
    assert load("fashion-mnist-sample", size=28).train.mean == (0.2861,)


def test_digits():
    small, large = load("digits", size=8), load("digits")
    assert large.train.shape == (1, 28, 28) and small.train.shape == (1, 8, 8)
    assert len(large.train) + len(large.test) == 1797
    assert torch.equal(small.test.labels, large.test.labels)
    share = large.test.class_counts / (large.test.class_counts + large.train.class_counts)
    assert share.min() > 0.19 and share.max() < 0.21
    assert int(small.train.images.max()) == 255
    assert (large.test.mean, large.test.std) == statistics(large.train.images)
    assert load("digits", channels=3).train.shape == (3, 28, 28)


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_folder(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count, suffix in (("train", 30, ".gz"), ("t10k", 20, "")):
        images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((1, 28, 28), np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", (np.arange(count) % 10).astype(np.uint8))
    return folder


def test_fashion_mnist_from_idx_files_under_root(idx_folder, tmp_path):
    splits = load("fashion-mnist", root=tmp_path, download=False)
    assert (len(splits.train), len(splits.test)) == (30, 20)
    assert splits.train.images[7].unique().tolist() == [7] and splits.test.labels[13] == 3
    assert splits.train.mean == (0.2861,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b truncated", "cannot be read"),
        (gzip.compress(b"<html>not found</html>"), "not an IDX file of bytes"),
        (gzip.compress(struct.pack(">HBBi", 0, 8, 1, 30) + bytes(7)), "cannot reshape array of size 7"),
        (gzip.compress(struct.pack(">HBBi", 0, 8, 1, 3) + bytes(3)), "does not hold Fashion-MNIST"),
    ],
    ids=["truncated", "no IDX", "too short", "other data"],  # gzip writes the time into its bytes, and so into an id
)
def test_broken_idx_file(idx_folder, tmp_path, content, words):
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(RddError, match=words) as caught:
        load("fashion-mnist", root=tmp_path)
    assert str(idx_folder) in str(caught.value) and "\n" not in str(caught.value)


OFFLINE = {
    "cifar10": (["cifar-10-python.tar.gz (MD5 c58f30108f718f92721af3b95e74349a)"], "downloads"),
    "cifar100": (["cifar-100-python.tar.gz (MD5 eb9058c3a382ffc7106e4002c42a8d85)"], "downloads"),
    "svhn": (["train_32x32.mat (MD5 ", "test_32x32.mat (MD5 "], "downloads"),
    "fashion-mnist": (["train-images-idx3-ubyte.gz (MD5 ", "t10k-labels-idx1-ubyte.gz"], "downloads/FashionMNIST/raw"),
}


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("download", [True, False])
def test_offline_names_the_files_and_where_to_put_them(name, download, tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        assert download, "download=False must not try the network"
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "none")
    with pytest.raises(RddError) as caught:
        load(name, root=tmp_path, download=download)
    message = str(caught.value)
    files, place = OFFLINE[name]
    for file in files:
        assert file in message
    assert f"into {tmp_path / place} and load it again" in message and "\n" not in message
    assert ("could not be downloaded (" if download else "download=False") in message
    assert capsys.readouterr().out == ""


class FakeCIFAR:
    """Stands for torchvision's class: what it holds, and that it must be fetched first."""

    filename, tgz_md5, classes = "fake.tar.gz", "0" * 32, ("cat", "dog")
    fetched = False

    def __init__(self, root, train, download):
        if download:
            print("Files already downloaded and verified")
            type(self).fetched = True
        if not self.fetched:
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        count = 6 if train else 4
        self.data = np.arange(count * 2 * 5 * 3, dtype=np.uint8).reshape(count, 2, 5, 3)  # N, H, W, C
        self.targets = [i % 2 for i in range(count)]


class FakeSVHN(FakeCIFAR):
    split_list = dict(train=("url", "train.mat", "0" * 32), test=("url", "test.mat", "0" * 32))  # noqa: RUF012
    fetched = True

    def __init__(self, root, split, download):
        super().__init__(root, split == "train", download)
        self.data, self.labels = np.ascontiguousarray(self.data.transpose(0, 3, 1, 2)), np.array(self.targets)
        del self.targets


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_torchvision_sets_become_channels_first(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FakeCIFAR, "fetched", False)
    monkeypatch.setattr(torchvision().datasets, *{"cifar10": ("CIFAR10", FakeCIFAR), "svhn": ("SVHN", FakeSVHN)}[name])
    splits = load(name, root=tmp_path)
    assert splits.train.shape == (3, 2, 5) and (len(splits.train), len(splits.test)) == (6, 4)
    assert splits.train.images[0, :, 0, 0].tolist() == [0, 1, 2]
    assert splits.train.images[0, 0, 0].tolist() == [0, 3, 6, 9, 12]
    assert splits.test.labels.tolist() == [0, 1, 0, 1]
    assert splits.train.class_names == (("cat", "dog") if name == "cifar10" else tuple("0123456789"))
    assert splits.train.mean == sources.PUBLISHED[name][0]
    assert capsys.readouterr().out == ""


def test_an_archive_put_there_by_hand_needs_no_download(tmp_path, monkeypatch):
    sets = torchvision().datasets
    monkeypatch.setattr(FakeCIFAR, "fetched", False)
    monkeypatch.setattr(sets, "CIFAR10", FakeCIFAR)
    with pytest.raises(RddError, match="download=False"):
        load("cifar10", root=tmp_path, download=False)
    monkeypatch.setattr(sets.utils, "check_integrity", lambda path, md5: path == tmp_path / "downloads" / "fake.tar.gz")
    assert len(load("cifar10", root=tmp_path, download=False).train) == 6


# ---------------------------------------------------------------------------------------------------------- folders


def picture(path, mode="L", size=(6, 6), value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if len(mode) == 1 or mode.startswith("I") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """PATH/{train,test}/{cat,dog}/N.png; the grey value tells split, class and number."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            for i in range(count):
                picture(tmp_path / split / name / f"{i}.png", value=100 * (split == "test") + 50 * label + i)
    return tmp_path


def table(folder, text, images=8, mode="L"):
    for i in range(images):
        picture(folder / "img" / f"{i}.png", mode, value=10 * i)
    (folder / "metadata.csv").write_text(text, encoding="utf-8")


FULL = "filename,label,group,split\n" + "".join(
    f"img/{i}.png,{'cat' if i % 2 else 'dog'},{'night' if i in (4, 6, 7) else 'day'},{'test' if i > 4 else 'train'}\n"
    for i in range(8)
)


def test_folder_with_train_and_test(tree):
    (tree / "train" / "cat" / "notes.txt").write_text("not an image")
    (tree / "train" / ".ipynb_checkpoints").mkdir()
    splits = load(f"folder:{tree}")
    assert splits.train.class_names == ("cat", "dog") and splits.train.shape == (1, 6, 6)
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 50, 51, 52, 53]
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4
    assert splits.test.images[:, 0, 0, 0].tolist() == [100, 101, 150, 151]
    assert (splits.test.mean, splits.test.std) == statistics(splits.train.images)
    assert splits.name == f"folder:{tree.name}", "no path, so that results can be shared"
    assert splits.train.groups is None and splits.train.minority is None


def test_folder_of_classes_is_split_and_says_so(tmp_path):
    for name in ("cat", "dog"):
        for i in range(10):
            picture(tmp_path / name / f"{i}.jpg", "RGB", value=10 * i)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.class_counts.tolist() == [8, 8] and splits.test.class_counts.tolist() == [2, 2]
    assert splits.name.endswith("(split 80/20)") and splits.train.shape == (3, 6, 6)
    assert torch.equal(splits.test.images, load(f"folder:{tmp_path}").test.images)
    assert splits.test.mean == statistics(splits.train.images)[0]


def test_metadata_with_groups_and_splits(tmp_path):
    table(tmp_path, FULL)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.group_names == ("day", "night") and splits.train.class_names == ("cat", "dog")
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert splits.train.groups.tolist() == [0, 0, 0, 0, 1] and splits.test.groups.tolist() == [0, 1, 1]
    assert splits.test.labels.tolist() == [0, 1, 0]
    # dogs: two by day and one by night, a third of them, more than half of a half; cats: none by night.
    assert splits.train.minority.tolist() == [False] * 5
    assert splits.test.minority.tolist() == [False, False, True]


def test_metadata_without_a_rare_cell_has_no_minority(tmp_path):
    rows = "".join(f"img/{i}.png,{'cat' if i % 2 else 'dog'},{'day' if i < 8 else 'night'}\n" for i in range(16))
    table(tmp_path, "filename,label,group\n" + rows, images=16)
    splits = load(f"folder:{tmp_path}")
    assert splits.train.minority is None and splits.train.num_groups == 2
    assert len(splits.test) == 4, "a fifth of 8 images, rounded, of each class"


def test_metadata_with_a_byte_order_mark_and_spaces(tmp_path):
    table(tmp_path, "\ufefffilename,label,split\n img/0.png , cat ,train\nimg/1.png,cat,test\n")
    splits = load(f"folder:{tmp_path}")
    assert splits.train.class_names == ("cat",) and len(splits.test) == 1


def test_size_and_channels_of_a_folder(tree):
    picture(tree / "train" / "cat" / "0.png", "RGB", (9, 7))
    splits = load(f"folder:{tree}", size=5, channels=3)
    assert splits.train.shape == (3, 5, 5)
    assert load(f"folder:{tree}", size=5, channels=1).train.shape == (1, 5, 5)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("RGB", 3)])
def test_modes_of_pictures(tmp_path, mode, channels):
    for split in ("train", "test"):
        picture(tmp_path / split / "cat" / "0.png", mode, value=1)
    assert load(f"folder:{tmp_path}").train.shape == (channels, 6, 6)


def test_oblong_pictures_keep_their_shape(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "cat" / "0.png", size=(8, 5))
    assert load(f"folder:{tmp_path}").train.shape == (1, 5, 8)


def test_photographs_are_turned_as_the_camera_meant(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90° to see it upright
    for split in ("train", "test"):
        path = picture(tmp_path / split / "cat" / "0.jpg", size=(8, 5))
        Image.new("L", (8, 5)).save(path, exif=exif)
    assert load(f"folder:{tmp_path}").train.shape == (1, 8, 5)


def edit(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (edit(FULL, "img/3.png", "img/33.png"), "metadata.csv line 5, img/33.png: there is no file"),
        (edit(FULL, "group", "grup"), "unknown column 'grup' in {path}/metadata.csv line 1: did you mean 'group'?"),
        (edit(FULL, "filename,", "label,"), "line 1 has no column 'filename'"),
        ("filename,group\nimg/0.png,day\n", "line 1 has no column 'label'"),
        (
            edit(FULL, "day,train", "day,trian"),
            "unknown split 'trian' in {path}/metadata.csv line 2: did you mean 'train'?",
        ),
        (edit(FULL, "3.png,cat,day", "3.png,cat,"), "line 5 has no group: fill it in"),
        (edit(FULL, "3.png,cat", "3.png, "), "line 5 has no label"),
        (edit(FULL, "img/3.png,cat,day,train", "img/3.png,cat"), "line 5 does not have 4 values"),
        (edit(FULL, "img/3.png,cat,day,train", "img/3.png,cat,day,train,1"), "line 5 does not have 4 values"),
        (edit(FULL, "img/3.png", "img/2.png"), "line 5 names 'img/2.png' again, after line 4"),
        (
            edit(FULL, "5.png,cat", "5.png,cow"),
            "label 'cow' occurs only in test (first: {path}/metadata.csv line 7, img/5",
        ),
        (edit(FULL, "0.png,dog", "0.png,cow"), "label 'cow' occurs only in train (first: {path}/metadata.csv line 2"),
        (edit(FULL, "5.png,cat,day", "5.png,cat,dusk"), "group 'dusk' occurs only in test (first: {path}/metadata.csv"),
        ("filename,label\n", "metadata.csv names no images"),
        ("", "line 1 has no column 'filename'"),
        ('filename,label\n"img/0.png,cat\n', "metadata.csv cannot be read (unexpected end of data)"),
        ("filename,label\nimg/0.png,cat\nimg/1.png,cat\n", "class 'cat' has 2 images, too few to hold out 0.2"),
        ("filename,label\nimg,cat\n", "metadata.csv line 2, img cannot be read"),
    ],
)
def test_mistakes_in_metadata_name_the_line(tmp_path, text, words):
    table(tmp_path, text)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tmp_path}")
    assert words.format(path=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_in_another_encoding(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("filename,label\nbär.png,Bär\n".encode("latin-1"))
    with pytest.raises(RddError, match=r"metadata.csv cannot be read .* UTF-8"):
        load(f"folder:{tmp_path}")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda t: truncate(picture(t / "train/cat/1.png", "RGB", (50, 50))),
            "train/cat/1.png cannot be read (image file is",
        ),
        (
            lambda t: (t / "train/cat/1.png").write_text("<html>"),
            "train/cat/1.png cannot be read (cannot identify image",
        ),
        (lambda t: (t / "train/cat/1.png").write_bytes(b""), "train/cat/1.png cannot be read (cannot identify image"),
        (
            lambda t: picture(t / "train/dog/2.png", "RGB"),
            "cat/0.png is grey and {path}/train/dog/2.png is RGB: pass chan",
        ),
        (
            lambda t: picture(t / "train/cat/0.png", "RGB"),
            "cat/1.png is grey and {path}/train/cat/0.png is RGB: pass chan",
        ),
        (
            lambda t: picture(t / "test/dog/1.png", size=(8, 6)),
            "0.png has 6×6 pixels and {path}/test/dog/1.png has 8×6",
        ),
        (lambda t: picture(t / "test/dog/1.png", "I;16"), "test/dog/1.png has more than 8 bits a channel (mode I;16)"),
        (lambda t: (t / "train/cow").mkdir(), "{path}/train/cow is a class without images"),
        (lambda t: picture(t / "test/cow/0.png"), "label 'cow' occurs only in test (first: {path}/test/cow/0.png)"),
        (lambda t: picture(t / "train/cow/0.png"), "label 'cow' occurs only in train"),
        (lambda t: shutil.rmtree(t / "test"), "{path} has train/ but no test/"),
        (lambda t: shutil.rmtree(t / "train"), "{path} has test/ but no train/"),
        (
            lambda t: [shutil.rmtree(t / s) for s in ("train", "test")],
            "{path} has no images: make a folder for each class",
        ),
        (lambda t: [shutil.rmtree(t / "test" / s) for s in ("cat", "dog")], "{path}/test has no images"),
    ],
)
def test_mistakes_in_folders_name_the_file(tree, break_it, words):
    break_it(tree)
    with pytest.raises(RddError) as caught:
        load(f"folder:{tree}")
    assert words.format(path=tree) in str(caught.value)
    assert "\n" not in str(caught.value)
