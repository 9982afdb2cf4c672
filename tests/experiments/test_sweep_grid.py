"""rdd_nb.experiments.sweep.grid: which runs there are, and every mistake in a grid told before anything starts."""

import json
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4

from rdd_nb.core.errors import RddError
from rdd_nb.experiments.sweep.grid import load_grid, make_plan

PARAMETERS = """\
tail: float = 0.8  # fraction
ipc: "Optional[int]" = None
mode: str = "a"
config: dict = {}
seed: int = 0
out_dir: str = "runs/x"
"""


@pytest.fixture
def notebook(tmp_path):
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), v4.new_code_cell("tail * 2")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    return tmp_path / "a.ipynb"


def fails(notebook: Path, grid) -> str:
    with pytest.raises(RddError) as caught:
        make_plan(notebook, grid)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_crossed_and_named_by_what_varies(notebook):
    grid = {
        "fixed": {"tail": 0.5},
        "conditions": {"plain": {"mode": "b"}, "with depth": {"config": {"depth": 4}}},
        "product": {"ipc": [1, None]},
        "seeds": [3, 4],
    }
    plan = make_plan(notebook, grid)
    assert len(plan.runs) == 8 and plan.takes_out and plan.notebook == notebook
    assert plan.swept == ("ipc", "mode", "config", "seed")
    first, last = plan.runs[0], plan.runs[-1]
    assert first.name == "plain, ipc=1, seed=3" and first.condition == "plain"
    assert first.given == {"tail": 0.5, "mode": "b", "ipc": 1, "seed": 3}
    assert first.parameters == {"tail": 0.5, "ipc": 1, "mode": "b", "config": {}, "seed": 3}
    assert last.name == "with depth, ipc=none, seed=4" and last.parameters["config"] == {"depth": 4}
    assert first.folder.startswith("plain,ipc=1,seed=3-") and len({run.folder for run in plan.runs}) == 8
    assert plan.grid == grid


def test_values_that_go_together_and_a_list_of_grids(notebook):
    plan = make_plan(
        notebook,
        [
            {"conditions": {"plain": {"mode": "b"}}},
            {"list": [{"tail": 0.1, "ipc": 1}, {"tail": 0.2, "ipc": 10}]},
        ],
    )
    assert [run.name for run in plan.runs] == ["plain", "tail=0.1, ipc=1", "tail=0.2, ipc=10"]
    assert make_plan(notebook, {}).runs[0].name == "the only one", "the defaults are a run, too"


def test_runs_of_two_grids_are_told_apart(notebook):
    grids = [{"fixed": {"mode": mode}, "product": {"tail": [0.1]}} for mode in "bc"]
    plan = make_plan(notebook, grids)
    assert [run.name for run in plan.runs] == ["tail=0.1, mode=b", "tail=0.1, mode=c"]
    assert plan.runs[0].folder == make_plan(notebook, grids[0]).runs[0].folder


def test_a_folder_does_not_depend_on_the_rest_of_the_grid(notebook):
    small = make_plan(notebook, {"product": {"tail": [0.5]}, "seeds": [1]})
    large = make_plan(notebook, {"product": {"tail": [0.2, 0.5]}, "seeds": [0, 1]})
    assert small.runs[0].folder in {run.folder for run in large.runs}
    other = make_plan(notebook, {"fixed": {"ipc": 7}, "product": {"tail": [0.5]}, "seeds": [1]})
    assert other.runs[0].name == small.runs[0].name and other.runs[0].folder != small.runs[0].folder


def test_a_key_has_parameters_notebook_and_version(notebook):
    one, two = make_plan(notebook, {"seeds": [0, 1]}).runs
    keys = {one.key("s", "1"), two.key("s", "1"), one.key("t", "1"), one.key("s", "2")}
    assert len(keys) == 4 and one.key("s", "1") in keys


