"""Badges that open the notebooks for who has installed nothing: badges for Binder and Colab, and Colab's set-up cell.

    python notebooks/badges.py OWNER/NAME [--branch main]     (make badges REPOSITORY=OWNER/NAME)
    python notebooks/badges.py --remove

They lead to a public repository, so they are written once it has an address: yours, if you teach from a fork. Each
notebook gets two badges below its answer, which open that very notebook in JupyterLab or Colab, and a first code cell
that installs the package on Colab and does nothing anywhere else; README gets the badges of the quickstart. Called
again it replaces them. What was executed stays as it was.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbformat import v4

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write

HERE = Path(__file__).parent
TAG = "colab"
MARK = re.compile(r"\n*^\[!\[Open in JupyterLab\]\(.*$", re.MULTILINE)
SETUP = """\
# On Colab this installs the package, some minutes; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet git+https://github.com/{repository}@{branch}"""


def badges(notebook: str, repository: str, branch: str) -> str:
    """The two badges of a notebook, as one line of Markdown."""
    at = f"notebooks/{notebook}"
    lab = f"https://mybinder.org/v2/gh/{repository}/{quote(branch, safe='')}?labpath={quote(at, safe='')}"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/{at}"
    return (
        f"[![Open in JupyterLab](https://mybinder.org/badge_logo.svg)]({lab}) "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def put(folder: Path, repository: str | None, branch: str = "main") -> None:
    """Write the badges into the notebooks of ``folder`` and the README beside it; with None for a repository, none.

    Raises:
        RddError: a name that is no ``OWNER/NAME``, or of a branch that cannot be one.
    """
    if repository is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise RddError(f"{repository!r} is no repository of GitHub: write OWNER/NAME")
    if not re.fullmatch(r"[\w./-]+", branch):
        raise RddError(f"{branch!r} is no name of a branch: write it like main")
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
        head = notebook.cells[0]
        head.source = MARK.sub("", head.source)
        if repository is not None:
            head.source += "\n\n" + badges(path.name, repository, branch)
            source = SETUP.format(repository=repository, branch=branch)
            cell = v4.new_code_cell(source, id=TAG, metadata={"tags": [TAG]})
            first = next(k for k, c in enumerate(notebook.cells) if c.cell_type == "code")
            notebook.cells.insert(first, cell)
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        for count, cell in enumerate(code, 1):
            cell.execution_count = count  # as after running all of them
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
        atomic_write(path, nbformat.writes(notebook) + "\n")
    readme = folder.parent / "README.md"
    title, rest = MARK.sub("", readme.read_text(encoding="utf-8")).split("\n", 1)
    line = "" if repository is None else f"\n{badges('00_quickstart.ipynb', repository, branch)}\n"
    atomic_write(readme, f"{title}\n{line}{rest}")


def main(words: list[str] | None = None) -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("repository", nargs="?", metavar="OWNER/NAME", help="on GitHub")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--remove", action="store_true", help="take them away")
    asked = parser.parse_args(words)
    if asked.remove == (asked.repository is not None):
        parser.error("give OWNER/NAME, or --remove")
    try:
        put(HERE, asked.repository, asked.branch)
    except RddError as error:
        print(f"badges: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
