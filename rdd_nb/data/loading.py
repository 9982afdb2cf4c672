"""Data sets by name: :func:`load` gives training and test set, ready for the layers above.

The sample of Fashion-MNIST that ships with the repository, scikit-learn's digits, the sets torchvision can download
(:mod:`rdd_nb.data.sources`), or your own images in one of the forms of :mod:`rdd_nb.data.readers.registry`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.data.readers.catalogue import assembled
from rdd_nb.data.readers.hugging_face import of_dataset
from rdd_nb.data.readers.registry import TESTED
from rdd_nb.data.reading import Reading

__all__ = ["available", "load"]


def available() -> dict[str, str]:
    """The names that :func:`load` knows, each with one line on what it is.

    >>> [name for name in available() if name.startswith(("cifar", "npz"))]
    ['cifar10', 'cifar100', 'npz:PATH']
    """
    return dict(sources.DESCRIPTIONS)


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    download: bool = True,
    channels: int | None = None,
    background: str | None = None,
    **reading: Any,
) -> Splits:
    """The data set called ``name`` (see :func:`available`).

    Args:
        name: a known name, the form and path of your own data, such as ``"folder:PATH"`` or ``"npz:PATH"``, or a
            ``Dataset`` or ``DatasetDict`` of the package ``datasets``.
        root: where data lie and downloads go (to ``root/downloads``). By default the environment's ``RDD_NB_DATA``,
            else the repository's ``data/``, else ``./data``.
        size: resize the images to squares of so many pixels (bilinear), whatever their shape was.
        download: whether a set that is not here may be downloaded.
        channels: 1 turns all images into grey (luminance), 3 into RGB. By default they stay what they are.
        background: a colour to lay behind transparent images, such as ``"white"`` or ``"#ffeedd"``. Without
            it they are refused: what is behind them decides what a network sees.
        reading: the other fields of :class:`rdd_nb.data.reading.Reading`: ``fit`` for images that are no squares;
            ``label``, ``group`` and their like, which say what the columns of a table mean; ``only_classes``,
            ``only_groups`` and ``sample``, for a part of the data.

    Normalisation: the constants of the literature where they exist and the pixels are untouched; otherwise measured on
    the training images. Digits, and data without a test set, are split 80/20, stratified, always the same way (their
    name then says so). Where data name groups, the minority are the (class, group) that have
    less than half of an equal share of their class's training images.

    Whatever is left out (files of other kinds, in sub-folders, or not in the table) is counted in
    one ``UserWarning``.

    Raises:
        RddError: an unknown name, a missing or broken file, no network, or images that do not fit together, or not into
            the memory.

    >>> load("digits").train.shape
    (1, 28, 28)
    """
    how = Reading.of({"size": size, "channels": channels, "background": background, **reading})
    base = sources.default_root() if root is None else Path(os.path.expanduser(root))
    if "\0" in str(base):
        raise RddError(f"root {str(base)!r} is no path: give the folder where data lie")
    if isinstance(name, str):
        source = sources.fetch(name, base, download, how)
    else:
        source = assembled(of_dataset(name, how), how, TESTED)
    train = _dataset(source, source.train)
    validation = None if source.validation is None else _dataset(source, source.validation)
    if source.test is not None:
        test = _dataset(source, source.test)
    else:
        train, test = train.hold_out(TESTED, seed=0)
        train = train.with_statistics(*statistics(train.images))
    if source.remark:
        warnings.warn(source.remark, UserWarning, stacklevel=2)
    return Splits.of(train, test, validation)


def _dataset(source: sources.Source, part: sources.Part) -> ImageDataset:
    mean, std = source.published or statistics(part.images)
    return ImageDataset(
        part.images, part.labels, source.class_names, mean, std, part.groups, source.group_names, name=source.name
    )
