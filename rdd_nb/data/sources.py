"""Where the pixels come from: the shipped sample, scikit-learn, torchvision's downloads, or a folder of images.

:func:`fetch` reads one of them as a :class:`Source`; :mod:`rdd_nb.data.loading` makes data sets of it, and is what to
call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.client
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rdd_nb.core import resources
from rdd_nb.core.environment import torchvision
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.data.image_folder import Part, Source, line_of, pixels, read_folder

__all__ = ["DESCRIPTIONS", "PUBLISHED", "default_root", "digest", "fetch"]

DESCRIPTIONS = {
    "fashion-mnist-sample": "10,000 + 2,000 images of Fashion-MNIST, 28×28 grey, 10 classes; ships with the package",
    "fashion-mnist": "all 60,000 + 10,000 images of Fashion-MNIST; a local copy, or a download of 30 MB",
    "digits": "scikit-learn's 1,797 handwritten digits, 8×8 grey, enlarged to 28×28, split 80/20; no download",
    "cifar10": "50,000 + 10,000 photographs, 32×32 RGB, 10 classes; a download of 170 MB",
    "cifar100": "50,000 + 10,000 photographs, 32×32 RGB, 100 classes; a download of 170 MB",
    "svhn": "73,257 + 26,032 house-number digits, 32×32 RGB, 10 classes; a download of 250 MB",
    "folder:PATH": "your own images: PATH/train/<class>/*.png and PATH/test/<class>/*.png, or PATH/<class>/*.png, or a "
    "PATH/metadata.csv with the columns filename, label and, if you have them, group and split (train or test)",
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


def default_root() -> Path:
    """The environment's ``RDD_NB_DATA``, else the repository's ``data/`` beside the package, else ``./data``."""
    if os.environ.get("RDD_NB_DATA"):
        return Path(os.environ["RDD_NB_DATA"]).expanduser()
    return REPOSITORY_DATA if REPOSITORY_DATA.is_dir() and not resources.in_wheel() else Path("data")


def fetch(name: str, root: Path, size: int | None, download: bool, channels: int | None) -> Source:
    """Read the data set called ``name``, its images resized and converted where asked; see ``datasets.load``."""
    if name.startswith("folder:"):
        return read_folder(name, size, channels)
    if name == "digits":
        source, size = _digits(), size or 28  # three poolings of a ConvNet-3 leave nothing of 8 pixels
    elif name == "fashion-mnist-sample":
        source = _sample(root)
    elif name == "fashion-mnist":
        source = _fashion(root, download)
    elif name in DESCRIPTIONS:
        source = _from_torchvision(name, root / "downloads", download)
    else:
        raise unknown("dataset", name, DESCRIPTIONS)
    count, height, width = source.train.images.shape[1:]
    if (size is None or (height, width) == (size, size)) and channels in (None, count):
        return dataclasses.replace(source, published=PUBLISHED.get(name))
    train = _converted(source.train, size, channels)
    return Source(name, train, source.test and _converted(source.test, size, channels), source.class_names)


def _converted(part: Part, size: int | None, channels: int | None) -> Part:
    pictures = []
    for image in part.images.numpy():
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        pictures.append(pixels(picture, size, channels))
    return Part(torch.from_numpy(np.stack(pictures)), part.labels, part.groups)


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
    path = path if path.is_file() else REPOSITORY_DATA / SAMPLE_FILE
    if not path.is_file():
        raise RddError(f"{SAMPLE_FILE} is not in {root}: {mend}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({line_of(error)}): {mend}") from None
    if digest(arrays) != SAMPLE_DIGEST:
        raise RddError(f"{path} is not the sample that this version expects (its checksum differs): {mend}")
    train, test = (_grey(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    return Source("fashion-mnist-sample", train, test, FASHION)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Source("digits", _grey(np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target), None, DIGITS)


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _fashion(root: Path, download: bool) -> Source:
    for folder in (root / "FashionMNIST" / "raw", root / "downloads" / "FashionMNIST" / "raw", DEBIAN):
        if all((folder / stem).is_file() or (folder / f"{stem}.gz").is_file() for stem in _IDX):
            break
    else:
        folder = root / "downloads" / "FashionMNIST" / "raw"
        _torchvision_pair("fashion-mnist", root / "downloads", download)
    arrays = [_read_idx(folder / stem) for stem in _IDX]
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape != (len(labels), 28, 28) or labels.ndim != 1:
            raise RddError(f"{folder} does not hold Fashion-MNIST (images {images.shape}, labels {labels.shape})")
    return Source("fashion-mnist", _grey(*arrays[:2]), _grey(*arrays[2:]), FASHION)


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, 8 (unsigned byte), the rank, the sizes (big-endian), values."""
    path = path if path.is_file() else path.with_name(path.name + ".gz")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":
            raise ValueError("not an IDX file of bytes")
        shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4).tolist()
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({line_of(error)}): remove it and load again to fetch it anew") from None


def _from_torchvision(name: str, folder: Path, download: bool) -> Source:
    def part(base: Any) -> Part:
        pixels = np.asarray(base.data)
        if name != "svhn":  # CIFAR comes as [N, H, W, C], SVHN as [N, C, H, W]
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return Part(torch.from_numpy(pixels), torch.tensor(base.labels if name == "svhn" else base.targets).long())

    train, test = _torchvision_pair(name, folder, download)
    return Source(name, part(train), part(test), DIGITS if name == "svhn" else tuple(train.classes))


def _torchvision_pair(name: str, folder: Path, download: bool) -> tuple[Any, Any]:
    """torchvision's training and test set, from ``folder`` or downloaded into it (checksums and progress bar: its)."""
    sets = torchvision().datasets
    splits: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    place = folder
    if name == "fashion-mnist":
        kind, files, place = sets.FashionMNIST, sets.FashionMNIST.resources, folder / "FashionMNIST" / "raw"
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
    with contextlib.suppress(RuntimeError):  # "not found or corrupted"
        return pair(fetch=False)
    if not download and not all(sets.utils.check_integrity(place / file, md5) for file, md5 in files):
        raise RddError(f"{name} is not in {place} and download=False: allow the download, or {mend}")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints what it does
            return pair(fetch=True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException) as error:
        raise RddError(f"{name} could not be downloaded ({line_of(error)}): {mend}") from None
