"""What the columns of a table mean: the class, the group, the split, and what their values are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.data.folder_walk import plain
from rdd_nb.data.image_listing import Row
from rdd_nb.data.readers.catalogue import ordered
from rdd_nb.data.reading import Reading, split_named

__all__ = ["CROSS", "Columns", "Record", "columns_of"]

LABELS, GROUPS, PARTS = ("label", "y"), ("group",), ("split",)
CROSS = ", "  # between the values of several columns
_RANGE = re.compile(r"(-?\d{1,18})?\.\.(-?\d{1,18})?")


class Record(NamedTuple):
    """A line of a table: how to name it in an error, the values that are asked for, the image, its folder's split."""

    where: str
    values: Mapping[str, str]
    path: str | Path
    data: bytes | Callable[[], bytes] | None = None
    split: str = ""
    number: int = 0


@dataclass(frozen=True)
class Columns:
    """The columns that are read. ``split`` is empty where there is none.

    ``names`` says column → value → name, as the user or the data have it; a column that stands there has no others.
    """

    label: str
    groups: tuple[str, ...]
    split: str
    splits: Mapping[str, str]
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that is read, once."""
        return tuple(dict.fromkeys((self.label, *self.groups, *([self.split] if self.split else []))))

    def rows(self, records: Iterable[Record]) -> list[Row]:
        """A row for each record.

        Raises:
            RddError: an empty value, one that has no name where the others have, or an unknown split.
        """
        known: dict[tuple[str, str], str] = {}  # values are few, images many

        def name(record: Record, column: str) -> str:
            value = record.values[column]
            if (column, value) not in known:
                if not value:
                    raise RddError(f"{record.where} has no {column}: fill it in, or leave the line out")
                known[column, value] = self._named(column, plain(value, record.where), record.where)
            return known[column, value]

        rows = []
        for record in records:
            label = name(record, self.label)
            group = CROSS.join([name(record, column) for column in self.groups])
            split = record.split
            if self.split:
                value = record.values[self.split]
                if ("", value) not in known:
                    known["", value] = split_named(value, self.splits, record.where)
                split = known["", value]
            rows.append(Row(record.where, record.path, label, group, split, record.data, record.number))
        return rows

    def _named(self, column: str, value: str, where: str) -> str:
        names = self.names.get(column)
        if names is None:
            return value
        if value in names:
            return plain(names[value], "names")
        for text, name in names.items():
            bounds = _RANGE.fullmatch(text)
            if bounds and re.fullmatch(r"-?\d{1,18}", value):
                low, high = bounds.groups()
                if (low is None or int(low) <= int(value)) and (high is None or int(value) <= int(high)):
                    return plain(name, "names")
        told = ", ".join(list(names)[:8]) + (" …" if len(names) > 8 else "")
        raise RddError(
            f"{where}: {column} is {value!r}, which the names of {column} leave out ({told}): name it, or mend the line"
        )

    def orders(self, rows: Sequence[Row]) -> tuple[list[str], list[str]]:
        """The names of classes and of groups, in the order of their names, or else sorted."""

        def order(columns: Sequence[str], values: set[str]) -> list[str]:
            told = [list(dict.fromkeys(self.names[column].values())) for column in columns if column in self.names]
            if len(columns) == 1 and told:
                return told[0]
            return ordered(values)

        return order([self.label], {row.label for row in rows}), order(self.groups, {row.group for row in rows})


def columns_of(
    columns: Sequence[str],
    reading: Reading,
    where: str,
    names: Mapping[str, Mapping[str, str]] | None = None,
    label: str = "",
    groups: tuple[str, ...] = (),
) -> Columns:
    """Which of a table's columns are read.

    Args:
        columns: all that it has.
        reading: what the user says of them.
        where: names the table in an error.
        names: column → value → name, as the data have it; the user's win.
        label, groups: what the user need not say.

    Raises:
        RddError: a column that is not there, or nothing that says the class.
    """
    listed = list(columns)
    for column in listed:
        if listed.count(column) > 1:
            raise RddError(f"{where} has the column {column!r} {listed.count(column)} times: keep one of them")

    def known(given: str) -> str:
        if given not in listed:
            raise unknown("column", given, listed, where=where)
        return given

    def found(given: str | None, usual: Sequence[str]) -> str:
        if given is not None:
            return known(given)
        return next((column for column in usual if column in listed), "")

    chosen = found(reading.label, (label, *LABELS))
    if not chosen:
        told = ", ".join(listed[:50]) + (" …" if len(listed) > 50 else "")
        raise RddError(f"{where} does not say which column is the class: pass --label COLUMN (label=…), one of {told}")
    groups = tuple(map(known, reading.group or groups)) or tuple(column for column in GROUPS if column in listed)
    if chosen in groups:
        raise RddError(f"the column {chosen!r} is both class and group: name another --group, or none")
    for column in reading.names:
        known(column)
    split = found(reading.split, PARTS)
    return Columns(chosen, groups, split, reading.splits, {**(names or {}), **reading.names})
