"""The forms in which people keep their data: what to write before a path, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from rdd_nb.core.errors import RddError
from rdd_nb.data.image_folder import Source
from rdd_nb.data.readers.catalogue import Catalogue, assembled
from rdd_nb.data.readers.celeba import of_celeba
from rdd_nb.data.readers.file_names import of_domains, of_names
from rdd_nb.data.readers.folder import of_folder
from rdd_nb.data.readers.hugging_face import of_hugging_face
from rdd_nb.data.readers.npz import of_npz
from rdd_nb.data.readers.table import of_table
from rdd_nb.data.reading import Reading

__all__ = ["READERS", "TESTED", "Reader", "catalogue", "kind_of", "read"]

TESTED = 0.2  #: the part that is tested of data in one piece

TABLE = ("label", "group", "split", "file", "images", "splits", "names")


@dataclass(frozen=True)
class Reader:
    """How one form is read.

    Attributes:
        help: one line on what it is.
        catalogue: name, reading → its images.
        takes: the columns of :class:`rdd_nb.data.reading.Reading` that mean something to it.
    """

    help: str
    catalogue: Callable[[str, Reading], Catalogue]
    takes: Collection[str] = ()


READERS = {
    "folder": Reader(
        "your own images: PATH/train/<class>/*.png and PATH/test/<class>/*.png, or PATH/<class>/*.png, or a "
        "PATH/metadata.csv with the columns filename, label and, if you have them, group and split (train or test)",
        of_folder,
    ),
    "table": Reader("images that a CSV file names, by any columns: --label y --group place", of_table, TABLE),
    "hf": Reader(
        "a folder as Hugging Face has it: metadata.csv, metadata.jsonl or Parquet shards", of_hugging_face, TABLE
    ),
    "npz": Reader(
        "arrays in one .npz file: MedMNIST's, or yours with train_groups and group_names", of_npz, ("names",)
    ),
    "celeba": Reader(
        "CelebA's images and attribute files: --label Blond_Hair --group Male",
        of_celeba,
        TABLE,
    ),
    "domains": Reader(
        "PATH/<domain>/<class>/*.jpg, as DomainBed has it: the domain is the group",
        of_domains,
        ("label", "group", "images", "names"),
    ),
    "names": Reader(
        "images whose names say what they are: --pattern '{age}_{gender}_{rest}' --label gender",
        of_names,
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


def catalogue(name: str, reading: Reading) -> Catalogue:
    """The images that ``name`` says, such as ``"npz:a.npz"``, and what is known of each; no pixel is read.

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
    return reader.catalogue(name, reading)


def read(name: str, reading: Reading) -> Source:
    """The data of one's own that ``name`` says; of what has no test set, a fifth is one.

    Raises:
        RddError: as :func:`catalogue` and :func:`rdd_nb.data.readers.catalogue.assembled`.
    """
    return assembled(catalogue(name, reading), reading, TESTED)
