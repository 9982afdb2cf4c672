"""Images with labels, and with groups where they have names: what every other room works on, and where it comes from.

:func:`load` gives a :class:`Splits` of two :class:`ImageDataset`: the sample of Fashion-MNIST that ships with the
repository, scikit-learn's digits, the sets torchvision can download, or a folder of your own images. Pixels stay uint8
until a network asks for them (:meth:`ImageDataset.normalised`), so a set takes a quarter of the memory.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import os
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rdd_nb import machine
from rdd_nb.errors import RddError, unknown

__all__ = ["ImageDataset", "Splits", "available", "load", "statistics"]


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of ``images`` (uint8 ``[N, C, H, W]``), in units of 1/255.

    They come from counts of the 256 values, so they are exact whatever the size of the set. A constant channel gets the
    deviation 1, so that it can be divided by.

    >>> statistics(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).cpu().numpy()
        average = float((counts * values).sum() / counts.sum())
        mean.append(average)
        std.append(float(np.sqrt((counts * (values - average) ** 2).sum() / counts.sum())) or 1.0)
    return tuple(mean), tuple(std)


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Images, their classes and, where they are known, their named groups.

    Attributes:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``, 0 to K-1.
        class_names: the K names.
        mean: of each channel of ``images / 255``, over the *training* set (also in a test set).
        std: likewise.
        groups: int64 ``[N]``, 0 to G-1: the value of a named attribute, such as a colour; or None.
        group_names: the G names.
        minority: bool ``[N]``: the sample's (class, group) is rare in training; or None.
        minority_names: what to call the two sides, e.g. ``("on-colour", "off-colour")``.
        name: of the data set, with the scenario that bent it.

    Raises:
        RddError: shapes, dtypes, ranges or names that do not fit together.

    >>> images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    >>> data = ImageDataset(images, torch.tensor([0, 0, 1, 1]), ("bag", "boot"), mean=(0.5,), std=(0.5,))
    >>> len(data), data.shape, data.class_counts.tolist(), data.normalised().unique().tolist()
    (4, (1, 2, 2), [2, 2], [-1.0])
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    groups: Tensor | None = None
    group_names: tuple[str, ...] = ()
    minority: Tensor | None = None
    minority_names: tuple[str, str] = ("majority", "minority")
    name: str = ""

    def __post_init__(self) -> None:
        for field in ("class_names", "mean", "std", "group_names", "minority_names"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            found = f"{_dtype(self.images)} {list(self.images.shape)}"
            raise RddError(f"images must be uint8 [N, C, H, W], not {found}: keep the raw pixels, 0 to 255")
        _check_ids("labels", self.labels, len(self.images), self.class_names, "class_names")
        if self.groups is not None:
            _check_ids("groups", self.groups, len(self.images), self.group_names, "group_names")
        elif self.group_names:
            raise RddError("group_names are given without groups: pass both or neither")
        if self.minority is not None and (
            self.minority.dtype != torch.bool or self.minority.shape != self.labels.shape
        ):
            found = f"{_dtype(self.minority)} {list(self.minority.shape)}"
            raise RddError(f"minority must be bool [{len(self.images)}], not {found}: one flag for each image")
        if len(self.minority_names) != 2:
            raise RddError(f"minority_names must be two names, not {len(self.minority_names)}: (majority, minority)")
        channels = self.images.shape[1]
        if len(self.mean) != channels or len(self.std) != channels:
            found = f"{len(self.mean)} and {len(self.std)}"
            raise RddError(f"mean and std must have a value for each of the {channels} channels, not {found}")
        if not all(value > 0 for value in self.std):
            raise RddError(f"std must be above 0 in each channel, not {self.std}: see rdd_nb.datasets.statistics")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        groups = f", {self.num_groups} groups" if self.num_groups else ""
        size = "×".join(map(str, self.shape))
        return f"ImageDataset({self.name!r}: {len(self):,} images of {size}, {self.num_classes} classes{groups})"

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def num_groups(self) -> int:
        """G; 0 where no groups are known."""
        return len(self.group_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def class_counts(self) -> Tensor:
        """int64 ``[K]``: how many images each class has."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def subset(self, indices: Tensor) -> ImageDataset:
        """The images at ``indices`` (int64 ``[n]``, in that order) or where a bool mask ``[N]`` is true."""
        if indices.dtype == torch.bool:
            if indices.shape != self.labels.shape:
                raise RddError(f"a mask for {len(self)} images must be [{len(self)}], not {list(indices.shape)}")
            indices = indices.nonzero().squeeze(1)
        indices = indices.to(self.labels.device)
        if indices.ndim != 1 or indices.is_floating_point():
            raise RddError(f"indices must be integers [n], not {_dtype(indices)} {list(indices.shape)}")
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= len(self)):
            raise RddError(f"indices must be 0 to {len(self) - 1}, not {int(indices.min())} to {int(indices.max())}")
        return dataclasses.replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
            minority=None if self.minority is None else self.minority[indices],
        )

    def normalised(self, indices: Tensor | None = None, device: str | torch.device = "cpu") -> Tensor:
        """``(x / 255 - mean) / std`` of all images or of those at ``indices``: float32 ``[n, C, H, W]`` on ``device``.

        The bytes travel, and become floats where they arrive.
        """
        chosen = self.images if indices is None else self.images[indices.to(self.images.device)]
        mean = torch.tensor(self.mean, device=device).reshape(-1, 1, 1)
        std = torch.tensor(self.std, device=device).reshape(-1, 1, 1)
        return chosen.to(device).to(torch.float32).div_(255).sub_(mean).div_(std)

    def sample(self, per_class: int, seed: int) -> ImageDataset:
        """A random ``per_class`` images of each class, in their old order.

        Raises:
            RddError: a class has fewer.
        """
        if per_class < 1:
            raise RddError(f"per_class must be at least 1, not {per_class}")
        generator = machine.stream(seed, "sample")
        chosen = []
        for label, count in enumerate(self.class_counts.tolist()):
            if count < per_class:
                name = self.class_names[label]
                raise RddError(f"class {name!r} has {count} images, {per_class} were asked for: lower per_class")
            members = (self.labels == label).nonzero().squeeze(1)
            chosen.append(members[torch.randperm(count, generator=generator)[:per_class]])
        return self.subset(torch.cat(chosen).sort().values)

    def hold_out(self, fraction: float, seed: int) -> tuple[ImageDataset, ImageDataset]:
        """Split into ``(rest, held_out)``: to choose settings on, so that the test set is never chosen on.

        Stratified by class and, where groups are known, by group: each class gives ``fraction`` of its images, rounded,
        and each of its groups its share of these, rounded up or down.

        Raises:
            RddError: ``fraction`` is not inside (0, 1), or a class is too small to give one image and keep one.
        """
        if not 0 < fraction < 1:
            raise RddError(f"the fraction to hold out must lie between 0 and 1, not {fraction}")
        generator = machine.stream(seed, "hold_out")
        groups = torch.zeros_like(self.labels) if self.groups is None else self.groups
        held = torch.zeros(len(self), dtype=torch.bool)
        for label, count in enumerate(self.class_counts.tolist()):
            wanted = int(count * fraction + 0.5)
            if count and not 0 < wanted < count:
                raise RddError(
                    f"class {self.class_names[label]!r} has {count} images, too few to hold out {fraction:g} of them: "
                    "add images or change the fraction"
                )
            # Shuffle, then lay the groups side by side in a shuffled order and take at even steps: rounding the running
            # total gives every group its share and the class its exact number.
            members = (self.labels == label).nonzero().squeeze(1)
            members = members[torch.randperm(count, generator=generator)]
            place = torch.randperm(max(self.num_groups, 1), generator=generator)
            members = members[place[groups[members]].argsort(stable=True)]
            steps = torch.arange(1, count + 1) * wanted // max(count, 1)
            held[members[steps.diff(prepend=torch.zeros(1, dtype=steps.dtype)) > 0]] = True
        return self.subset(~held), self.subset(held)

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> ImageDataset:
        """The same images with another normalisation, such as that of the training set."""
        return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))


