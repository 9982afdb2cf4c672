"""``names:PATH`` reads attributes from the names of files, ``domains:PATH`` from a tree of domains and classes.

Sources: UTKFace (Zhang et al. 2017) calls its files ``[age]_[gender]_[race]_[date&time].jpg``; DomainBed (Gulrajani and
Lopez-Paz 2021) keeps PACS, VLCS, Office-Home, TerraIncognita and DomainNet as ``domain/class/file``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rdd_nb.core.errors import RddError
from rdd_nb.data.folder_walk import OTHER_IMAGES, SUFFIXES, Walk, files_below, plain, suffix, title_of
from rdd_nb.data.image_listing import Listing
from rdd_nb.data.readers.catalogue import Catalogue, of_listing
from rdd_nb.data.readers.columns import Columns, Record, columns_of
from rdd_nb.data.readers.table import images_folder
from rdd_nb.data.reading import Reading

__all__ = ["expression", "of_domains", "of_names"]

DOMAINS = "{domain}/{class}/{file}"


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern such as ``"{age}_{gender}_{rest}"`` as a regular expression.

    A field reaches to the sign that follows it in the pattern, or, as the last, to the end.

    Raises:
        RddError: no fields, one without a name or twice, two that nothing parts, or a bracket alone.

    >>> expression("{age}_{gender}_{rest}").fullmatch("26_1_2_x.jpg").groupdict()
    {'age': '26', 'gender': '1', 'rest': '2_x.jpg'}
    """
    pieces = re.split(r"\{(\w+)\}", pattern)
    literals, fields = pieces[::2], pieces[1::2]
    example = "as in '{age}_{gender}_{rest}'"
    if any(bracket in literal for literal in literals for bracket in "{}") or not fields:
        raise RddError(f"the pattern {pattern!r} has no fields, or a bracket alone: write names in brackets, {example}")
    if len(set(fields)) != len(fields) or not all(field.isidentifier() for field in fields):
        raise RddError(f"the pattern {pattern!r} has a field twice, or a number for a name: name each, {example}")
    if not all(literals[1:-1]):
        raise RddError(f"the pattern {pattern!r} has two fields with nothing between: part them by a sign, {example}")
    text = re.escape(literals[0])
    for field, literal in zip(fields, literals[1:]):
        # So that there is one way to match, and it is soon found.
        stop = "/" + re.escape(literal[0]) if literal else "/"
        text += f"(?P<{field}>[^{stop}]+){re.escape(literal)}"
    return re.compile(text)


def of_names(name: str, reading: Reading) -> Catalogue:
    """The images of ``names:PATH``, at any depth, by what ``reading.pattern`` finds in their names.

    A pattern with ``/`` is held against the path within the folder. Files that do not fit it are left out, and told.

    Raises:
        RddError: no pattern or none that fits, and as :func:`rdd_nb.data.readers.table.of_table`.
    """
    if reading.pattern is None:
        mend = "pass --pattern '{age}_{gender}_{rest}' or so (pattern=… in Python)"
        raise RddError(f"{name} does not say how its files' names are to be read: {mend}")
    return _read(name, "names", reading.pattern, reading)


def of_domains(name: str, reading: Reading) -> Catalogue:
    """The images of ``domains:PATH``, ``domain/class/file``: the domain is the group.

    Raises:
        RddError: as :func:`of_names`.
    """
    return _read(name, "domains", DOMAINS, reading, "class", ("domain",))


def _read(
    name: str, kind: str, pattern: str, reading: Reading, label: str = "", groups: tuple[str, ...] = ()
) -> Catalogue:
    place = os.path.expanduser(name.removeprefix(f"{kind}:"))
    title = title_of(name, place, kind)
    folder, walk = Path(place), Walk(Path(place))
    fits = expression(pattern)
    columns = columns_of(list(fits.groupindex), reading, f"the pattern {pattern!r}", label=label, groups=groups)
    rows = columns.rows(_records(images_folder(folder, reading.images, walk), fits, "/" in pattern, columns, walk))
    if not rows:
        told = next((shown for names in walk.left.values() for shown in names), "no image")
        raise RddError(f"no image in {folder} is called as {pattern!r} says (the first is {told}): mend the pattern")
    held = Listing(folder, title, rows, walk.left)
    return of_listing(held, *columns.orders(rows))


def _records(folder: Path, fits: re.Pattern[str], whole: bool, columns: Columns, walk: Walk) -> Iterator[Record]:
    apart: list[Path] = []
    other: list[Path] = []
    for path in files_below(folder):
        if suffix(path.name) not in SUFFIXES:
            if suffix(path.name) in OTHER_IMAGES:
                other.append(path)
            continue
        text = path.relative_to(folder).as_posix() if whole else path.name
        found = fits.fullmatch(text)
        if found is None:
            apart.append(path)
            continue
        plain(text, str(folder))
        walk.check_inside(path, str(path))
        yield Record(str(path), {column: found[column] for column in columns.needed}, path)
    walk.leave_out("images whose names do not fit the pattern", apart)
    walk.leave_out("images of other kinds", other)
