"""``rdd-nb checks``: every finding of the package's own checks, and a status that a script can ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import rdd_nb as rdd
from rdd_nb.cli import main
from rdd_nb.data import validation


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def folder(count=12, broken=False):
    """Two classes of digits, of which one file may hold no image."""
    digits = rdd.load("digits").train
    for digit in range(2):
        Path("mine", f"is {digit}").mkdir(parents=True)
        for k in (digits.labels == digit).nonzero()[:count, 0].tolist():
            Image.fromarray(digits.images[k, 0].numpy()).save(Path("mine", f"is {digit}", f"{k}.png"))
    if broken:
        next(Path("mine").rglob("*.png")).write_bytes(b"no image")


def test_it_finds_what_the_package_finds(capsys):
    folder()
    assert main(["checks", "--data", "folder:mine", "--ipc", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    wanted = validation.files("folder:mine") + validation.examine(rdd.load("folder:mine"), 3)
    assert [each["what"] for each in told["findings"]] == [finding.what for finding in wanted]
    assert told["counts"] == {"error": 0, "warning": 0, "note": len(wanted)}
    assert main(["checks", "--data", "folder:mine", "--ipc", "3"]) == 0
    said = capsys.readouterr().out
    assert str(wanted[0]) in said and "0 errors, 0 warnings, 1 note" in said


def test_errors_come_first_and_end_with_status_1(capsys):
    folder(broken=True)
    assert main(["checks", "--data", "folder:mine", "--ipc", "3", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0]["what"] == "1 image cannot be read" and told["counts"]["error"] == 1
    assert main(["checks", "--data", "digits", "--ipc", "1000"]) == 1
    assert "fewer training images than the 1000" in capsys.readouterr().out


def test_scenarios_and_readers_are_taken_and_mistakes_are_one_line(capsys):
    assert main(["checks", "--data", "digits", "--scenario", "coloured"]) == 0
    assert "the group alone tells the class" in capsys.readouterr().out
    for words, says in (
        (["--data", "folder:nowhere"], "there is no such folder"),
        (["--data", "digts"], "did you mean 'digits'"),
        (["--data", "digits", "--ipc", "0"], "at least 1 image"),
    ):
        assert main(["checks", *words]) == 2
        out, err = capsys.readouterr()
        assert says in err and err.count("\n") == 1 and not out
