"""rdd_nb.course.cleaning: executed notebooks made fit for the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4

from rdd_nb.course import cleaning
from tests.experiments.test_notebook import fails, notebook


def stream(text: str, name: str = "stdout"):
    return v4.new_output("stream", name=name, text=text)


def executed(path: Path, *outputs, source: str = "print()", **metadata) -> Path:
    """A notebook with one code cell that was executed and left these outputs."""
    cell = v4.new_code_cell(source, outputs=list(outputs), execution_count=7)
    nbformat.write(v4.new_notebook(cells=[cell], metadata=metadata), path)
    return path


def outputs_of(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells[0].outputs


def test_what_python_calls_an_object_is_dropped_beside_the_object_alone(tmp_path):
    called = "<IPython.core.display.Markdown object>"
    outputs = [
        v4.new_output("display_data", data={"text/markdown": "Two.", "text/plain": called}),
        v4.new_output("display_data", data={"text/html": "<b>3</b>", "text/plain": "3"}),
        v4.new_output("execute_result", data={"text/plain": called}, execution_count=1),
    ]
    path = executed(tmp_path / "a.ipynb", *outputs)
    cleaning.clean(path)
    told = [sorted(output.data) for output in outputs_of(path)]
    assert told == [["text/markdown"], ["text/html", "text/plain"], ["text/plain"]]


def test_clean_removes_what_tools_leave_and_counts(tmp_path):
    path = tmp_path / "a.ipynb"
    widget = v4.new_output(
        "display_data", data={cleaning.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "interactive()"}
    )
    picture = v4.new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})
    result = v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=9)
    noise = {
        "papermill": {"status": "completed"},
        "execution": {"x": "1"},
        "colab": {},
        "tags": ["setup"],
        "trusted": True,
    }
    cells = [
        v4.new_markdown_cell("# Why?", metadata={"id": "colab", "tags": []}),
        v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]}, execution_count=3),
        v4.new_code_cell("a = 2", metadata={"tags": ["injected-parameters"]}, execution_count=4),
        v4.new_code_cell("", execution_count=None),
        v4.new_code_cell("a", metadata=noise, outputs=[widget, picture, result], execution_count=9),
    ]
    ids = [cell.id for cell in cells]
    metadata = {
        "papermill": {},
        "widgets": {},
        "colab": {},
        "vscode": {},
        "language_info": {"name": "python", "version": "3.11"},
    }
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), path)
    cleaning.clean(path)
    nb = nbformat.read(path, as_version=4)
    assert set(nb.metadata) == {"kernelspec", "language_info"} and nb.metadata.language_info == {"name": "python"}
    assert [cell.id for cell in nb.cells] == [ids[0], ids[1], ids[3], ids[4]]
    assert [cell.get("execution_count") for cell in nb.cells] == [None, 1, None, 2]
    assert [dict(cell.metadata) for cell in nb.cells] == [{}, {"tags": ["parameters"]}, {}, {"tags": ["setup"]}]
    assert [list(o.data) for o in nb.cells[-1].outputs] == [["image/png", "text/plain"], ["text/plain"]]
    assert nb.cells[-1].outputs[1].execution_count == 2
    assert path.read_bytes().endswith(b"}\n") and os.listdir(tmp_path) == ["a.ipynb"]


def test_clean_joins_streams_and_keeps_the_last_of_a_bar(tmp_path):
    bar = "".join(f"\r{p:3d}%|{'#' * (p // 10)}|" for p in range(0, 101, 10)) + "\n"
    path = executed(
        tmp_path / "a.ipynb",
        *(stream(piece) for piece in ("one\n", bar[:40], bar[40:], "\x1b[A\rtwo \r\n")),
        stream("\r50%\r100%\r", "stderr"),
        stream("   \n"),
        stream("\x1b[31mred\x1b[0m\n"),
    )
    cleaning.clean(path)
    assert [(o.name, o.text) for o in outputs_of(path)] == [
        ("stdout", "one\n100%|##########|\ntwo\n"),
        ("stderr", "100%"),
        ("stdout", "   \n\x1b[31mred\x1b[0m\n"),
    ]


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text("ab \r\n", max_size=8)), max_size=6))
@settings(max_examples=25, deadline=None)
def test_cleaning_twice_changes_nothing(tmp_path_factory, pieces):
    path = executed(tmp_path_factory.mktemp("nb") / "a.ipynb", *(stream(text, name) for name, text in pieces))
    cleaning.clean(path)
    once = path.read_bytes()
    cleaning.clean(path)
    assert path.read_bytes() == once


def test_cells_without_ids_get_the_same_ids_each_time(tmp_path):
    path = executed(tmp_path / "a.ipynb", stream("x\n"))
    old = json.loads(path.read_text())
    old["nbformat_minor"] = 4
    for cell in old["cells"]:
        del cell["id"]
    contents = set()
    for _ in range(2):
        path.write_text(json.dumps(old))
        cleaning.clean(path)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_clean_refuses_errors_and_cells_that_did_not_run(tmp_path):
    error = v4.new_output("error", ename="ValueError", evalue="x", traceback=[])
    path = executed(tmp_path / "a.ipynb", error)
    before = path.read_bytes()
    assert "In [7] raised ValueError: x" in fails(cleaning.clean, path)
    assert path.read_bytes() == before
    assert "In [1] was not executed" in fails(cleaning.clean, notebook(tmp_path / "b.ipynb", "1"))


@pytest.mark.parametrize(
    "text",
    [
        "saved in /home/ada/run\n",
        "/tmp/ipykernel_12/34.py:1: UserWarning",
        "'C:\\\\Users\\\\ada\\\\x'",
        "file:///home/ada/x",
        f"({Path.cwd()}/runs/a)",
        f"in {Path.cwd()}",
    ],
)
def test_clean_refuses_paths_of_the_machine(tmp_path, text):
    for output in (stream(text), v4.new_output("display_data", data={"text/html": f"<b>{text}</b>"})):
        path = executed(tmp_path / "a.ipynb", output)
        assert "a path of this machine" in fails(cleaning.clean, path)


@pytest.mark.parametrize(
    "text",
    [
        "runs/home/x and ./tmp/a",
        "https://a.org/home/ada",
        "/homework",
        "a/tmp",
        "1/2",
        "<img src='data:image/png;base64,iVBO+/tmp/x=='>",
    ],
)
def test_clean_lets_other_slashes_pass(tmp_path, text):
    cleaning.clean(
        executed(tmp_path / "a.ipynb", stream(text), v4.new_output("display_data", data={"image/png": "+/tmp/a"}))
    )
