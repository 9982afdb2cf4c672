"""Reports from the templates in ``templates/``: as HTML that stands alone, as Markdown, and the HTML as PDF.

Whatever is put into HTML is escaped, and so is what is put into Markdown, with the filter ``plain``. A page has no
scripts and fetches nothing: its style and its pictures are in it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
from typing import Any
from unittest import mock
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import ImageFile

from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import markdown, terminal
from rdd_nb.figures.figure import Figure, shortened

__all__ = ["pdf", "render"]

LETTERS = (9, 8.2, 7.4, 6.8, 6.2, 5.6, 5)  # in points: the largest is taken with which all stands on one page
NEEDED = "a PDF needs WeasyPrint: pip install 'rdd-nb[pdf]'"
NEEDED_TOO = (
    "a PDF needs WeasyPrint, and that needs Pango, which this system lacks: apt-get install libpango-1.0-0 "
    "libpangoft2-1.0-0 libharfbuzz-subset0 (Debian, Ubuntu), or brew install pango (macOS)"
)


def _inline(figure: Figure) -> str:
    """A figure as an address that holds it, as a PNG; the same figure is the same text."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"


def _shown(value: Any) -> Any:
    """A text with its control characters spelled out; what a template has made is as it should be."""
    return terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


TEMPLATES = Environment(
    loader=PackageLoader("rdd_nb.reporting"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    finalize=_shown,
)
TEMPLATES.filters |= {"address": quote, "inline": _inline, "plain": markdown, "shortened": shortened}


def render(template: str, **content: Any) -> str:
    """A template of ``templates/``, filled in: what ends in ``.html`` escapes all that is put into it."""
    return TEMPLATES.get_template(template).render(content)


def pdf(page: str) -> bytes:
    """A page of HTML as a PDF, on one sheet of A4 where smaller letters can do that; the same page, the same bytes.

    Raises:
        RddError: WeasyPrint is not installed, or its library Pango is not; in one line, with what to install.
    """
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where a library is missing it prints a page of advice
            import weasyprint
            from weasyprint.urls import URLFetcher
    except ImportError:
        raise RddError(NEEDED) from None
    except OSError:
        raise RddError(NEEDED_TOO) from None
    finally:  # it lets Pillow take truncated images in the whole process: what is read later would be wrong in silence
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
    alone = URLFetcher(allowed_protocols=["data"])
    for points in LETTERS:
        letters = weasyprint.CSS(string=f"body {{ font-size: {points}pt !important }}")
        document = weasyprint.HTML(string=page, url_fetcher=alone).render(stylesheets=[letters])
        if len(document.pages) == 1:
            break
    with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="0"):  # else fontTools may put the time of day into a font
        return document.write_pdf(pdf_tags=True)
