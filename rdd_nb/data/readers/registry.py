"""The forms in which people keep their data: what to write before a path, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from rdd_nb.core.errors import RddError
from rdd_nb.data.image_folder import Source
from rdd_nb.data.readers.celeba import read_celeba
from rdd_nb.data.readers.file_names import read_domains, read_names
from rdd_nb.data.readers.folder import read_folder
from rdd_nb.data.readers.hugging_face import read_hugging_face
from rdd_nb.data.readers.npz import read_npz
from rdd_nb.data.readers.table import read_table
from rdd_nb.data.reading import Reading

__all__ = ["READERS", "Reader", "kind_of", "read"]

TABLE = ("label", "group", "split", "file", "images", "splits", "names")


@dataclass(frozen=True)
class Reader:
    """How one form is read.

    Attributes:
        help: one line on what it is.
        read: name, reading → source.
        takes: the columns of :class:`rdd_nb.data.reading.Reading` that mean something to it.
    """

    help: str
    read: Callable[[str, Reading], Source]
    takes: Collection[str] = ()


READERS = {
    "folder": Reader(
        "your own images: PATH/train/<class>/*.png and PATH/test/<class>/*.png, or PATH/<class>/*.png, or a "
        "PATH/metadata.csv with the columns filename, label and, if you have them, group and split (train or test)",
        read_folder,
    ),
    "table": Reader("images that a CSV file names, by any columns: --label y --group place", read_table, TABLE),
    "hf": Reader(
        "a folder as Hugging Face has it: metadata.csv, metadata.jsonl or Parquet shards", read_hugging_face, TABLE
    ),
    "npz": Reader(
        "arrays in one .npz file: MedMNIST's, or yours with train_groups and group_names", read_npz, ("names",)
    ),
    "celeba": Reader(
        "CelebA's images and attribute files: --label Blond_Hair --group Male",
        read_celeba,
        TABLE,
    ),
    "domains": Reader(
        "PATH/<domain>/<class>/*.jpg, as DomainBed has it: the domain is the group",
        read_domains,
        ("label", "group", "images", "names"),
    ),
    "names": Reader(
        "images whose names say what they are: --pattern '{age}_{gender}_{rest}' --label gender",
        read_names,
        ("label", "group", "split", "images", "pattern", "splits", "names"),
    ),
}


def kind_of(name: str) -> str:
    """Which of the readers a name is for, such as ``"npz"``; empty for a data set that the package knows by name.

    >>> kind_of("npz:a.npz"), kind_of("digits")
    ('npz', '')
    """
    kind, colon, _ = name.partition(":")
    return kind if colon and kind in READERS else ""


def read(name: str, reading: Reading) -> Source:
    """The data of one's own that ``name`` says, such as ``"npz:a.npz"``.

    Raises:
        RddError: a column that the form does not have, and as its reader.
    """
    kind = kind_of(name)
    reader = READERS[kind]
    for field in reading.columns:
        if field not in reader.takes:
            other = [f"{each}:" for each, held in READERS.items() if field in held.takes]
            told = f"{kind}:PATH takes no {field}, as it says itself what is what"
            raise RddError(f"{told}: leave it out, or use {', '.join(other)}")
    return reader.read(name, reading)
