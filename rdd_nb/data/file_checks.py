"""What is wrong with the image files of one's own data: all of it at once, where loading would stop at the first."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.data.decoding import is_kept
from rdd_nb.data.findings import Finding, by_severity, counted, some
from rdd_nb.data.image_folder import areas_of, check_memory, heads_of, open_image, threads
from rdd_nb.data.image_listing import Row
from rdd_nb.data.readers.catalogue import chosen
from rdd_nb.data.readers.registry import READERS, catalogue, kind_of
from rdd_nb.data.reading import Reading

__all__ = ["files"]


def files(
    name: str,
    size: int | None = None,
    channels: int | None = None,
    background: str | None = None,
    **reading: Any,
) -> list[Finding]:
    """What is wrong with the image files of data such as ``folder:PATH``, all of it at once; opens every image.

    Args:
        name: the data: a form of :mod:`rdd_nb.data.readers.registry` and a path. Arrays (``npz:``) hold no files, and
            nothing is found in them here.
        size, channels, background, reading: as :func:`rdd_nb.data.loading.load` will be given them; what they mend is
            not told, and what they leave out is not opened.

    Finds files that are missing or cannot be read, sizes that differ, grey among colour, images with the same pixels,
    and files that are left out, with their names relative to the folder; and whether all images fit into the memory.

    Raises:
        RddError: no such form, or as :func:`rdd_nb.data.readers.registry.catalogue`.
    """
    if not kind_of(name):
        raise unknown("form", name, [f"{kind}:PATH" for kind in READERS], where="the data whose files are looked at")
    how = Reading.of({"size": size, "channels": channels, "background": background, **reading})
    known = catalogue(name, how)
    held = known.listing
    if held is None:
        return []
    rows, root = [held.rows[i] for i in chosen(known, how)], held.folder
    heads = heads_of(rows, skip=True, told="sizes")
    with ThreadPoolExecutor(threads(heads)) as pool:
        looked = pool.map(lambda row: _look(row, background), rows)
        looks = list(tqdm(looked, "pixels", len(rows), unit=" images", delay=2, mininterval=1, leave=False))
    names = [os.path.relpath(row.path, root) + (f" row {row.number}" if row.data else "") for row in rows]
    broken = {file: why.replace(f"{root}{os.sep}", "") for file, (why, _, _) in zip(names, looks) if why}
    found = []
    if held.left_out:
        mend = "what is left out is neither learnt nor tested: move, convert or name it, or leave it so"
        found.append(Finding("warning", "files that are left out", held.counted(), mend))
    try:
        if not is_kept(sum(map(math.prod, areas_of(heads, size, channels)))):
            check_memory(heads, size, channels)
    except RddError as error:
        what, _, mend = str(error).partition(": ")
        found.append(Finding("error", "images that do not fit into the memory", what, mend))
    if broken:
        first = next(iter(broken.values())).split(": replace")[0]
        mend = f"replace or leave out each of them; of the first the loader says “{first}”"
        found.append(Finding("error", f"{counted(len(broken))} cannot be read", some(list(broken)), mend))
    across = ["" if size else f"{kind[0]}×{kind[1]} " for _, kind, _ in looks if kind]
    shades = ["" if channels else kind[2] for _, kind, _ in looks if kind]
    kinds = Counter(map("".join, zip(across, shades)))
    if len(kinds) > 1:
        told = some([f"{count:,} of {kind.strip()}" for kind, count in kinds.most_common()])
        mend = "load with size=… for one size, channels=… for one kind"
        found.append(Finding("error", f"{len(kinds)} sizes or kinds of image", told, mend))
    same: dict[str, list[int]] = {}
    for index, (_, _, digest) in enumerate(looks):
        if digest:
            same.setdefault(digest, []).append(index)
    several = [[(names[i], rows[i]) for i in each] for each in same.values() if len(each) > 1]
    return by_severity(found + _copies(several))


def _look(row: Row, background: str | None) -> tuple[str, tuple[int, int, str] | None, str]:
    """Why it cannot be read, or its size and kind and a digest of its pixels; blank images get none."""
    try:
        picture = open_image(row, background)
    except RddError as error:
        return str(error), None, ""
    plain = all(low == high for low, high in _extrema(picture.getextrema()))
    digest = "" if plain else hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    return "", (*picture.size, "grey" if picture.mode == "L" else "RGB"), digest


def _extrema(found: object) -> list[tuple[float, float]]:
    """Pillow's extrema, which is a pair for grey images and a pair of each channel for others."""
    return list(found) if isinstance(found, tuple) and isinstance(found[0], tuple) else [found]  # type: ignore[list-item]


def _copies(same: Sequence[Sequence[tuple[str, Row]]]) -> list[Finding]:
    leaks = [each for each in same if len({row.split for _, row in each}) > 1]
    torn = [each for each in same if len({row.label for _, row in each}) > 1]
    within = [each for each in same if each not in leaks and each not in torn]
    kinds = (
        ("error", leaks, "shown both in training and in the test set", "keep each on one side alone"),
        ("error", torn, "shown under several labels", "decide which label is right"),
        ("warning", within, "there several times on the same side", "keep one of each, or they count more than others"),
    )
    return [
        Finding(severity, f"{counted(len(each))} {what}", some([" = ".join(n for n, _ in e) for e in each]), mend)
        for severity, each, what, mend in kinds
        if each
    ]
