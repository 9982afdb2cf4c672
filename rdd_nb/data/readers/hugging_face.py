"""``hf:PATH``: a folder as Hugging Face keeps data sets, and :func:`of_dataset`: an object of its package ``datasets``.

Source: the layouts of ``datasets``: a ``metadata.csv`` or ``metadata.jsonl`` whose ``file_name`` is relative to it, at
the root or in the folder of each split, or Parquet shards, whose split is the word in their names or folders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular
from rdd_nb.data.folder_walk import Walk, files_below, title_of
from rdd_nb.data.image_listing import LARGEST_TABLE, Listing, Row
from rdd_nb.data.readers.catalogue import Catalogue, of_listing
from rdd_nb.data.readers.columns import Record, columns_of
from rdd_nb.data.readers.parquet import Shards, value_text
from rdd_nb.data.readers.table import Table, file_column, images_folder, open_table
from rdd_nb.data.reading import SPLITS, Reading

__all__ = ["of_dataset", "of_hugging_face"]

TABLES = ("metadata.csv", "metadata.jsonl")
WORDS = {word: split for word, split in SPLITS.items() if not word.isdigit()}


def of_hugging_face(name: str, reading: Reading) -> Catalogue:
    """The images of ``hf:PATH``, of its tables or, where it has none, of its Parquet shards.

    Raises:
        RddError: a folder without either, and as :func:`rdd_nb.data.readers.table.of_table`.
    """
    place = os.path.expanduser(name.removeprefix("hf:"))
    title = title_of(name, place, "hf")
    folder, walk = Path(place), Walk(Path(place))
    below = sorted(files_below(folder), key=lambda path: (len(path.parts), path))
    tables = [path for path in below if path.name.casefold() in TABLES]
    shards = [path for path in below if path.suffix.lower() == ".parquet"]
    for path in tables or shards:
        walk.check_inside(path, str(path))
    if tables:
        return _of_tables(tables, title, walk, reading)
    if not shards:
        if any(path.suffix.lower() == ".arrow" for path in below):
            mend = f"in Python, rdd.load(datasets.load_from_disk({str(folder)!r})) reads it"
            raise RddError(f"{folder} is what save_to_disk of `datasets` writes: {mend}, or write it with to_parquet")
        mend = "folder:PATH reads folders of classes, table:PATH other tables"
        raise RddError(f"{folder} has no metadata.csv, no metadata.jsonl and no .parquet files: {mend}")
    if reading.images is not None:
        raise RddError(
            f"{folder} has its images in Parquet files, and not in --images {reading.images!r}: leave it out"
        )
    held = Shards([(path, _split_of(path.relative_to(folder))) for path in shards])
    columns = columns_of(held.columns, reading, str(shards[0]), held.names)
    rows = columns.rows(held.records(held.image_column(reading.file), columns))
    if not rows:
        raise RddError(f"{shards[0]} has no rows: give one with images")
    return of_listing(Listing(folder, title, rows), *columns.orders(rows))


def _split_of(path: Path) -> str:
    """The split that a path within the folder names, in its folders or its file's name; or nothing.

    >>> _split_of(Path("data/train-00000-of-00002.parquet")), _split_of(Path("default/test/0000.parquet"))
    ('train', 'test')
    >>> _split_of(Path("training_images/7.png")), _split_of(Path("pets/latest.png"))
    ('train', '')
    """
    for part in path.parts:
        for word in re.split(r"[^a-z]+", part.casefold()):
            if word in WORDS:
                return WORDS[word]
    return ""


def _of_tables(tables: Sequence[Path], title: str, walk: Walk, reading: Reading) -> Catalogue:
    root = [path for path in tables if path.parent == walk.folder]
    if len(root) > 1 or len({path.parent for path in tables}) < len(tables):
        twins = root if len(root) > 1 else tables[:2]
        raise RddError(f"{walk.folder} has {' and '.join(path.name for path in twins)} in one folder: keep one of them")
    rows: list[Row] = []
    for path in root or tables:
        table = _open_lines(path) if path.suffix.lower() == ".jsonl" else open_table(path)
        columns = columns_of(table.columns, reading, str(path))
        file = file_column(table.columns, reading.file, str(path))
        files = images_folder(path.parent, reading.images, walk)
        split = "" if columns.split else _split_of(path.relative_to(walk.folder).parent)
        records = table.records(files, file, columns, walk)
        rows += columns.rows(_placed(records, walk.folder, split or ("" if columns.split else None)))
    if not rows:
        raise RddError(f"{tables[0]} names no images: write one line for each")
    if len({bool(row.split) for row in rows}) > 1:
        first = next(row for row in rows if not row.split)
        raise RddError(f"{first.where} is in no split, and others are: put it into train/, validation/ or test/")
    walk.leave_out_unnamed("the table")
    if root and len(tables) > len(root):
        walk.leave_out("tables in sub-folders", [path for path in tables if path not in root])
    held = Listing(walk.folder, title, rows, walk.left)
    return of_listing(held, *columns.orders(rows))


def _placed(records: Iterator[Record], folder: Path, split: str | None) -> Iterator[Record]:
    """Records with the split of their table's folder, or, where that is None, of the folder of each image."""
    for each in records:
        inside = os.path.relpath(each.path, folder)
        found = _split_of(Path(os.path.dirname(inside))) if split is None else split
        yield each._replace(split=found)


