"""Every notebook runs at profile=smoke, and has the shape that the course asks of a notebook."""

import ast
import base64
import importlib.util
import io
import json
import re
import shutil
import symtable
from pathlib import Path

import nbformat
import pytest
from PIL import Image

import rdd_nb as rdd
from rdd_nb.course.cleaning import WIDGET_VIEW, clean
from rdd_nb.course.exercise import exercises_of
from rdd_nb.experiments.notebook import run_notebook
from rdd_nb.experiments.parameters import inspect
from rdd_nb.figures.figure import PIXELS_PER_INCH
from tests.helpers import run_in_a_copy

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
_spec = importlib.util.spec_from_file_location("times", ROOT / "notebooks" / "times.py")
times = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(times)
DISTILS = {"00_quickstart", "03_distillation"}  # notebooks whose run leaves a distilled set

#: What a notebook does not meet, and why. Everything else holds for all of them.
EXEMPT = {
    ("00_quickstart", "exercises"): "exercises begin with 01",
}


def tags(cell):
    return cell.metadata.get("tags", [])


def tagged(notebook, tag):
    return [c for c in notebook.cells if tag in tags(c)]


def read(path):
    return nbformat.read(path, as_version=4)


def skip_exempt(path, what):
    if (path.stem, what) in EXEMPT:
        pytest.skip(EXEMPT[path.stem, what])


def test_there_are_notebooks():
    assert NOTEBOOKS
    assert {name for name, _ in EXEMPT} | DISTILS <= {p.stem for p in NOTEBOOKS}


# ---------------------------------------------------------------------------------------------------------- they run


@by_name
def test_runs_at_smoke_as_a_student_has_it_and_then_the_solutions(path, tmp_path):
    """One run for two: the student's copy is the notebook without its solutions, which come last here."""
    notebook = read(path)
    solutions = tagged(notebook, "solution")
    notebook.cells = [cell for cell in notebook.cells if cell not in solutions] + solutions
    nbformat.write(notebook, tmp_path / path.name)
    out, run = tmp_path / "executed" / path.name, tmp_path / "run"
    values = {"profile": "smoke", "out_dir": str(run)}
    if "image_size" in inspect(path):  # networks take a third of the time
        values["image_size"] = 16
    told = run_notebook(tmp_path / path.name, out, values, linger=False)
    assert told["notebook"] == path.name
    assert json.loads((run / "metrics.json").read_text())
    assert (run / "synthetic.safetensors").is_file() == (path.stem in DISTILS)
    assert list((run / "figures").glob("*.png"))
    cells = read(out).cells
    ends = len(cells) - len(solutions)
    students, solved = (json.dumps([c.get("outputs", []) for c in part]) for part in (cells[:ends], cells[ends:]))
    assert students.count("it returns nothing") == len(solutions), "every stub is told that it is not filled in yet"
    assert "right in all" not in students and solved.count("right in all") == len(solutions)


@by_name
def test_no_cell_uses_what_a_solution_defines(path):
    """So a run with the solutions at its end says the same as one in the notebook's order."""
    defined: set[str] = set()
    for cell in read(path).cells:
        if cell.cell_type != "code" or {"exercise-stub", "check"} & set(tags(cell)):
            continue
        binds, uses = names_in(symtable.symtable(cell.source, path.name, "exec"))
        if "solution" in tags(cell):
            defined |= binds
        else:
            assert not (uses - binds) & defined
            defined -= binds


def names_in(table):
    """The names that a cell binds and that it uses, in functions too, where they are the notebook's own."""
    symbols = table.get_symbols()
    top = table.get_type() == "module"
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()} if top else set()
    uses = {s.get_name() for s in symbols if s.is_referenced() and (top or s.is_global())}
    for inner in table.get_children():
        uses |= names_in(inner)[1]
    return binds, uses


