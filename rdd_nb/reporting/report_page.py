"""How a :class:`rdd_nb.reporting.report.Report` is laid out: as HTML with everything in it, and as one A4 page in PDF.

The HTML has no scripts and fetches nothing; all that comes from the data is escaped. It follows the reader's light or
dark setting, and prints on one page.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.image import imread

from rdd_nb.figures import report_figures, subgroup_figures
from rdd_nb.figures.report_figures import shortened
from rdd_nb.reporting import pieces

if TYPE_CHECKING:
    from rdd_nb.reporting.report import Report

__all__ = ["html", "page", "pdf"]

ROWS, COLUMNS, FINDINGS, DRAWN = 10, 10, 5, 10  # how much of long tables stands on the page
SAID = "Test accuracy in %, with 95 % intervals that hold for all groups of a kind at once. "
UNKNOWN = "The run does not say how it was made."
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #bbb; --soft: #555; --bad: #a03000; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --paper: #161616; --line: #555; --soft: #aaa; --bad: #ff9a6b; } }
* { box-sizing: border-box; }
body { font: 12px/1.35 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1rem auto;
  max-width: 62rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6em; margin: 0 0 .1em; } h2 { font-size: 1.1em; margin: .8em 0 .2em; }
p, ul { margin: .2em 0; } ul { padding-left: 1.2em; } .soft { color: var(--soft); } .error { color: var(--bad); }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.6em; } .wide { grid-column: 1 / -1; }
section { min-width: 0; }
table { border-collapse: collapse; width: 100%; font-size: .92em; table-layout: fixed; }
th { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; } tr > th:first-child { width: 24%; }
th, td { text-align: right; padding: .1em .35em; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; } caption { text-align: left; color: var(--soft); }
img { max-width: 100%; height: auto; background: #fff; display: block; margin: .2em auto; }
pre { white-space: pre-wrap; margin: .2em 0; font-size: .9em; }
@media (max-width: 40rem) { main { grid-template-columns: 1fr; } }
@page { size: A4; margin: 9mm; }
@media print {
  :root { --ink: #000; --paper: #fff; --line: #bbb; --soft: #444; --bad: #a03000; }
  body { font-size: 7.4pt; line-height: 1.2; margin: 0; padding: 0; max-width: none; }
  h2 { margin-top: .5em; break-after: avoid; } table, img { break-inside: avoid; }
  main { grid-template-columns: 1fr 1fr; }
  .sheet img { max-height: 54mm; } th, td { padding: 0 .3em; } .served img { max-height: 58mm; } }
"""


# ------------------------------------------------------------------------------------------------ what both layouts say


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.0f}"


def _rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """For each row of the table: its name, its test images, and a text a method: accuracy with its interval."""
    first = next(iter(report.tables.values()))
    rows = []
    for index, (name, n, block) in enumerate(zip(first["group"], first["n"], first["block"])):
        cells = []
        for table in report.tables.values():
            one = table.iloc[index]
            ends = (
                "" if one["n"] == 0 else f" [{_percent(one['low_simultaneous'])}, {_percent(one['high_simultaneous'])}]"
            )
            cells.append(_percent(one["accuracy"]) + ends)
        rows.append((f"{name}" if block != "all" else "all images", f"{n:,}", cells))
    return rows


def _short_rows(report: Report) -> tuple[list[tuple[str, str, list[str]]], str]:
    """The first rows, and how many are left out."""
    rows, full = _rows(report), _layout(report)[1] and len(report.findings) > FINDINGS
    most = ROWS if full else ROWS + 4
    return rows[:most], f"{len(rows) - most} more rows are left out." if len(rows) > most else ""


def _made_on(report: Report) -> str:
    m = report.made_on
    keys = ("processor", "device", "cores", "threads")
    words = {"cores": "{} cores", "threads": "threads: {}"}
    hardware = ", ".join(words.get(key, "{}").format(m[key]) for key in keys if m.get(key) not in (None, ""))
    versions = ", ".join(f"{key} {m[key]}" for key in ("rdd_nb", "torch", "python") if m.get(key))
    return f"{hardware}; {versions}; measured {m.get('date', 'on an unknown day')}"


def _sides(report: Report) -> str:
    return " + ".join(f"{name} ({table.sum():,})" for name, table in report.counts.items())


def _about(report: Report) -> str:
    seen = report.counts.get("training")
    stand = "" if seen is None else f" stand for {seen.sum():,} training images and"
    judged = f"{report.counts['test'].sum():,} test images"
    return f"{report.data}: {len(report.synthetic.labels):,} images{stand} were judged on {judged}. {_made_on(report)}."


def _settings(report: Report) -> str:
    return "; ".join(f"{name} {value}" for name, value in report.settings.items()) + "."


