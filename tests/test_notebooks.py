"""Every notebook runs at profile=smoke, and has the shape that notebook-craft asks for."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from rdd_nb.sweep import inspect, run_notebook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def tags(cell):
    return cell.metadata.get("tags", [])


def test_there_are_notebooks():
    assert NOTEBOOKS


@by_name
def test_runs_at_smoke(path, tmp_path):
    told = run_notebook(path, tmp_path / path.name, {"profile": "smoke", "out_dir": str(tmp_path / "run")})
    assert told["seconds"] < 120
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics
    assert (tmp_path / "run" / "synthetic.safetensors").is_file()
    assert list((tmp_path / "run" / "figures").glob("*.png"))


def test_the_quickstart_runs_on_the_other_scenario(tmp_path):
    values = {
        "profile": "smoke",
        "scenario": "rotated-minority",
        "matching": "gradient",
        "out_dir": str(tmp_path / "run"),
    }
    run_notebook(ROOT / "notebooks" / "00_quickstart.ipynb", tmp_path / "q.ipynb", values)


@by_name
def test_shape(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not {"widgets", "papermill", "colab"} & set(notebook.metadata)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# .+\?", first.source), "the title is a question"
    assert sum("parameters" in tags(c) for c in notebook.cells) == 1
    assert sum("setup" in tags(c) for c in notebook.cells) == 1
    assert any(c.source.startswith("## Summary") for c in notebook.cells if c.cell_type == "markdown")
    ids = [c.id for c in notebook.cells]
    assert len(set(ids)) == len(ids)
    for parameter in inspect(path).values():
        assert parameter.help, "each parameter has a comment that says what it is"


@by_name
def test_outputs_are_fresh_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 500_000
    text = path.read_text()
    assert not re.search(r'"output_type": "error"', text)
    assert not re.search(r"/(home|root|Users|work|tmp)/", text), "a path of the machine"
    assert "profile quick" in text, "committed outputs are those of the quick profile"


@by_name
def test_every_figure_has_words(path):
    """Alternative text in the call, a caption, and prose or a computed reading within the next two cells."""
    notebook = nbformat.read(path, as_version=4)
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and "figures.show(" in cell.source:
            assert "alt=" in cell.source
            following = notebook.cells[k + 1 : k + 3]
            assert any(c.cell_type == "markdown" or "Markdown(" in c.source or "summary" in c.source for c in following)


@by_name
def test_checks_assert(path):
    notebook = nbformat.read(path, as_version=4)
    checks = [c for c in notebook.cells if "check" in tags(c)]
    assert checks
    assert all("assert " in c.source for c in checks)
