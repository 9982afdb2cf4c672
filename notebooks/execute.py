"""Execute the notebooks with their default parameters and leave them here with clean outputs (``make notebooks``).

    python notebooks/execute.py [NAME …]

The executed copy replaces the notebook only when every cell has run. Timings go to ``notebooks/README.md``, and
those of the sections under their headings (``times.py``). Where a page of the site computes a notebook's numbers again,
what it computes with is written anew, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import times

from rdd_nb.core import environment
from rdd_nb.core.errors import RddError
from rdd_nb.course.cleaning import clean
from rdd_nb.experiments.notebook import run_notebook

HERE = Path(__file__).parent
#: What to run after a notebook, for a page of the site.
PAGES = {"01_risk_and_robustness.ipynb": HERE.parent / "docs" / "tail_losses.py"}


def main(names: list[str]) -> int:
    """Execute ``names`` (all notebooks without any); the exit status says how many failed."""
    failed = 0
    for notebook in [HERE / n for n in names] or sorted(HERE.glob("[0-9]*.ipynb")):
        with tempfile.TemporaryDirectory() as scratch:
            executed = Path(scratch) / notebook.name
            try:
                said = run_notebook(notebook, executed, progress=sys.stdout)
                times.mark(executed)
                clean(executed)
            except RddError as error:
                print(f"{notebook.name}: {error}", file=sys.stderr)
                failed += 1
                continue
            shutil.copyfile(executed, notebook)
        if notebook.name in PAGES:
            subprocess.run((sys.executable, PAGES[notebook.name]), check=True)
        print(f"{notebook.name}: {said['seconds']:.0f} s")
        _note(notebook.name, said["seconds"])
    return failed


def _note(name: str, seconds: float) -> None:
    """Put the time beside the notebook's name in the table of README.md."""
    page, here = HERE / "README.md", environment.describe()
    text = page.read_text(encoding="utf-8")
    row = re.compile(rf"^(\| \[[^]]+\]\({re.escape(name)}\) \|[^|]*\|)[^|]*\|", re.MULTILINE)
    told = f" {seconds:.0f} s ({here['cores']} cores, {here['processor']}, {here['date']}) |"
    page.write_text(row.sub(lambda found: found[1] + told, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
