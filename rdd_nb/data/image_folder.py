"""Image files: each opened if it is what it should be, and its pixels, in 8 bits a channel.

What a folder says that it holds is read by :mod:`rdd_nb.data.image_listing`; what data of other layouts say, by
:mod:`rdd_nb.data.readers`.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch import Tensor
from tqdm import tqdm

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import open_regular
from rdd_nb.data.image_listing import Row
from rdd_nb.data.reading import colour

__all__ = [
    "Head",
    "Part",
    "Source",
    "areas_of",
    "check_memory",
    "grey_of",
    "heads_of",
    "open_image",
    "pixels",
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

    ``validation`` is None where the data have none. ``remark`` says in a line what was left out, if anything was.
    """

    name: str
    train: Part
    test: Part | None
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    published: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    remark: str = ""
    validation: Part | None = None


@dataclass(frozen=True)
class Head:
    """What an image says before it is decoded: its size in pixels, as stored, and 1 (grey) or 3 channels (RGB)."""

    width: int
    height: int
    channels: int


def heads_of(rows: Sequence[Row], skip: bool = False, told: str = "") -> list[Head]:
    """What the images say of themselves; nothing is decoded. ``skip`` leaves out those that cannot be read.

    Where that takes more than two seconds there is a bar on stderr, with what is ``told`` before it.

    Raises:
        RddError: as :func:`open_image`, but for what only the pixels show.
    """

    heads = []
    for row in tqdm(rows, desc=told, unit=" images", disable=not told, delay=2, mininterval=1, leave=False):
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
        background: a colour to lay behind transparent pixels, see :func:`rdd_nb.data.reading.colour`. Grey on grey
            stays grey.

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
        data = row.fetched().data
        with io.BytesIO(data) if isinstance(data, bytes) else open_regular(row.path) as file:
            if (len(data) if isinstance(data, bytes) else os.fstat(file.fileno()).st_size) > LARGEST:
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


def pixels(
    image: Image.Image,
    size: int | None,
    channels: int | None,
    fit: str | None = None,
    background: str | None = None,
) -> np.ndarray:
    """uint8 ``[C, H, W]`` of a grey or RGB image. Pillow resizes in whole numbers: the same bits on each machine.

    The arguments are those of :class:`rdd_nb.data.reading.Reading`.
    """
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        if fit in ("pad", "crop") and image.width != image.height:
            side = (max if fit == "pad" else min)(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            if fit == "crop":
                image = image.crop((left, top, left + side, top + side))
            else:
                behind = colour(background or "black")
                square = Image.new(image.mode, (side, side), behind if image.mode == "RGB" else grey_of(behind))
                square.paste(image, (-left, -top))
                image = square
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def grey_of(behind: tuple[int, int, int]) -> int:
    """The luminance of a colour, 0 to 255, as Pillow has it."""
    return int(np.asarray(Image.new("RGB", (1, 1), behind).convert("L"))[0, 0])


def threads(heads: Iterable[Head]) -> int:
    """How many of these images to decode at the same time: few large ones, for their memory.

    Of small ones one, since handing them over would take longer than decoding them.

    >>> threads([Head(9000, 10_000, 3)]), threads([Head(28, 28, 1)] * 1000)
    (1, 1)
    """
    largest = max((head.width * head.height for head in heads), default=0)
    return 1 if largest < SMALL else max(1, min(8, processes.cores(), AT_ONCE // largest))


def areas_of(heads: Iterable[Head], size: int | None, channels: int | None) -> list[tuple[int, int, int]]:
    """Width, height and channels of each image as it will be held: so many bytes are their product.

    >>> areas_of([Head(9, 5, 3)], None, None), areas_of([Head(9, 5, 3)], 4, 1)
    ([(9, 5, 3)], [(4, 4, 1)])
    """
    return [(size or h.width, size or h.height, channels or h.channels) for h in heads]


def check_memory(heads: Iterable[Head], size: int | None, channels: int | None) -> None:
    """Refuse images that would not fit into the free memory together, before the first is decoded.

    They are held twice for a moment, as read and as divided into training and test set.

    Raises:
        RddError: how many they are, and what they need.
    """
    areas = areas_of(heads, size, channels)
    needed, free = 2 * sum(map(math.prod, areas)), processes.memory()
    if needed > free:
        width, height, _ = max(areas, key=math.prod)
        what = f"{len(areas):,} images of {'up to ' * (len(set(areas)) > 1)}{width}×{height}"
        mend = f"pass a smaller --size (size={size} in Python)" if size else "pass --size 32 or so (size=32 in Python)"
        raise RddError(f"{what} need {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free: {mend}")
