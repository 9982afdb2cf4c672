"""A folder of your own images: each file opened if it is what it should be, and the pixels of all, in 8 bits a channel.

What the folder says that it holds is read by :mod:`rdd_nb.data.image_listing`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import BmpImagePlugin, Image, ImageColor, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch import Tensor

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import open_regular
from rdd_nb.data.image_listing import Row, listing

__all__ = [
    "Head",
    "Part",
    "Source",
    "check_memory",
    "colour",
    "heads_of",
    "open_image",
    "pixels",
    "read_folder",
    "rows_of",
    "threads",
]

MOST_PIXELS = 90_000_000  #: of one image; Pillow itself warns from 89,478,485 on
LARGEST = 1_000_000_000  # bytes of one file
AT_ONCE = 100_000_000  # pixels that are decoded at the same time; each takes up to 16 bytes meanwhile
SMALL = 3000  # pixels
GREY = ("1", "L", "LA", "La")
# A file is given to the reader of what it begins with, whatever its name says, and to no other of Pillow's readers:
# some of those start programs. Their classes are called directly, since Image.open would warn of large images itself.
READERS: tuple[tuple[bytes, Callable[..., ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


@dataclass(frozen=True, eq=False)
class Part:
    """Images uint8 ``[N, C, H, W]``, labels int64 ``[N]`` and, where they are known, groups int64 ``[N]``."""

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """What was read. ``test`` is None where the data come in one piece; ``published`` is (mean, std), where known.

    ``remark`` says in a line what was left out, if anything was.
    """

    name: str
    train: Part
    test: Part | None
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    published: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Head:
    """What an image says before it is decoded: its size in pixels, as stored, and 1 (grey) or 3 channels (RGB)."""

    width: int
    height: int
    channels: int


def colour(text: str) -> tuple[int, int, int]:
    """The red, green and blue, 0 to 255, of a colour as Pillow's ``ImageColor`` knows it.

    Raises:
        RddError: no colour, or one that is transparent itself.

    >>> colour("white"), colour("#102030")
    ((255, 255, 255), (16, 32, 48))
    """
    try:
        found = ImageColor.getrgb(text)
    except (ValueError, AttributeError, TypeError):
        raise RddError(f"background must be a colour such as 'white' or '#ffeedd', not {text!r}") from None
    if len(found) == 4 and found[3] != 255:
        raise RddError(f"background must be a colour that one cannot see through, not {text!r}: leave out its alpha")
    return found[0], found[1], found[2]


def heads_of(rows: Sequence[Row], skip: bool = False) -> list[Head]:
    """What the images say of themselves; nothing is decoded. ``skip`` leaves out those that cannot be read.

    Raises:
        RddError: as :func:`open_image`, but for what only the pixels show.
    """

    heads = []
    for row in rows:
        with contextlib.suppress(*(RddError,) * skip), _opened(row) as image:
            heads.append(Head(*image.size, 1 if image.mode in GREY else 3))
    return heads


def open_image(row: Row, background: str | None = None) -> Image.Image:
    """The image of a row, turned as cameras mean it, as 8 bits of grey (mode L) or RGB.

    Low depths are widened (2 bits of grey become 0, 85, 170 and 255), palettes looked up, CMYK becomes RGB by Pillow's
    formula. Colour profiles are not applied. Of a JPEG that holds several pictures, as some cameras write it, the first
    counts: it is the photograph.

    Args:
        row: its file, and how to name it in an error.
        background: a colour to lay behind transparent pixels, see :func:`colour`. Grey on grey stays grey.

    Raises:
        RddError: there is no such file, it is no regular file, no PNG, JPEG, BMP or WebP, or is broken; it has more
            than 8 bits a channel, more than 90 million pixels or several frames; or it is transparent somewhere and
            ``background`` is None.
    """
    with _opened(row) as image:
        grey, depth = image.mode in GREY, _depth(image)  # which is not known any more when the image is decoded
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        alpha = _alpha(image, depth)
        image.info.pop("transparency", None)
        kind = "L" if grey else "RGB"
        picture: Image.Image = image if image.mode == kind else image.convert(kind)
        if alpha is None or alpha.getextrema()[0] == 255:
            return picture
        if background is None:
            mend = (
                'pass --background white, or another colour (background="white" in Python), or remove its alpha channel'
            )
            raise RddError(f"{row.where} has transparent pixels, and nobody says what is behind them: {mend}")
        behind = colour(background)
        mixed = Image.new("RGB", image.size, behind)
        mixed.paste(picture.convert("RGB") if grey else picture, mask=alpha)
        return mixed.convert("L") if grey and len(set(behind)) == 1 else mixed


@contextlib.contextmanager
def _opened(row: Row) -> Iterator[ImageFile.ImageFile]:
    """The image, its head read and checked; whatever goes wrong with it meanwhile becomes one line."""
    try:
        with open_regular(row.path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise RddError(f"{row.where} has more than {LARGEST // 10**6:,} MB: make it smaller first")
            start = file.read(16)
            file.seek(0)
            reader = next((reader for magic, reader in READERS if start.startswith(magic)), None)
            if reader is None:
                raise RddError(f"{row.where} is no PNG, JPEG, BMP or WebP inside: convert it or leave it out")
            with reader(file) as image:
                _check(image, row.where)
                yield image
    except RddError:
        raise
    except FileNotFoundError:
        raise RddError(f"{row.where}: there is no file {row.path}") from None
    except Image.DecompressionBombError:  # of the reader of WebP, which takes the memory before it tells the size
        raise _too_large(row.where) from None
    except Exception as error:  # Pillow's decoders raise whatever went wrong in them
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"{row.where} cannot be read ({reason}): replace it or leave it out") from None


def _check(image: ImageFile.ImageFile, where: str) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_large(where, f"{width:,}×{height:,}")
    if getattr(image, "n_frames", 1) > 1:
        raise RddError(f"{where} has several frames: save the one that is meant as an image of its own")
    if _depth(image) > 8:
        mend = "convert it to 8 bits; which of its values become black and white is yours to say"
        raise RddError(f"{where} has {_depth(image)} bits a channel, and 8 at most are read: {mend}")


def _too_large(where: str, size: str = "") -> RddError:
    most = f"{MOST_PIXELS // 10**6} million"
    return RddError(f"{where} has {size or 'too many'} pixels, and {most} at most are read: make it smaller first")


def _depth(image: ImageFile.ImageFile) -> int:
    """Bits a channel in the file. Pillow would cut RGB of 16 bits to 8 without a word; its decoder's mode tells."""
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        mode, _, bits = str(image.tile[0][3]).partition(";")
        return int(bits.rstrip("B")) if bits else 1 if mode == "1" else 8
    return 8


