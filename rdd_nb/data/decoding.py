"""Image files as one array of pixels: in memory, or, where they are large, in a file that is mapped (the cache)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data import image_cache
from rdd_nb.data.image_cache import ImageCache, Kept, cache_folder
from rdd_nb.data.image_folder import Head, areas_of, check_memory, heads_of, open_image, pixels, threads
from rdd_nb.data.image_listing import Row
from rdd_nb.data.reading import Reading

__all__ = ["Pixels", "cache_of", "decoded", "filled", "is_kept", "stretched"]

BLOCK = 256  # images that are decoded at the same time
PACKED = 32  # of those that lie in one file with others, and are fetched beforehand
BLOCK_BYTES = 64_000_000  # of pixels, which they have at most together


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images uint8 ``[N, C, H, W]``, and what is to be remarked of them.

    ``kept`` is their place in the cache, where they are large.
    """

    images: Tensor
    remark: str = ""
    kept: Kept | None = None


def is_kept(size: int) -> bool:
    """Whether so many bytes of pixels are kept in a file."""
    return size > image_cache.LARGE and cache_folder() is not None


def filled(
    cache: ImageCache | None,
    shape: tuple[int, int, int, int],
    blocks: Callable[[int], Iterator[np.ndarray]],
    remark: Callable[[], str] = str,
) -> Pixels:
    """The images that ``blocks`` gives, in memory, or in a ``cache``.

    The arguments are those of :meth:`rdd_nb.data.image_cache.ImageCache.make`.
    """
    if cache is not None:
        kept = cache.make(shape, blocks, remark)
        return Pixels(kept.images, kept.remark, kept)
    images, done = np.empty(shape, np.uint8), 0
    for block in blocks(0):
        images[done : done + len(block)] = block
        done += len(block)
    return Pixels(torch.from_numpy(images), remark())


def decoded(rows: Sequence[Row], reading: Reading, name: str) -> Pixels:
    """The images of rows, in their order; ``name`` is that of the data.

    Raises:
        RddError: one cannot be read, or differs from the first, or they fit neither into the memory nor onto the disk.
    """
    cache = _cache(rows, reading, name)
    if cache is not None and (kept := cache.found()) is not None:
        return Pixels(kept.images, kept.remark, kept)
    heads = heads_of(rows, told=f"{name}: sizes")
    size, channels = reading.size, reading.channels
    if cache is None or not is_kept(sum(map(math.prod, areas_of(heads, size, channels)))):
        cache = None
        check_memory(heads, size, channels)
    first = _read(rows[0], reading)
    blocks = _Blocks(rows, reading, threads(heads), first)
    shape = (len(rows), first.shape[0], first.shape[1], first.shape[2])
    return filled(cache, shape, blocks, lambda: stretched(heads) if size and reading.fit is None else "")


def _cache(rows: Sequence[Row], reading: Reading, name: str) -> ImageCache | None:
    """Where these images would be kept; None where the cache is off, or there are too few of them to be large."""
    root = cache_folder()
    most = 3 * reading.size**2 * len(rows) if reading.size else None
    if (
        root is None
        or (most is not None and most <= image_cache.LARGE)
        or any(isinstance(row.data, bytes) for row in rows)
    ):
        return None
    files = list(dict.fromkeys(os.fspath(row.path) for row in rows))
    return cache_of(root, name, files, (f"{os.path.basename(row.path)} {row.number}" for row in rows), reading)


def cache_of(root: Path, name: str, files: Sequence[str | Path], places: Iterable[str], reading: Reading) -> ImageCache:
    """Where the pixels of images are kept that are read in one way: :class:`rdd_nb.data.image_cache.ImageCache`.

    Another version of what decodes may give other pixels, and has a place of its own.
    """
    how = {key: getattr(reading, key) for key in ("size", "channels", "background", "fit")}
    return ImageCache(root, name, files, places, how | {"by": f"Pillow {PIL.__version__}"})


def _read(row: Row, reading: Reading) -> np.ndarray:
    image = open_image(row, reading.background)
    return pixels(image, reading.size, reading.channels, reading.fit, reading.background)


class _Blocks:
    """Rows from a place on, decoded some at a time."""

    def __init__(self, rows: Sequence[Row], reading: Reading, threads: int, first: np.ndarray) -> None:
        self.rows, self.reading, self.threads, self.first = rows, reading, threads, first

    def __call__(self, start: int) -> Iterator[np.ndarray]:
        most = PACKED if callable(self.rows[0].data) else BLOCK
        step = max(1, min(most, BLOCK_BYTES // self.first.size))
        with ThreadPoolExecutor(self.threads) as pool:
            for place in range(start, len(self.rows), step):
                part = [row.fetched() for row in self.rows[place : place + step]]  # one after the other, in their order
                yield np.stack(list(pool.map(self._decode, part)))

    def _decode(self, row: Row) -> np.ndarray:
        array, first, told = _read(row, self.reading), self.first, self.rows[0]
        if len(array) != len(first):
            grey, other = (told, row) if len(first) == 1 else (row, told)
            mend = "pass --channels 3 or --channels 1 (channels=3 in Python) to make them alike"
            raise RddError(f"{grey.where} is grey and {other.where} is RGB: {mend}")
        if array.shape != first.shape:
            sizes = [f"{shape[2]}×{shape[1]}" for shape in (first.shape, array.shape)]
            mend = "pass --size 32 or so (size=32 in Python) to resize them"
            raise RddError(f"{told.where} has {sizes[0]} pixels and {row.where} has {sizes[1]}: {mend}")
        return array


def stretched(heads: Sequence[Head]) -> str:
    """What to remark of images that became squares."""
    oblong = sum(head.width != head.height for head in heads)
    if not oblong:
        return ""
    mend = "--fit pad or --fit crop keeps their proportions (fit= in Python)"
    return f"{oblong:,} of {len(heads):,} images are not square and were stretched: {mend}"
