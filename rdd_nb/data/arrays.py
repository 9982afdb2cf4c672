"""Arrays and tensors of others as the pixels and numbers that :class:`rdd_nb.data.dataset.ImageDataset` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data.image_folder import Head, check_memory, pixels
from rdd_nb.data.reading import Reading

__all__ = ["as_ids", "as_images", "from_items", "resized"]


def as_images(images: Any, where: str = "images", channels_last: bool | None = None) -> Tensor:
    """Images as uint8 ``[N, C, H, W]``.

    Args:
        images: an array or tensor ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with 1 or 3 channels: whole
            numbers from 0 to 255, or floats from 0 to 1, which are rounded to the nearest of 256 values.
        where: names them in an error.
        channels_last: whether the channels come last; by default as the sizes say, which must be clear.

    Raises:
        RddError: another shape, or values out of range; normalised images cannot be read back.

    >>> as_images(np.ones((2, 4, 5))).shape, int(as_images(np.ones((2, 4, 5)))[0, 0, 0, 0])
    (torch.Size([2, 1, 4, 5]), 255)
    """
    held = images.detach().cpu() if isinstance(images, Tensor) else torch.from_numpy(_native(np.asarray(images), where))
    shape = list(held.shape)
    if held.ndim == 3:
        held = held.unsqueeze(1)
    elif held.ndim == 4:
        if channels_last is None:
            first, last = shape[1] in (1, 3), shape[3] in (1, 3)
            if first and last:
                raise RddError(f"{where} {shape} may have channels first or last: say channels_last=True or False")
            channels_last = last
        held = held.permute(0, 3, 1, 2) if channels_last else held
    if held.ndim != 4 or held.shape[1] not in (1, 3) or 0 in held.shape:
        raise RddError(f"{where} are {shape}: give [N, H, W], [N, H, W, C] or [N, C, H, W], with 1 or 3 channels")
    if held.dtype == torch.uint8:
        return held.contiguous()
    low, high = float(held.min()) + 0.0, float(held.max()) + 0.0  # -0 becomes 0
    most = 1 if held.is_floating_point() else 255
    if not (0 <= low <= high <= most):
        mend = "give pixels as they were before they were normalised: whole numbers 0 to 255, or floats 0 to 1"
        raise RddError(f"{where} have values from {low:g} to {high:g}: {mend}")
    return ((held * 255).round() if held.is_floating_point() else held).to(torch.uint8).contiguous()


def _native(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "iufb":
        raise RddError(f"{where} are {array.dtype}: give numbers")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # which older versions of torch do not have
        array = array.astype(np.int64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


def as_ids(values: Any, names: Sequence[str], what: str) -> tuple[Tensor, tuple[str, ...]]:
    """Classes or groups as int64 ``[N]``, and their names.

    Args:
        values: whole numbers 0 to K - 1 or texts; ``[N]`` or ``[N, 1]``.
        names: the K names; where none are given, texts are sorted, and numbers are their own names.
        what: names them in an error.

    Raises:
        RddError: other kinds of values, numbers outside the names, or texts that are none of them.

    >>> as_ids(["cat", "ant"], (), "labels")
    (tensor([1, 0]), ('ant', 'cat'))
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iubU":
        raise RddError(f"{what} are {array.dtype} {list(array.shape)}: give a whole number or a text for each image")
    if array.dtype.kind == "U":
        listed = tuple(names) or tuple(sorted(set(array.tolist())))
        places = {name: place for place, name in enumerate(listed)}
        other = next((value for value in array.tolist() if value not in places), None)
        if other is not None:
            raise RddError(f"{what} say {other!r}, which is none of the names {', '.join(listed)}: name it, too")
        return torch.tensor([places[value] for value in array.tolist()], dtype=torch.int64), listed
    ids = torch.from_numpy(array.astype(np.int64))
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
    listed = tuple(names) or tuple(map(str, range(high + 1)))
    if low < 0 or high >= len(listed):
        raise RddError(
            f"{what} reach from {low} to {high}, and there are {len(listed)} names: count from 0, and name all"
        )
    return ids, listed


def from_items(data: Any) -> tuple[Tensor, list[int], list[int] | None]:
    """Images uint8 ``[N, C, H, W]``, labels and, where there are any, groups of a PyTorch data set.

    Raises:
        RddError: an entry that is no ``(image, label)`` or ``(image, label, group)``, or images that differ in shape.
    """
    count = len(data)
    if not count:
        raise RddError("the data set is empty: give one with images")
    images: Tensor | None = None
    numbers: list[list[int]] = []
    for place in range(count):
        entry = data[place]
        if not isinstance(entry, tuple | list) or len(entry) not in (2, 3):
            raise RddError(f"entry {place} of the data set is no (image, label) or (image, label, group): wrap it so")
        image = _one(entry[0], place)
        if images is None:
            check_memory([Head(image.shape[2], image.shape[1], image.shape[0])] * count, None, None)
            images = torch.empty((count, *image.shape), dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            mend = "resize them alike, as with torchvision's Resize"
            raise RddError(f"image {place} is {list(image.shape)}, and image 0 {list(images.shape[1:])}: {mend}")
        images[place] = image
        try:
            numbers.append([int(value) for value in entry[1:]])
        except (TypeError, ValueError):
            raise RddError(f"entry {place} has a label or group that is no whole number: number them") from None
        if len(numbers[-1]) != len(numbers[0]):
            raise RddError(f"entry {place} has {len(entry)} values, and entry 0 {len(numbers[0]) + 1}: give all alike")
    assert images is not None
    return images, [each[0] for each in numbers], [each[1] for each in numbers] if len(numbers[0]) == 2 else None


def _one(image: Any, place: int) -> Tensor:
    if isinstance(image, Image.Image):
        if image.mode not in ("1", "L", "RGB"):
            raise RddError(f"image {place} is of the kind {image.mode}: convert it to L or RGB, and say what it means")
        return torch.from_numpy(pixels(image.convert("L") if image.mode == "1" else image, None, None).copy())
    held = torch.as_tensor(image)
    held = held.unsqueeze(0) if held.ndim == 2 else held
    if held.ndim != 3:
        raise RddError(f"image {place} is {list(held.shape)}: give [C, H, W] or [H, W]")
    return as_images(held.unsqueeze(0), f"image {place}", channels_last=False)[0]


def resized(images: Tensor, reading: Reading) -> tuple[Tensor, str]:
    """Images uint8 ``[N, C, H, W]`` as a reading wants them, and what to remark.

    Raises:
        RddError: they would not fit into the memory.
    """
    channels, height, width = images.shape[1:]
    if (reading.size is None or (height, width) == (reading.size,) * 2) and reading.channels in (None, channels):
        return images, ""
    check_memory([Head(width, height, channels)] * len(images), reading.size, reading.channels)
    first = None
    for place, image in enumerate(images.numpy()):
        picture = Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        array = pixels(picture, reading.size, reading.channels, reading.fit, reading.background)
        if first is None:
            first = np.empty((len(images), *array.shape), np.uint8)
        first[place] = array
    remark = ""
    if reading.size and height != width and reading.fit is None:
        mend = "--fit pad or --fit crop keeps their proportions (fit= in Python)"
        remark = f"{len(images):,} of {len(images):,} images are not square and were stretched: {mend}"
    return torch.from_numpy(first), remark
