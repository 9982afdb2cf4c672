r"""Texts of strangers (names of classes, groups, files) shown where some letters mean more than themselves.

HTML is escaped by the templates' engine (:mod:`rdd_nb.reporting.rendering`); figures take every text literally
(:mod:`rdd_nb.figures`). What is left is here: the terminal, Markdown and CSV.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["code_block", "csv_text", "from_csv", "markdown", "terminal"]

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Letters that mean something in Markdown, and those that do at the beginning, the end or a side of a word.
_MARKDOWN = re.compile(
    r"[\\`*{}<>&|~$@]|^\[|\](?=[(\[])|(?<![^\W_])_|_(?![^\W_])|(?<!\S)#|^(?:=|[+-](?![^\s-]))|(?<=\w):(?=//)|(?<=www)\."
)
_FORMULA = re.compile(r"'*[=+\-@\t\r](?![\d.]+$)")  # but for plain numbers


def terminal(text: object) -> str:
    r"""A text with its control characters spelled out: it can neither move the cursor nor turn letters round.

    Line ends and tabs stay.

    >>> print(terminal("a\x1b[2Jb"), terminal("x\u202ey"))
    a\x1b[2Jb x\u202ey
    """
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def markdown(text: object) -> str:
    r"""A text that Markdown shows as it is, on one line and in a cell of a table: no HTML, link, heading or picture.

    What follows it in the document must not begin with a bracket.

    >>> print(markdown("a | b <i>"), markdown("![x](http://y)"), markdown("# no heading"), markdown("1. batch_real"))
    a \| b \<i\> ![x\](http\://y) \# no heading 1\. batch_real
    """
    plain = unicodedata.normalize("NFC", terminal(" ".join(str(text).split())))
    return re.sub(r"^(\d+)([.)])(?!\S)", r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", plain))


def code_block(text: object) -> str:
    """Lines that Markdown shows as they are, in the letters of a typewriter: no fence in them ends the block.

    >>> print(code_block("rdd-nb doctor"))
    ```
    rdd-nb doctor
    ```
    """
    plain = terminal(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", plain)), default=0))
    return f"{fence}\n{plain}\n{fence}"


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """A table as CSV. A text that a spreadsheet would compute gets an apostrophe before it, as spreadsheets have it.

    Args:
        table: its index is left out.
        options: more, of pandas' ``to_csv``.

    >>> import pandas as pd
    >>> csv_text(pd.DataFrame({"group": ["=1+1", "-3", "red"], "n": [-1, 2, 3]}))
    "group,n\\n'=1+1,-1\\n-3,2\\nred,3\\n"
    """
    import pandas as pd  # here: the command's help needs no tables

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    safe = table.copy()
    for name in texts:
        safe[name] = safe[name].map(_to_csv)
    safe = safe.rename(columns=_to_csv)
    if any(isinstance(cell, str) and "\r" in cell for name in texts for cell in table[name]):
        options.setdefault(
            "quoting", csv.QUOTE_NONNUMERIC
        )  # csv would leave a lone \r bare, and readers end a row there
    return str(safe.to_csv(index=False, lineterminator="\n", **options))


def _to_csv(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_csv(value: Any) -> Any:
    """A cell as it was before :func:`csv_text`.

    >>> from_csv("'=1+1"), from_csv("'tis"), from_csv(3)
    ('=1+1', "'tis", 3)
    """
    return value[1:] if isinstance(value, str) and value[:1] == "'" and _FORMULA.match(value) else value
