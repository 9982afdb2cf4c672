"""``celeba:PATH``: CelebA as its authors publish it, any two of its forty attributes as class and group.

Source: Liu et al. 2015, "Deep Learning Face Attributes in the Wild": ``list_attr_celeba.txt`` (1 and -1),
``list_eval_partition.txt`` (0, 1, 2) and ``img_align_celeba/``; also as CSV files, as Kaggle has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular
from rdd_nb.data.folder_walk import Walk, title_of
from rdd_nb.data.image_listing import LARGEST_TABLE
from rdd_nb.data.readers.catalogue import Catalogue, of_listing
from rdd_nb.data.readers.columns import columns_of
from rdd_nb.data.readers.table import Table, images_folder, listed, open_table
from rdd_nb.data.reading import Reading

__all__ = ["of_celeba"]

IMAGES = ("img_align_celeba/img_align_celeba", "img_align_celeba")
SPLIT = "split"


def of_celeba(name: str, reading: Reading) -> Catalogue:
    """The images of ``celeba:PATH`` by their attributes, such as ``label="Blond_Hair", group="Male"``.

    The values are called ``Male`` and ``not Male``, unless ``names`` says otherwise.

    Raises:
        RddError: a file that is not there, an unknown attribute, an image without a part, and as
            :func:`rdd_nb.data.readers.table.of_table`.
    """
    place = os.path.expanduser(name.removeprefix("celeba:"))
    title = title_of(name, place, "celeba")
    folder, walk = Path(place), Walk(Path(place))
    path = _path(folder, "list_attr_celeba", walk)
    if path is None:
        raise RddError(f"{folder} has no list_attr_celeba.txt (nor .csv): give celeba:PATH with the folder that has it")
    table = open_table(path)
    images = IMAGES if reading.images is None else (reading.images,)
    held_in = next((each for each in images if (folder / each).is_dir()), None)
    if held_in is None:
        raise RddError(f"{folder} has no {images[-1]}/ with the images: put it there, or pass --images FOLDER")
    attributes = table.columns[1:]
    if (parts := _path(folder, "list_eval_partition", walk)) is not None and SPLIT not in table.columns:
        table = _with_parts(table, parts)
    names = {each: {"-1": f"not {each}", "0": f"not {each}", "1": each} for each in attributes}
    columns = columns_of(table.columns, reading, str(table.path), names)
    files = images_folder(folder, held_in, walk)
    held = listed(table, title, walk, files, reading.file or table.columns[0], columns)
    return of_listing(held, *columns.orders(held.rows))


def _path(folder: Path, stem: str, walk: Walk) -> Path | None:
    """The file of this name, as text or as CSV, if it is there."""
    for suffix in (".txt", ".csv"):
        path = folder / f"{stem}{suffix}"
        if os.path.lexists(path):
            walk.check_inside(path, str(path))
            return path
    return None


def _with_parts(table: Table, path: Path) -> Table:
    """The table with one more column, which says the part of each image: a line each, of its file and 0, 1 or 2."""
    try:
        text = read_regular(path, LARGEST_TABLE).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"{path} cannot be read ({reason}): put the right one there") from None
    said = dict(words for line in text.splitlines() if len(words := line.replace(",", " ").split()) == 2)

    def lines() -> Iterator[tuple[str, list[str]]]:
        for where, line in table.lines:
            part = said.get(line[0]) if line else None
            if part is None:
                raise RddError(f"{where}: {path.name} says no part for it: add it there, or leave the line out")
            yield where, [*line, part]

    return Table(table.path, [*table.columns, SPLIT], lines())
