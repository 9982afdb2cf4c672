"""What a folder of images says that it holds, by a metadata.csv or by its sub-folders; no image is opened.

Nothing outside the folder is read, whatever its table or its links say; and what is left out is told.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular
from rdd_nb.data.folder_walk import SUFFIXES, Walk, entries, files_below, is_dir, plain, shown, suffix, title_of

__all__ = ["SUFFIXES", "Listing", "Row", "listing"]

COLUMNS = ("filename", "label", "group", "split")
TABLE = "metadata.csv"
LARGEST_TABLE = 200_000_000  # bytes
OTHER_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx", ".xls", ".ods")
NO_DATA = ("readme", "license", "licence", "thumbs.db", "desktop.ini")  # what such names begin with is not told
FOLDERS = {"train": ("train",), "test": ("test",), "validation": ("val", "valid", "validation", "dev")}
# Folders that are called so hold a part of the images, and are no class.
PARTS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "unlabeled", "unlabelled")


class Row(NamedTuple):
    """One image of a folder: ``where`` names it in an error; ``group`` and ``split`` are empty where nobody says.

    ``data`` holds the image's file, or gets it, where it does not lie in a file of its own but, as the ``number``-th,
    with others in ``path``.
    """

    where: str
    path: str | Path
    label: str
    group: str = ""
    split: str = ""
    data: bytes | Callable[[], bytes] | None = None
    number: int = 0

    def fetched(self) -> Row:
        """The row with the image's file itself, where ``data`` gets it."""
        return self._replace(data=self.data()) if callable(self.data) else self


@dataclass(frozen=True)
class Listing:
    """What a folder says that it holds.

    Attributes:
        folder: its path, as it was given.
        name: ``folder:`` and its own name, without the path, since results are shared.
        rows: its images.
        left_out: what else lies there: what it is → the files, relative to the folder.
    """

    folder: Path
    name: str
    rows: list[Row]
    left_out: Mapping[str, list[str]] = field(default_factory=dict)

    def counted(self) -> str:
        """What was left out, counted by kind, each with an example; empty where nothing was."""
        told = []
        for what, files in self.left_out.items():
            noun, rest = what.split(" ", 1)
            told.append(f"{len(files):,} {noun.removesuffix('s' * (len(files) == 1))} {rest} ({shown(files[0])})")
        return ", ".join(told)


def listing(name: str) -> Listing:
    """What the folder ``folder:PATH`` says that it holds; opens no image.

    Read are, in this order: its ``metadata.csv``; ``train/metadata.csv`` and ``test/metadata.csv``; the folders of
    classes in ``train/`` and ``test/``; the folders of classes in itself. Beside ``train/`` and ``test/`` there may be
    one for validation. Names of classes and groups are compared in Unicode's form NFC.

    Raises:
        RddError: no such folder, one that does not say what it holds, holds one class only, or names files outside it.
    """
    path = os.path.expanduser(name.removeprefix("folder:"))
    title = title_of(name, path, "folder")
    reader = _Reader(Path(path))
    rows = reader.rows()
    if len({row.label for row in rows}) == 1:
        mend = "add images of another, since there is nothing to tell apart"
        raise RddError(f"{path} has one class only, {rows[0].label!r}: {mend}")
    return Listing(reader.folder, title, rows, reader.left)


def _table_in(folder: Path) -> Path | None:
    found = [entry.name for entry in entries(folder) if entry.name.casefold() == TABLE]
    if len(found) > 1:
        raise RddError(f"{folder} has {' and '.join(found)}: keep one of them")
    return folder / found[0] if found else None


