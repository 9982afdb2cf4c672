"""What who installs with pip gets: a whole package, with its notebooks and their data, that imports quickly."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import rdd_nb
from rdd_nb.core import resources
from rdd_nb.core.errors import RddError
from rdd_nb.data import sources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LARGEST = 12_000_000  # bytes that a wheel may have
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def python(code: str, *arguments: str, cwd: Path = ROOT, **more: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------------------------ a wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as pip's build backend makes it of a copy of the repository."""
    try:
        recent = int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except importlib.metadata.PackageNotFoundError:
        recent = False
    if not recent:
        pytest.skip("no setuptools here that pyproject.toml would build with: pip install 'setuptools>=77'")
    scratch = tmp_path_factory.mktemp("wheel")
    clutter = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "downloads", "*.tmp")
    for name in ("rdd_nb", "notebooks", "data", "tests"):
        shutil.copytree(ROOT / name, scratch / "source" / name, ignore=clutter)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, scratch / "source")
    shutil.copy(ROOT / "LICENSE", scratch / "source")
    name = python(BUILD, str(scratch), cwd=scratch / "source").split()[-1]
    return scratch / name


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's files as an installer lays them out."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def files(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(pattern) if "__pycache__" not in path.parts}


def test_a_wheel_holds_every_module_the_course_and_its_data_and_no_more(installed):
    modules = files(ROOT, "rdd_nb/**/*.py")
    there = files(installed, "rdd_nb/**/*.py")
    assert there == modules, "list every folder of modules under packages in pyproject.toml"
    held = {name for name in files(installed, "**/*") if (installed / name).is_file()}
    carried = {name.removeprefix("rdd_nb/_shipped/") for name in held if name.startswith("rdd_nb/_shipped/")}
    assert {name for name in carried if name.startswith("notebooks/")} == files(ROOT, "notebooks/[0-9]*.ipynb")
    assert files(ROOT, "data/studies/*.yaml") | files(ROOT, "data/results/*.csv") < carried
    assert {"data/fashion_mnist_sample.npz", "data/README.md"} < carried, "the sample, and its licence beside it"
    assert all((installed / "rdd_nb/_shipped" / n).read_bytes() == (ROOT / n).read_bytes() for n in carried)
    templates = files(ROOT, "rdd_nb/reporting/templates/*")
    assert templates and files(installed, "rdd_nb/reporting/templates/*") == templates
    known = {"rdd_nb/py.typed"} | modules | templates | {f"rdd_nb/_shipped/{name}" for name in carried}
    assert all(name.startswith(f"rdd_nb-{rdd_nb.__version__}.dist-info/") for name in held - known), held - known
    assert all(re.fullmatch(r"(notebooks|data)/.*\.(ipynb|csv|npz|yaml|md)", name) for name in carried)


def test_a_wheel_is_typed_licensed_and_has_the_command(wheel, installed):
    assert wheel.stat().st_size < LARGEST
    assert (installed / "rdd_nb" / "py.typed").is_file()
    told = installed / f"rdd_nb-{rdd_nb.__version__}.dist-info"
    assert (told / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "rdd-nb = rdd_nb.cli:main" in (told / "entry_points.txt").read_text()
    metadata = (told / "METADATA").read_text(encoding="utf-8")
    assert f"\nVersion: {rdd_nb.__version__}\n" in metadata and "\nLicense-Expression: MIT\n" in metadata


def test_what_is_installed_finds_the_sample_and_the_notebooks(installed, tmp_path):
    code = (
        "import json, sys, rdd_nb; from rdd_nb.core import resources; from rdd_nb.data import sources; "
        "from rdd_nb.cli import main; "
        "assert main(['course', 'copy', 'course']) == 0; data = rdd_nb.load('fashion-mnist-sample'); "
        "print(json.dumps([rdd_nb.__file__, len(data.train), str(sources.default_root()), resources.in_wheel()]))"
    )
    (tmp_path / "data").mkdir()  # of another project
    said = python(code, cwd=tmp_path, PYTHONPATH=str(installed), RDD_NB_DATA="").splitlines()[-1]
    home, images, root, in_wheel = json.loads(said)
    assert Path(home).parent.parent == installed and images == 10_000 and in_wheel
    assert root == "data", "downloads go to the working directory, not into the installation"
    assert files(tmp_path, "course/*") == {f"course/{path.name}" for path in notebooks()}


def notebooks():
    return sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def test_a_sample_that_an_installation_lost_is_told_as_such(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "in_wheel", lambda: True)
    monkeypatch.setattr(sources, "REPOSITORY_DATA", tmp_path)
    with pytest.raises(RddError, match="install rdd-nb again"):
        rdd_nb.load("fashion-mnist-sample", root=tmp_path)


def test_the_repository_is_used_in_place():
    assert not resources.in_wheel() and resources.folder("notebooks") == ROOT / "notebooks"


# ------------------------------------------------------------------------------------------------------------ versions


def test_the_version_is_the_same_wherever_it_stands():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+) \(", changes, re.MULTILINE)
    said = {PROJECT["version"], citation["version"], citation["preferred-citation"]["version"]}
    assert said == {rdd_nb.__version__} == {latest and latest[1]}