def _open_lines(path: Path) -> Table:
    """A table of one JSON object a line; the first line's keys are its columns."""
    try:
        text = read_regular(path, LARGEST_TABLE).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"{path} cannot be read ({reason}): write one JSON object a line, in UTF-8") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise RddError(f"{path} is empty: write one JSON object a line")
    columns = list(_object(path, *lines[0]))

    def found() -> Iterator[tuple[str, list[str]]]:
        for number, line in lines:
            held, where = _object(path, number, line), f"{path} line {number}"
            yield where, [_text(held.get(column), column, where) for column in columns]

    return Table(path, columns, found())


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        held = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RddError(f"{path} line {number} is not JSON ({one_line(error)}): write one object a line") from None
    if not isinstance(held, dict):
        raise RddError(f"{path} line {number} is a {type(held).__name__}: write one JSON object a line")
    return held


def _text(value: Any, column: str, where: str) -> str:
    """A value as text; what is nothing or no plain value is empty, and told where it is asked for."""
    return "" if value is None or isinstance(value, dict | list) else value_text(value, column, where)


# ------------------------------------------------------------------------------------------------ objects of `datasets`


def of_dataset(held: Any, reading: Reading) -> Catalogue:
    """The images of a ``Dataset`` or a ``DatasetDict`` of the package ``datasets``.

    Raises:
        RddError: the package is not installed, no column of images, and as :func:`of_hugging_face`.
    """
    try:
        from datasets import Image as Feature  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise RddError("objects of `datasets` need that package: install it with `pip install datasets`") from None
    parts = dict(held) if isinstance(held, dict) else {"": held}
    rows: list[Row] = []
    for split, shown in parts.items():
        part = shown.with_format(None)  # plain values, whatever form or transform its owner looks at it through
        found = [name for name, kind in part.features.items() if isinstance(kind, Feature)]
        if reading.file is None and not found:
            told = ", ".join(part.features)
            raise RddError(f"the data set has no column of images, only {told}: cast one to datasets.Image")
        image = file_column(list(part.features), reading.file, "the data set") if reading.file else found[0]
        names = {
            name: {str(number): text for number, text in enumerate(kind.names)}
            for name, kind in part.features.items()
            if getattr(kind, "names", None)
        }
        columns = columns_of(list(part.features), reading, "the data set", names)
        packed = part.select_columns([image, *columns.needed]).cast_column(image, Feature(decode=False))
        where = _split_of(Path(split)) if split else ""
        if split and not where:
            mend = f"say which it is, as in splits={{{split!r}: 'train'}}"
            where = reading.splits.get(split, "")
            if not where:
                raise RddError(f"the part {split!r} of the data set is none of {', '.join(WORDS)}: {mend}")
        rows += columns.rows(_of_rows(packed, image, columns.needed, split, where))
    if not rows:
        raise RddError("the data set has no rows: give one with images")
    name = f"hf:{getattr(next(iter(parts.values())).info, 'dataset_name', None) or 'dataset'}"
    return of_listing(Listing(Path(name), name, rows), *columns.orders(rows))


def _of_rows(part: Any, image: str, needed: Sequence[str], title: str, split: str) -> Iterator[Record]:
    for place, entry in enumerate(part):
        where = f"{title or 'the data set'} row {place}"
        values = {name: value_text(entry[name], name, where) for name in needed}
        path = Path(entry[image].get("path") or where)
        yield Record(where, values, path, entry[image].get("bytes"), split)