class _Reader(Walk):
    """One folder while its rows are read."""

    def rows(self) -> list[Row]:
        if table := _table_in(self.folder):
            return self._rows_of_tables({"": table})
        splits = self._splits()
        tables = {split: table for split, part in splits.items() if (table := _table_in(part))}
        if tables:
            return self._rows_of_tables(tables)
        if not splits:
            return self._rows_of_classes(self.folder, "")
        beside = [entry for entry in entries(self.folder) if Path(entry.path) not in splits.values()]
        self._leave_out_beside(beside, "train/ and test/")  # and what there is for validation
        return [row for split, part in splits.items() for row in self._rows_of_classes(part, split)]

    # -------------------------------------------------------------------------------------------------------- tables

    def _rows_of_tables(self, tables: Mapping[str, Path]) -> list[Row]:
        """``tables``: split, or nothing → its table."""
        if "" not in tables and (missing := [split for split in ("train", "test") if split not in tables]):
            table, other = next(iter(tables.values())), f"{missing[0]}/{TABLE}"
            raise RddError(f"{table} has no {other} beside it: add it, or write one {self.folder / TABLE} for all")
        parts = [self._rows_of_csv(table, split) for split, table in tables.items()]
        if len({bool(rows[0].group) for rows in parts}) > 1:
            said = " and ".join(map(str, tables.values()))
            raise RddError(f"of {said} one has a column group, the other has none: give both one, or none")
        rows = [row for part in parts for row in part]
        self.leave_out_unnamed(TABLE)
        others = [path for path in files_below(self.folder) if path not in tables.values()]
        self.leave_out(f"tables other than {TABLE}", (path for path in others if suffix(path.name) in OTHER_TABLES))
        return rows

    def _rows_of_csv(self, table: Path, part: str) -> list[Row]:
        """The rows of a table; ``part`` is the split that its own folder is for, or empty."""
        rows: list[Row] = []
        seen: dict[str, int] = {}
        self.check_inside(table, str(table))
        try:
            text = read_regular(table, LARGEST_TABLE).decode("utf-8-sig")
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            reader.fieldnames = columns = _columns([name.strip() for name in reader.fieldnames or ()], table)
            for entry in reader:
                where = f"{table} line {reader.line_num}"
                if None in entry or None in entry.values():
                    raise RddError(f"{where} does not have {len(columns)} values: give one for each column")
                for column in columns:
                    if not entry[column].strip():
                        raise RddError(f"{where} has no {column}: fill it in, or leave the line or the column out")
                filename = entry.pop("filename").strip()
                plain(filename, where)
                values = {column: plain(value.strip(), where) for column, value in entry.items()}
                if (said := values.get("split", "train")) not in FOLDERS:
                    if said not in FOLDERS["validation"]:
                        raise unknown("split", said, FOLDERS, where=where)
                    values["split"] = "validation"
                if values.setdefault("split", part) != part and part:
                    raise RddError(f"{where} says split {values['split']}, but its folder is {part}: leave split out")
                place = os.path.normpath(filename)
                if place in seen:
                    raise RddError(f"{where} names {filename!r} again, after line {seen[place]}: keep one of them")
                seen[place] = reader.line_num
                path = os.path.join(table.parent, filename)
                self.check_inside(path, f"{where}: {filename!r}")
                rows.append(Row(f"{where}, {filename}", path, **values))  # type: ignore[arg-type]
        except OSError as error:
            raise RddError(f"{table} cannot be read ({error.strerror}): change its permissions") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise RddError(f"{table} cannot be read ({one_line(error)}): write it as a CSV file in UTF-8") from None
        if not rows:
            raise RddError(f"{table} names no images: write one line for each")
        return rows

    # ------------------------------------------------------------------------------------------------------- folders

    def _splits(self) -> dict[str, Path]:
        """The folders of each split, whatever their case; empty without training and test, or where one is a class."""
        folders = [entry.name for entry in entries(self.folder) if is_dir(entry)]
        found: dict[str, Path] = {}
        for split, called in FOLDERS.items():
            names = [name for name in folders if name.casefold() in called]
            if split == "validation" and not found:
                break  # a class may be called so
            if len(names) > 1:
                raise RddError(f"{self.folder} has {' and '.join(names)}: keep one of them")
            if names:
                found[split] = self.folder / names[0]
                self.check_inside(found[split], str(found[split]))
        if len(found.keys() - {"validation"}) == 1:
            split, place = next(iter(found.items()))
            parts = [name for name in folders if name.casefold() in PARTS]
            if len(parts) == 1 < len(folders) and all(self._holds_images(self.folder / name) for name in folders):
                return {}  # a class that is called so, among others
            mend = f"add it, or put the class folders into {self.folder}; if {place.name} is a class, write a {TABLE}"
            raise RddError(f"{self.folder} has {place.name}/ but no {'test' if split == 'train' else 'train'}/: {mend}")
        return found

    def _holds_images(self, part: Path) -> bool:
        """Images lie in ``part``, and no folders."""
        self.check_inside(part, str(part))
        held = entries(part)
        return any(suffix(e.name) in SUFFIXES for e in held) and not any(map(is_dir, held))

    def _rows_of_classes(self, part: Path, split: str) -> list[Row]:
        held, classes, rows = entries(part), dict[str, Path](), list[Row]()
        for entry in held:
            if is_dir(entry):
                label = plain(entry.name, str(part))
                if label in classes:
                    raise RddError(f"{part} has two folders {label!r}, in two Unicode forms of one name: join them")
                classes[label] = part / entry.name
        if not classes:
            tables = [shown(entry.name) for entry in held if suffix(entry.name) in OTHER_TABLES]
            told = f" ({', '.join(tables)}: not read)" * bool(tables)
            other = "; table:PATH and hf:PATH read other tables" * bool(tables)
            raise RddError(
                f"{part} has no class folders{told}: make one for the images of each class, or a {TABLE}{other}"
            )
        self._leave_out_beside([entry for entry in held if not is_dir(entry)], "the class folders")
        for label, place in sorted(classes.items()):
            self.check_inside(place, str(place))
            paths = []
            for entry in entries(place):
                path = os.path.join(place, entry.name)
                if is_dir(entry):
                    below = [Path(path)] if entry.is_symlink() else files_below(Path(path))
                    self.leave_out("files in sub-folders of a class", below)
                elif suffix(entry.name) not in SUFFIXES:
                    self.leave_out("files of other kinds", [Path(path)])
                else:
                    plain(entry.name, str(place))
                    self.check_inside(path, path)
                    paths.append(path)
            if not paths:
                mend = f"add some ({', '.join(SUFFIXES)}) or remove it"
                raise RddError(f"{place} is a class without images of its own: {mend}")
            rows += [Row(path, path, label, split=split) for path in paths]
        return rows

    def _leave_out_beside(self, entries: Iterable[os.DirEntry[str]], what: str) -> None:
        """What lies beside the folders that are read."""
        for entry in entries:
            path = Path(entry.path)
            if is_dir(entry):
                self.leave_out(f"files in folders beside {what}", [path] if path.is_symlink() else files_below(path))
            elif not entry.name.casefold().startswith(NO_DATA):
                self.leave_out(f"files beside {what}", [path])


def _columns(names: list[str], table: Path) -> list[str]:
    if "filename" not in names:  # as Hugging Face's image folders call it, and rdd_nb.reporting.export
        names = ["filename" if name == "file_name" else name for name in names]
    for name in names:
        if name not in COLUMNS:
            said = unknown("column", name, COLUMNS, where=f"{table} line 1")
            raise RddError(f"{said}; table:PATH with --label and --group (label=…, group=…) reads any columns")
        if names.count(name) > 1:
            raise RddError(f"{table} line 1 has the column {name!r} {names.count(name)} times: keep one of them")
    for name in COLUMNS[:2]:
        if name not in names:
            raise RddError(f"{table} line 1 has no column {name!r}: it needs filename and label")
    return names
