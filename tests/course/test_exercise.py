import json
from pathlib import Path

import nbformat
import pytest
import torch

import rdd_nb as rdd
from rdd_nb import course
from rdd_nb.cli import main
from rdd_nb.core.errors import RddError
from rdd_nb.course.exercise import Case, Exercise, Mistake, _registry, exercises_of, judge, register
from rdd_nb.course.student_copies import student_copies

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NUMBERS = sorted(
    p.stem[-2:] for p in (NOTEBOOKS.parent / "rdd_nb" / "course" / "exercises").glob("exercises_[0-9][0-9].py")
)
EXERCISES = {name: exercise for number in NUMBERS for name, exercise in exercises_of(number).items()}
by_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
EXACT = "01-exact-cvar"


def test_there_are_exercises():
    assert len(exercises_of("01")) >= 4
    assert all(name == exercise.name and exercise.task for name, exercise in EXERCISES.items())
    assert exercises_of("99") == {}


# ---------------------------------------------------------------------------------------- what every exercise must do


@by_exercise
def test_the_right_answer_passes(exercise):
    verdict = judge(exercise.name, exercise.answer)
    assert verdict, str(verdict)
    assert verdict.right == verdict.cases == len(exercise.cases) >= 3


@by_exercise
def test_every_mistake_is_rejected_with_its_own_hint(exercise):
    assert len(exercise.mistakes) >= 2
    for mistake in exercise.mistakes:
        verdict = judge(exercise.name, mistake.answer)
        assert not verdict
        assert verdict.hint == mistake.hint


@by_exercise
@pytest.mark.parametrize(
    "answer, problem, hint",
    [
        (lambda *a: None, "returns nothing", "return"),
        (lambda *a: "0.4", "returns '0.4'", "number or a tensor"),
        (lambda: 0, "TypeError", "by hand"),
        (lambda *a: torch.full((7, 3), 0.123), "shape is [7, 3]", "dimension"),
        (0.4, "not a function", "brackets"),
    ],
    ids=["stub", "text", "raises", "shape", "value"],
)
def test_what_no_exercise_accepts(exercise, answer, problem, hint):
    verdict = judge(exercise.name, answer)
    assert not verdict and verdict.right == 0
    assert problem in verdict.problem and hint in verdict.hint


@by_exercise
def test_a_right_value_without_gradient_is_no_right_answer_where_one_is_asked(exercise):
    def constant(*arguments):
        value = exercise.answer(*arguments)
        return value.detach() if isinstance(value, torch.Tensor) else value

    verdict = judge(exercise.name, constant)
    assert bool(verdict) is not exercise.gradient
    if exercise.gradient:
        assert "constant" in verdict.problem and "cut the graph" in verdict.hint


# --------------------------------------------------------------------------------------------------------- the checks


def test_a_wrong_gradient_is_found_though_the_value_is_right():
    def straight_through(losses, tail):
        return rdd.cvar(losses, tail).detach() + losses.mean() - losses.mean().detach()

    verdict = judge(EXACT, straight_through)
    assert "gradient is [0.1, 0.1" in verdict.problem and "weights" in verdict.hint


def test_an_unforeseen_factor_is_named():
    verdict = judge(EXACT, lambda losses, tail: 3 * rdd.cvar(losses, tail))
    assert "factor of 3" in verdict.hint
    assert "you return 28.5, right is 9.5" in verdict.problem


def test_nan_in_the_wrong_place_is_counted():
    verdict = judge("01-group-cvar", lambda losses, groups, num_groups, tail: torch.full((num_groups,), torch.nan))
    assert "NaN where a number is asked (2 of yours)" in verdict.hint


def test_an_error_says_where_it_was_raised():
    scope: dict = {}
    exec(compile("def f(losses, tail):\n    x = 1\n    return losses[tail]\n", "<cell>", "exec"), scope)
    assert "IndexError" in (problem := judge(EXACT, scope["f"]).problem) and "line 3 of your cell" in problem


def test_answers_cannot_spoil_the_cases():
    def greedy(losses, tail):
        value = rdd.cvar(losses, tail)
        with torch.no_grad():
            losses.zero_()
        return value

    judge(EXACT, greedy)
    assert judge(EXACT, rdd.cvar)


def test_check_prints_unless_it_is_strict(capsys):
    course.check(EXACT, lambda losses, tail: losses.mean())
    said = capsys.readouterr().out
    assert said.startswith("✗ 01-exact-cvar: right in 0 of 8") and "Hint: That is the mean of all losses" in said
    with pytest.raises(RddError, match="mean of all losses"):
        course.check(EXACT, lambda losses, tail: losses.mean(), strict=True)
    course.check(EXACT, rdd.cvar, strict=True)
    assert capsys.readouterr().out == "✓ 01-exact-cvar: right in all 8 cases.\n"


@pytest.mark.parametrize("name", ["01-exact-cvr", "97-nothing", "exact-cvar"])
def test_an_unknown_exercise(name):
    with pytest.raises(RddError, match="unknown exercise"):
        course.check(name, rdd.cvar)


def test_the_hint_is_that_of_the_mistake_that_agrees_most():
    exercise = Exercise(
        "00-double",
        "twice the number",
        lambda x: 2 * x,
        (Case("two", (2.0,)), Case("three", (3.0,))),
        (Mistake("only in the first case", lambda x: 0.0 if x == 2 else -1.0), Mistake("zero", lambda x: 0.0)),
    )
    register(exercise)
    try:
        assert judge("00-double", lambda x: 0.0).hint == "zero"
        assert judge("00-double", lambda x: 2 * x)
    finally:
        del _registry["00-double"]


