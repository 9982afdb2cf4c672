"""rdd_nb.experiments.notebook: notebooks as programs, with the mistakes papermill lets pass."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from nbclient.exceptions import CellTimeoutError
from nbformat import v4

from rdd_nb.core.errors import RddError
from rdd_nb.course import cleaning
from rdd_nb.experiments import notebook as module
from rdd_nb.experiments import parameters

PARAMETERS = '''\
"""Change these."""
epochs: int = 3  # how long, a = b
lr: float = 0.1
name: str = "digits"  # data set
fast: bool = False
groups: list = [1, 2]
limit: "Optional[float]" = None
tail: float | None = None  # fraction of the worst
mode: Literal["erm", "robust"] = "erm"
free = None
rate = -1e-3
'''


def notebook(path: Path, *sources: str, parameters: str | None = None, **metadata) -> Path:
    cells = [v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        cells.insert(0, v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nb = v4.new_notebook(cells=[v4.new_markdown_cell("# A question?"), *cells], metadata=metadata)
    nbformat.write(nb, path)
    return path


def fails(function, *arguments, **options) -> str:
    with pytest.raises(RddError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Parameters


def test_inspect_reads_defaults_annotations_and_comments(tmp_path):
    got = parameters.inspect(notebook(tmp_path / "a.ipynb", "1", parameters=PARAMETERS))
    assert list(got) == ["epochs", "lr", "name", "fast", "groups", "limit", "tail", "mode", "free", "rate"]
    assert got["epochs"] == (3, "int", "how long, a = b")
    assert got["tail"] == (None, "float | None", "fraction of the worst")
    assert got["rate"] == (-1e-3, "", "")
    assert parameters.inspect(notebook(tmp_path / "b.ipynb", "1")) == {}


def test_inspect_agrees_with_papermill_where_papermill_reads_the_line(tmp_path):
    path = notebook(
        tmp_path / "a.ipynb",
        parameters=PARAMETERS,
        kernelspec={"name": "python3", "language": "python", "display_name": "x"},
    )
    ours, theirs = parameters.inspect(path), papermill.inspect_notebook(str(path))
    assert set(theirs) < set(ours)  # it drops the second = and A | B without a word
    for name, parameter in theirs.items():
        assert ours[name].help == parameter["help"]
        assert repr(ours[name].default).replace("'", '"') in (parameter["default"], "-0.001")


@pytest.mark.parametrize(
    "line", ["a = b = 1", "a = 1 + x", "import os", "a: int", "a, b = (1, 2)", "print(1)", "a += 1"]
)
def test_inspect_wants_literals(tmp_path, line):
    path = notebook(tmp_path / "a.ipynb", parameters=f"ok = 1\n{line}")
    assert f"`{line}`" in fails(parameters.inspect, path)


def test_what_is_no_notebook_is_one_line(tmp_path):
    path = tmp_path / "a.ipynb"
    assert "cannot read" in fails(parameters.inspect, path)
    for text in ("", "{}", "[]", "nonsense", '{"nbformat": 4, "cells": [{}]}', '{"nbformat": 4, "cells": 3}'):
        path.write_text(text)
        assert "is not a Jupyter notebook" in fails(parameters.inspect, path)
    assert "not plain Python" in fails(parameters.inspect, notebook(path, parameters="%matplotlib inline"))


def test_check_parameters_accepts_and_makes_plain(tmp_path):
    path = notebook(tmp_path / "a.ipynb", parameters=PARAMETERS)
    given_values = {
        "epochs": np.int64(5),
        "lr": 1,
        "name": Path("x"),
        "fast": np.bool_(True),
        "groups": (1, np.float32(2)),
        "limit": None,
        "tail": 0.5,
        "mode": "robust",
        "free": {"a": (1, 2)},
        "rate": 0.5,
    }
    got = parameters.check_parameters(path, given_values)
    assert got == {**given_values, "name": "x", "groups": [1, 2.0], "free": {"a": [1, 2]}}
    assert type(got["epochs"]) is int and type(got["fast"]) is bool and type(got["groups"][1]) is float
    json.dumps(got)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epoch", 1, "did you mean 'epochs'?"),
        ("epochs", "3", "is '3' (str): give int, such as 3"),
        ("epochs", 3.0, "(float): give int"),
        ("epochs", True, "(bool): give int"),
        ("lr", "fast", "give float"),
        ("lr", None, "give float"),
        ("name", 3, "give str"),
        ("fast", "false", "use -y 'fast: false'"),
        ("fast", 1, "give bool"),
        ("groups", 1, "give list"),
        ("limit", "x", "Optional[float]"),
        ("tail", "0.2", "give float | None"),
        ("mode", "robst", "give Literal"),
        ("rate", "x", "give float"),
    ],
)
def test_check_parameters_refuses(tmp_path, name, value, says):
    path = notebook(tmp_path / "a.ipynb", parameters=PARAMETERS)
    text = fails(parameters.check_parameters, path, {name: value})
    assert says in text and repr(name) in text and "a.ipynb" in text


def test_annotations_inside_one_another(tmp_path):
    path = notebook(
        tmp_path / "a.ipynb", parameters="a: list[int] = [1]\nb: Union[int, list[str], None] = 1\nc: Odd[int] = 1"
    )
    parameters.check_parameters(path, {"a": [2, 3], "b": ["x"], "c": object})
    for name, value in (("a", [1, "x"]), ("a", 1), ("b", [1]), ("b", 0.5)):
        fails(parameters.check_parameters, path, {name: value})


# Running: each starts a kernel, about a second


def test_run_notebook_injects_shows_and_keeps(tmp_path, monkeypatch):
    written, write = [], papermill.engines.write_ipynb
    monkeypatch.setattr(
        papermill.engines, "write_ipynb", lambda nb, path: (written.append(statuses(nb)), write(nb, path))
    )
    code = "import sys\nprint('epochs', epochs)\nsys.stdout.write('half\\rdone\\n')\nprint('lr', lr, file=sys.stderr)"
    path = notebook(tmp_path / "a.ipynb", code, "", "epochs * 2", parameters="epochs: int = 3\nlr: float = 0.1")
    before, progress = path.read_bytes(), io.StringIO()
    out = tmp_path / "deep" / "{braces}" / "a.ipynb"
    got = module.run_notebook(path, out, {"epochs": np.int64(7)}, progress=progress, timeout=600)
    assert got["notebook"] == "a.ipynb" and got["out"] == str(out) and got["parameters"] == {"epochs": 7}
    assert got["seconds"] > 0
    shown = progress.getvalue()
    assert "epochs 7\n" in shown and "half\rdone\n" in shown and "lr 0.1\n" in shown
    assert "Executing" not in shown  # papermill's own log is not the notebook's output
    executed = nbformat.read(out, as_version=4)
    assert executed.cells[-1].outputs[0].data["text/plain"] == "14"
    assert module.problems(out) == [] and path.read_bytes() == before
    cleaning.clean(shutil.copy(out, tmp_path / "clean.ipynb"))
    begun = [told.index("running") for told in written[1:-1]]
    assert begun == list(range(1, len(executed.cells))), "the copy is written when code begins, not around every cell"
    assert set(written[0]) == {"pending"} and set(written[-1]) == {"completed"}


def statuses(nb) -> list[str]:
    return [cell.metadata.papermill.status for cell in nb.cells]


def test_a_failed_cell_is_named_and_the_copy_stays(tmp_path):
    path, out = (
        notebook(tmp_path / "a.ipynb", "1", "x = 1\nraise ValueError('no such\\ngroup')", "print('after')"),
        tmp_path / "o.ipynb",
    )
    text = fails(module.run_notebook, path, out)
    assert "a.ipynb: In [2] raised ValueError: no such" in text and str(out) in text
    assert "In [3] was not executed" in module.problems(out)


def test_a_timeout_is_a_failure(tmp_path, capfd):
    path, out = notebook(tmp_path / "a.ipynb", "1", "import time\ntime.sleep(60)"), tmp_path / "o.ipynb"
    assert "In [2] took longer than 1 s" in fails(module.run_notebook, path, out, timeout=1)
    assert module.problems(out)  # also for whoever finds only the copy
    assert "IPKernelApp" not in capfd.readouterr().err


def test_a_dead_kernel_is_a_failure(tmp_path):
    path, out = notebook(tmp_path / "a.ipynb", "1", "import os\nos._exit(1)", "2"), tmp_path / "o.ipynb"
    text = fails(module.run_notebook, path, out)
    assert "In [2] ended" in text and "died" in text
    assert "In [3] was not executed" in module.problems(out)
    assert json.loads(out.read_text())["metadata"]["papermill"]["exception"] is True


def test_leaving_early_is_a_failure(tmp_path):
    path, out = notebook(tmp_path / "a.ipynb", "import sys\nsys.exit(0)", "2"), tmp_path / "o.ipynb"
    assert "In [1] raised SystemExit: 0" in fails(module.run_notebook, path, out)


def test_an_error_inside_a_widget_is_a_failure(tmp_path):
    code = "import ipywidgets\n@ipywidgets.interact(x=3)\ndef show(x):\n    raise KeyError('lost')"
    path, out = notebook(tmp_path / "a.ipynb", code), tmp_path / "o.ipynb"
    assert "a widget raised KeyError: 'lost'" in fails(module.run_notebook, path, out)


def test_the_cause_is_said_where_output_does_not_arrive_and_where_nothing_ran(tmp_path, monkeypatch):
    path, out = notebook(tmp_path / "a.ipynb", "1", parameters=PARAMETERS), tmp_path / "o.ipynb"

    def late(source, target, **_):
        nb = nbformat.read(source, 4)
        nb.cells[1].execution_count, nb.cells[-1].metadata["papermill"] = 1, {"start_time": "now"}
        nbformat.write(nb, target)
        raise CellTimeoutError.error_from_timeout_and_cell("Timeout waiting for IOPub output", 60, nb.cells[-1])

    monkeypatch.setattr(papermill, "execute_notebook", late)
    said = fails(module.run_notebook, path, out)
    assert "printed more than arrived within 60 s of its end" in said and "None" not in said
    for cause in ("MemoryError: no more", "[Errno 24] Too many open files"):
        assert module.failure(path, cause) == (cause, "", ""), "that a cell was not executed is no cause"


def test_an_executed_copy_replaces_a_link_and_a_pipe_and_what_they_lead_to_stays(tmp_path):
    path, kept = notebook(tmp_path / "a.ipynb", "1"), tmp_path / "kept"
    kept.write_text("kept")
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "real" / "link.ipynb").symlink_to(kept)
    os.mkfifo(tmp_path / "real" / "pipe.ipynb")
    for name in ("link.ipynb", "pipe.ipynb"):  # in a folder that the user has named, which may be a link
        module.run_notebook(path, tmp_path / "linked" / name, linger=False)
        assert module.problems(tmp_path / "real" / name) == [] and not (tmp_path / "real" / name).is_symlink()
    assert kept.read_text() == "kept"


BARE = {"cell_type": "code", "source": "x: int = 1", "metadata": {"tags": ["parameters"]}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": {"tags": None}}, "cells.0.metadata.tags=None"),
        ({"metadata": {"tags": "parameters"}}, "cells.0.metadata.tags='parameters'"),
        ({"metadata": None}, "cells.0.metadata=None"),
        ({"cell_type": None}, "cells.0.cell_type=None"),
        ({"cell_type": "heading"}, "cells.0.cell_type='heading'"),
        ({"source": 5}, "cells.0.source"),
        ({"outputs": [{}]}, "cells.0.outputs.0.output_type: field required"),
        ({"outputs": [{"output_type": "display_data", "data": 5}]}, "has no attribute"),
    ],
)
def test_a_notebook_with_something_missing_is_one_line(tmp_path, change, says):
    path, whole = tmp_path / "a.ipynb", {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    path.write_text(json.dumps({**whole, "cells": [BARE]}))
    assert list(parameters.inspect(path)) == ["x"], "what is filled in by itself"
    path.write_text(json.dumps({**whole, "cells": [{**BARE, **change}]}))
    for function in (parameters.inspect, parameters.source_of, module.problems):
        said = fails(function, path)
        assert "a.ipynb is not a Jupyter notebook" in said and says in said
    for name in ("cell_type", "metadata", "source"):
        path.write_text(json.dumps({**whole, "cells": [{k: v for k, v in BARE.items() if k != name}]}))
        assert f"cells.0.{name}: field required" in fails(parameters.inspect, path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('x: "int[" = 1', "the annotation 'int[' of 'x'"),
        ('x: "" = 1', "the annotation '' of 'x'"),
        ("x: int[ = 1", "not plain Python"),
        ("x = " + "-" * 20_000 + "1", "nested too deep"),
        ("x = " + "[" * 300 + "]" * 300, "too many nested parentheses"),
        ("x = " + "9" * 5000, "limit"),
        ("x = {[1]: 2}", "no `name = literal`"),
        ("x\x00 = 1", "null bytes"),
    ],
)
def test_a_parameters_cell_that_cannot_be_read_is_one_line(tmp_path, source, says):
    assert says in fails(parameters.inspect, notebook(tmp_path / "a.ipynb", parameters=source))


def test_what_is_nested_without_end_or_no_file_is_one_line(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text('{"nbformat": 4, "cells": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert "nested too deep" in fails(parameters.inspect, path)
    os.mkfifo(tmp_path / "pipe.ipynb")
    assert "is a pipe" in fails(parameters.inspect, tmp_path / "pipe.ipynb")
    assert "is a folder" in fails(parameters.inspect, tmp_path)


def test_a_kernel_that_does_not_start_is_tried_twice(tmp_path, monkeypatch):
    path, out, calls = notebook(tmp_path / "a.ipynb", "1", parameters=PARAMETERS), tmp_path / "o.ipynb", []

    def dies(source, target, **_):
        calls.append(source)
        shutil.copy(source, target)
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(papermill, "execute_notebook", dies)
    assert "did not start, twice" in fails(module.run_notebook, path, out)
    assert len(calls) == 2


def test_run_notebook_checks_before_it_starts(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "1", parameters=PARAMETERS)
    (tmp_path / "file").write_text("")
    assert "did you mean" in fails(module.run_notebook, path, tmp_path / "o.ipynb", {"epoch": 1})
    assert "another .ipynb" in fails(module.run_notebook, path, path)
    assert "another .ipynb" in fails(module.run_notebook, path, tmp_path / "o.txt")
    assert "use another folder" in fails(module.run_notebook, path, tmp_path / "file" / "o.ipynb")
    assert "no Jupyter kernel 'none'" in fails(module.run_notebook, path, tmp_path / "o.ipynb", kernel_name="none")
