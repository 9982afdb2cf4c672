"""The tail explorer as a page that needs no kernel: every number is computed here, and the page's script only draws.

The directive ``tail-explorer`` puts the data into the page; ``tail-table`` says the same as a table, for those who have
no scripts, or read on paper.
"""

from __future__ import annotations

import functools
import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from rdd_nb.course.widgets.tail import TailExplorer, TailState

LOSSES = Path(__file__).resolve().parents[1] / "tail_losses.csv"
START = 20  # per cent, where the slider stands at first
IN_THE_TABLE = (100, 50, 20, 10, 5, 2, 1)

CONTROLS = """\
<div class="tail-explorer" id="tail-explorer" hidden>
<div class="tail-control">
<label for="tail-slider">tail <output for="tail-slider" id="tail-value"></output></label>
<input type="range" id="tail-slider" min="1" max="100" step="1" value="{start}" aria-describedby="tail-keys">
<span class="tail-ends" aria-hidden="true"><span>the worst 1 %</span><span>all: the mean</span></span>
</div>
<figure><svg id="tail-shares" role="img"></svg></figure>
<div class="tail-panels">
<figure><figcaption>The losses, worst first</figcaption><svg id="tail-losses" role="img"></svg></figure>
<figure><figcaption>CVaR is this curve’s minimum, <span id="tail-minimum"></span></figcaption>
<svg id="tail-curve" role="img"></svg></figure>
</div>
<p role="status" id="tail-said"></p>
<p class="tail-keys" id="tail-keys">Drag, or press the arrow keys; Page Up and Page Down move by ten, Home and End to
the ends.</p>
</div>
<p id="tail-without"><em>The slider needs JavaScript, which does not run here. The table below has the same
numbers.</em></p>
<script type="application/json" id="tail-data">{data}</script>
<script src="{script}" defer></script>
"""


@functools.cache
def explorer() -> TailExplorer:
    """The one of the Lab, on the losses of notebook 01."""
    table = pd.read_csv(LOSSES)
    return TailExplorer(table["loss"].to_numpy(copy=True), groups=table["group"].tolist())


@functools.cache
def state(percent: int) -> TailState:
    """What it shows at a tail of so many per cent."""
    return explorer().compute(tail=percent / 100)


def said(percent: int) -> str:
    """Its words there; on a narrow screen the curve stands below the losses, not on the right."""
    return explorer().describe(state(percent)).replace("the curve on the right", "the curve")


def data() -> dict[str, Any]:
    """What the page holds: ``losses`` (descending, nats), each one's ``groups`` as a string of digits, their ``names``
    and ``shares`` of all samples, the ``mean``, and ``states`` at tails of 1, 2, … 100 %.

    >>> sorted(data())
    ['groups', 'losses', 'mean', 'names', 'shares', 'states']
    >>> sorted(data()["states"][0])
    ['cvar', 'inside', 'said', 'shares', 'tail', 'threshold']
    """
    of_all = state(100)
    assert of_all.groups is not None
    return {
        "losses": of_all.losses.tolist(),
        "groups": "".join(map(str, of_all.groups)),
        "names": of_all.group_names,
        "shares": of_all.shares.tolist(),
        "mean": of_all.mean,
        "states": [_numbers(percent) for percent in range(1, 101)],
    }


def _numbers(percent: int) -> dict[str, Any]:
    there = state(percent)
    return {
        "tail": there.tail,
        "cvar": there.cvar,
        "threshold": there.threshold,
        "inside": int((there.weights > 0).sum()),
        "shares": there.tail_shares.tolist(),
        "said": said(percent),
    }


class TailExplorerPage(Directive):
    """The slider and its pictures."""

    def run(self) -> list[nodes.Node]:
        """HTML with the data in it, safe inside a script element."""
        told = json.dumps(data(), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return [nodes.raw("", CONTROLS.format(start=START, data=told, script="../_static/tail.js"), format="html")]


class TailTable(Directive):
    """The same numbers at a few tails."""

    def run(self) -> list[nodes.Node]:
        """An HTML table, since a list of cells is what it is."""
        rare = min(range(len(state(100).shares)), key=lambda g: state(100).shares[g])
        name = html.escape(state(100).group_names[rare])
        heads = ("tail", "CVaR, nats", "threshold η, nats", "largest weight × N", f"{name} images in the tail")
        head = "".join(f'<th scope="col">{text}</th>' for text in heads)
        rows = ""
        for percent in IN_THE_TABLE:
            there = state(percent)
            heaviest = there.weights.max() * len(there.losses)
            found = [f"{value:.3g}" for value in (there.cvar, there.threshold, heaviest)]
            found.append(f"{100 * there.tail_shares[rare]:.0f}&nbsp;%")
            cells = "".join(f"<td>{cell}</td>" for cell in found)
            rows += f'<tr><th scope="row">{percent}&nbsp;%</th>{cells}</tr>'
        text = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        box = '<div class="pst-scrollable-table-container"><table class="table tail-table">{}</table></div>'
        return [nodes.raw("", box.format(text), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Two directives for one page."""
    app.add_directive("tail-explorer", TailExplorerPage)
    app.add_directive("tail-table", TailTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
