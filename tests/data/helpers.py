"""What tests of this layer share."""

import struct
import zlib

import torch
from PIL import Image

from rdd_nb.data.dataset import ImageDataset


def make(n=12, classes=3, channels=1, size=4, **changes):
    """A small set: label i % classes, group (i // classes) % 2; pixel values tell the index."""
    index = torch.arange(n)
    fields = dict(
        images=(index[:, None, None, None] % 256).expand(n, channels, size, size).to(torch.uint8).contiguous(),
        labels=index % classes,
        class_names=tuple("abcdefghij"[:classes]),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        groups=index // classes % 2,
        group_names=("g0", "g1"),
        minority=index // classes % 2 == 1,
        name="toy",
    )
    return ImageDataset(**(fields | changes))


def picture(path, mode="L", size=(6, 6), value=100, **options):
    """Write an image of one value all over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if len(mode) == 1 or mode.startswith("I") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path, **options)
    return path


def classes(folder, names=("cat", "dog"), count=5, suffix=".png"):
    """Folders of classes; the grey value tells class and number."""
    for place, name in enumerate(names):
        for i in range(count):
            picture(folder / name / f"{i}{suffix}", value=50 * place + i)
    return folder


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *extra):
    """A PNG file's bytes, made by hand: ``rows`` are packed samples, ``extra`` more chunks before them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*e) for e in extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
