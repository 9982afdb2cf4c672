"""Images with labels, and with groups where they have names: what every other layer works on.

Pixels stay uint8 until a network asks for them (:meth:`ImageDataset.normalised`), so a set takes a quarter of the
memory.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.arrays import as_ids, as_images, from_items
from rdd_nb.data.stratified import held_out

__all__ = ["ImageDataset", "Splits", "statistics"]

BLOCK_BYTES = 8_000_000  # of images that are looked at together, where they may be mapped from a file


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of ``images`` (uint8 ``[N, C, H, W]``), in units of 1/255.

    They come from counts of the 256 values, so they are exact whatever the size of the set. A constant channel gets the
    deviation 1, so that it can be divided by.

    >>> statistics(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    mean, std = [], []
    step = max(1, BLOCK_BYTES // max(1, images[0].numel())) if len(images) else 1
    for channel in range(images.shape[1]):
        parts = (images[i : i + step, channel].reshape(-1) for i in range(0, len(images), step))
        total = torch.zeros(256, dtype=torch.int64, device=images.device)
        for part in parts:
            total += torch.bincount(part, minlength=256)
        counts = total.cpu().numpy()
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
        name: of the data set, with the scenario that shifted it.

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
            raise RddError(f"std must be above 0 in each channel, not {self.std}: see rdd_nb.data.dataset.statistics")

    @staticmethod
    def from_arrays(
        images: Any,
        labels: Any,
        *,
        class_names: Sequence[str] = (),
        groups: Any = None,
        group_names: Sequence[str] = (),
        name: str = "arrays",
        channels_last: bool | None = None,
    ) -> ImageDataset:
        """A set of arrays or tensors in memory, normalised by its own statistics (see :meth:`Splits.of` for more sets).

        Args:
            images: ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``, whole numbers 0 to 255, or floats 0 to 1, which
                are rounded to 256 values.
            labels: whole numbers 0 to K - 1, or texts; ``[N]`` or ``[N, 1]``.
            class_names: the K names; by default the texts, sorted, or the numbers.
            groups, group_names: likewise of a named attribute; None where there is none.
            name: of the data set.
            channels_last: whether the channels come last, where the sizes leave it open.

        Raises:
            RddError: shapes, values or names that do not fit; normalised images are refused.

        >>> data = ImageDataset.from_arrays(np.zeros((4, 8, 8, 3)), ["cat", "dog"] * 2, groups=[0, 0, 1, 1])
        >>> data
        ImageDataset('arrays': 4 images of 3×8×8, 2 classes, 2 groups)
        """
        pixels = as_images(images, "images", channels_last)
        ids, classes = as_ids(labels, class_names, "labels")
        group_ids, kinds = (None, ()) if groups is None else as_ids(groups, group_names, "groups")
        for what, held in (("labels", ids), ("groups", group_ids)):
            if held is not None and len(held) != len(pixels):
                raise RddError(f"there are {len(pixels):,} images and {len(held):,} {what}: give one for each image")
        return ImageDataset(pixels, ids, classes, *statistics(pixels), groups=group_ids, group_names=kinds, name=name)

    @staticmethod
    def from_torch(
        data: Any, *, class_names: Sequence[str] = (), group_names: Sequence[str] = (), name: str = ""
    ) -> ImageDataset:
        """A set of a PyTorch or torchvision data set, read image by image.

        Args:
            data: gives ``(image, label)`` or ``(image, label, group)`` for 0 to N - 1: images of Pillow, or uint8 or
                floats 0 to 1 as ``[C, H, W]`` or ``[H, W]``, all of one shape; without augmentation and normalisation.
            class_names: by default its ``classes``, as torchvision has them, or the numbers.
            group_names: of the groups, by default the numbers.
            name: of the data set, by default the class of ``data``.

        Raises:
            RddError: entries of another kind, images that differ in shape, and as :meth:`from_arrays`.
        """
        images, labels, groups = from_items(data)
        names = tuple(class_names) or tuple(map(str, getattr(data, "classes", ())))
        title = name or type(data).__name__
        return ImageDataset.from_arrays(
            images, labels, class_names=names, groups=groups, group_names=group_names, name=title, channels_last=False
        )

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
    def at_once(self) -> int:
        """How many images a network is best shown together: 512, or of more than 32 × 32 pixels as many fewer."""
        return max(16, min(512, 512 * 32 * 32 // math.prod(self.shape[1:])))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the pixels and then the labels, whatever holds them."""
        total = hashlib.sha256()
        for part in self.images.split(max(1, BLOCK_BYTES // max(1, math.prod(self.shape)))):
            total.update(part.cpu().contiguous().numpy().data)
        total.update(self.labels.cpu().contiguous().numpy().data)
        return total.hexdigest()

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
        generator = stream(seed, "sample")
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
        held = held_out(self.labels, self.groups, self.class_names, self.num_groups, fraction, seed)
        return self.subset(~held), self.subset(held)

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> ImageDataset:
        """The same images with another normalisation, such as that of the training set."""
        return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))


@dataclass(frozen=True, eq=False)
class Splits:
    """A training set and a test set of the same classes, image shape, groups and normalisation.

    ``validation`` is one more such set, to choose settings on, where the data have one; else None.
    """

    train: ImageDataset
    test: ImageDataset
    name: str
    validation: ImageDataset | None = None

    def __post_init__(self) -> None:
        for what, other in (("test", self.test), ("validation", self.validation)):
            for field in ("class_names", "group_names", "shape", "mean", "std"):
                if other is not None and getattr(self.train, field) != getattr(other, field):
                    found = f"{getattr(self.train, field)} and {getattr(other, field)}"
                    raise RddError(f"{self.name}: training and {what} set must have the same {field}, not {found}")

    @staticmethod
    def of(
        train: ImageDataset, test: ImageDataset, validation: ImageDataset | None = None, name: str | None = None
    ) -> Splits:
        """Sets that were made apart, with the normalisation of ``train``, and with the minority that its groups show.

        Where groups are named and no minority is, it is the (class, group) that have less than half of an equal share
        of their class's training images.

        Raises:
            RddError: other classes, groups or shapes than those of ``train``.
        """
        rare = None if train.groups is None or train.minority is not None else _rare_cells(train)

        def like(data: ImageDataset) -> ImageDataset:
            data = data.with_statistics(train.mean, train.std)
            if rare is None or not rare.any() or data.groups is None or data.group_names != train.group_names:
                return data
            return dataclasses.replace(data, minority=rare[data.labels, data.groups])

        third = None if validation is None else like(validation)
        return Splits(like(train), like(test), train.name if name is None else name, third)


def _rare_cells(train: ImageDataset) -> Tensor:
    """bool ``[K, G]``: the (class, group) with less than half of an equal share of the class's images."""
    assert train.groups is not None
    cells = torch.zeros(train.num_classes, train.num_groups)
    cells.index_put_((train.labels, train.groups), torch.ones(len(train)), accumulate=True)
    return 2 * train.num_groups * cells < cells.sum(1, keepdim=True)


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