def test_the_quickstart_runs_on_the_other_scenario(tmp_path):
    values = {
        "profile": "smoke",
        "dataset": "digits",  # a seventh of the images in which groups are looked for
        "scenario": "rotated-minority",
        "matching": "gradient",
        "out_dir": str(tmp_path / "run"),
    }
    run_in_a_copy(ROOT / "notebooks" / "00_quickstart.ipynb", **values)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_the_notebook_on_own_data_runs_on_a_folder_without_groups_and_splits(tmp_path):
    digits = rdd.load("digits").train
    for digit in range(3):
        (tmp_path / "mine" / f"$digit_{digit}$ <b>").mkdir(parents=True)
        for k in (digits.labels == digit).nonzero()[:40, 0].tolist():
            Image.fromarray(digits.images[k, 0].numpy()).save(tmp_path / "mine" / f"$digit_{digit}$ <b>" / f"{k}.png")
    values = {"profile": "smoke", "folder": str(tmp_path / "mine"), "ipc": 3, "out_dir": str(tmp_path / "run")}
    run_in_a_copy(ROOT / "notebooks" / "08_your_own_data.ipynb", **values)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "clear nobody" in page and "&lt;b&gt;" in page and "<b>" not in page and str(tmp_path) not in page


# --------------------------------------------------------------------------------------------------- from top to bottom


@by_name
def test_shape(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    ids = [c.id for c in notebook.cells]
    assert len(set(ids)) == len(ids)
    first, second = notebook.cells[:2]
    assert first.cell_type == "markdown" and re.match(r"# .+\?\n+\w", first.source), "a question, and its answer"
    assert "**You will**" in second.source, "the goals"
    assert all(f"| {row} |" in second.source for row in ("Before this", "Time", "Hardware", "Data"))
    titles = [c.source.splitlines()[0] for c in notebook.cells if c.cell_type == "markdown" and c.source[:2] == "##"]
    assert titles[-1] == "## Summary"
    summary = next(k for k, c in enumerate(notebook.cells) if c.source.startswith("## Summary"))
    after = notebook.cells[summary + 1 :]
    assert any("Markdown(" in c.source and c.cell_type == "code" for c in after), "a summary computes its numbers"
    assert after[-1].cell_type == "markdown" and "**Further reading**" in after[-1].source


@by_name
def test_each_section_says_how_hard_it_is_and_how_long_it_takes(path):
    """By `notebooks/times.py`, which also has the minutes that a text of 200 words and an exercise take."""
    notebook = read(path)
    found = list(times.sections(notebook))
    for section in found:
        assert section.mark, f"{section.title}: *Core · 1 minute* in the line below, then `python notebooks/times.py`"
        assert int(section.mark[2]) == section.minutes(), f"{section.title}: run `python notebooks/times.py`"
        whole = section.title == "## Exercises"
        assert (section.mark[1] == "Core and advanced") == whole, section.title
    assert any(section.mark[1] == "Core" for section in found)
    assert f"| Time | {times.total(notebook)};" in notebook.cells[1].source
    assert f"; `quick` about {times.at_quick(notebook)} on " in notebook.cells[1].source


def test_times_are_words_running_and_exercises():
    def text(words, tags=(), head=""):
        cell = nbformat.v4.new_markdown_cell(head + "word " * words)
        cell.metadata["tags"] = list(tags)
        return cell

    hidden, told = (nbformat.v4.new_code_cell("word " * 300) for _ in range(2))
    hidden.metadata["jupyter"] = {"source_hidden": True}
    hidden.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": "word " * 198})]
    told.metadata["papermill"] = {"duration": 61.2}
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        text(500),
        text(0, head="## 1. A?\n\n*Advanced · 9 minutes, 7 s of them running*\n\n"),
        hidden,
        text(100, head="### Part\n"),
        told,
        text(0, head="## Exercises\n\n*Core and advanced · 1 minute*"),
        text(194, ["exercise"], "### Exercise 1: b\n\n*Core · 1 minute*\n\n"),
        text(594, ["exercise"], "### Exercise 2: c\n\n*Advanced · 1 minute*\n\n"),
    ]
    by_title = {section.title: section for section in times.sections(notebook)}
    assert [(s.minutes(), s.running()) for s in by_title.values()] == [(4, 61), (5, 0), (7, 0), (12, 0)]
    assert times.at_quick(notebook) == "a minute"
    for seconds, said in ((3, "half a minute"), (80, "1½ minutes"), (118, "2 minutes"), (200, "3½ minutes")):
        told.metadata["papermill"] = {"duration": seconds}
        assert times.at_quick(notebook) == said
    del told.metadata["papermill"]
    assert by_title["## 1. A?"].running() == 7, "as it was measured before"
    assert times.total(notebook) == "advanced 9 minutes, exercises 1 minute"


