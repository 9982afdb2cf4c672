"""Where the pixels come from: the shipped sample, scikit-learn, torchvision's downloads, or data of one's own.

:func:`fetch` reads one of them as a :class:`Source`; :mod:`rdd_nb.data.loading` makes data sets of it, and is what to
call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.client
import io
import math
import os
import sys
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdd_nb.core import resources
from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import parse_arrays, read_regular
from rdd_nb.data.arrays import resized
from rdd_nb.data.image_folder import Part, Source
from rdd_nb.data.readers.catalogue import assembled, of_source
from rdd_nb.data.readers.registry import READERS, kind_of, read
from rdd_nb.data.reading import Reading

__all__ = ["DESCRIPTIONS", "PUBLISHED", "default_root", "digest", "fetch"]

DESCRIPTIONS = {
    "fashion-mnist-sample": "10,000 + 2,000 images of Fashion-MNIST, 28×28 grey, 10 classes; ships with the package",
    "fashion-mnist": "all 60,000 + 10,000 images of Fashion-MNIST; a local copy, or a download of 30 MB",
    "mnist": "60,000 + 10,000 handwritten digits, 28×28 grey, 10 classes; a download of 12 MB",
    "digits": "scikit-learn's 1,797 handwritten digits, 8×8 grey, enlarged to 28×28, split 80/20; no download",
    "cifar10": "50,000 + 10,000 photographs, 32×32 RGB, 10 classes; a download of 170 MB",
    "cifar100": "50,000 + 10,000 photographs, 32×32 RGB, 100 classes; a download of 170 MB",
    "svhn": "73,257 + 26,032 house-number digits, 32×32 RGB, 10 classes; a download of 250 MB",
    **{f"{kind}:PATH": reader.help for kind, reader in READERS.items()},
}
# Mean and deviation of each channel as DatasetCondensation and most of the literature use them.
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
PUBLISHED: dict[str, Statistics] = {
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "fashion-mnist-sample": ((0.2861,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DIGITS = tuple("0123456789")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it
REPOSITORY_DATA = resources.folder("data")
SAMPLE_FILE = "fashion_mnist_sample.npz"
SAMPLE_DIGEST = "528abe7494c55788bbafb5f00f1e1925796c42ac5a0d6dcc6b4eb1dc6266b6ab"  # see data/README.md
LARGEST_SAMPLE = 10_000_000  # bytes, packed
LARGEST_PACKED = 100_000_000


def default_root() -> Path:
    """The environment's ``RDD_NB_DATA``, else the repository's ``data/`` beside the package, else ``./data``."""
    if os.environ.get("RDD_NB_DATA"):
        return Path(os.path.expanduser(os.environ["RDD_NB_DATA"]))
    return REPOSITORY_DATA if REPOSITORY_DATA.is_dir() and not resources.in_wheel() else Path("data")


def fetch(name: str, root: Path, download: bool, reading: Reading) -> Source:
    """Read the data set called ``name`` as ``reading`` says: see :mod:`rdd_nb.data.loading`.

    Raises:
        RddError: as :func:`rdd_nb.data.loading.load`.
    """
    if kind_of(name):
        return read(name, reading)
    if name == "digits":  # three poolings of a ConvNet-3 leave nothing of 8 pixels
        source, reading = _digits(), dataclasses.replace(reading, size=reading.size or 28)
    elif name == "fashion-mnist-sample":
        source = _sample(root)
    elif name == "fashion-mnist":
        source = _fashion(root, download)
    elif name in DESCRIPTIONS and ":" not in name:
        source = _from_torchvision(name, root / "downloads", download)
    else:
        raise unknown("dataset", name, DESCRIPTIONS)
    for field in reading.columns:
        raise RddError(f"{name} takes no {field}, as its labels are known: leave it out")
    if reading.chooses:
        source = assembled(of_source(source), reading)
    train, _ = resized(source.train.images, reading)
    if train is source.train.images:
        return dataclasses.replace(source, published=PUBLISHED.get(name))
    test = source.test and dataclasses.replace(source.test, images=resized(source.test.images, reading)[0])
    return dataclasses.replace(source, train=dataclasses.replace(source.train, images=train), test=test)


# ------------------------------------------------------------------------------------------------------ the known sets


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over the names, dtypes, shapes and values of ``arrays``, whatever compressed them."""
    total = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _grey(images: np.ndarray, labels: np.ndarray) -> Part:
    return Part(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))