def _cell(report: Report, c: int, g: int) -> str:
    """The counts of a class and a group, one for each side, such as ``90 + 20``."""
    return " + ".join(f"{table[c, g]:,}" for table in report.counts.values())


def _layout(report: Report) -> tuple[int, bool]:
    """How many groups the table of counts shows, and whether it needs the whole width: no number is ever cut."""
    groups = len(report.group_names)
    cells = (len(_cell(report, c, g)) for c in range(len(report.class_names)) for g in range(groups))
    letters = 2 + max(5, *cells)  # five, for the names above
    wide = groups * letters > 44
    return min(groups, COLUMNS, (100 if wide else 44) // letters), wide


def _counts(report: Report) -> tuple[str, list[str], list[list[str]]]:
    """Caption, head and rows of the counts of class by group."""
    columns, classes = _layout(report)[0], report.class_names
    groups = len(report.group_names)
    left = [f"{len(classes) - ROWS} more classes"] * (len(classes) > ROWS)
    left += [f"{groups - columns} more groups"] * (groups > columns)
    caption = f"Images: {_sides(report)}." + (f" {' and '.join(left)} are left out." if left else "")
    rows = [[name, *(_cell(report, c, g) for g in range(columns))] for c, name in enumerate(classes[:ROWS])]
    return caption, ["class", *report.group_names[:columns]], rows


def _findings(report: Report) -> list[str]:
    shown = [str(finding) for finding in report.findings[:FINDINGS]]
    more = len(report.findings) - FINDINGS
    return shown + ([f"and {more} more"] if more > 0 else []) or ["nothing was found, or nothing was checked"]


def _served_alt(report: Report) -> str:
    name, table = next(iter(report.finest.items()))
    there = table[table["n"] > 0].sort_values("accuracy", kind="stable")
    worst, best = there.iloc[0], there.iloc[-1]
    return (
        f"Accuracy of {len(there)} groups under {' and '.join(report.finest)}, with intervals, over bands of chance. "
        f"Under {name} the worst is {worst['group']} with {worst['accuracy']:.0%}, the best {best['group']} with "
        f"{best['accuracy']:.0%}."
    )


def _sheet_alt(report: Report) -> str:
    made = report.synthetic
    return (
        f"{len(made.labels)} synthetic images, {made.ipc} of each of {made.num_classes} classes, a row for each class."
    )


def _served(report: Report) -> Figure:
    named = {
        name: table.assign(group=[shortened(str(g), 30) for g in table["group"]])
        for name, table in list(report.finest.items())[:2]
    }
    bands = {name: report.bands[name] for name in named}
    return report_figures.literal(subgroup_figures.lollipops(named, bands, most=DRAWN))


# ----------------------------------------------------------------------------------------------------------------- HTML


def html(report: Report) -> str:
    """The whole page as one HTML text."""
    rows, more = _short_rows(report)
    caption, head, counted = _counts(report)
    counts = f"<h2>The data</h2>{pieces.table(head, counted, caption)}"
    counts = f'<section class="wide">{counts}</section><section>' if _layout(report)[1] else f"<section>{counts}"
    served = pieces.table(
        ["group", "test images", *report.tables], [[n, size, *cells] for n, size, cells in rows], SAID + more
    )
    command = f"<pre>{pieces.escaped(report.command)}</pre>" if report.command else f"<p>{UNKNOWN}</p>"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{pieces.escaped(report.title)}</title><style>{STYLE}</style></head><body>
<header><h1>{pieces.escaped(report.title)}</h1><p class="soft">{pieces.escaped(_about(report))}</p></header>
<main>
{counts}<h2>What the checks found</h2>{pieces.items(_findings(report))}</section>
<section class="sheet"><h2>The synthetic images</h2>
{pieces.image(report_figures.sheet(report.synthetic), _sheet_alt(report))}</section>
<section class="wide"><h2>Who is served</h2>{served}</section>
<section class="wide served">{pieces.image(_served(report), _served_alt(report))}</section>
<section class="wide"><h2>What these numbers do not say</h2>{pieces.items(report.limits)}</section>
<section class="wide"><h2>How it was made</h2><p>{pieces.escaped(_settings(report))}</p>{command}</section>
</main></body></html>
"""


# ------------------------------------------------------------------------------------------------------------------ PDF

WIDTH, HEIGHT = 8.27, 11.69  # A4 in inches
_LEFT, _RIGHT = 0.06, 0.94
SMALL = 6.5  # points


def _tall(size: float) -> float:
    """A line of text of so many points, as a part of the page's height."""
    return 1.32 * size / 72 / HEIGHT


class _Writer:
    """Puts lines of text on a figure, from the top down."""

    def __init__(self, figure: Figure, left: float, right: float, top: float):
        self.figure, self.left, self.right, self.y = figure, left, right, top

    def line(self, text: str, size: float = 7, **looks: Any) -> None:
        self.figure.text(self.left, self.y, text, fontsize=size, va="top", **looks)
        self.y -= _tall(size)

    def wrapped(self, text: str, size: float, hang: str = "") -> list[str]:
        """Lines that fit the width: a letter of DejaVu Sans is about half as wide as high."""
        room = int((self.right - self.left) * WIDTH * 72 / (0.52 * size))
        return textwrap.wrap(text, room, initial_indent=hang, subsequent_indent=" " * len(hang)) or [""]

    def text(self, text: str, size: float = 7, hang: str = "", **looks: Any) -> None:
        for part in self.wrapped(text, size, hang):
            self.line(part, size, **looks)

    def head(self, text: str) -> None:
        self.y -= 0.006
        self.line(text, 9, weight="bold")
        self.y -= 0.002

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], first: float, size: float = 6.5) -> None:
        """Columns of equal width, right-justified, after a first one of the part ``first`` of the width."""
        span = self.right - self.left
        edges = [self.left + span * (first + (1 - first) * (k + 1) / (len(head) - 1)) for k in range(len(head) - 1)]
        most = max(4, int(span * (1 - first) / (len(head) - 1) * WIDTH * 72 / (0.66 * size)) - 1)
        for number, row in enumerate([head, *rows]):
            looks: dict[str, Any] = {"fontsize": size, "va": "top", "weight": "bold" if number == 0 else "normal"}
            name = shortened(row[0], int(span * first * WIDTH * 72 / (0.6 * size)))
            self.figure.text(self.left, self.y, name, **looks)
            for x, cell in zip(edges, row[1:]):
                self.figure.text(x, self.y, shortened(cell, most), ha="right", **looks)
            self.y -= 1.4 * size / 72 / HEIGHT

    def picture(self, drawn: Figure, most: float) -> None:
        """A figure as a picture of the width, or of the part ``most`` of the page's height, if that is smaller."""
        pixels = imread(io.BytesIO(pieces.png(drawn, 200)))
        across = (self.right - self.left) * WIDTH
        tall = min(across * pixels.shape[0] / pixels.shape[1], most * HEIGHT)
        wide = tall * pixels.shape[1] / pixels.shape[0]
        left = self.left + (across - wide) / 2 / WIDTH
        axes = self.figure.add_axes((left, self.y - tall / HEIGHT, wide / WIDTH, tall / HEIGHT))
        axes.imshow(pixels, interpolation="antialiased")
        axes.set_axis_off()
        self.y -= tall / HEIGHT + 0.006


