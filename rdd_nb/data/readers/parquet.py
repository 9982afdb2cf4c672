"""Parquet shards with the files of images in them, as Hugging Face's hub keeps data sets; read by pyarrow.

Source: the schema's metadata ``huggingface`` holds the features as JSON; an image is a struct of ``bytes`` and
``path``, a class a whole number with names.
"""

from __future__ import annotations

import functools
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdd_nb.core import processes
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import open_regular
from rdd_nb.data.readers.columns import Columns, Record

__all__ = ["Shards", "class_names_of", "value_text"]

AT_ONCE = 100  # rows that are unpacked at the same time; more threads than that do not ask for rows side by side
INSTALL = "install it with `pip install 'rdd-nb[parquet]'`"


class Shards:
    """Parquet files of one set: their columns and the names of their values.

    Args:
        files: each with the split that its name says, or ``""``.

    Raises:
        RddError: pyarrow is not installed, a file is damaged, or they differ in their columns.
    """

    def __init__(self, files: Sequence[tuple[Path, str]]) -> None:
        try:
            import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise RddError(f"{files[0][0]} is a Parquet file, which pyarrow reads: {INSTALL}") from None
        self._open = pyarrow.parquet.ParquetFile
        self.files = list(files)
        self.columns: list[str] = []
        self.features: dict[str, Any] = {}
        largest = 0
        for path, _ in self.files:
            with self._opened(path) as held:
                schema = held.schema_arrow
                if self.columns and schema.names != self.columns:
                    raise RddError(f"{path} has other columns than {self.files[0][0]}: give both the same")
                self.columns = list(schema.names)
                self.features = self.features or _features(schema.metadata or {})
                self.kinds = {name: str(schema.field(name).type) for name in schema.names}
                sizes = (held.metadata.row_group(i).total_byte_size for i in range(held.num_row_groups))
                largest = max(largest, *sizes, 0)
        free = processes.memory()
        if largest > free // 2:  # a group of rows is the least that is read
            told = f"{2 * largest / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
            raise RddError(f"the shards beside {self.files[0][0]} need {told}: write them with smaller groups of rows")

    @property
    def names(self) -> dict[str, dict[str, str]]:
        """Column → number → name, of the columns that are classes."""
        return class_names_of(self.features)

    def image_column(self, given: str | None) -> str:
        """The column that holds the images."""
        if given is not None:
            if given not in self.columns:
                raise unknown("column", given, self.columns, where=str(self.files[0][0]))
            return given
        marked = [
            name for name, held in self.features.items() if isinstance(held, dict) and held.get("_type") == "Image"
        ]
        usual = [name for name in self.columns if "bytes: binary" in self.kinds[name] or name in ("image", "img")]
        found = [name for name in [*marked, *usual] if name in self.columns]
        if not found:
            mend = f"pass --file COLUMN (file=…), one of {', '.join(self.columns)}"
            raise RddError(f"{self.files[0][0]} does not say which column holds the images: {mend}")
        return found[0]

    def records(self, image: str, columns: Columns) -> Iterator[Record]:
        """A record for each row; its image is read when it is asked for.

        Raises:
            RddError: a value that is no plain one, or a damaged file.
        """
        for path, split in self.files:
            images = _Column(self, path, image)
            with self._opened(path) as held:
                place = 0
                for batch in held.iter_batches(columns=list(columns.needed)):
                    for entry in batch.to_pylist():
                        where = f"{path} row {place}"
                        values = {name: value_text(entry[name], name, where) for name in columns.needed}
                        yield Record(where, values, path, functools.partial(images.at, place), split, place)
                        place += 1

    def _opened(self, path: Path) -> Any:
        return _Opened(self._open, path)


class _Column:
    """The images of one file, which lie one after the other: read forwards, and again from the start if need be."""

    def __init__(self, shards: Shards, path: Path, name: str) -> None:
        self.shards, self.path, self.name = shards, path, name
        self.batches: Iterator[list[Any]] = iter(())
        self.known: dict[int, list[Any]] = {}  # number of the batch → its entries, the last two
        self.next, self.lock = math.inf, threading.Lock()

    def at(self, place: int) -> bytes:
        """The file of the image in a row.

        Raises:
            RddError: there is none, or the file is damaged.
        """
        number, row = divmod(place, AT_ONCE)
        with self.lock:
            if number not in self.known and self.next > number:
                self.batches, self.next, self.known = self._read(), 0, {}
            while number not in self.known:
                batch = next(self.batches)
                self.known = {key: held for key, held in self.known.items() if key == self.next - 1}
                self.known[int(self.next)] = batch
                self.next += 1
            return _bytes(self.known[number][row], self.name, f"{self.path} row {place}")

    def _read(self) -> Iterator[list[Any]]:
        held: list[Any] = []
        with self.shards._opened(self.path) as file:
            for batch in file.iter_batches(batch_size=AT_ONCE, columns=[self.name]):
                held += [entry[self.name] for entry in batch.to_pylist()]  # fewer rows where a group of rows ends
                while len(held) >= AT_ONCE:
                    yield held[:AT_ONCE]
                    held = held[AT_ONCE:]
        if held:
            yield held


class _Opened:
    """A Parquet file while it is read; whatever goes wrong with it becomes one line."""

    def __init__(self, reader: Any, path: Path) -> None:
        self.reader, self.path = reader, path

    def __enter__(self) -> Any:
        try:
            self.file = open_regular(self.path)
            return self.reader(self.file)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if hasattr(self, "file"):
            self.file.close()
        if error is None or isinstance(error, RddError) or not isinstance(error, Exception):
            return
        reason = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"{self.path} cannot be read ({reason}): write it as a Parquet file") from None


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The features that a schema tells of; empty where it tells of none."""
    try:
        held = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def class_names_of(features: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Column → number → name, of features as their JSON has them.

    >>> class_names_of({"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "age": {"_type": "Value"}})
    {'label': {'0': 'cat', '1': 'dog'}}
    """
    found = {}
    for column, held in features.items():
        names = held.get("names") if isinstance(held, dict) and held.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            found[str(column)] = {str(number): name for number, name in enumerate(names)}
    return found


def value_text(value: Any, column: str, where: str) -> str:
    """A value of a table as text.

    Raises:
        RddError: it is a list, a mapping, or nothing.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise RddError(f"{where} has no {column}: fill it in, or leave the line out")
    raise RddError(f"{where}: {column} is a {type(value).__name__}, and one plain value is read: name another column")


def _bytes(value: Any, column: str, where: str) -> bytes:
    held = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(held, bytes):
        mend = "save the set with its images in it"
        raise RddError(f"{where}: {column} holds no image's bytes (it is {type(held).__name__}): {mend}")
    return held