@by_name
def test_parameters(path):
    notebook = read(path)
    code = [c for c in notebook.cells if c.cell_type == "code" and "colab" not in tags(c)]  # see badges.py
    setup = tagged(notebook, "setup")
    assert tagged(notebook, "parameters") == code[:1] and setup == code[1 : 1 + len(setup)]
    assert 1 <= len(setup) <= 2, "imports, and settings in a cell of their own where both would be long"
    found = inspect(path)  # refuses what is not a literal
    assert {"profile", "seed", "device", "out_dir"} <= set(found)
    assert found["profile"].default == "quick"
    for parameter in found.values():
        assert parameter.annotation and parameter.help, "each has a type, and a comment that says what it is"
    assert len(code[0].source.splitlines()) == len(found), "one a line"


@by_name
def test_sections_have_a_figure_and_a_check(path):
    skip_exempt(path, "sections")
    sections, current = {}, None
    for cell in read(path).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("##"):
            current = cell.source.splitlines()[0] if re.match(r"## \d", cell.source) else None
            if current:
                assert current.endswith("?"), "a section asks"
        if current:
            sections.setdefault(current, []).append(cell)
    assert len(sections) >= 3
    for title, cells in sections.items():
        assert sum(c.source.count("$$") for c in cells) <= 2, f"{title}: one display equation at most"
        assert sum("figures.show(" in c.source for c in cells) == 1, f"{title}: one figure"
        assert "check" in tags(cells[-1]), f"{title}: closes with an assertion"


def lines_of_code(source):
    """How many lines do something: docstrings, comments, blank lines and what only shows or tells do not count."""
    counted, told = set(), set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt):
            continue
        span = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        text = ast.unparse(node)
        shows = isinstance(node, ast.Expr) and text.startswith(("figures.show(", "display(", "print("))
        if shows or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            told |= span
        elif isinstance(node, (ast.FunctionDef, ast.For, ast.If, ast.With)):
            counted |= {node.lineno}
        else:
            counted |= span
    return len(counted - told)


@by_name
def test_code_is_short(path):
    for cell in read(path).cells:
        told = {"parameters", "setup", "check", "solution"} & set(tags(cell))
        if (
            cell.cell_type == "code"
            and not told
            and "Markdown(" not in cell.source
            and "write_metrics" not in cell.source
        ):
            assert lines_of_code(cell.source) <= 15, cell.source


@by_name
def test_no_cell_is_long(path):
    for cell in read(path).cells:
        if cell.cell_type == "code" and not {"parameters", "solution"} & set(tags(cell)):
            assert len(cell.source.splitlines()) <= 25, cell.source


@by_name
def test_what_no_reader_needs_to_see_is_folded(path):
    """In JupyterLab by `source_hidden`, on the site by the tag `hide-input`, or as a solution."""
    before = None
    for cell in read(path).cells:
        if cell.cell_type == "code":
            told, hidden = set(tags(cell)), cell.metadata.get("jupyter", {}).get("source_hidden", False)
            assert hidden == bool({"hide-input", "solution"} & told), cell.source
            assert not hidden or not {"parameters", "exercise-stub", "static", "widget"} & told, cell.source
            assert not hidden or "figures.show(" not in cell.source, "how a figure is made is shown"
            if "setup" in told or ("check" in told and "exercise-stub" not in tags(before)):
                assert hidden, cell.source
        before = cell


@by_name
def test_five_questions_whose_answers_explain_themselves(path):
    """They need no server and no script: an answer is a `<details>` that opens."""
    (cell,) = [c for c in read(path).cells if c.source.startswith("## Check yourself")]
    assert cell.cell_type == "markdown" and "$" not in cell.source, "formulas in HTML are not shown everywhere"
    questions = re.split(r"^\*\*\d\. .+\*\*$", cell.source, flags=re.MULTILINE)[1:]
    assert len(questions) == 5
    for question in questions:
        answers = re.findall(r"^<details><summary>(.+)</summary>([✓✗]) (.+)</details>$", question, re.MULTILINE)
        assert len(answers) == len(question.strip().splitlines()) >= 3, "an answer a line, and nothing else"
        assert [mark for _, mark, _ in answers].count("✓") == 1
        lengths = [len(said) for said, _, _ in answers]
        assert max(lengths) < 2 * min(lengths), "the length tells nothing"
        assert all(len(why.split()) >= 6 for _, _, why in answers), "each says why"


