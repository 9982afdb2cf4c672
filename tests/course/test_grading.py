"""Students' copies, graded in processes with limits."""

import json

import nbformat
import pytest

from rdd_nb.cli import main
from rdd_nb.core import resources
from rdd_nb.core.errors import RddError
from rdd_nb.course.grading import copies_of, grade

NAME = "01_risk_and_robustness.ipynb"


def handed_in(folder, change=lambda function, source: source, solved=()):
    """A student's copy of notebook 01 with the solutions of some functions in place of their stubs."""
    notebook = nbformat.read(resources.folder("notebooks") / NAME, as_version=4)
    kept, stub = [], None
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "solution" in tags:
            function = stub.source.split("(")[0].removeprefix("def ")
            if function in solved:
                stub.source = cell.source.rsplit("course.check", 1)[0]
            stub.source = change(function, stub.source)
            continue
        stub = cell if "exercise-stub" in tags else stub
        kept.append(cell)
    notebook.cells = kept
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / NAME)
    return folder


def test_right_answers_stubs_and_loops_that_do_not_end_are_told_apart(tmp_path, capsys):
    def wrong(function, source):
        return source.replace("losses.sum()", "losses.mean()") if function == "carried_by" else source

    handed_in(tmp_path / "anna", solved=("carried_by", "cvar"))
    handed_in(tmp_path / "Ümit <b>", wrong, solved=("carried_by",))
    handed_in(
        tmp_path / "zoe",
        lambda function, source: "import time\nwhile True:\n    time.sleep(60)" if function == "cvar" else source,
        ("carried_by",),
    )
    (tmp_path / "zoe" / "02_clusters_and_coverage.ipynb").write_text("{")
    table = tmp_path / "marks.csv"
    assert main(["course", "grade", str(tmp_path), "--table", str(table), "--seconds", "5"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "✓ anna 01-carried" in said and "✓ anna 01-exact-cvar" in said
    assert any(line.startswith("✗ anna 01-shift-tail: ") and "returns nothing" in line for line in said)
    assert any(line.startswith("✗ Ümit <b> 01-carried: losses 1, 2, 3, 4") and "Hint: " in line for line in said)
    assert any(line.startswith("anna: 2 of ") for line in said) and "✓ zoe 01-carried" in said
    late = "✗ zoe 01-exact-cvar: no function cvar: cell 3 of the exercises raised TimeoutError: took longer than 5 s"
    assert any(line.startswith(late) for line in said)
    assert any(
        line.startswith("✗ zoe 02-cells: 02_clusters_and_coverage.ipynb is not a Jupyter notebook") for line in said
    )
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert rows[0][:3] == ["student", "01-carried", "01-exact-cvar"] and rows[0][-1] == "right"
    of = {row[0]: row[1:] for row in rows[1:]}
    assert of["anna"][:2] == ["1", "1"] and of["anna"][-1] == "2" and of["anna"][-2] == ""  # 02 was not handed in
    assert of["Ümit <b>"][0] == of["Ümit <b>"][-1] == "0" and of["zoe"][-2] == "0"


def test_what_a_cell_does_harms_neither_the_grader_nor_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "of the grader")

    def hostile(function, source):
        return {
            "shift_tail": "import sys\nprint('[[')\nsys.exit(3)",
            "cvar": "import os\nopen('left behind', 'w').write('x')\nassert 'SECRET_TOKEN' not in os.environ\n"
            + source,
            "kl_upper": "import numpy\nheld = [numpy.empty(2**30, 'u1') for _ in range(64)]",  # only claimed
        }.get(function, source)

    marks = {
        m.exercise: m for m in grade(handed_in(tmp_path / "work", hostile, ("carried_by", "cvar")), megabytes=6000)
    }
    assert marks["01-carried"].right and marks["01-exact-cvar"].right
    assert "no function shift_tail: cell 2 of the exercises raised SystemExit: 3" in marks["01-shift-tail"].said
    assert "MemoryError" in marks["01-kl-upper"].said and marks["01-carried"].cases == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [NAME]


def test_a_check_that_does_not_end_is_one_mark_and_json_has_them_all(tmp_path, capsys):
    def slow(function, source):
        return "def kl_upper(*given):\n    while True:\n        pass" if function == "kl_upper" else source

    handed_in(tmp_path / "anna", slow, ("carried_by",))
    assert main(["course", "grade", str(tmp_path), "--json", "--seconds", "3"]) == 0
    marks = json.loads(capsys.readouterr().out)["marks"]
    assert [m["exercise"] for m in marks if m["right"]] == ["01-carried"] and {m["student"] for m in marks} == {"anna"}
    assert [m["exercise"] for m in marks if "took longer than 3 s" in m["said"]] == ["01-kl-upper"]


def test_a_process_that_ends_itself_and_other_notebooks_are_told(tmp_path):
    ends = handed_in(tmp_path / "ends", lambda function, source: f"import os\nos._exit(7)  # {function}")
    assert {m.said.split(":")[0] for m in grade(ends)} == {"ended with status 7 before it was asked"}
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    (tmp_path / "other").mkdir()
    nbformat.write(other, tmp_path / "other" / NAME)
    assert all("no cell is tagged as an exercise" in m.said for m in grade(tmp_path / "other"))


def test_a_folder_without_copies_is_refused(tmp_path, capsys):
    (tmp_path / "anna").mkdir()
    with pytest.raises(RddError, match="no notebook NN_"):
        copies_of(tmp_path)
    assert main(["course", "grade", str(tmp_path / "nowhere")]) != 0
    assert "is no folder" in capsys.readouterr().err
