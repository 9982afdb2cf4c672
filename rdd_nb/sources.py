"""Where the pixels come from: the shipped sample, scikit-learn, torchvision's downloads, or a folder of images.

:func:`fetch` reads one of them as a :class:`Source`; :mod:`rdd_nb.datasets` makes data sets of it, and is what to call.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import http.client
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
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

__all__ = [
    "DESCRIPTIONS",
    "PUBLISHED",
    "Part",
    "Row",
    "Source",
    "default_root",
    "digest",
    "fetch",
    "open_image",
    "rows_of",
]

DESCRIPTIONS = {
    "fashion-mnist-sample": "10,000 + 2,000 images of Fashion-MNIST, 28×28 grey, 10 classes; ships with the repository",
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
REPOSITORY_DATA = Path(__file__).resolve().parent.parent / "data"
SAMPLE_FILE = "fashion_mnist_sample.npz"
SAMPLE_DIGEST = "528abe7494c55788bbafb5f00f1e1925796c42ac5a0d6dcc6b4eb1dc6266b6ab"  # see data/README.md


@dataclass(frozen=True, eq=False)
class Part:
    """Images uint8 ``[N, C, H, W]``, labels int64 ``[N]`` and, where they are known, groups int64 ``[N]``."""

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """What was read. ``test`` is None where the data come in one piece; ``published`` is (mean, std), where known."""

    name: str
    train: Part
    test: Part | None
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    published: Statistics | None = None


def default_root() -> Path:
    """The environment's ``RDD_NB_DATA``, else the repository's ``data/`` beside the package, else ``./data``."""
    if os.environ.get("RDD_NB_DATA"):
        return Path(os.environ["RDD_NB_DATA"]).expanduser()
    return REPOSITORY_DATA if REPOSITORY_DATA.is_dir() else Path("data")


def fetch(name: str, root: Path, size: int | None, download: bool, channels: int | None) -> Source:
    """Read the data set called ``name``, its images resized and converted where asked; see ``datasets.load``."""
    if name.startswith("folder:"):
        return _folder(name, size, channels)
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


def _pixels(image: Image.Image, size: int | None, channels: int | None) -> np.ndarray:
    """uint8 ``[C, H, W]`` of a grey or RGB image. Pillow resizes in whole numbers: the same bits on each machine."""
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _converted(part: Part, size: int | None, channels: int | None) -> Part:
    pictures = []
    for image in part.images.numpy():
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        pictures.append(_pixels(picture, size, channels))
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
    path = root / SAMPLE_FILE
    path = path if path.is_file() else REPOSITORY_DATA / SAMPLE_FILE
    if not path.is_file():
        raise RddError(f"{SAMPLE_FILE} is not in {root}: {mend}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RddError(f"{path} cannot be read ({_line(error)}): {mend}") from None
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
        raise RddError(f"{path} cannot be read ({_line(error)}): remove it and load again to fetch it anew") from None


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
    sets = machine.torchvision().datasets
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
        raise RddError(f"{name} could not be downloaded ({_line(error)}): {mend}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# ---------------------------------------------------------------------------------------------- a folder of your images

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
COLUMNS = ("filename", "label", "group", "split")


@dataclass(frozen=True)
class Row:
    """One image of a folder: ``where`` names it in an error; ``group`` and ``split`` are empty where nobody says."""

    where: str
    path: Path
    label: str
    group: str = ""
    split: str = ""


def rows_of(name: str) -> list[Row]:
    """What the folder ``folder:PATH`` says that it holds, by its metadata.csv or its sub-folders; opens no image.

    Raises:
        RddError: no such folder, or one that does not say what it holds.
    """
    folder = _path_of(name)
    table = folder / "metadata.csv"
    rows = _rows_of_csv(table) if table.is_file() else _rows_of_folders(folder)
    if not rows:
        raise RddError(f"{table} names no images: write one line for each")
    return rows


def _path_of(name: str) -> Path:
    folder = Path(name.removeprefix("folder:")).expanduser()
    if name == "folder:" or not folder.is_dir():
        raise RddError(f"{name!r}: there is no such folder; write folder:PATH with the path of a folder of images")
    return folder


def _folder(name: str, size: int | None, channels: int | None) -> Source:
    rows, folder = rows_of(name), _path_of(name)
    has_test, has_groups = bool(rows[0].split), bool(rows[0].group)
    if has_test:
        _check_splits(folder, rows, "label")
        _check_splits(folder, rows, "group")
    images = _read(rows, size, channels)
    class_names, labels = _ids(row.label for row in rows)
    group_names, groups = _ids(row.group for row in rows) if has_groups else ((), None)

    def part(chosen: Tensor) -> Part:
        return Part(images[chosen], labels[chosen], None if groups is None else groups[chosen])

    is_test = torch.tensor([row.split == "test" for row in rows])
    title = f"folder:{folder.resolve().name}" + ("" if has_test else " (split 80/20)")  # no path: results are shared
    return Source(title, part(~is_test), part(is_test) if has_test else None, class_names, group_names)


def _ids(values: Iterable[str]) -> tuple[tuple[str, ...], Tensor]:
    """The different values, sorted, and the place of each value among them (int64 ``[N]``)."""
    listed = list(values)
    places = {name: place for place, name in enumerate(sorted(set(listed)))}
    return tuple(places), torch.tensor([places[value] for value in listed])


def _check_splits(folder: Path, rows: list[Row], field: str) -> None:
    """Every label occurs in training and in the test set; every group that is tested occurs in training."""
    first: dict[str, dict[str, Row]] = {"train": {}, "test": {}}
    for row in rows:
        first[row.split].setdefault(getattr(row, field), row)
    for split, other in (("test", "train"), ("train", "test")):
        for value, row in first[split].items():
            if value not in first[other] and (field == "label" or split == "test"):
                mend = f"add {other} images of it or leave its {split} images out"
                raise RddError(f"{folder}: {field} {value!r} occurs only in {split} (first: {row.where}): {mend}")


def _rows_of_csv(table: Path) -> list[Row]:
    rows: list[Row] = []
    seen: dict[str, int] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = list(reader.fieldnames or ())
            for column in columns:
                if column not in COLUMNS:
                    raise unknown("column", column, COLUMNS, where=f"{table} line 1")
            for column in COLUMNS[:2]:
                if column not in columns:
                    raise RddError(f"{table} line 1 has no column {column!r}: it needs filename and label")
            for entry in reader:
                where = f"{table} line {reader.line_num}"
                if None in entry or None in entry.values():
                    raise RddError(f"{where} does not have {len(columns)} values: give one for each column")
                for column in columns:
                    if not entry[column].strip():
                        raise RddError(f"{where} has no {column}: fill it in, or leave the line or the column out")
                values = {column: entry[column].strip() for column in columns}
                if values.get("split", "train") not in ("train", "test"):
                    raise unknown("split", values["split"], ("train", "test"), where=where)
                filename = values.pop("filename")
                if filename in seen:
                    raise RddError(f"{where} names {filename!r} again, after line {seen[filename]}: keep one of them")
                seen[filename] = reader.line_num
                rows.append(Row(f"{where}, {filename}", table.parent / filename, **values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RddError(f"{table} cannot be read ({_line(error)}): write it as a CSV file in UTF-8") from None
    return rows


def _rows_of_folders(folder: Path) -> list[Row]:
    present = [split for split in ("train", "test") if (folder / split).is_dir()]
    if len(present) == 1:
        missing = "test" if present == ["train"] else "train"
        raise RddError(f"{folder} has {present[0]}/ but no {missing}/: add it, or put the class folders into {folder}")
    rows = []
    for split in present or [""]:
        classes = sorted(child for child in (folder / split).iterdir() if child.is_dir() and child.name[0] != ".")
        if not classes:
            raise RddError(f"{folder / split} has no images: make a folder for each class there, or a metadata.csv")
        for label in classes:
            paths = sorted(path for path in label.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
            if not paths:
                raise RddError(f"{label} is a class without images: add some ({', '.join(SUFFIXES)}) or remove it")
            rows += [Row(str(path), path, label.name, split=split) for path in paths]
    return rows


def open_image(row: Row) -> Image.Image:
    """The image of a row, turned as cameras mean it, as 8 bits of grey (mode L) or RGB.

    Raises:
        RddError: there is no such file, it cannot be read, or it has more than 8 bits a channel.
    """
    try:
        with Image.open(row.path) as image:
            mode = image.mode
            picture = ImageOps.exif_transpose(image)
            picture = picture.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")
    except FileNotFoundError:
        raise RddError(f"{row.where}: there is no file {row.path}") from None
    except Exception as error:  # Pillow's decoders raise whatever went wrong in them
        raise RddError(f"{row.where} cannot be read ({_line(error)}): replace it or leave it out") from None
    if mode in ("I", "F") or mode.startswith("I;"):
        raise RddError(f"{row.where} has more than 8 bits a channel (mode {mode}): convert it to 8 bits")
    return picture


def _read(rows: list[Row], size: int | None, channels: int | None) -> Tensor:
    def read(row: Row) -> np.ndarray:
        return _pixels(open_image(row), size, channels)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        arrays = list(pool.map(read, rows))
    first = arrays[0].shape
    for row, array in zip(rows, arrays):
        if len(array) != first[0]:
            grey, colour = (rows[0], row) if first[0] == 1 else (row, rows[0])
            mend = "pass channels=3 or channels=1 to make them alike"
            raise RddError(f"{grey.where} is grey and {colour.where} is RGB: {mend}")
        if array.shape != first:
            sizes = [f"{shape[2]}×{shape[1]}" for shape in (first, array.shape)]
            mend = "pass size=… to resize them"
            raise RddError(f"{rows[0].where} has {sizes[0]} pixels and {row.where} has {sizes[1]}: {mend}")
    return torch.from_numpy(np.stack(arrays))