def _alpha(image: Image.Image, depth: int) -> Image.Image | None:
    """How opaque each pixel is (mode L), where the file says something about it."""
    key = image.info.get("transparency")
    if image.mode in ("1", "L") and isinstance(key, int):
        # One grey is transparent. Pillow widens few bits to 8, and leaves that grey as it is in the file.
        value = 255 * (key > 0) if depth == 1 else key * 255 // (2**depth - 1)  # of one bit, some of its versions do
        return image.convert("L").point([255 * (grey != value) for grey in range(256)])
    if key is not None:
        image = image.convert("RGBA")
    return image.getchannel("A") if "A" in image.getbands() else None


def pixels(image: Image.Image, size: int | None, channels: int | None) -> np.ndarray:
    """uint8 ``[C, H, W]`` of a grey or RGB image. Pillow resizes in whole numbers: the same bits on each machine."""
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def threads(heads: Iterable[Head]) -> int:
    """How many of these images to decode at the same time: few large ones, for their memory.

    Of small ones one, since handing them over would take longer than decoding them.

    >>> threads([Head(9000, 10_000, 3)]), threads([Head(28, 28, 1)] * 1000)
    (1, 1)
    """
    largest = max((head.width * head.height for head in heads), default=0)
    return 1 if largest < SMALL else max(1, min(8, processes.cores(), AT_ONCE // largest))


def check_memory(heads: Iterable[Head], size: int | None, channels: int | None) -> None:
    """Refuse images that would not fit into the free memory together, before the first is decoded.

    They are held twice for a moment, as read and as divided into training and test set.

    Raises:
        RddError: how many they are, and what they need.
    """
    areas = [(size or h.width, size or h.height, channels or h.channels) for h in heads]
    needed, free = 2 * sum(map(math.prod, areas)), processes.memory()
    if needed > free:
        width, height, _ = max(areas, key=math.prod)
        what = f"{len(areas):,} images of {'up to ' * (len(set(areas)) > 1)}{width}×{height}"
        mend = f"pass a smaller --size (size={size} in Python)" if size else "pass --size 32 or so (size=32 in Python)"
        raise RddError(f"{what} need {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free: {mend}")


# ------------------------------------------------------------------------------------------------------- a whole folder


def rows_of(name: str) -> list[Row]:
    """The images of the folder ``folder:PATH``: see :func:`rdd_nb.data.image_listing.listing`."""
    return listing(name).rows


def read_folder(name: str, size: int | None, channels: int | None, background: str | None = None) -> Source:
    """All images of the folder ``folder:PATH``; the arguments are those of :func:`rdd_nb.data.loading.load`.

    Raises:
        RddError: a folder that does not say what it holds, an image that cannot be read, images that differ, or that
            do not fit into the memory.
    """
    held = listing(name)
    rows, folder = held.rows, held.folder
    has_test, has_groups = bool(rows[0].split), bool(rows[0].group)
    if has_test:
        _check_splits(folder, rows, "label")
        _check_splits(folder, rows, "group")
    images = _read(rows, size, channels, background)
    class_names, labels = _ids(row.label for row in rows)
    group_names, groups = _ids(row.group for row in rows) if has_groups else ((), None)

    def part(chosen: Tensor) -> Part:
        return Part(images[chosen], labels[chosen], None if groups is None else groups[chosen])

    is_test = torch.tensor([row.split == "test" for row in rows])
    title = held.name + ("" if has_test else " (split 80/20)")
    test, remark = part(is_test) if has_test else None, f"{held.name}: left out {held.counted()}" * bool(held.left_out)
    return Source(title, part(~is_test), test, class_names, group_names, remark=remark)


def _ids(values: Iterable[str]) -> tuple[tuple[str, ...], Tensor]:
    """The different values, sorted, and the place of each value among them (int64 ``[N]``)."""
    listed = list(values)
    places = {name: place for place, name in enumerate(sorted(set(listed)))}
    return tuple(places), torch.tensor([places[value] for value in listed])


def _check_splits(folder: Path, rows: list[Row], what: str) -> None:
    """Every label occurs in training and in the test set; every group that is tested occurs in training."""
    first: dict[str, dict[str, Row]] = {"train": {}, "test": {}}
    for row in rows:
        first[row.split].setdefault(getattr(row, what), row)
    for split, other in (("test", "train"), ("train", "test")):
        for value, row in first[split].items():
            if value not in first[other] and (what == "label" or split == "test"):
                mend = f"add {other} images of it or leave its {split} images out"
                raise RddError(f"{folder}: {what} {value!r} occurs only in {split} (first: {row.where}): {mend}")


def _read(rows: list[Row], size: int | None, channels: int | None, background: str | None) -> Tensor:
    def read(row: Row) -> np.ndarray:
        return pixels(open_image(row, background), size, channels)

    def place(index: int) -> None:
        row, array = rows[index], read(rows[index])
        if len(array) != len(images[0]):
            grey, other = (rows[0], row) if len(images[0]) == 1 else (row, rows[0])
            mend = "pass --channels 3 or --channels 1 (channels=3 in Python) to make them alike"
            raise RddError(f"{grey.where} is grey and {other.where} is RGB: {mend}")
        if array.shape != images[0].shape:
            sizes = [f"{shape[2]}×{shape[1]}" for shape in (images[0].shape, array.shape)]
            mend = "pass --size 32 or so (size=32 in Python) to resize them"
            raise RddError(f"{rows[0].where} has {sizes[0]} pixels and {row.where} has {sizes[1]}: {mend}")
        images[index] = array

    heads = heads_of(rows)
    check_memory(heads, size, channels)
    images = np.empty((len(rows), *read(rows[0]).shape), np.uint8)
    with ThreadPoolExecutor(threads(heads)) as pool:
        for _ in pool.map(place, range(len(rows))):
            pass
    return torch.from_numpy(images)