@dataclass(frozen=True, eq=False)
class Splits:
    """A training set and a test set of the same classes, image shape, groups and normalisation."""

    train: ImageDataset
    test: ImageDataset
    name: str

    def __post_init__(self) -> None:
        for field in ("class_names", "group_names", "shape", "mean", "std"):
            if getattr(self.train, field) != getattr(self.test, field):
                found = f"{getattr(self.train, field)} and {getattr(self.test, field)}"
                raise RddError(f"{self.name}: training and test set must have the same {field}, not {found}")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_ids(what: str, ids: Tensor, count: int, names: Sequence[str], names_field: str) -> None:
    if ids.dtype != torch.int64 or ids.shape != (count,):
        raise RddError(f"{what} must be int64 [{count}], one for each image, not {_dtype(ids)} {list(ids.shape)}")
    if len(set(names)) != len(names) or not names:
        raise RddError(f"{names_field} must be different names, at least one, not {tuple(names)}")
    if count and not 0 <= int(ids.min()) <= int(ids.max()) < len(names):
        found = f"{int(ids.min())} to {int(ids.max())}"
        raise RddError(f"{what} must be 0 to {len(names) - 1}, as there are {len(names)} {names_field}, not {found}")


# ------------------------------------------------------------------------------------------------ where they come from

FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SAMPLE_FILE = "fashion_mnist_sample.npz"
SAMPLE_DIGEST = "528abe7494c55788bbafb5f00f1e1925796c42ac5a0d6dcc6b4eb1dc6266b6ab"  # of the arrays: see data/README.md
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it
# Mean and deviation as DatasetCondensation and most of the literature use them; other sets are measured.
PUBLISHED = {
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
_DESCRIPTIONS = {
    "fashion-mnist-sample": "10,000 + 2,000 images of Fashion-MNIST, 28×28 grey, 10 classes; ships with the repository",
    "fashion-mnist": "all 60,000 + 10,000 images of Fashion-MNIST; a local copy, or a download of 30 MB",
    "digits": "scikit-learn's 1,797 handwritten digits, 8×8 grey, enlarged to 28×28; nothing to download",
    "cifar10": "50,000 + 10,000 photographs, 32×32 RGB, 10 classes; a download of 170 MB",
    "cifar100": "50,000 + 10,000 photographs, 32×32 RGB, 100 classes; a download of 170 MB",
    "svhn": "73,257 + 26,032 house-number digits, 32×32 RGB, 10 classes; a download of 250 MB",
    "folder:PATH": "your own images: PATH/train/<class>/*.png and PATH/test/<class>/*.png, PATH/<class>/*.png, or a "
    "PATH/metadata.csv with the columns filename, label and, if you have them, group and split",
}


def available() -> dict[str, str]:
    """The names that :func:`load` knows, each with one line on what it is.

    >>> sorted(available())[:3]
    ['cifar10', 'cifar100', 'digits']
    """
    return dict(_DESCRIPTIONS)


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    download: bool = True,
    channels: int | None = None,
) -> Splits:
    """The data set called ``name`` (see :func:`available`).

    Args:
        name: a known name, or ``"folder:PATH"``.
        root: where data lie and downloads go (to ``root/downloads``). By default the environment's ``RDD_NB_DATA``,
            else the repository's ``data/``, else ``./data``.
        size: resize the images to squares of so many pixels (bilinear), whatever their shape was.
        download: whether a set that is not here may be downloaded.
        channels: 1 turns all images into grey (luminance), 3 into RGB. By default they stay what they are.

    Normalisation: the constants of the literature where they exist and the pixels are untouched; otherwise measured on
    the training images. Digits, and folders without a test set, are split 80/20, stratified, always the same way.

    Raises:
        RddError: an unknown name, a missing or broken file, no network, or images that do not fit together.
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise RddError(f"size must be a number of pixels, at least 1, not {size!r}")
    if channels not in (None, 1, 3):
        raise RddError(f"channels must be 1 (grey) or 3 (RGB), not {channels!r}")
    kind, _, path = name.partition(":")
    if kind == "folder":
        return _folder(path, size, channels)
    base = _default_root() if root is None else Path(root).expanduser()
    if name == "digits":
        return _digits(size or 28, channels)
    if name == "fashion-mnist-sample":
        splits = _sample(base)
    elif name == "fashion-mnist":
        splits = _fashion(base, download)
    elif name in _DESCRIPTIONS:
        splits = _torchvision(name, base / "downloads", download)
    else:
        raise unknown("dataset", name, available())
    if (size is None or splits.train.shape[1:] == (size, size)) and channels in (None, splits.train.shape[0]):
        return splits
    train, test = (
        (_converted(part.images, size, channels), part.labels, None, None) for part in (splits.train, splits.test)
    )
    return _splits(splits.name, train, test, splits.train.class_names)


_Part = tuple[Tensor, Tensor, "Tensor | None", "Tensor | None"]  # images, labels, groups, minority


def _splits(
    name: str,
    train: _Part,
    test: _Part,
    class_names: Sequence[str],
    group_names: Sequence[str] = (),
    published: str = "",
) -> Splits:
    mean, std = PUBLISHED.get(published) or statistics(train[0])
    parts = (
        ImageDataset(images, labels, tuple(class_names), mean, std, groups, tuple(group_names), minority, name=name)
        for images, labels, groups, minority in (train, test)
    )
    return Splits(*parts, name=name)


def _default_root() -> Path:
    if os.environ.get("RDD_NB_DATA"):
        return Path(os.environ["RDD_NB_DATA"]).expanduser()
    return _REPOSITORY_DATA if _REPOSITORY_DATA.is_dir() else Path("data")


_REPOSITORY_DATA = Path(__file__).resolve().parent.parent / "data"


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 ``[C, H, W]`` of an image in mode L or RGB."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _converted(images: Tensor, size: int | None, channels: int | None) -> Tensor:
    """Pillow resizes bytes in whole numbers, so every machine gets the same bits."""
    results = []
    for image in images.numpy():
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        if channels is not None:
            picture = picture.convert("L" if channels == 1 else "RGB")
        if size is not None:
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        results.append(_pixels(picture))
    return torch.from_numpy(np.stack(results))


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over the names, dtypes, shapes and values of ``arrays``, whatever compressed them."""
    total = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _sample(root: Path) -> Splits:
    mend = "restore it with `git checkout -- data`, or make it with `python data/make_sample.py`"
    places = dict.fromkeys((root / SAMPLE_FILE, _REPOSITORY_DATA / SAMPLE_FILE))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise RddError(f"{SAMPLE_FILE} is not in {root}: {mend}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({error}): {mend}") from None
    if digest(arrays) != SAMPLE_DIGEST:
        raise RddError(f"{path} is not the sample that this version expects (its checksum differs): {mend}")
    train, test = (_from_bytes(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    return _splits("fashion-mnist-sample", train, test, FASHION, published="fashion-mnist")


def _from_bytes(images: np.ndarray, labels: np.ndarray) -> _Part:
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)), None, None


