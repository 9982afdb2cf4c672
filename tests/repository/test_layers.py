"""The layers: their order is held by a linter whose contracts bite, and CONTRIBUTING.md and the folders agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rdd_nb

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rdd_nb"


def lint(folder):
    script = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("core/errors.py", "import rdd_nb.cli", "Layers"),
        ("data/strata.py", "import rdd_nb.models.networks", "Layers"),
        ("evaluation/intervals.py", "from rdd_nb.evaluation import paired_tests", "No circles"),
        ("evaluation/scores.py", "import papermill", "The heart"),
    ],
)
def test_the_contracts_bite(tmp_path, file, line, broken):
    shutil.copytree(PACKAGE, tmp_path / "rdd_nb", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "rdd_nb" / file).open("a") as module:
        module.write(f"\n{line}\n")
    said = lint(tmp_path)
    assert said.returncode != 0
    assert re.search(rf"{broken}.* BROKEN", said.stdout), said.stdout


def test_the_folders_are_the_layers():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(rdd_nb.LAYERS) and len(folders) <= 12
    assert {p.name for p in PACKAGE.glob("*.*")} == {"__init__.py", "py.typed"}


def test_the_table_of_the_layers_has_every_module():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", page.partition("## The layers")[2], re.MULTILINE))
    assert list(rows) == list(rdd_nb.LAYERS), "a row a layer, in their order"
    for layer, row in rows.items():
        modules = {p.stem for p in (PACKAGE / layer).iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
        missing = modules - {"__init__"} - set(re.findall(r"`(\w+)`", row))
        assert not missing, f"name {', '.join(sorted(missing))} of {layer} in the table of CONTRIBUTING.md"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_is_short_enough_to_be_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
