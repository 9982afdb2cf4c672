"""``table:PATH``: a table of any columns beside its images, as WILDS, SubpopBench and MetaShift publish theirs.

Sources: Waterbirds (Sagawa et al. 2020; Koh et al. 2021, WILDS) has a ``metadata.csv`` with the columns
``img_filename``, ``y``, ``place`` and ``split`` (0, 1, 2: training, validation, test); SubpopBench (Yang et al. 2023)
writes such tables for MetaShift and others.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular
from rdd_nb.data.folder_walk import Walk, plain, title_of
from rdd_nb.data.image_listing import LARGEST_TABLE, Listing
from rdd_nb.data.readers.catalogue import Catalogue, of_listing
from rdd_nb.data.readers.columns import Columns, Record, columns_of
from rdd_nb.data.reading import Reading

__all__ = ["FILES", "Table", "file_column", "images_folder", "listed", "of_table", "open_table"]

#: What columns that name files are called.
FILES = ("filename", "file_name", "img_filename", "image_id", "image_path", "image", "path")


class Table:
    """A table of text: its columns, and its lines, each with how to name it in an error."""

    def __init__(self, path: Path, columns: Sequence[str], lines: Iterator[tuple[str, list[str]]]) -> None:
        self.path = path
        self.columns = [plain(name.strip(), str(path)) for name in columns]
        self.lines = lines

    def records(self, files: Path, file: str, columns: Columns, walk: Walk) -> Iterator[Record]:
        """A record for each line; ``files`` is where its images lie, and ``file`` the column that names them.

        Raises:
            RddError: a line of another length, without a file, or with one that is named before or lies outside.
        """
        at, inside = self.columns.index(file), os.path.join(files, "")
        needed = [(name, self.columns.index(name)) for name in columns.needed]
        seen: dict[str, str] = {}
        for where, line in self.lines:
            if len(line) != len(self.columns):
                mend = "give one for each column"
                raise RddError(f"{where} has {len(line)} values for {len(self.columns)} columns: {mend}")
            name = line[at].strip()
            if not name:
                raise RddError(f"{where} has no {file}: fill it in, or leave the line out")
            plain(name, where)
            place = os.path.normpath(name)
            if place in seen:
                raise RddError(f"{where} names {name!r} again, after {seen[place]}: keep one of them")
            seen[place] = where.removeprefix(f"{self.path} ")
            path = os.path.join(inside, name)
            walk.check_inside(path, f"{where}: {name!r}")
            yield Record(f"{where}, {name}", {column: line[i].strip() for column, i in needed}, path)


def open_table(path: Path) -> Table:
    """A table in CSV, with tabs (``.tsv``), or, as CelebA has it, with spaces and a count in the first line (``.txt``).

    Raises:
        RddError: it is not there, not in UTF-8, damaged, or empty.
    """
    mend = "write it as a CSV file in UTF-8"
    try:
        text = read_regular(path, LARGEST_TABLE).decode("utf-8-sig")
    except FileNotFoundError:
        raise RddError(f"there is no table {path}: give the path of a CSV file, or of its folder") from None
    except (OSError, ValueError) as error:
        if isinstance(error, RddError):
            raise
        raise RddError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or one_line(error)}): {mend}"
        ) from None
    if path.suffix.lower() == ".txt":
        return _spaced(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter="\t" if path.suffix == ".tsv" else ",")

    def lines() -> Iterator[tuple[str, list[str]]]:
        try:
            for line in reader:
                if line:
                    yield f"{path} line {reader.line_num}", line
        except csv.Error as error:
            raise RddError(f"{path} line {reader.line_num} cannot be read ({one_line(error)}): {mend}") from None

    found = lines()
    head = next(found, ("", []))[1]
    if not head:
        raise RddError(f"{path} is empty: its first line names the columns")
    return Table(path, head, found)


def _spaced(path: Path, text: str) -> Table:
    held = [(f"{path} line {number}", line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if held and len(held[0][1]) == 1 and held[0][1][0].isdigit():
        held = held[1:]  # how many there are
    if len(held) < 2:
        raise RddError(f"{path} is empty: it needs a line of names, and one for each image")
    head, first = held[0][1], held[1][1]
    if len(first) == len(head) + 1:  # the file is not among the names
        head = ["filename", *head]
    return Table(path, head, iter(held[1:]))


def images_folder(folder: Path, images: str | None, walk: Walk) -> Path:
    """Where the images of a table lie: in ``images`` within its folder, or in itself."""
    if images is None:
        return folder
    place = folder / images
    if not place.is_dir():
        raise RddError(f"--images {images!r}: there is no such folder in {folder}: give one that is there")
    if os.path.realpath(place) != os.path.realpath(folder):
        walk.check_inside(place, f"--images {images!r}")
    return place


def listed(table: Table, name: str, walk: Walk, files: Path, file: str, columns: Columns) -> Listing:
    """The images that a table names, in its order, and those of the folder that it does not name."""
    rows = columns.rows(table.records(files, file, columns, walk))
    if not rows:
        raise RddError(f"{table.path} names no images: write one line for each")
    walk.leave_out_unnamed(table.path.name)
    return Listing(walk.folder, name, rows, walk.left)


def file_column(columns: Sequence[str], given: str | None, where: str) -> str:
    """The column that names the images' files."""
    if given is not None:
        if given not in columns:
            raise unknown("column", given, columns, where=where)
        return given
    for column in FILES:
        if column in columns:
            return column
    told = ", ".join(columns[:50])
    raise RddError(f"{where} does not say which column names the images: pass --file COLUMN (file=…), one of {told}")


def of_table(name: str, reading: Reading) -> Catalogue:
    """The images that ``table:PATH`` names: the path of a table, or of a folder with a ``metadata.csv``.

    Raises:
        RddError: a table that cannot be read, columns or values that are not there, an image that is missing or lies
            outside the table's folder, and what :func:`rdd_nb.data.readers.catalogue.assembled` refuses.
    """
    path = Path(os.path.expanduser(name.removeprefix("table:")))
    if os.path.isdir(path):
        path = path / "metadata.csv"
    folder = path.parent
    title = title_of(name, str(folder), "table")
    walk = Walk(folder)
    if path.is_symlink():
        walk.check_inside(path, str(path))
    table = open_table(path)
    columns = columns_of(table.columns, reading, str(path))
    file = file_column(table.columns, reading.file, str(path))
    held = listed(table, title, walk, images_folder(folder, reading.images, walk), file, columns)
    return of_listing(held, *columns.orders(held.rows))