def _digits(size: int, channels: int | None) -> Splits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    images = _converted(images, size if size != 8 else None, channels)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return _split("digits", (images, labels, None, None), tuple("0123456789"))


def _split(name: str, whole: _Part, class_names: Sequence[str], group_names: Sequence[str] = ()) -> Splits:
    """Training and test set, 80/20, from a set that comes in one piece."""
    everything = _splits(name, whole, whole, class_names, group_names).train
    train, test = everything.hold_out(0.2, seed=0)
    mean, std = statistics(train.images)
    return Splits(train.with_statistics(mean, std), test.with_statistics(mean, std), name)


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _fashion(root: Path, download: bool) -> Splits:
    fetched = root / "downloads" / "FashionMNIST" / "raw"
    for folder in (root / "FashionMNIST" / "raw", fetched, DEBIAN):
        if all((folder / stem).is_file() or (folder / f"{stem}.gz").is_file() for stem in _IDX):
            return fashion_mnist_from(folder)
    _torchvision_files("fashion-mnist", root / "downloads", download)
    return fashion_mnist_from(fetched)


def fashion_mnist_from(folder: Path) -> Splits:
    """Fashion-MNIST from the four IDX files (plain or gzipped) in ``folder``."""
    arrays = [_read_idx(folder / stem) for stem in _IDX]
    return _splits("fashion-mnist", _from_bytes(*arrays[:2]), _from_bytes(*arrays[2:]), FASHION, published="fashion-mnist")


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, 8 (unsigned byte), the rank, the sizes (big-endian), the bytes."""
    path = path if path.is_file() else path.with_name(path.name + ".gz")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":
            raise ValueError("not an IDX file of bytes")
        shape = tuple(np.frombuffer(raw, ">i4", count=raw[3], offset=4).tolist())
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({error}): remove it and load again to fetch it anew") from None


def _torchvision_files(name: str, folder: Path, download: bool) -> Any:
    raise NotImplementedError


def _torchvision(name: str, folder: Path, download: bool) -> Splits:
    raise NotImplementedError


def _folder(path: str, size: int | None, channels: int | None) -> Splits:
    raise NotImplementedError
