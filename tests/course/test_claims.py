"""Findings are asserted in the committed setting only, and what that is follows from each notebook's own defaults."""

import ast
import json
import re
from pathlib import Path

import pytest

from rdd_nb.course.claims import Claims
from rdd_nb.experiments.parameters import inspect

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
ELSEWHERE = {"device", "out_dir"}  # where a notebook runs and writes, which changes no finding
#: Parameters of notebook 06 that its findings about the table that ships do not depend on.
NEVER = {("06_ablations", "profile")}


def cells(path, tag):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in found if c["cell_type"] == "code" and tag in c["metadata"].get("tags", [])]


def committed(path, changed):
    """What the setup of a notebook calls the committed setting, with some parameters changed."""
    setup = "\n".join(cells(path, "setup"))
    needed, kept = {"committed"}, []
    for node in reversed(ast.parse(setup).body):  # what it follows from, and nothing that prints or writes
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        bound = {n.id for n in names if isinstance(n.ctx, ast.Store)} | {getattr(node, "name", "")}
        if isinstance(node, (ast.Import, ast.ImportFrom)) or needed & bound:
            kept.insert(0, node)
            needed |= {n.id for n in names if isinstance(n.ctx, ast.Load)}
    scope = {name: parameter.default for name, parameter in inspect(path).items()} | changed
    exec(compile(ast.Module(kept, []), path.name, "exec"), scope)
    return scope["committed"]


def another(name, parameter):
    """Another value that a parameter can have."""
    known = {"profile": "smoke", "matching": "gradient", "objective": "erm", "init": "noise", "groups": "known"}
    if name in known:
        return known[name]
    kind = re.search(r"str|int|float|dict", parameter.annotation)[0]
    return {"str": "another", "int": 7, "float": 0.123, "dict": {"depth": 2}}[kind]


@by_name
def test_the_committed_setting_is_that_of_the_defaults_alone(path):
    """Any parameter that is changed makes a finding a sentence: none is asserted where nobody has measured it."""
    assert committed(path, {}) is True
    for name, parameter in inspect(path).items():
        if name not in ELSEWHERE and (path.stem, name) not in NEVER:
            changed = {name: another(name, parameter)}
            assert changed[name] != parameter.default and committed(path, changed) is False, changed


@by_name
def test_every_finding_is_a_sentence(path):
    claims = [
        node
        for source in cells(path, "check")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"
    ]
    assert claims
    for node in claims:
        says = ast.literal_eval(node.args[1])
        assert len(says.split()) >= 3 and says[-1] not in ".!:" and " must " not in says, says


def test_a_finding_fails_in_the_committed_setting_only(capsys):
    claim = Claims(committed=True, profile="quick")
    claim(True, "it holds")
    with pytest.raises(AssertionError, match=r"^it does not$"):
        claim(False, "it does not")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_elsewhere_a_sentence_says_whether_it_holds(capsys, profile):
    claim = Claims(committed=False, profile=profile)
    assert "written for the default parameters" in capsys.readouterr().out
    claim(1 < 2, "one is less")
    claim(float("nan") > 2, "nothing is more")
    assert capsys.readouterr().out.splitlines() == [
        "On your data this holds, too: one is less.",
        "On your data this did not hold: nothing is more.",
    ]


def test_nothing_is_concluded_at_smoke(capsys):
    claim = Claims(committed=False, profile="smoke")
    assert "checks none of them" in capsys.readouterr().out
    claim(False, "it does not")
    assert capsys.readouterr().out == ""


def test_a_finding_may_depend_on_more_or_less(capsys):
    claim = Claims(committed=True, profile="quick")
    claim(False, "it does not", committed=False)
    assert "did not hold: it does not." in capsys.readouterr().out
    with pytest.raises(AssertionError):
        Claims(committed=False, profile="smoke")(False, "it does not", committed=True)


def test_paragraphs_of_numbers_are_shown_but_at_smoke(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    Claims(True, "quick").tell("a paragraph")
    assert shown.pop() == "a paragraph" and capsys.readouterr().out == ""
    claim = Claims(False, "smoke")
    claim.tell("a paragraph", any_profile=True)
    assert shown.pop() == "a paragraph"
    claim.tell("a paragraph")
    assert "not read" in shown.pop().data and "checks none of them" in capsys.readouterr().out
