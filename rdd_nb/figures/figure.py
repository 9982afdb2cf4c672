"""The ``Figure`` of all our figures: every text is shown as it is, and large enough, whatever a matplotlibrc says.

Names of classes, groups and runs come from users, so a name such as ``$10k_$50k`` is no formula. Our own formulas are
written in Unicode. No text is smaller than :data:`SMALLEST`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.figure
from matplotlib.axis import Axis
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import Formatter, LogFormatter, ScalarFormatter

__all__ = ["PIXELS_PER_INCH", "SMALLEST", "Figure", "legend_name", "shortened"]

#: CSS pixels that an inch of a figure is given on a page: 9.5 inches, the width of most, fit into a notebook's column.
PIXELS_PER_INCH = 79
#: The size of the smallest text, in points of the figure: 9 points on the page, where an inch has 96 pixels.
SMALLEST = 11.0

_drawing = threading.RLock()  # matplotlib's settings and fonts are shared by all figures, and runs draw in threads
_LITERAL: Any = {"text.parse_math": False, "text.usetex": False}
_RAISED = str.maketrans("0123456789-−.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻·")
_SIGNS = {r"\times": "×", r"\cdot": "·", r"\mathdefault": "", "$": "", "{": "", "}": ""}


def legend_name(name: str, most: int = 40) -> str:
    """A name that fits a legend, where matplotlib leaves out what begins with an underscore.

    >>> legend_name("bag"), legend_name("_bag") == "_bag"
    ('bag', False)
    """
    return "\u200b" * name.startswith("_") + shortened(name, most)  # a space of no width


def shortened(name: str, most: int = 24) -> str:
    """A name that fits beside a figure, with its ends, which tell ``camera 11`` from ``camera 12``.

    >>> shortened("a name that nobody can remember"), shortened("bag")
    ('a name that nobo…emember', 'bag')
    """
    end = (most - 1) // 3
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure in which a name is never a formula, a power of ten is ``10²``, and no text is too small.

    >>> figure = Figure()
    >>> _ = figure.subplots().set(title="$x_{$", xscale="log", xlim=(0.01, 1))
    >>> figure.draw_without_rendering()
    >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()][1:-1]
    ['10⁻²', '10⁻¹', '10⁰']
    """

    def draw(self, renderer: Any) -> None:
        """Draw all of it; what matplotlib makes on the way, such as the labels of ticks, is literal as well."""
        with _literal():
            for axes in self.axes:
                for axis in axes._axis_map.values():
                    _in_unicode(axis)
                    axis.get_majorticklabels(), axis.get_minorticklabels()  # they are made when they are asked for
            for text in self.findobj(Text):
                text.set_parse_math(False)
                text.set_usetex(False)
                text.set_fontsize(max(text.get_fontsize(), SMALLEST))
            engine = self.get_layout_engine()
            if self.canvas.is_saving() and isinstance(engine, ConstrainedLayoutEngine):
                # savefig draws twice: first on what draws nothing, to have the layout; then, with that, without engine.
                # The first pass would measure every text once more, which makes a third of the whole.
                engine.execute(self)
            else:
                super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As matplotlib's ``savefig``; one figure at a time, since they share their fonts."""
        with _literal():
            super().savefig(*args, **kwargs)


@contextlib.contextmanager
def _literal() -> Iterator[None]:
    with _drawing, matplotlib.rc_context(_LITERAL):
        yield


def _in_unicode(axis: Axis) -> None:
    """Let the labels that an axis makes from numbers be in Unicode, where matplotlib would write a formula."""
    major, minor = axis.get_major_formatter(), axis.get_minor_formatter()
    if isinstance(major, (LogFormatter, ScalarFormatter)):
        axis.set_major_formatter(_Unicode(major))
    if isinstance(minor, (LogFormatter, ScalarFormatter)):
        axis.set_minor_formatter(_Unicode(minor))


class _Unicode(Formatter):
    """What another formatter says, without its mathtext."""

    def __init__(self, inner: Formatter) -> None:
        self.inner = inner

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _plain(self.inner(x, pos))

    def format_ticks(self, values: Sequence[float]) -> list[str]:  # type: ignore[override, unused-ignore]
        return [_plain(text) for text in self.inner.format_ticks(list(values))]

    def format_data_short(self, value: float) -> str:
        return _plain(self.inner.format_data_short(value))

    def get_offset(self) -> str:
        return _plain(self.inner.get_offset())

    def set_locs(self, locs: list[float]) -> None:
        super().set_locs(locs)
        self.inner.set_locs(locs)

    def set_axis(self, axis: Any) -> None:
        super().set_axis(axis)
        self.inner.set_axis(axis)


def _plain(text: str) -> str:
    r"""What mathtext says of a number, in Unicode.

    >>> _plain(r"$\mathdefault{2\times10^{-3}}$"), _plain(r"$\times\mathdefault{10^{12}}\mathdefault{}$"), _plain("0.5")
    ('2×10⁻³', '×10¹²', '0.5')
    """
    text = re.sub(r"\^\{([^}]*)\}", lambda found: found.group(1).translate(_RAISED), text)
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    return text
