"""Data sets by name: :func:`load` gives training and test set, ready for the layers above.

The sample of Fashion-MNIST that ships with the repository, scikit-learn's digits, the sets torchvision can download, or
a folder of your own images (:mod:`rdd_nb.data.sources`, :mod:`rdd_nb.data.image_folder`).
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.image_folder import colour

__all__ = ["available", "load"]


def available() -> dict[str, str]:
    """The names that :func:`load` knows, each with one line on what it is.

    >>> sorted(available())[:3]
    ['cifar10', 'cifar100', 'digits']
    """
    return dict(sources.DESCRIPTIONS)


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    download: bool = True,
    channels: int | None = None,
    background: str | None = None,
) -> Splits:
    """The data set called ``name`` (see :func:`available`).

    Args:
        name: a known name, or ``"folder:PATH"``.
        root: where data lie and downloads go (to ``root/downloads``). By default the environment's ``RDD_NB_DATA``,
            else the repository's ``data/``, else ``./data``.
        size: resize the images to squares of so many pixels (bilinear), whatever their shape was.
        download: whether a set that is not here may be downloaded.
        channels: 1 turns all images into grey (luminance), 3 into RGB. By default they stay what they are.
        background: a colour to lay behind transparent images of a folder, such as ``"white"`` or ``"#ffeedd"``. Without
            it they are refused: what is behind them decides what a network sees.

    Normalisation: the constants of the literature where they exist and the pixels are untouched; otherwise measured on
    the training images. Digits, and folders without a test set, are split 80/20, stratified, always the same way (a
    folder's name then says so). Where a folder's metadata name groups, the minority are the (class, group) that have
    less than half of an equal share of their class's training images.

    Of a folder, whatever is left out (files of other kinds, in sub-folders, or not in its metadata.csv) is counted in
    one ``UserWarning``.

    Raises:
        RddError: an unknown name, a missing or broken file, no network, or images that do not fit together, or not into
            the memory.

    >>> load("digits").train.shape
    (1, 28, 28)
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise RddError(f"size must be a number of pixels, at least 1, not {size!r}")
    if channels not in (None, 1, 3):
        raise RddError(f"channels must be 1 (grey) or 3 (RGB), not {channels!r}")
    if background is not None:
        colour(background)
    base = sources.default_root() if root is None else Path(os.path.expanduser(root))
    if "\0" in str(base):
        raise RddError(f"root {str(base)!r} is no path: give the folder where data lie")
    source = sources.fetch(name, base, size, download, channels, background)
    train = _dataset(source, source.train)
    if source.test is not None:
        test = _dataset(source, source.test).with_statistics(train.mean, train.std)
    else:
        train, test = train.hold_out(0.2, seed=0)
        mean, std = statistics(train.images)
        train, test = train.with_statistics(mean, std), test.with_statistics(mean, std)
    if train.groups is not None:
        rare = _rare_cells(train)
        train, test = _with_minority(train, rare), _with_minority(test, rare)
    if source.remark:
        warnings.warn(source.remark, UserWarning, stacklevel=2)
    return Splits(train, test, train.name)


def _dataset(source: sources.Source, part: sources.Part) -> ImageDataset:
    mean, std = source.published or statistics(part.images)
    return ImageDataset(
        part.images, part.labels, source.class_names, mean, std, part.groups, source.group_names, name=source.name
    )


def _rare_cells(train: ImageDataset) -> Tensor:
    """bool ``[K, G]``: the (class, group) with less than half of an equal share of the class's images."""
    cells = torch.zeros(train.num_classes, train.num_groups)
    cells.index_put_((train.labels, train.groups), torch.ones(len(train)), accumulate=True)
    return 2 * train.num_groups * cells < cells.sum(1, keepdim=True)


def _with_minority(data: ImageDataset, rare: Tensor) -> ImageDataset:
    return dataclasses.replace(data, minority=rare[data.labels, data.groups]) if rare.any() else data
