"""The base class of all explorers: controls, a pure computation, a picture and a description of it in words."""

from __future__ import annotations

import contextlib
import html
import io
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import ipywidgets as widgets

from rdd_nb.core.errors import RddError
from rdd_nb.figures.figure import Figure

__all__ = ["INKS", "MARKERS", "Explorer", "choice", "literal", "render"]

#: Okabe and Ito's colours, those of :data:`rdd_nb.figures.COLOURS` first; and a marker for each, since colour alone
#: tells nothing to some readers.
INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*", "<", ">")

_DPI = 130  # of the PNG; it is shown at 100, so it is sharp on finer screens too

State = TypeVar("State")


def render(figure: Figure) -> bytes:
    """The figure as PNG; nothing is left open."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def one_line(error: BaseException) -> str:
    """An error as a person can read it: RddError speaks for itself, others say their kind too."""
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, RddError) else f"{type(error).__name__}: {first}"


def literal(words: str) -> str:
    """A text as HTML that says it letter by letter: neither tags nor, where a page has MathJax, formulas.

    >>> literal("$10k_$50k <b>")
    '<span>$</span>10k_<span>$</span>50k &lt;b&gt;'
    """
    return re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(words))  # a formula ends where a tag begins


def choice(description: str, options: Sequence[Any], value: Any = None) -> widgets.ToggleButtons:
    """One of several: buttons for up to five, else a slider over their names.

    Not a dropdown: JupyterLab takes the keys away from a closed one (an arrow moves to the next cell, the letter A adds
    a cell; ipywidgets issue 3912), while buttons keep Tab, Enter and Space, and sliders the left and right arrows.
    """
    first = options[0][1] if isinstance(options[0], tuple) else options[0]
    given = {"options": options, "value": first if value is None else value, "description": description}
    if len(options) > 5:
        return widgets.SelectionSlider(**given, continuous_update=False, layout=widgets.Layout(width="420px"))
    apart = widgets.Layout(margin="2px 24px 2px 2px")  # two of them side by side must not read as one
    return widgets.ToggleButtons(**given, style={"button_width": "auto"}, layout=apart)


class Explorer(Generic[State]):
    """A controller: the controls are attributes, ``state`` holds plain numbers, and every change goes one way.

    A control changes → :meth:`choices` reads them all → :meth:`compute` (pure) → :meth:`draw` and :meth:`describe`.
    ``explorer.panel()`` is what a notebook displays. Python drives it as a hand does: ``explorer.tail.value = 0.1``.

    An error in a callback is shown in the caption as one line, kept in ``errors`` and, so that a scan of the
    notebook's widget state finds it (:func:`rdd_nb.experiments.notebook.problems`), in a hidden ``Output``; then it
    is raised to the caller. Jupyter itself would drop it where a browser set the value.

    Attributes:
        state: the last computed state.
        picture: the PNG, a ``widgets.Image``.
        caption: what is to be seen, in words; plain text in ``words``.
        errors: every error of a callback, in order.
    """

    state: State

    def __init__(self, width: int = 900) -> None:
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width=f"{width}px", max_width="100%"))
        self.caption = widgets.HTML(layout=widgets.Layout(max_width=f"{width}px"))
        self.words = ""
        self.errors: list[Exception] = []
        self._trouble = widgets.Output(layout=widgets.Layout(display="none"))
        self._held = 0

    def choices(self) -> dict[str, Any]:
        """What the controls say, as the arguments of :meth:`compute`."""
        raise NotImplementedError

    def compute(self, **choices: Any) -> State:
        """The state that belongs to the choices; touches no widget."""
        raise NotImplementedError

    def draw(self, state: State) -> Figure:
        """The picture of a state."""
        raise NotImplementedError

    def describe(self, state: State) -> str:
        """What the picture shows, in words and numbers."""
        raise NotImplementedError

    def controls(self) -> Sequence[widgets.Widget]:
        """The controls, in reading order."""
        raise NotImplementedError

    def panel(self) -> widgets.VBox:
        """The widget to display: controls, picture, caption."""
        row = widgets.HBox(list(self.controls()), layout=widgets.Layout(flex_flow="row wrap", align_items="center"))
        return widgets.VBox([row, self.picture, self.caption, self._trouble])

    def refresh(self) -> None:
        """Compute and draw anew; raises what goes wrong."""
        state = self.compute(**self.choices())
        png, words = render(self.draw(state)), self.describe(state)
        self.state, self.picture.value = state, png
        self._say(words)

    def check(self) -> None:
        """Raise the first error that a callback met, if there is one: for the check cell of a notebook."""
        if self.errors:
            raise self.errors[0]

    def _watch(self, *controls: widgets.Widget) -> None:
        """Redraw when one of ``controls`` changes; and now, where an error is the caller's."""
        for control in controls:
            control.observe(self._changed, names="value")
        self.refresh()

    def _changed(self, _change: object = None) -> None:
        if not self._held:
            with self._reported():
                self.refresh()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed(error)
            raise

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Set several controls as one change: nothing is drawn inside."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _say(self, words: str) -> None:
        self.words = words
        # role=status: a screen reader says the new caption when a control has moved
        self.caption.value = f'<p role="status" style="line-height:1.4; margin:0.3em 0">{literal(words)}</p>'

    def _failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.words = f"This did not work: {one_line(error)}"
        self.caption.value = f'<p role="alert" class="rdd-error"><b>{literal(self.words)}</b></p>'
        told = {"output_type": "error", "ename": type(error).__name__, "evalue": one_line(error)}
        self._trouble.outputs += ({**told, "traceback": traceback.format_exception(error)},)
