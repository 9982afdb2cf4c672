"""What the closing page of the course says in numbers, read from what was measured when the site is built.

``found`` quotes lines of a notebook's summary, which the notebook computed; ``real-sets`` is a table of ``real.csv``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rdd_nb.evaluation.results import gain_told

ROOT = Path(__file__).resolve().parents[2]


def summary(notebook: str) -> dict[str, str]:
    """The lines of a notebook's last section as committed, by what each begins with in bold.

    >>> [*summary("00_quickstart")][3:5]
    ['Found', 'Distilled robustly']
    """
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = [cell["source"] for cell in cells]
    last = next(i for i, text in enumerate(texts) if "".join(text).startswith("## Summary"))
    told = [out["data"]["text/markdown"] for cell in cells[last:] for out in cell.get("outputs", []) if "data" in out]
    lines = "".join("".join(text) for text in told).splitlines()
    return {m[1]: line for line in lines if (m := re.match(r"- \*\*(.+?)\*\*", line))}


def real_sets() -> list[tuple[str, str, str, str]]:
    """Of each real set: its name, in how many seeds anything was raised, and the gains that this brought.

    Gains are those of the default over plain distillation in points, in the mean accuracy and in that of the worst
    group, paired by seed; in brackets 95 % intervals over seeds, where there are several.
    """
    table = pd.read_csv(ROOT / "data" / "results" / "real.csv")
    table = table[table["set"].isin(table.loc[table["method"] == "robust", "set"])]
    rows = []
    for name, part in table.groupby("set", sort=False):
        found = part.loc[part["method"] == "robust", "found"]
        raised = f"{found.str.startswith('Raised').sum()} of {len(found)}"
        rows.append((str(name), raised, _gain(part, "accuracy"), _gain(part, "worst group")))
    return rows


def _gain(part: pd.DataFrame, measure: str) -> str:
    wide = part.pivot(index="seed", columns="method", values=measure)
    gains = (wide["robust"] - wide["plain"]).dropna().to_numpy()
    if not len(gains):
        return "no groups named"
    return gain_told(gains)


class Markdown(SphinxDirective):
    """A directive whose text is computed."""

    has_content, final_argument_whitespace = False, True

    def lines(self) -> list[str]:
        """The text."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The text, read as the page's own."""
        holder = nodes.Element()
        self.state.nested_parse(StringList(self.lines(), self.get_source_info()[0]), 0, holder)
        return holder.children


class Found(Markdown):
    """``found NOTEBOOK: VERB, …``: these lines of its summary."""

    required_arguments = 1

    def lines(self) -> list[str]:
        """In the order asked for."""
        notebook, _, asked = self.arguments[0].partition(": ")
        verbs = asked.split(", ")
        held = summary(notebook)
        missing = [verb for verb in verbs if verb not in held]
        if missing:
            raise self.error(f"the summary of {notebook} has no line {', '.join(missing)}: it has {', '.join(held)}")
        return [held[verb] for verb in verbs]


class RealSets(Markdown):
    """:func:`real_sets` as a table."""

    def lines(self) -> list[str]:
        """Markdown."""
        head = ("set", "something raised, in seeds", "accuracy, gain in points", "worst group, gain in points")
        rows = [head, ("---", *["---:"] * 3), *real_sets()]
        return ["| " + " | ".join(row) + " |" for row in rows]


def setup(app: Sphinx) -> dict[str, bool]:
    """Two directives for one page."""
    app.add_directive("found", Found)
    app.add_directive("real-sets", RealSets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
