"""``npz:PATH``: arrays in one file of NumPy, as MedMNIST publishes them, and ours with groups and names.

Source: MedMNIST (Yang et al. 2023): ``train_images`` uint8 ``[N, H, W]`` or ``[N, H, W, 3]``, ``train_labels``
``[N, 1]``, and the same for ``val`` and ``test``. Ours adds ``…_groups``, ``class_names`` and ``group_names``.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import open_regular
from rdd_nb.data.arrays import as_images, resized
from rdd_nb.data.decoding import Pixels, cache_of, filled, is_kept, stretched
from rdd_nb.data.folder_walk import plain
from rdd_nb.data.image_cache import cache_folder
from rdd_nb.data.image_folder import Head
from rdd_nb.data.readers.catalogue import Catalogue, ordered
from rdd_nb.data.reading import Reading

__all__ = ["of_npz"]

PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
NAMES = ("class_names", "group_names")
LARGEST_NAMES = 100_000  #: classes, groups
SLAB = 4_000_000  # bytes of an array that are unpacked at the same time
MEND = "save it anew with numpy.savez_compressed (see docs/how-to/own-data.md for its arrays)"


def of_npz(name: str, reading: Reading) -> Catalogue:
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
        labels, groups, splits = list[str](), list[str](), list[str]()
        grouped = [key for key in parts.values() if f"{key}_groups" in known]
        if grouped and len(grouped) < len(parts):
            missing = next(key for key in parts.values() if key not in grouped)
            raise RddError(f"{path} has {grouped[0]}_groups but no {missing}_groups: give all of them, or none")
        images = _Images(path, name, arrays, [f"{key}_images" for key in parts.values()])
        for part, key in parts.items():
            count = arrays.shapes[f"{key}_images"][0][0]
            labels += _ids(arrays, f"{key}_labels", count, _named(names, reading, "class_names", "label"), path)
            if grouped:
                groups += _ids(arrays, f"{key}_groups", count, _named(names, reading, "group_names", "group"), path)
            splits += [part if len(parts) > 1 else ""] * count

    def fetch(places: Sequence[int], reading: Reading) -> Pixels:
        return images.fetch(title, places, reading)

    classes = _order(_named(names, reading, "class_names", "label"), labels)
    kinds = _order(_named(names, reading, "group_names", "group"), groups)
    return Catalogue(title, str(path), labels, groups, splits, images.told, fetch, classes, kinds)


def _named(names: Mapping[str, list[str]], reading: Reading, key: str, column: str) -> dict[str, str]:
    """Number → name, as the user or the file has it; empty where nobody says."""
    if column in reading.names:
        return dict(reading.names[column])
    return {str(number): name for number, name in enumerate(names.get(key, ()))}


def _order(names: Mapping[str, str], values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.values())) if names else tuple(ordered(values))


class _Images:
    """The arrays of images of a file, one after the other, each part of them read when it is asked for.

    Raises:
        RddError: an array that holds no images, or arrays of images of several shapes.
    """

    def __init__(self, path: Path, name: str, arrays: _Arrays, keys: Sequence[str]) -> None:
        self.path, self.name, self.keys = path, name, keys
        shapes = [arrays.shapes[key] for key in keys]
        for key, (shape, dtype) in zip(keys, shapes):
            if len(shape) not in (3, 4) or (len(shape) == 4 and not {shape[1], shape[3]} & {1, 3}):
                mend = "images are [N, H, W] or [N, H, W, 3]; choose slices of volumes"
                raise RddError(f"{path}: {key} is {dtype} {list(shape)}: {mend}")
        laid = [_channels_first(shape) for shape, _ in shapes]
        if len({shape[1:] for shape in laid}) > 1:
            told = " and ".join(f"{key} {list(shape)}" for key, shape in zip(keys, laid))
            raise RddError(f"{path} has images of several shapes, {told}: save them alike")
        self.each = laid[0][1:]
        self.bytes = [np.dtype(dtype).itemsize * math.prod(shape) for shape, dtype in shapes]
        self.bounds = np.cumsum([0, *(shape[0] for shape, _ in shapes)])

    def told(self, place: int) -> str:
        """How to name an image in an error."""
        part = int(np.searchsorted(self.bounds, place, side="right")) - 1
        return f"{self.keys[part]}[{place - self.bounds[part]}]"

    def fetch(self, title: str, places: Sequence[int], reading: Reading) -> Pixels:
        """The images at ``places``, as ``reading`` wants them: in memory, or, where they are large, in the cache.

        Raises:
            RddError: values that are no pixels, or too many images for the memory or the disk.
        """
        root, cache = cache_folder(), None
        areas = [math.prod(self.each), (reading.size or 0) ** 2 * (reading.channels or 3)]
        if root is not None and is_kept(len(places) * max(areas)):
            order = hashlib.sha256(np.asarray(places, np.int64).tobytes()).hexdigest()
            cache = cache_of(root, title, [self.path], [order, *self.keys], reading)
            if (kept := cache.found()) is not None:
                return Pixels(kept.images, kept.remark, kept)
        else:
            self._expect_memory()
        first = next(self._blocks(places[:1], reading, 0))
        shape = (len(places), first.shape[1], first.shape[2], first.shape[3])
        oblong = (
            stretched([Head(self.each[2], self.each[1], 1)] * len(places))
            if reading.size and reading.fit is None
            else ""
        )
        return filled(cache, shape, lambda start: self._blocks(places, reading, start), lambda: oblong)

    def _blocks(self, places: Sequence[int], reading: Reading, start: int) -> Iterator[np.ndarray]:
        """The images at ``places`` from ``start`` on: each run of growing places in one pass over its array."""
        while start < len(places):
            part = int(np.searchsorted(self.bounds, places[start], side="right")) - 1
            end = start + 1
            while end < len(places) and places[end - 1] < places[end] < self.bounds[part + 1]:
                end += 1
            wanted = np.asarray(places[start:end], np.int64) - self.bounds[part]
            with _opened(self.path, self.name) as arrays:
                for slab in arrays.slabs(self.keys[part], wanted):
                    yield resized(as_images(slab, f"{self.path}: {self.keys[part]}"), reading)[0].numpy()
            start = end

    def _expect_memory(self) -> None:
        """Refuse images that would not fit into the free memory; they are held twice for a moment."""
        needed, free = 2 * sum(self.bytes), processes.memory()
        if needed > free:
            told = f"{needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
            raise RddError(f"the images of {self.path} need {told}: use fewer or smaller images")


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``[N, C, H, W]`` of what :func:`rdd_nb.data.arrays.as_images` reads."""
    if len(shape) == 3:
        return shape[0], 1, *shape[1:]
    return shape if shape[1] in (1, 3) else (shape[0], shape[3], *shape[1:3])


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
        self.by_columns: set[str] = set()  # arrays whose entries do not lie one after the other
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    self.shapes[member.filename[:-4]] = self._head(file, member)

    def _head(self, file: Any, member: zipfile.ZipInfo | None) -> tuple[tuple[int, ...], str]:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"format {version}")
        shape, by_columns, dtype = read(file)
        if member is None:
            return tuple(shape), str(dtype)
        if by_columns:
            self.by_columns.add(member.filename[:-4])
        if dtype.hasobject:
            raise RddError(
                f"{self.path}: {member.filename[:-4]} holds Python objects, which are never unpickled: {MEND}"
            )
        if member.file_size - file.tell() != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{member.filename} is not as long as it says")
        return tuple(shape), str(dtype)

    def slabs(self, key: str, wanted: np.ndarray) -> Iterator[np.ndarray]:
        """The entries of an array at ``wanted``, growing places, some at a time; not more is unpacked at once."""
        shape, dtype = self.shapes[key]
        if key in self.by_columns:
            yield self[key][wanted]
            return
        entry = np.dtype(dtype).itemsize * math.prod(shape[1:])
        step = max(1, SLAB // max(1, entry))
        with self.archive.open(f"{key}.npy") as file:
            self._head(file, None)
            for start in range(0, int(wanted[-1]) + 1, step):
                count = min(step, shape[0] - start)
                mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + count)] - start
                data = file.read(count * entry)
                if len(data) != count * entry:
                    raise ValueError(f"{key} ends early")
                if len(mine):
                    yield np.frombuffer(data, dtype).reshape(count, *shape[1:])[mine]

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