def test_prose_does_not_change_the_source_and_code_does(notebook):
    before = make_plan(notebook, {}).source
    nb = nbformat.read(notebook, 4)
    nb.cells.append(v4.new_markdown_cell("More words."))
    nbformat.write(nb, notebook)
    assert make_plan(notebook, {}).source == before
    nb.cells[1].source = "tail * 3"
    nbformat.write(nb, notebook)
    assert make_plan(notebook, {}).source != before


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"product": {"tial": [1.0]}}, "unknown parameter 'tial' in a.ipynb: did you mean 'tail'?"),
        ({"fixed": {"sed": 1}}, "did you mean 'seed'?"),
        ({"conditions": {"x": {"moode": "a"}}}, "did you mean 'mode'?"),
        ({"list": [{"ipd": 1}]}, "did you mean 'ipc'?"),
        ({"produkt": {"tail": [1.0]}}, "unknown part of a grid 'produkt': did you mean 'product'?"),
        ({"tail": [0.1]}, "'tail' stands at the top of the grid: put it under `product`"),
        ({"product": {"tail": ["small"]}}, "parameter 'tail' of a.ipynb is 'small' (str): give float"),
        ({"product": {"tail": ["1e-3"]}}, "is '1e-3' (str): give float"),
        ({"seeds": [0.5]}, "parameter 'seed' of a.ipynb is 0.5 (float): give int"),
        ({"conditions": {"x": {"ipc": "one"}}}, "a.ipynb (condition 'x') is 'one'"),
        ({"product": {"tail": []}}, "product: tail is an empty list, so the grid has no runs"),
        ({"seeds": []}, "seeds is an empty list"),
        ({"product": {"tail": 0.5}}, "product: tail is 0.5: give a list of values, in brackets"),
        ({"product": [1]}, "product is [1]: give a mapping"),
        ({"conditions": {"x": 3}}, "condition 'x' is 3: give its parameters"),
        ({"list": [3]}, "list: 3 should be a mapping"),
        ({"product": {"seed": [1]}, "seeds": [1]}, "both product and seeds set 'seed'"),
        ({"conditions": {"x": {"tail": 0.1}}, "product": {"tail": [0.1]}}, "both conditions and product set 'tail'"),
        ({"fixed": {"out_dir": "x"}}, "fixed sets out_dir, which a sweep sets itself"),
        ({"seeds": [1, 1]}, "one run twice: 'seed=1' is 'seed=1'"),
        ({"product": {"tail": [1, 1.0]}}, "one run twice"),
        ([{"seeds": [0]}, {}], "one run twice: 'the only one' is 'seed=0'"),
        ([], "the grid has no runs"),
        ("tail", "a grid is a mapping with the parts fixed, conditions"),
        (None, "a grid is a mapping"),
        ({"product": {"tail": [float("nan")]}}, "no number to run with"),
    ],
)
def test_a_mistake_is_told_in_one_line(notebook, grid, says):
    assert says in fails(notebook, grid)


def test_a_notebook_without_parameters_is_refused(tmp_path):
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1")]), tmp_path / "b.ipynb")
    assert "b.ipynb has no parameters to sweep over" in fails(tmp_path / "b.ipynb", {})
    assert "cannot read the notebook" in fails(tmp_path / "c.ipynb", {})


def test_files(tmp_path):
    (tmp_path / "g.yaml").write_text("product: {tail: [0.1]}\n")
    assert load_grid(tmp_path / "g.yaml") == {"product": {"tail": [0.1]}}
    (tmp_path / "bad.yaml").write_text("product: {tail: [0.1\nseeds: 3\n")
    with pytest.raises(RddError, match=r"bad.yaml is not YAML, line 2"):
        load_grid(tmp_path / "bad.yaml")
    with pytest.raises(RddError, match=r"cannot read the grid .*none.yaml \(No such file"):
        load_grid(tmp_path / "none.yaml")


@given(
    tails=st.lists(st.sampled_from([0.1, 0.2, 0.5, 1.0]), min_size=1, unique=True),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    modes=st.lists(st.sampled_from("abc"), min_size=1, unique=True),
)
@settings(max_examples=20, deadline=None)
def test_every_combination_is_there_once(tmp_path_factory, tails, seeds, modes):
    path = tmp_path_factory.mktemp("g") / "a.ipynb"
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    nbformat.write(v4.new_notebook(cells=cells), path)
    grid = {"conditions": {f"mode {m}": {"mode": m} for m in modes}, "product": {"tail": tails}, "seeds": seeds}
    plan = make_plan(path, grid)
    there = {json.dumps(dict(run.parameters), sort_keys=True) for run in plan.runs}
    assert len(there) == len(plan.runs) == len(tails) * len(seeds) * len(modes)
    assert len({run.name for run in plan.runs}) == len({run.folder for run in plan.runs}) == len(plan.runs)
