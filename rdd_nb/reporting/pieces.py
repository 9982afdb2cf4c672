"""Pieces of HTML pages that stand alone: text that is escaped, tables, pictures with everything in them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from rdd_nb.figures.report_figures import shortened

__all__ = ["escaped", "image", "items", "png", "table"]


def png(figure: Figure, dpi: int = 130) -> bytes:
    """A figure as a PNG that does not name the program that drew it: the same figure gives the same bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return drawn.getvalue()


def escaped(text: object) -> str:
    """A text as HTML shows it, between tags and in attributes."""
    return html.escape(str(text), quote=True)


def _named(scope: str, name: object) -> str:
    """A heading; of a long name the ends, and the whole where one points at it."""
    told = shortened(str(name), 18 if scope == "col" else 30)
    return f'<th scope="{scope}" title="{escaped(name)}">{escaped(told)}</th>'


def table(head: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A table; the first cell of each row is its heading."""
    heads = "".join(_named("col", name) for name in head)
    body = "".join(
        f"<tr>{_named('row', row[0])}" + "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<table><caption>{escaped(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def image(figure: Figure, alt: str) -> str:
    """A figure, inside the page, with alternative text for those who cannot see it."""
    return f'<img alt="{escaped(alt)}" src="data:image/png;base64,{base64.b64encode(png(figure)).decode()}">'


def items(lines: Sequence[str]) -> str:
    """A list with a point for each line; those that begin with ``error:`` stand out."""
    found = (
        f'<li class="error">{escaped(x)}</li>' if x.startswith("error:") else f"<li>{escaped(x)}</li>" for x in lines
    )
    return f"<ul>{''.join(found)}</ul>"