def page(report: Report) -> Figure:
    """The report as one A4 page."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    top = _Writer(figure, _LEFT, _RIGHT, 0.97)
    top.text(report.title, 15, weight="bold")
    top.text(_about(report))
    wide = _layout(report)[1]
    data = top if wide else _Writer(figure, _LEFT, 0.51, top.y)
    data.head("The data")
    caption, head, counted = _counts(report)
    data.text(caption, SMALL)
    data.table(head, counted, 0.2 if wide else 0.3)
    left = _Writer(figure, _LEFT, 0.51, data.y)
    right = _Writer(figure, 0.55, _RIGHT, top.y)
    left.head("What the checks found")
    for finding in _findings(report):
        left.text(finding, SMALL, hang="• ")
    right.head("The synthetic images")
    right.picture(report_figures.sheet(report.synthetic), 0.24)

    below = _Writer(figure, _LEFT, _RIGHT, min(left.y, right.y))
    below.head("Who is served")
    rows, more = _short_rows(report)
    below.text(SAID + more, SMALL)
    below.table(["group", "test images", *report.tables], [[name, n, *cells] for name, n, cells in rows], 0.25)
    closing = [("• ", limit) for limit in report.limits] + [("", _settings(report))]
    closing += [("", line) for line in (report.command or UNKNOWN).splitlines()]
    lines = sum(len(below.wrapped(text, SMALL, hang)) for hang, text in closing)
    room = below.y - lines * _tall(SMALL) - 2 * _tall(9) - 0.05  # what the words below leave to the picture
    below.picture(_served(report), min(max(room, 0.08), 0.36))
    below.head("What these numbers do not say")
    for number, (hang, text) in enumerate(closing):
        if number == len(report.limits):
            below.head("How it was made")
        below.text(text, SMALL, hang)
    return report_figures.literal(figure)


def pdf(report: Report) -> bytes:
    """The page as a PDF; the same report gives the same bytes."""
    written = io.BytesIO()
    metadata = {"Title": report.title, "CreationDate": None}
    page(report).savefig(written, format="pdf", metadata=metadata)
    return written.getvalue()
