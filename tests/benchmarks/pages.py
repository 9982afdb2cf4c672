"""Numbers on a page of the docs: what stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["MACHINE", "filled", "put", "several", "standing", "table"]

#: What is told of the machine beside numbers.
MACHINE = ("processor", "cores", "threads", "date", "torch")


def put(page: Path, name: str, text: str) -> None:
    """Write ``text`` into a block of ``page``."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- begin: {name} -->\n")
    _, end, tail = rest.partition(f"<!-- end: {name} -->")
    if not (begin and end):
        raise SystemExit(f"{page} has no block {name}: write <!-- begin: {name} --> and <!-- end: {name} -->")
    page.write_text(f"{head}{begin}{text}{end}{tail}", encoding="utf-8")


def standing(page: Path, name: str) -> str:
    """What stands in a block of ``page``."""
    rest = page.read_text(encoding="utf-8").partition(f"<!-- begin: {name} -->\n")[2]
    return rest.partition(f"<!-- end: {name} -->")[0]


def filled(text: str) -> str:
    """A paragraph, or a point of a list, in lines of the docs' width."""
    return textwrap.fill(text, 132, subsequent_indent="  " * text.startswith("- "), break_on_hyphens=False)


def table(head: tuple[str, ...], rows: Mapping[str, object]) -> str:
    """A Markdown table: a row for each name, its value or values behind it."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for name, values in rows.items():
        cells = values if isinstance(values, (list, tuple)) else [values]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def several(values: Iterable[object]) -> str:
    """The different ones, in their order."""
    return ", ".join(dict.fromkeys(map(str, values)))
