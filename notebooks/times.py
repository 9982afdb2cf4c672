"""Say under each heading of the notebooks how long its section takes, and in the table above them how long all does.

    python notebooks/times.py [NAME …]

A section takes a minute for 200 words (texts, computed ones too, and code that is not folded), the time that its cells
ran, and four minutes for each exercise. Whether it is core or advanced is for the author to say, in the same line:

    *Core · 6 minutes, 20 s of them running*
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).parent
WORDS_A_MINUTE, MINUTES_AN_EXERCISE = 200, 4
LEVELS = ("Core", "Advanced", "Core and advanced")  # the last is for the exercises together, each of which has its own
HEADING = re.compile(r"(##|### Exercise)\s")
MARK = re.compile(rf"\*({'|'.join(LEVELS)}) · (\d+) minutes?(?:, (\d+) s of them running)?\*")
ROW = re.compile(r"(\| Time \| )[^;|]*", re.MULTILINE)
QUICK = re.compile(r"(`quick` about ).*?( on (?:one|two) CPU cores?)")


class Section:
    """A heading with what belongs to it: up to the next of its kind, or, for an exercise, the next exercise."""

    def __init__(self, head: NotebookNode) -> None:
        self.head = head
        self.cells: list[NotebookNode] = []

    @property
    def title(self) -> str:
        """Its first line."""
        return self.head.source.splitlines()[0]

    @property
    def mark(self) -> re.Match[str] | None:
        """The line under its heading, if it says level and minutes."""
        lines = [line for line in self.head.source.splitlines()[1:] if line.strip()]
        return MARK.fullmatch(lines[0]) if lines else None

    def running(self) -> int:
        """Seconds that its cells ran: as papermill has just measured them, or as the mark says."""
        ran = [c.metadata.get("papermill", {}).get("duration") for c in self.cells if c.cell_type == "code"]
        if any(seconds is not None for seconds in ran):
            return round(sum(seconds or 0 for seconds in ran))
        return int(self.mark[3] or 0) if self.mark else 0

    def minutes(self) -> int:
        """At least one."""
        words = sum(len(_read(cell).split()) for cell in self.cells)
        exercises = sum("exercise" in cell.metadata.get("tags", []) for cell in self.cells)
        return max(1, round(words / WORDS_A_MINUTE + exercises * MINUTES_AN_EXERCISE + self.running() / 60))


def _read(cell: NotebookNode) -> str:
    """What of a cell is read, without its mark."""
    if cell.cell_type == "markdown":
        return MARK.sub("", cell.source)
    told = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    return " ".join(told if cell.metadata.get("jupyter", {}).get("source_hidden") else [cell.source, *told])


def sections(notebook: NotebookNode) -> Iterator[Section]:
    """All that have a mark: the sections, and each exercise, which belongs to its section as well."""
    whole: Section | None = None
    part: Section | None = None
    for cell in notebook.cells:
        found = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        if found:
            ended, new = [part, whole] if found[1] == "##" else [part], Section(cell)
            yield from (section for section in ended if section)
            whole, part = (new, None) if found[1] == "##" else (whole, new)
        for section in (whole, part):
            if section:
                section.cells.append(cell)
    yield from (section for section in (part, whole) if section)


def total(notebook: NotebookNode) -> str:
    """The minutes of the core sections, of the advanced ones, and of the exercises."""
    minutes = dict.fromkeys(LEVELS, 0)
    for section in sections(notebook):
        if section.mark and section.title.startswith("## "):
            minutes[section.mark[1]] += int(section.mark[2])
    names = zip(("core", "advanced", "exercises"), minutes.values())
    return ", ".join(f"{name} {_counted(count)}" for name, count in names if count)


def at_quick(notebook: NotebookNode) -> str:
    """How long all its sections ran, to half a minute, in words."""
    seconds = sum(section.running() for section in sections(notebook) if section.title.startswith("## "))
    halves = max(1, round(seconds / 30))
    return {1: "half a minute", 2: "a minute"}.get(halves, f"{halves // 2}{'½' * (halves % 2)} minutes")


def _counted(minutes: int) -> str:
    return f"{minutes} minute{'s' * (minutes > 1)}"


def mark(path: Path) -> None:
    """Bring the minutes of a notebook up to date, where its headings have marks; the rest stays as it is."""
    notebook = nbformat.read(path, as_version=4)
    for section in sections(notebook):
        if section.mark:
            running = section.running()
            told = f"*{section.mark[1]} · {_counted(section.minutes())}"
            told += f", {running} s of them running*" if running else "*"
            section.head.source = section.head.source.replace(section.mark[0], told, 1)
    table = notebook.cells[1]
    table.source = ROW.sub(lambda row: row[1] + total(notebook), table.source)
    table.source = QUICK.sub(lambda row: row[1] + at_quick(notebook) + row[2], table.source)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("[0-9]*.ipynb")):
        mark(path)
