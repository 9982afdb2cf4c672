"""Executed notebooks made fit for the repository: what a reader wants, and nothing of the machine that ran them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write
from rdd_nb.experiments.notebook import problems
from rdd_nb.experiments.parameters import StrPath, nbformat_module, read_notebook

__all__ = ["WIDGET_VIEW", "clean"]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT_CELL_KEYS = ("tags", "jupyter", "slideshow", "mystnb")
NAMELESS = re.compile(r"<IPython\.core\.display\.\w+ object>")  # beside the picture or the paragraph that it is


def clean(notebook: StrPath) -> None:
    """Make an executed notebook fit for the repository, in place; a clean one stays byte for byte the same.

    Removes the metadata of papermill, widgets, Colab and editors, the injected parameters and the live widgets (a
    static picture stands beside each); counts the executions 1…n; joins the pieces of a stream and keeps of a progress
    line only what it showed last, and drops what Python calls a picture or a paragraph beside it; keeps cell ids, and
    gives fixed ones to cells without.

    Raises:
        RddError: a cell failed or was not executed, or an output shows an absolute path of this machine.
    """
    found = problems(notebook)
    if found:
        raise RddError(f"{notebook} is not fit to be kept: {found[0]}; run it again from top to bottom")
    nb = read_notebook(notebook)
    nb.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nb.cells = [c for c in nb.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in nb.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_CELL_KEYS if cell.metadata.get(key)}
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = _clean_outputs(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            path = _machine_path(output)
            if path:
                raise RddError(
                    f"{notebook}: the output of In [{count}] shows {path!r}, a path of this machine: print names only"
                )
    nbformat = nbformat_module()
    nbformat.validate(nb)
    atomic_write(notebook, nbformat.writes(nb) + "\n")


def _clean_outputs(outputs: list[Any]) -> list[Any]:
    kept = _joined([o for o in outputs if WIDGET_VIEW not in o.get("data", {})])
    for output in kept:
        if output.output_type == "stream":
            text = re.sub(r"\x1b\[\d*[ABCDGJK]", "", output.text.replace("\r\n", "\n"))  # cursor movements of bars
            output.text = "\n".join(_last_shown(line) for line in text.split("\n"))
        elif len(output.get("data", {})) > 1 and NAMELESS.fullmatch(str(output.data.get("text/plain"))):
            del output.data["text/plain"]
    return _joined([o for o in kept if o.output_type != "stream" or o.text.strip()])


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with neighbouring pieces of one stream made one."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _last_shown(line: str) -> str:
    return next((part.rstrip() for part in reversed(line.split("\r")) if part.strip()), "") if "\r" in line else line


def _machine_path(output: Mapping[str, Any]) -> str | None:
    """The first absolute path of this machine or of anybody's home in the text of an output."""
    data = output.get("data", {})
    text = "\n".join([output.get("text", ""), *(str(v) for k, v in data.items() if not k.startswith("image/p"))])
    text = re.sub(r"data:[\w/+.-]+;base64,[\w+/=]+", "", text)
    here = [str(Path(p).resolve()) for p in (Path.home(), Path.cwd(), tempfile.gettempdir())]
    folders = "|".join(
        [*(re.escape(p) for p in here if len(p) > 1), r"/home", r"/Users", r"/root", r"/tmp", r"[A-Za-z]:\\+Users"]
    )
    match = re.search(rf"(?:(?<=file://)|(?<![\w./:-]))(?:{folders})(?:[\\/][^\s'\"<>)\]]*|(?![\w-]))", text)
    return match.group() if match else None