# ------------------------------------------------------------------------------------------------------ student copies


def small(folder):
    cells = [
        nbformat.v4.new_markdown_cell("# Why?", metadata={"tags": ["exercise"]}),
        nbformat.v4.new_code_cell("def f(x):\n    '''One.'''", metadata={"tags": ["exercise-stub"]}, execution_count=1),
        nbformat.v4.new_code_cell(
            "print(f(1))", execution_count=2, outputs=[nbformat.v4.new_output("stream", text="1")]
        ),
        nbformat.v4.new_code_cell("def f(x):\n    return 1", metadata={"tags": ["solution"]}, execution_count=3),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, folder / "01_x.ipynb")
    return folder


def test_a_student_copy_has_no_solution_and_no_output(tmp_path):
    before = (small(tmp_path) / "01_x.ipynb").read_bytes()
    (path,) = student_copies(tmp_path, tmp_path / "build" / "student")
    assert path == tmp_path / "build" / "student" / "01_x.ipynb"
    copy = nbformat.read(path, as_version=4)
    nbformat.validate(copy)
    assert [c.source for c in copy.cells] == ["# Why?", "def f(x):\n    '''One.'''", "print(f(1))"]
    assert all(not c.outputs and c.execution_count is None for c in copy.cells if c.cell_type == "code")
    assert (tmp_path / "01_x.ipynb").read_bytes() == before


def test_nbgrader_marks_what_each_check_says(tmp_path, monkeypatch):
    """Its metadata; that nbgrader itself takes them and gives a point for a right answer was tried with version 0.9."""
    for path in student_copies(NOTEBOOKS, tmp_path / "out"):
        cells = nbformat.read(path, as_version=4).cells
        told = [cell.metadata["nbgrader"] for cell in cells if "nbgrader" in cell.metadata]
        answers, checks = told[::2], told[1::2]
        assert [one["grade_id"] for one in answers] == list(exercises_of(path.name[:2]))
        assert [one["grade_id"] for one in checks] == [f"{one['grade_id']}-check" for one in answers]
        assert all(one["solution"] and not one["grade"] and not one["locked"] for one in answers)
        assert all(one["grade"] and one["points"] == 1 and one["locked"] and not one["solution"] for one in checks)
        assert all(one["schema_version"] == 3 for one in told)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    course.check("01-carried", lambda losses, members: losses[members].sum() / losses.sum())
    with pytest.raises(RddError, match="01-carried: right in 0 of 5"):
        course.check("01-carried", lambda losses, members: losses[members].mean())


def test_no_copy_for_students_promises_a_solution(tmp_path):
    said = "Where a folded cell follows the check, it holds a solution; copies for students have none."
    for path in student_copies(NOTEBOOKS, tmp_path / "out"):
        texts = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
        promises = [text for text in texts if "solution" in text and "folded" in text]
        assert all(said in text for text in promises) and len(promises) == bool(exercises_of(path.name[:2]))


def test_student_copies_never_overwrite_the_notebooks(tmp_path):
    with pytest.raises(RddError, match="another folder"):
        student_copies(small(tmp_path), tmp_path / "." / "")
    with pytest.raises(RddError, match="holds no notebooks"):
        student_copies(tmp_path / "none", tmp_path / "out")
    (tmp_path / "02_y.ipynb").write_text("{}")
    with pytest.raises(RddError, match="02_y"):
        student_copies(tmp_path, tmp_path / "out")


# ------------------------------------------------------------------------------------------------- copies to take home


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_copy_gives_the_notebooks_as_they_are(tmp_path, capsys):
    assert main(["course", "copy", str(tmp_path / "my" / "course")]) == 0
    said = capsys.readouterr().out
    assert held(tmp_path / "my" / "course") == {p.name: p.read_bytes() for p in NOTEBOOKS.glob("[0-9]*.ipynb")}
    assert "copied to" in said and f"jupyter lab {tmp_path}/my/course/00_quickstart.ipynb" in said


def test_copy_never_overwrites_work_unasked(tmp_path, capsys):
    command = ["course", "copy", str(tmp_path)]
    (tmp_path / "notes.txt").write_text("mine")
    assert main(command) == 0 and main(command) == 0, "the same again changes nothing"
    assert "copied to" in capsys.readouterr().out
    changed = tmp_path / "03_distillation.ipynb"
    changed.write_text("my work")
    (tmp_path / "01_risk_and_robustness.ipynb").unlink()
    before = held(tmp_path)
    assert main(command) == 2
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1
    assert f"{changed} is there and differs" in told and "another folder, or --force" in told
    assert held(tmp_path) == before, "nothing is half done"
    assert main([*command, "--force", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == ["01_risk_and_robustness.ipynb", "03_distillation.ipynb"] and len(said["notebooks"]) == 9
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_copies_for_students_have_no_solutions(tmp_path, capsys):
    assert main(["course", "copy", str(tmp_path / "a"), "--student"]) == 0
    assert "without solutions" in capsys.readouterr().out
    student_copies(NOTEBOOKS, tmp_path / "b")
    assert held(tmp_path / "a") == held(tmp_path / "b")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_copying_to_where_nothing_can_be(tmp_path, capsys, place):
    (tmp_path / "file").write_text("a regular file")
    assert main(["course", "copy", str(tmp_path / place)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"cannot write {tmp_path / place}" in told and "use another folder" in told
