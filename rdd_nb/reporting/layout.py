"""What of a :class:`rdd_nb.reporting.content.Report` stands on its page: cut tables, captions, pictures with words."""

from __future__ import annotations

import pandas as pd

from rdd_nb.figures import report_figures, subgroup_figures
from rdd_nb.figures.figure import Figure, shortened
from rdd_nb.reporting.content import Report
from rdd_nb.reporting.rendering import render

__all__ = ["html"]

ROWS, COLUMNS, FINDINGS, DRAWN = 10, 10, 5, 10  # how much of long tables stands on the page
SAID = "Test accuracy in %, with 95 % intervals that hold for all groups of a kind at once. "
MADE_ON = {"processor": "{}", "device": "{}", "cores": "{} cores", "threads": "threads: {}"}

Table = tuple[list[str], list[list[str]], str]  #: head, rows and caption


def html(report: Report) -> str:
    """The whole page as one HTML text; the same report gives the same text."""
    columns, wide = _columns(report)
    kept = f"; {report.synthetic.kept}" if report.synthetic.kept else ""
    made, crowded = report.synthetic, wide and len(report.findings) > FINDINGS
    return render(
        "run.html",
        title=report.title,
        about=[_about(report)],
        report=report,
        wide=wide,
        counts=_counts(report, columns),
        findings=_findings(report),
        sheet=(
            report_figures.sheet(made),
            f"{len(made.labels)} synthetic images, {made.ipc} a class, in rows by class{kept}.",
        ),
        served=_served(report, ROWS if crowded else ROWS + 4),
        drawn=(_drawn(report), _drawn_alt(report)),
    )


def _about(report: Report) -> str:
    seen, made = report.counts.get("training"), report.made_on
    stand = "" if seen is None else f" stand for {seen.sum():,} training images and"
    hardware = ", ".join(words.format(made[key]) for key, words in MADE_ON.items() if made.get(key) not in (None, ""))
    versions = ", ".join(f"{key} {made[key]}" for key in ("rdd_nb", "torch", "python") if made.get(key))
    return (
        f"{shortened(report.data, 80)}: {len(report.synthetic.labels):,} images{stand} were judged on "
        f"{report.counts['test'].sum():,} test images. {hardware}; {versions}; "
        f"measured {made.get('date', 'on an unknown day')}."
    )


def _cell(report: Report, c: int, g: int) -> str:
    """The counts of a class and a group, one for each side, such as ``90 + 20``."""
    return " + ".join(f"{table[c, g]:,}" for table in report.counts.values())


def _columns(report: Report) -> tuple[int, bool]:
    """How many groups the table of counts shows, and whether it needs the whole width: no number is ever broken."""
    groups = len(report.group_names)
    cells = (len(_cell(report, c, g)) for c in range(len(report.class_names)) for g in range(groups))
    letters = 2 + max(5, *cells)  # five, for the names above
    wide = groups * letters > 44
    return min(groups, COLUMNS, (100 if wide else 44) // letters), wide


def _counts(report: Report, columns: int) -> Table:
    """The counts of class by group, cut to so many groups."""
    classes, groups = report.class_names, report.group_names
    left = [f"{len(classes) - ROWS} more classes"] * (len(classes) > ROWS)
    left += [f"{len(groups) - columns} more groups"] * (len(groups) > columns)
    sides = " + ".join(f"{name} ({table.sum():,})" for name, table in report.counts.items())
    caption = f"Images: {sides}." + (f" {' and '.join(left)} are left out." if left else "")
    rows = [[name, *(_cell(report, c, g) for g in range(columns))] for c, name in enumerate(classes[:ROWS])]
    return ["class", *groups[:columns]], rows, caption


def _findings(report: Report) -> list[str]:
    shown = [str(finding) for finding in report.findings[:FINDINGS]]
    more = len(report.findings) - FINDINGS
    return shown + ([f"and {more} more"] if more > 0 else []) or ["nothing was found, or nothing was checked"]


def _served(report: Report, most: int) -> Table:
    """For each group its test images and, a column a method, its accuracy with the interval; the first rows."""
    first = next(iter(report.tables.values()))
    rows = [
        [
            "all images" if block == "all" else str(name),
            f"{n:,}",
            *(_accuracy(t.iloc[k]) for t in report.tables.values()),
        ]
        for k, (name, n, block) in enumerate(zip(first["group"], first["n"], first["block"]))
    ]
    more = f"{len(rows) - most} more rows are left out." if len(rows) > most else ""
    return ["group", "test images", *report.tables], rows[:most], SAID + more


def _accuracy(row: pd.Series) -> str:
    """In per cent, such as ``71 [65, 78]``; a dash for a group without images."""
    if row["n"] == 0:
        return "–"
    value, low, high = (100 * row[c] for c in ("accuracy", "low_simultaneous", "high_simultaneous"))
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def _drawn(report: Report) -> Figure:
    """The groups of the first two methods, from the worst up, over what chance would show."""
    first = dict(list(report.finest.items())[:2])
    return subgroup_figures.lollipops(first, {name: report.bands[name] for name in first}, most=DRAWN)


def _drawn_alt(report: Report) -> str:
    name, table = next(iter(report.finest.items()))
    there = table[table["n"] > 0].sort_values("accuracy", kind="stable")
    worst, best = there.iloc[0], there.iloc[-1]
    return (
        f"Accuracy of {len(there)} groups under {' and '.join(list(report.finest)[:2])}, with intervals, over the band "
        f"that would hold them all if they were alike. Under {name} the worst is {worst['group']} with "
        f"{worst['accuracy']:.0%}, the best {best['group']} with {best['accuracy']:.0%}."
    )
