"""``npz:PATH``: arrays in one file of NumPy, as MedMNIST publishes them, and ours with groups and names.

Source: MedMNIST (Yang et al. 2023): ``train_images`` uint8 ``[N, H, W]`` or ``[N, H, W, 3]``, ``train_labels``
``[N, 1]``, and the same for ``val`` and ``test``. Ours adds ``…_groups``, ``class_names`` and ``group_names``.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import open_regular
from rdd_nb.data.arrays import as_images, resized
from rdd_nb.data.folder_walk import plain
from rdd_nb.data.image_folder import Source
from rdd_nb.data.readers.catalogue import Catalogue, assembled, ordered
from rdd_nb.data.reading import Reading

__all__ = ["read_npz"]

PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
NAMES = ("class_names", "group_names")
LARGEST_NAMES = 100_000  #: classes, groups
MEND = "save it anew with numpy.savez_compressed (see docs/how-to/own-data.md for its arrays)"


def read_npz(name: str, reading: Reading) -> Source:
    """The arrays of ``npz:PATH``; nothing in it is unpickled, and what would not fit into the memory is not unpacked.

    Raises:
        RddError: no such file, no images or labels, arrays that do not fit together, labels outside the names, several
            labels for each image, images of volumes, and what :func:`rdd_nb.data.readers.catalogue.assembled` refuses.
    """
    path = Path(os.path.expanduser(name.removeprefix("npz:")))
    title = f"npz:{plain(path.name, 'the file')}"
    with _opened(path, name) as arrays:
        known = list(arrays.shapes)
        parts = {part: key for part, keys in PARTS.items() for key in keys if f"{key}_images" in known}
        if "train" not in parts:
            told = ", ".join(known[:8]) or "nothing"
            raise RddError(f"{path} has no train_images; it holds {told}: {MEND}")
        names = {key: arrays.texts(key) for key in NAMES if key in known}
        images, labels, groups, splits = [], list[str](), list[str](), list[str]()
        grouped = [key for key in parts.values() if f"{key}_groups" in known]
        if grouped and len(grouped) < len(parts):
            missing = next(key for key in parts.values() if key not in grouped)
            raise RddError(f"{path} has {grouped[0]}_groups but no {missing}_groups: give all of them, or none")
        arrays.expect([f"{key}_images" for key in parts.values()])
        for part, key in parts.items():
            images.append(_images(arrays, key, path))
            count = len(images[-1])
            labels += _ids(arrays, f"{key}_labels", count, _named(names, reading, "class_names", "label"), path)
            if grouped:
                groups += _ids(arrays, f"{key}_groups", count, _named(names, reading, "group_names", "group"), path)
            splits += [part if len(parts) > 1 else ""] * count
    if len({each.shape[1:] for each in images}) > 1:
        told = " and ".join(f"{key}_images {list(each.shape)}" for key, each in zip(parts.values(), images))
        raise RddError(f"{path} has images of several shapes, {told}: save them alike")
    bounds = np.cumsum([0, *(len(each) for each in images)])

    def told_of(place: int) -> str:
        part = int(np.searchsorted(bounds, place, side="right")) - 1
        return f"{list(parts.values())[part]}_images[{place - bounds[part]}]"

    def fetch(places: Sequence[int], reading: Reading) -> tuple[Tensor, str]:
        held = images[0] if len(images) == 1 else torch.cat(images)
        held = held if len(places) == len(held) else held[torch.tensor(places)]
        return resized(held, reading)

    classes = _order(_named(names, reading, "class_names", "label"), labels)
    kinds = _order(_named(names, reading, "group_names", "group"), groups)
    return assembled(Catalogue(title, str(path), labels, groups, splits, told_of, fetch, classes, kinds), reading)


def _named(names: Mapping[str, list[str]], reading: Reading, key: str, column: str) -> dict[str, str]:
    """Number → name, as the user or the file has it; empty where nobody says."""
    if column in reading.names:
        return dict(reading.names[column])
    return {str(number): name for number, name in enumerate(names.get(key, ()))}


def _order(names: Mapping[str, str], values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.values())) if names else tuple(ordered(values))


def _images(arrays: _Arrays, key: str, path: Path) -> Tensor:
    shape, dtype = arrays.shapes[f"{key}_images"]
    if len(shape) > 4 or (len(shape) == 4 and not {shape[1], shape[3]} & {1, 3}):
        mend = "images are [N, H, W] or [N, H, W, 3]; choose slices of volumes"
        raise RddError(f"{path}: {key}_images is {dtype} {list(shape)}: {mend}")
    return as_images(arrays[f"{key}_images"], f"{path}: {key}_images")


def _ids(arrays: _Arrays, key: str, count: int, names: Mapping[str, str], path: Path) -> list[str]:
    """The class or group of each image, by its name, or by its number where there are no names."""
    if key not in arrays.shapes:
        raise RddError(f"{path} has no {key}, to go with {key.rpartition('_')[0]}_images: {MEND}")
    shape, dtype = arrays.shapes[key]
    if len(shape) == 2 and shape[1] > 1:
        mend = "choose one of them, as a column of its own"
        raise RddError(f"{path}: {key} says {shape[1]} things of each image ({list(shape)}), and one is read: {mend}")
    if math.prod(shape) != count:
        raise RddError(f"{path}: {key} is {list(shape)} for {count:,} images: give one for each")
    if np.dtype(dtype).kind not in "iubU":
        raise RddError(f"{path}: {key} is {dtype}: give whole numbers or texts")
    values = [str(value) for value in arrays[key].reshape(-1).tolist()]
    if np.dtype(dtype).kind == "b":
        values = [str(int(value == "True")) for value in values]
    if np.dtype(dtype).kind == "U":
        known = {value: plain(value, f"{path}: {key}") for value in set(values)}
        return [known[value] for value in values]
    if names:
        for place, value in enumerate(values):
            if value not in names:
                told = f"{key}[{place}] is {value}, and names are there for {', '.join(list(names)[:8])}"
                raise RddError(f"{path}: {told}: name it, or mend the label")
        return [names[value] for value in values]
    return values


class _Arrays:
    """The arrays of a file, each read when it is asked for; ``shapes`` says what each claims to be."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    self.shapes[member.filename[:-4]] = self._head(file, member)

    def _head(self, file: Any, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], str]:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"format {version}")
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise RddError(
                f"{self.path}: {member.filename[:-4]} holds Python objects, which are never unpickled: {MEND}"
            )
        if member.file_size - file.tell() != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{member.filename} is not as long as it says")
        return tuple(shape), str(dtype)

    def expect(self, keys: Sequence[str]) -> None:
        """Refuse images that would not fit into the free memory; they are held twice for a moment."""
        claims = [self.shapes[key] for key in keys]
        sizes = [np.dtype(dtype).itemsize * math.prod(shape) for shape, dtype in claims]
        needed, free = 2 * sum(sizes), processes.memory()
        if needed > free:
            told = f"{needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
            raise RddError(f"the images of {self.path} need {told}: use fewer or smaller images")

    def __getitem__(self, key: str) -> np.ndarray:
        with self.archive.open(f"{key}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def texts(self, key: str) -> list[str]:
        """Names, as an array of texts."""
        shape, dtype = self.shapes[key]
        if np.dtype(dtype).kind != "U" or len(shape) != 1 or not 0 < shape[0] <= LARGEST_NAMES:
            raise RddError(f"{self.path}: {key} is {dtype} {list(shape)}: give a list of texts")
        if np.dtype(dtype).itemsize * shape[0] > 100_000_000:
            raise RddError(f"{self.path}: {key} holds texts that are far too long: give names")
        held = [plain(str(text), f"{self.path}: {key}") for text in self[key]]
        if len(set(held)) != len(held):
            raise RddError(f"{self.path}: {key} names two things alike: give each its own name")
        return held


@contextmanager
def _opened(path: Path, name: str) -> Iterator[_Arrays]:
    """The file, and whatever goes wrong with it as one line."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield _Arrays(archive, path)
    except RddError:
        raise
    except FileNotFoundError:
        raise RddError(f"{name!r}: there is no such file; write npz:PATH with the path of a .npz file") from None
    except MemoryError:
        raise RddError(f"{path} needs more memory than is free: use fewer or smaller images") from None
    except Exception as error:  # zipfile, zlib, numpy and its parser of headers raise a dozen kinds
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"{path} holds no arrays, or is damaged ({reason}): {MEND}") from None
