"""notebooks/badges.py: badges for who has installed nothing, written for any repository, and taken away again."""

import importlib.util
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from rdd_nb.core.errors import RddError
from rdd_nb.course.cleaning import clean
from rdd_nb.experiments.notebook import run_notebook
from rdd_nb.experiments.parameters import inspect, source_of

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("badges", ROOT / "notebooks" / "badges.py")
badges = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(badges)


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        shutil.copy(path, tmp_path / "notebooks")
    shutil.copy(ROOT / "README.md", tmp_path)
    badges.put(tmp_path / "notebooks", None)  # whatever this repository has
    return tmp_path / "notebooks"


def texts(folder):
    return {p.name: p.read_text() for p in (*folder.glob("*.ipynb"), folder.parent / "README.md")}


def test_each_notebook_opens_itself_and_nothing_else_changes(copies):
    before = texts(copies)
    parameters = {p: inspect(p) for p in copies.glob("*.ipynb")}
    badges.put(copies, "ada/rdd_nb", "teaching/2027")
    for path in copies.glob("*.ipynb"):
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        links = re.findall(r"\]\((https://[^)]+)\)(?: |$)", notebook.cells[0].source)
        assert links == [
            f"https://mybinder.org/v2/gh/ada/rdd_nb/teaching%2F2027?labpath=notebooks%2F{path.name}",
            f"https://colab.research.google.com/github/ada/rdd_nb/blob/teaching/2027/notebooks/{path.name}",
        ]
        first = next(c for c in notebook.cells if c.cell_type == "code")
        assert first.metadata.tags == ["colab"] and "git+https://github.com/ada/rdd_nb@teaching/2027" in first.source
        assert inspect(path) == parameters[path], "papermill finds the same parameters"
        counts = [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
        assert counts == list(range(1, len(counts) + 1))
        kept = path.read_bytes()
        clean(path)
        assert path.read_bytes() == kept, "fit to be committed as it is"
    readme = (copies.parent / "README.md").read_text()
    assert "labpath=notebooks%2F00_quickstart.ipynb" in readme.splitlines()[2]
    once = texts(copies)
    badges.put(copies, "ada/rdd_nb", "teaching/2027")
    assert texts(copies) == once, "twice is once"
    badges.put(copies, "bob/fork")
    assert not any("ada/rdd_nb" in text for text in texts(copies).values())
    badges.put(copies, None)
    assert texts(copies) == before


def test_the_cell_for_colab_does_nothing_here(copies, tmp_path):
    badges.put(copies, "ada/rdd_nb")
    cell = next(c for c in nbformat.read(copies / "00_quickstart.ipynb", 4).cells if c.cell_type == "code")
    alone = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(alone, tmp_path / "a.ipynb")
    run_notebook(tmp_path / "a.ipynb", tmp_path / "b.ipynb")
    assert nbformat.read(tmp_path / "b.ipynb", 4).cells[0].outputs == []
    assert source_of(tmp_path / "a.ipynb") == source_of(tmp_path / "b.ipynb")


def test_mistakes(copies, capsys):
    before = texts(copies)
    for name in ("ada", "https://github.com/ada/rdd_nb", "a b/c"):
        with pytest.raises(RddError, match="write OWNER/NAME"):
            badges.put(copies, name)
    with pytest.raises(RddError, match="no name of a branch"):
        badges.put(copies, "ada/rdd_nb", "a b")
    assert texts(copies) == before
    assert badges.main(["ada"]) == 2 and capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        badges.main([])
