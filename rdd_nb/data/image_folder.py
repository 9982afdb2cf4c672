"""A folder of your own images: what it says that it holds, by its metadata.csv or its sub-folders, and its pixels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rdd_nb.core.errors import RddError, unknown

__all__ = ["Part", "Row", "Source", "line_of", "open_image", "pixels", "read_folder", "rows_of"]


@dataclass(frozen=True, eq=False)
class Part:
    """Images uint8 ``[N, C, H, W]``, labels int64 ``[N]`` and, where they are known, groups int64 ``[N]``."""

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """What was read. ``test`` is None where the data come in one piece; ``published`` is (mean, std), where known."""

    name: str
    train: Part
    test: Part | None
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    published: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def pixels(image: Image.Image, size: int | None, channels: int | None) -> np.ndarray:
    """uint8 ``[C, H, W]`` of a grey or RGB image. Pillow resizes in whole numbers: the same bits on each machine."""
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def line_of(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
COLUMNS = ("filename", "label", "group", "split")


@dataclass(frozen=True)
class Row:
    """One image of a folder: ``where`` names it in an error; ``group`` and ``split`` are empty where nobody says."""

    where: str
    path: Path
    label: str
    group: str = ""
    split: str = ""


def rows_of(name: str) -> list[Row]:
    """What the folder ``folder:PATH`` says that it holds, by its metadata.csv or its sub-folders; opens no image.

    Raises:
        RddError: no such folder, or one that does not say what it holds.
    """
    folder = _path_of(name)
    table = folder / "metadata.csv"
    rows = _rows_of_csv(table) if table.is_file() else _rows_of_folders(folder)
    if not rows:
        raise RddError(f"{table} names no images: write one line for each")
    return rows


def _path_of(name: str) -> Path:
    folder = Path(name.removeprefix("folder:")).expanduser()
    if name == "folder:" or not folder.is_dir():
        raise RddError(f"{name!r}: there is no such folder; write folder:PATH with the path of a folder of images")
    return folder


def read_folder(name: str, size: int | None, channels: int | None) -> Source:
    """All images of the folder ``folder:PATH``; ``size`` and ``channels`` as in :func:`rdd_nb.data.loading.load`.

    Raises:
        RddError: a folder that does not say what it holds, an image that cannot be read, images that differ.
    """
    rows, folder = rows_of(name), _path_of(name)
    has_test, has_groups = bool(rows[0].split), bool(rows[0].group)
    if has_test:
        _check_splits(folder, rows, "label")
        _check_splits(folder, rows, "group")
    images = _read(rows, size, channels)
    class_names, labels = _ids(row.label for row in rows)
    group_names, groups = _ids(row.group for row in rows) if has_groups else ((), None)

    def part(chosen: Tensor) -> Part:
        return Part(images[chosen], labels[chosen], None if groups is None else groups[chosen])

    is_test = torch.tensor([row.split == "test" for row in rows])
    title = f"folder:{folder.resolve().name}" + ("" if has_test else " (split 80/20)")  # no path: results are shared
    return Source(title, part(~is_test), part(is_test) if has_test else None, class_names, group_names)


def _ids(values: Iterable[str]) -> tuple[tuple[str, ...], Tensor]:
    """The different values, sorted, and the place of each value among them (int64 ``[N]``)."""
    listed = list(values)
    places = {name: place for place, name in enumerate(sorted(set(listed)))}
    return tuple(places), torch.tensor([places[value] for value in listed])


def _check_splits(folder: Path, rows: list[Row], field: str) -> None:
    """Every label occurs in training and in the test set; every group that is tested occurs in training."""
    first: dict[str, dict[str, Row]] = {"train": {}, "test": {}}
    for row in rows:
        first[row.split].setdefault(getattr(row, field), row)
    for split, other in (("test", "train"), ("train", "test")):
        for value, row in first[split].items():
            if value not in first[other] and (field == "label" or split == "test"):
                mend = f"add {other} images of it or leave its {split} images out"
                raise RddError(f"{folder}: {field} {value!r} occurs only in {split} (first: {row.where}): {mend}")


def _rows_of_csv(table: Path) -> list[Row]:
    rows: list[Row] = []
    seen: dict[str, int] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = list(reader.fieldnames or ())
            if "filename" not in columns:  # as Hugging Face's image folders call it, and rdd_nb.reporting.export
                columns = ["filename" if column == "file_name" else column for column in columns]
                reader.fieldnames = columns
            for column in columns:
                if column not in COLUMNS:
                    raise unknown("column", column, COLUMNS, where=f"{table} line 1")
            for column in COLUMNS[:2]:
                if column not in columns:
                    raise RddError(f"{table} line 1 has no column {column!r}: it needs filename and label")
            for entry in reader:
                where = f"{table} line {reader.line_num}"
                if None in entry or None in entry.values():
                    raise RddError(f"{where} does not have {len(columns)} values: give one for each column")
                for column in columns:
                    if not entry[column].strip():
                        raise RddError(f"{where} has no {column}: fill it in, or leave the line or the column out")
                values = {column: entry[column].strip() for column in columns}
                if values.get("split", "train") not in ("train", "test"):
                    raise unknown("split", values["split"], ("train", "test"), where=where)
                filename = values.pop("filename")
                if filename in seen:
                    raise RddError(f"{where} names {filename!r} again, after line {seen[filename]}: keep one of them")
                seen[filename] = reader.line_num
                rows.append(Row(f"{where}, {filename}", table.parent / filename, **values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RddError(f"{table} cannot be read ({line_of(error)}): write it as a CSV file in UTF-8") from None
    return rows


def _rows_of_folders(folder: Path) -> list[Row]:
    present = [split for split in ("train", "test") if (folder / split).is_dir()]
    if len(present) == 1:
        missing = "test" if present == ["train"] else "train"
        raise RddError(f"{folder} has {present[0]}/ but no {missing}/: add it, or put the class folders into {folder}")
    rows = []
    for split in present or [""]:
        classes = sorted(child for child in (folder / split).iterdir() if child.is_dir() and child.name[0] != ".")
        if not classes:
            raise RddError(f"{folder / split} has no images: make a folder for each class there, or a metadata.csv")
        for label in classes:
            paths = sorted(path for path in label.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
            if not paths:
                raise RddError(f"{label} is a class without images: add some ({', '.join(SUFFIXES)}) or remove it")
            rows += [Row(str(path), path, label.name, split=split) for path in paths]
    return rows


def open_image(row: Row) -> Image.Image:
    """The image of a row, turned as cameras mean it, as 8 bits of grey (mode L) or RGB.

    Raises:
        RddError: there is no such file, it cannot be read, or it has more than 8 bits a channel.
    """
    try:
        with Image.open(row.path) as image:
            mode = image.mode
            picture = ImageOps.exif_transpose(image)
            picture = picture.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")
    except FileNotFoundError:
        raise RddError(f"{row.where}: there is no file {row.path}") from None
    except Exception as error:  # Pillow's decoders raise whatever went wrong in them
        raise RddError(f"{row.where} cannot be read ({line_of(error)}): replace it or leave it out") from None
    if mode in ("I", "F") or mode.startswith("I;"):
        raise RddError(f"{row.where} has more than 8 bits a channel (mode {mode}): convert it to 8 bits")
    return picture


def _read(rows: list[Row], size: int | None, channels: int | None) -> Tensor:
    def read(row: Row) -> np.ndarray:
        return pixels(open_image(row), size, channels)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        arrays = list(pool.map(read, rows))
    first = arrays[0].shape
    for row, array in zip(rows, arrays):
        if len(array) != first[0]:
            grey, colour = (rows[0], row) if first[0] == 1 else (row, rows[0])
            mend = "pass channels=3 or channels=1 to make them alike"
            raise RddError(f"{grey.where} is grey and {colour.where} is RGB: {mend}")
        if array.shape != first:
            sizes = [f"{shape[2]}×{shape[1]}" for shape in (first, array.shape)]
            mend = "pass size=… to resize them"
            raise RddError(f"{rows[0].where} has {sizes[0]} pixels and {row.where} has {sizes[1]}: {mend}")
    return torch.from_numpy(np.stack(arrays))