def _sample(root: Path) -> Source:
    mend = "restore it with `git checkout -- data`, or make it with `python data/make_sample.py`"
    if resources.in_wheel():
        mend = "install rdd-nb again, or take the file from data/ of its repository"
    path = root / SAMPLE_FILE
    path = path if os.path.isfile(path) else REPOSITORY_DATA / SAMPLE_FILE
    try:
        arrays = parse_arrays(read_regular(path, LARGEST_SAMPLE), path, "sample", mend)
    except FileNotFoundError:
        raise RddError(f"{SAMPLE_FILE} is not in {root}: {mend}") from None
    except OSError as error:
        raise RddError(f"{path} cannot be read ({one_line(error)}): {mend}") from None
    if digest(arrays) != SAMPLE_DIGEST:
        raise RddError(f"{path} is not the sample that this version expects (its checksum differs): {mend}")
    train, test = (_grey(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    return Source("fashion-mnist-sample", train, test, FASHION)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Source("digits", _grey(np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target), None, DIGITS)


# File → the shape of its array and the SHA-256 of its bytes, unpacked: of what torchvision's ``FashionMNIST.resources``
# names by the MD5 of its packed files, which other packers, such as Debian's, do not keep.
FASHION_FILES: dict[str, tuple[tuple[int, ...], str]] = {
    "train-images-idx3-ubyte": (
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": ((60_000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": ((10_000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


def _fashion(root: Path, download: bool) -> Source:
    """All of Fashion-MNIST, packed or not, if it is Fashion-MNIST to the last byte."""
    for folder in (root / "FashionMNIST" / "raw", root / "downloads" / "FashionMNIST" / "raw", DEBIAN):
        if all(_idx_in(folder, stem) for stem in FASHION_FILES):
            break
    else:
        folder = root / "downloads" / "FashionMNIST" / "raw"
        _torchvision_pair("fashion-mnist", root / "downloads", download)
    arrays = [_read_idx(_idx_in(folder, stem) or folder / stem, *held) for stem, held in FASHION_FILES.items()]
    return Source("fashion-mnist", _grey(*arrays[:2]), _grey(*arrays[2:]), FASHION)


def _idx_in(folder: Path, stem: str) -> Path | None:
    return next((folder / name for name in (stem, f"{stem}.gz") if os.path.isfile(folder / name)), None)


def _read_idx(path: Path, shape: tuple[int, ...], digest: str) -> np.ndarray:
    """The bytes of an IDX file after its head (4 bytes, and 4 a dimension); no more is unpacked than belongs there."""
    head = 4 + 4 * len(shape)
    size = head + math.prod(shape)
    mend = "remove it and load again to fetch it anew"
    try:
        raw = read_regular(path, LARGEST_PACKED)
        if path.suffix == ".gz":
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({one_line(error)}): {mend}") from None
    if len(raw) != size or hashlib.sha256(raw).hexdigest() != digest:
        raise RddError(f"{path} is not the file of Fashion-MNIST (its checksum differs): {mend}")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape).copy()


def _from_torchvision(name: str, folder: Path, download: bool) -> Source:
    def part(base: Any) -> Part:
        pixels = np.asarray(base.data)
        if name == "mnist":
            return _grey(pixels, np.asarray(base.targets))
        if name != "svhn":  # CIFAR comes as [N, H, W, C], SVHN as [N, C, H, W]
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return Part(torch.from_numpy(pixels), torch.tensor(base.labels if name == "svhn" else base.targets).long())

    train, test = _torchvision_pair(name, folder, download)
    return Source(name, part(train), part(test), DIGITS if name in ("mnist", "svhn") else tuple(train.classes))


def _torchvision_pair(name: str, folder: Path, download: bool) -> tuple[Any, Any]:
    """torchvision's training and test set, from ``folder`` or downloaded into it (checksums and progress bar: its)."""
    sets = torchvision().datasets
    splits: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    place = folder
    if name == "fashion-mnist":
        kind, files, place = sets.FashionMNIST, sets.FashionMNIST.resources, folder / "FashionMNIST" / "raw"
    elif name == "mnist":
        kind, files, place = sets.MNIST, sets.MNIST.resources, folder / "MNIST" / "raw"
    elif name == "svhn":
        splits = [{"split": "train"}, {"split": "test"}]
        kind, files = sets.SVHN, [sets.SVHN.split_list[split["split"]][1:] for split in splits]
    else:
        kind = {"cifar10": sets.CIFAR10, "cifar100": sets.CIFAR100}[name]
        files = [(kind.filename, kind.tgz_md5)]

    def pair(fetch: bool) -> tuple[Any, Any]:
        train, test = (kind(folder, download=fetch, **split) for split in splits)
        return train, test

    mend = f"put {' and '.join(f'{file} (MD5 {md5})' for file, md5 in files)} into {place} and load it again"
    try:
        with contextlib.suppress(RuntimeError):  # "not found or corrupted"
            return pair(fetch=False)
    except (OSError, ValueError, EOFError) as error:
        raise RddError(f"{name} in {place} cannot be read ({one_line(error)}): {mend}") from None
    if not download and not all(sets.utils.check_integrity(place / file, md5) for file, md5 in files):
        raise RddError(f"{name} is not in {place} and download=False: allow the download, or {mend}")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints what it does
            return pair(fetch=True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException) as error:
        raise RddError(f"{name} could not be downloaded ({one_line(error)}): {mend}") from None
