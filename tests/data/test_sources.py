"""The shipped sample, digits, IDX files and torchvision: what is read, and what is said where it is not there."""

import gzip
import hashlib
import importlib.util
import os
import socket
import struct
import tracemalloc
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rdd_nb.core import folders, resources
from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.data.dataset import Splits, statistics
from rdd_nb.data.loading import load
from tests.data.helpers import make


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


def test_fashion_mnist_is_that_of_its_authors():
    """The table holds the bytes unpacked: here from the packed files whose MD5 torchvision names, where they lie."""
    if not sources.DEBIAN.is_dir():
        pytest.skip("the full Fashion-MNIST is not installed (Debian: dataset-fashion-mnist)")
    full = load("fashion-mnist", root="/nonexistent", download=False)
    assert full.train.class_counts.tolist() == [6000] * 10 and full.test.class_counts.tolist() == [1000] * 10


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    """A small Fashion-MNIST, packed and not, and the table that expects it."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    expected = {}
    for split, count, suffix in (("train", 30, ".gz"), ("t10k", 20, "")):
        images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((1, 28, 28), np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", (np.arange(count) % 10).astype(np.uint8))):
            name = f"{split}-{kind}-ubyte"
            write_idx(folder / name, array)
            raw = (folder / name).read_bytes()
            expected[name] = array.shape, hashlib.sha256(raw).hexdigest()
            if suffix:
                (folder / name).unlink()
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
    assert list(expected) == list(sources.FASHION_FILES)
    monkeypatch.setattr(sources, "FASHION_FILES", expected)
    return folder


def test_fashion_mnist_from_idx_files_under_root(idx_folder, tmp_path):
    splits = load("fashion-mnist", root=tmp_path, download=False)
    assert (len(splits.train), len(splits.test)) == (30, 20)
    assert splits.train.images[7].unique().tolist() == [7] and splits.test.labels[13] == 3
    assert splits.train.mean == (0.2861,)


def test_other_images_are_not_taken_for_fashion_mnist(idx_folder, tmp_path, monkeypatch):
    monkeypatch.undo()  # the true table: what lies there is well made, and something else
    with pytest.raises(RddError, match=r"train-images-idx3-ubyte\.gz is not the file of Fashion-MNIST"):
        load("fashion-mnist", root=tmp_path, download=False)


LABELS = struct.pack(">HBBi", 0, 8, 1, 30) + bytes(k % 10 for k in range(30))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b truncated", "cannot be read"),
        (gzip.compress(LABELS)[:-12], "cannot be read"),
        (b"", "is not the file of Fashion-MNIST"),
        (gzip.compress(b"<html>not found</html>"), "is not the file of Fashion-MNIST"),
        (gzip.compress(LABELS[:-1]), "is not the file of Fashion-MNIST"),
        (gzip.compress(LABELS + b"\0"), "is not the file of Fashion-MNIST"),
        (gzip.compress(LABELS[:-1] + b"\0"), "is not the file of Fashion-MNIST"),
    ],
    ids=["no gzip", "cut", "empty", "no IDX", "too short", "too long", "another label"],  # bytes differ by the clock
)
def test_broken_idx_file(idx_folder, tmp_path, content, words):
    load("fashion-mnist", root=tmp_path, download=False)
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(RddError, match=words) as caught:
        load("fashion-mnist", root=tmp_path)
    assert str(idx_folder) in str(caught.value) and "\n" not in str(caught.value)


def test_no_more_is_unpacked_than_belongs_there(idx_folder, tmp_path):
    bomb = gzip.compress(bytes(400_000_000), 1)
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(RddError, match="is not the file of Fashion-MNIST"):
        load("fashion-mnist", root=tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_a_sample_that_would_not_fit_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "LARGEST_ARRAYS", 100_000_000)
    target = tmp_path / sources.SAMPLE_FILE
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for k in range(6):
            archive.writestr(f"{k}.npy", bytes(20_000_000))
    tracemalloc.start()
    with pytest.raises(RddError, match=r"would need 0\.1 GB of memory.*restore it with `git checkout"):
        load("fashion-mnist-sample", root=tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_pipes_in_the_root_are_not_waited_for(idx_folder, tmp_path, sample):
    os.mkfifo(tmp_path / sources.SAMPLE_FILE)
    assert len(load("fashion-mnist-sample", root=tmp_path).train) == 10_000
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    os.mkfifo(idx_folder / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(RddError, match="download=False"):
        load("fashion-mnist", root=tmp_path, download=False)


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10", "cifar100", "svhn"])
@pytest.mark.parametrize("root", ["~no-such-user/data", "x" * 300, __file__])
def test_strange_roots_are_told_in_one_line(name, root, monkeypatch):
    monkeypatch.setattr(sources, "DEBIAN", Path("/nonexistent"))
    with pytest.raises(RddError, match="download=False") as caught:
        load(name, root=root, download=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(RddError, match="is no path"):
        load(name, root="a\0b", download=False)


OFFLINE = {
    "cifar10": (["cifar-10-python.tar.gz (MD5 c58f30108f718f92721af3b95e74349a)"], "downloads"),
    "cifar100": (["cifar-100-python.tar.gz (MD5 eb9058c3a382ffc7106e4002c42a8d85)"], "downloads"),
    "svhn": (["train_32x32.mat (MD5 ", "test_32x32.mat (MD5 "], "downloads"),
    "mnist": (["train-images-idx3-ubyte.gz (MD5 ", "t10k-labels-idx1-ubyte.gz"], "downloads/MNIST/raw"),
    "fashion-mnist": (["train-images-idx3-ubyte.gz (MD5 ", "t10k-labels-idx1-ubyte.gz"], "downloads/FashionMNIST/raw"),
}


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("download", [True, False])
def test_offline_names_the_files_and_where_to_put_them(name, download, tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        assert download, "download=False must not try the network"
        raise urllib.error.URLError("no route to host")

    for place, way in ((urllib.request, "urlopen"), (socket, "getaddrinfo"), (socket.socket, "connect")):
        monkeypatch.setattr(place, way, refuse)
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


def test_mnist_is_grey_and_its_classes_are_digits(tmp_path, monkeypatch):
    class FakeMNIST(FakeCIFAR):
        resources, fetched = (("fake.gz", "0" * 32),), True

        def __init__(self, root, train, download):
            super().__init__(root, train, download)
            self.data, self.targets = torch.from_numpy(self.data[..., 0]), torch.tensor(self.targets)

    monkeypatch.setattr(torchvision().datasets, "MNIST", FakeMNIST)
    train = load("mnist", root=tmp_path).train
    assert train.shape == (1, 2, 5) and train.class_names == sources.DIGITS
    assert train.images[0, 0, 0].tolist() == [0, 3, 6, 9, 12] and train.labels.tolist() == [0, 1] * 3


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