@by_name
def test_checks_assert(path):
    checks = tagged(read(path), "check")
    assert checks
    assert all(re.search(r"\bassert |\bclaim\(|course\.check\(", c.source) for c in checks)


# ------------------------------------------------------------------------------------------------------------- outputs


@by_name
def test_outputs_are_fresh_and_clean(path, tmp_path):
    notebook = read(path)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 500_000
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'"output_type": "error"', text) and WIDGET_VIEW not in text
    assert not re.search(r"/(home|root|Users|work|tmp)/", text), "a path of the machine"
    assert "profile quick" in text, "committed outputs are those of the quick profile"
    shutil.copyfile(path, tmp_path / path.name)
    clean(tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes(), "`make notebooks` cleans them"


@by_name
def test_every_figure_has_alternative_text_and_a_caption(path):
    pictures = 0
    for cell in read(path).cells:
        outputs = cell.get("outputs", [])
        for k, output in enumerate(outputs):
            if "image/png" in output.get("data", {}):
                pictures += 1
                said = output.metadata["image/png"]
                assert len(said["alt"]) > 30
                with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as picture:
                    wide = picture.width / 100  # inches: show() draws a hundred pixels to each
                assert said["width"] >= 0.99 * PIXELS_PER_INCH * wide, "smaller, and a text has less than 9 points"
                assert re.fullmatch(r"\*.+\*", outputs[k + 1].data["text/markdown"], re.DOTALL), "a caption below it"
    assert pictures >= 2


@by_name
def test_every_figure_is_read(path):
    """Behind a figure comes a paragraph, computed where it has numbers."""
    cells = read(path).cells
    for k, cell in enumerate(cells):
        if cell.cell_type == "code" and "figures.show(" in cell.source:
            assert cells[k + 1].cell_type == "markdown" or "Markdown(" in cells[k + 1].source


@by_name
def test_a_static_picture_stands_before_each_widget(path):
    cells = read(path).cells
    for k, cell in enumerate(cells):
        if "widget" in tags(cell):
            assert any("static" in tags(c) for c in cells[max(0, k - 3) : k])
            assert "think about" in cells[k + 1].source
        else:
            assert ".panel()" not in cell.source, "a live widget is tagged `widget`"


# ----------------------------------------------------------------------------------------------------------- exercises


def cells_of_exercises(path):
    """(task, stub, check, solution) of each exercise: four cells in a row."""
    cells = read(path).cells
    return [cells[k : k + 4] for k, c in enumerate(cells) if "exercise" in tags(c)]


def scope_of(path):
    """What the notebook imports."""
    setup = ast.parse(tagged(read(path), "setup")[0].source)
    setup.body = [node for node in setup.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    scope = {}
    exec(compile(setup, path.name, "exec"), scope)
    return scope


@by_name
def test_exercises_are_complete(path):
    skip_exempt(path, "exercises")
    found, notebook = cells_of_exercises(path), read(path)
    assert len(found) >= 3
    for tag in ("exercise-stub", "solution"):
        assert len(tagged(notebook, tag)) == len(found), "none stands alone"
    names = []
    for task, stub, check, solution in found:
        assert [t for c in (task, stub, check, solution) for t in tags(c)] == [
            *("exercise", "exercise-stub", "check", "solution")
        ]
        call = re.fullmatch(r'course\.check\("([\w-]+)", (\w+)\)', check.source)
        assert call, "the check is one line that does not raise"
        names.append(call[1])
        assert solution.source.endswith(f'course.check("{call[1]}", {call[2]}, strict=True)')
        rest = iter(solution.source.splitlines())
        assert all(line in rest for line in stub.source.splitlines()), "every line of the stub, in this order"
    assert names == list(exercises_of(path.name[:2])), "every exercise of the module is asked, in its order"


@by_name
def test_solutions_are_right_and_stubs_harmless(path, capsys):
    skip_exempt(path, "exercises")
    for _, stub, check, solution in cells_of_exercises(path):
        scope = scope_of(path)
        exec(stub.source, scope)
        exec(check.source, scope)
        assert capsys.readouterr().out.startswith("✗"), "a stub is not an answer"
        exec(solution.source, scope)  # strict: raises where it is wrong
        assert capsys.readouterr().out.startswith("✓")
