"""The documentation and its environments: pages that link to one another, commands that exist, the Binder image."""

import contextlib
import doctest
import fnmatch
import importlib.util
import json
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import yaml

import rdd_nb
from rdd_nb.cli import _app, _join_parameters
from rdd_nb.distillation.config import DistillConfig
from tests.helpers import process_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
BY_CONDA = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}  # else the names are the same
NOT_OURS = {"python", "pip"}  # what conda-forge has to be asked for
HIDDEN = "rdd_nb.course.exercises"  # modules that hold the answers


def text_of(path):
    return path.read_text(encoding="utf-8")


def requirements(listed):
    """Name → what follows it, such as ``>=2.6``."""
    return dict(re.fullmatch(r"([\w.-]+)(.*)", line.replace(" ", "")).groups() for line in listed)


# -------------------------------------------------------------------------------------------------------- environments


def test_binder_installs_what_pyproject_asks_for():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    environment = yaml.safe_load(text_of(BINDER / "environment.yml"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    asked = requirements(environment["dependencies"])
    python = tuple(map(int, asked["python"].removeprefix("=").split(".")))
    assert (3, 10) <= python < (3, 14) and project["requires-python"] == ">=3.10,<3.14"
    ours = {BY_CONDA.get(name, name): version for name, version in asked.items() if name not in NOT_OURS}
    assert ours == requirements([*project["dependencies"], *project["optional-dependencies"]["lab"]])


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_binder_scripts_can_run(name):
    script = BINDER / name
    assert os.access(script, os.X_OK) and text_of(script).startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


def test_binder_starts_with_one_thread_and_hands_over():
    assert text_of(BINDER / "start").rstrip().endswith('exec "$@"')
    code = "import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1:])"
    done = subprocess.run(
        [BINDER / "start", sys.executable, "-c", code, "a b", ""], check=True, capture_output=True, text=True
    )
    assert done.stdout == "1 ['a b', '']\n"


def test_binder_stops_where_the_package_does_not_work():
    assert "set -euo pipefail" in text_of(BINDER / "postBuild"), "an image is built or it is not"


@pytest.mark.skipif(importlib.util.find_spec("repo2docker") is None, reason="repo2docker is not installed (make docs)")
def test_repo2docker_reads_it(tmp_path):
    shutil.copytree(BINDER, tmp_path / "binder")
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    said = done.stdout + done.stderr
    assert all(f"binder/{name}" in said for name in ("environment.yml", "postBuild", "start"))


def test_the_devcontainer_installs_as_make_does():
    told = json.loads(text_of(ROOT / ".devcontainer" / "devcontainer.json"))
    assert told["postCreateCommand"] == "make .venv/.installed"
    makefile = text_of(ROOT / "Makefile")
    assert "VENV := .venv" in makefile and "STAMP := $(VENV)/.installed" in makefile and "$(STAMP): " in makefile


def test_the_pages_workflow_publishes_what_make_docs_builds():
    workflow = yaml.safe_load(text_of(ROOT / ".github" / "workflows" / "pages.yml"))
    steps = workflow["jobs"]["build"]["steps"]
    assert {"name": "make docs", "run": "make docs"} in steps
    assert steps[-1]["with"]["path"] == "build/docs" and " build/docs\n" in text_of(ROOT / "Makefile")


# --------------------------------------------------------------------------------------------------------------- pages


def test_every_module_is_on_a_page():
    paths = (ROOT / "rdd_nb").rglob("*.py")
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in paths}
    modules = {module for module in modules if not f"{module}.".startswith(f"{HIDDEN}.")}
    documented = [module for page in PAGES for module in re.findall(r"automodule:: ([\w.]+)", text_of(page))]
    assert sorted(documented) == sorted(modules), "each once, and none that is not there"


def test_each_layer_has_a_page_in_the_layers_order():
    index = text_of(ROOT / "docs" / "api" / "index.md")
    listed = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.DOTALL | re.MULTILINE)[0]
    assert tuple(line for line in listed.splitlines() if line and line[0] != ":") == rdd_nb.LAYERS
    for layer in rdd_nb.LAYERS:
        page = text_of(ROOT / "docs" / "api" / f"{layer}.md")
        assert {m.split(".")[1] for m in re.findall(r"automodule:: ([\w.]+)", page)} == {layer}


def test_the_public_interface_is_described():
    page = text_of(ROOT / "docs" / "api" / "index.md")
    for name, module in rdd_nb._HOME_OF.items():
        home = getattr(rdd_nb, name).__module__
        assert f"{home}.{name}>`" in page or f"~{home}.{name}`" in page, f"{name} of rdd_nb.{module}"


def toctree(page):
    """The pages that a page's toctrees name, as paths from the repository's root without suffix."""
    found = set()
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                named = re.sub(r".*<(.+)>", r"\1", line)
                found.add(posixpath.normpath(posixpath.join(page.parent.relative_to(ROOT).as_posix(), named)))
    return found


def test_every_page_is_in_a_toctree():
    linked = set().union(*map(toctree, PAGES))
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in [*PAGES, *(ROOT / "notebooks").glob("*.ipynb")]}
    lost = {page for page in pages - {"docs/index"} if not any(fnmatch.fnmatch(page, name) for name in linked)}
    assert not lost
    assert all(any(fnmatch.fnmatch(page, name) for page in (*pages, *others())) for name in linked)


def others():
    """Pages outside docs/ that are no notebooks."""
    return [path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob("*.md")] + [
        f"{folder}/README" for folder in ("notebooks", "data", "data/results")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_the_examples_before_the_first_notebook_are_right():
    outcome = doctest.testfile(str(ROOT / "docs" / "before.md"), module_relative=False)
    assert outcome.attempted >= 10 and not outcome.failed


def test_the_glossary_names_real_fields():
    glossary = text_of(ROOT / "docs" / "glossary.md")
    fields = re.findall(r"[Ff]ield\s+`(\w+)`", glossary)
    assert len(fields) >= 9 and set(fields) <= set(DistillConfig.model_fields)
    for field in ("objective", "matching"):
        entry = glossary.partition(f"\n{field}\n")[2].partition("\n\n")[0]
        values = DistillConfig.model_json_schema()["properties"][field]["enum"]
        assert set(values) <= set(re.findall(r"`(\w+)`", entry)), f"all values of {field}"


def test_the_glossary_has_the_vocabulary_in_order():
    glossary = text_of(ROOT / "docs" / "glossary.md")
    words = re.findall(r"^(\w[\w ,-]*)$", glossary.partition("```{glossary}")[2], re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    vocabulary = {"ipc", "tail", "group", "cell", "real, synthetic", "objective", "matching"}  # CONTRIBUTING.md
    assert vocabulary | {"learnability", "group_power", "mass", "coverage", "net", "seed", "profile"} <= set(words)
    assert {"KL divergence", "nat", "DRO", "ARI", "Wilson interval", "Holm", "ECE", "Pareto front"} <= set(words)


# ------------------------------------------------------------------------------------------------------------ commands


def printed(pattern):
    """Every command line on the pages for users that matches, as its words, with where it stands."""
    for page in [*HOW_TO, ROOT / "README.md"]:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines() if language in ("", "sh") else ():
                found = re.search(pattern, line.removesuffix(" &"))
                if found:
                    yield page.name, shlex.split(found[1], comments=True)


def parse(words):
    """Parse a line of ``rdd-nb`` and run nothing; click complains of what it does not know."""
    command, rest, context = _app_of(words), _join_parameters(words), None
    while True:
        context = command.make_context(rest[0] if context else "rdd-nb", rest[1:] if context else rest, parent=context)
        if not isinstance(command, click.Group) and not hasattr(command, "resolve_command"):
            return context
        rest = [*context._protected_args, *context.args]
        _, command, _ = command.resolve_command(context, rest)


def _app_of(words):
    import typer

    return typer.main.get_command(_app(words[0]))


def test_printed_commands_parse():
    lines = list(printed(r"(?:^|\s|/)rdd-nb (.+)"))
    assert len(lines) > 20
    for page, words in lines:
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"{page}: rdd-nb {' '.join(words)}: {getattr(error, 'message', error)}")


def test_a_misprinted_command_would_be_seen():
    with pytest.raises(Exception, match="--tale"):
        parse(["distill", "--data", "digits", "--tale", "0.2"])


def test_printed_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    asked = {words[0] for _, words in printed(r"^make (\S+)")}
    asked |= {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)`", text_of(page))}
    assert asked and asked <= targets


def test_printed_studies_exist():
    named = {
        name for page in HOW_TO for name in re.findall(r"(?:data|notebooks)/[\w/-]+\.(?:yaml|ipynb)", text_of(page))
    }
    assert named and all((ROOT / name).is_file() for name in named)


# ---------------------------------------------------------------------------------------------------------------- site


class Fetched(HTMLParser):
    """What a page makes a browser fetch by itself, and its pictures without alternative text."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.mute = [], []
        self.feed(text_of(page))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag in ("script", "img", "iframe", "source") or (tag == "link" and told.get("rel") != "canonical"):
            self.addresses.append(told.get("src") or told.get("href") or "")
        if tag == "img" and not told.get("alt"):
            self.mute.append(told.get("src"))


def build_site(out):
    """In a copy of this process, which has imported all the package already: Sphinx writes into functions."""
    from sphinx.cmd.build import build_main

    os.chdir(ROOT)
    words = ["-q", "-W", "--keep-going", "-c", "docs", "-d", str(out / "trees"), ".", str(out / "html")]
    with (out / "said").open("w", encoding="utf-8") as said, contextlib.redirect_stderr(said):
        sys.exit(build_main(words))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("myst_nb") is None:
        pytest.skip("Sphinx is not installed (make docs)")
    out = tmp_path_factory.mktemp("site")
    process = process_of(build_site, out)
    process.join()
    assert process.exitcode == 0, text_of(out / "said")
    return out / "html"


def test_the_site_builds_without_a_warning_and_fetches_nothing(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        if "_static" not in page.parts:
            fetched = Fetched(page)
            assert not [a for a in fetched.addresses if re.match(r"(https?:)?//", a)], page.name
            assert not fetched.mute, page.name
    assert 'href="docs/index.html"' in text_of(site / "index.html") and (site / "docs" / "index.html").is_file()


def test_notebooks_on_the_site_are_as_committed(site):
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        cells = json.loads(text_of(path))["cells"]
        pictures = sum("image/png" in out.get("data", {}) for cell in cells for out in cell.get("outputs", []))
        solutions = sum("solution" in cell["metadata"].get("tags", []) for cell in cells)
        page = text_of(site / "notebooks" / f"{path.stem}.html")
        assert page.count('<img alt="') >= pictures > 0
        assert len(re.findall(r'class="cell tag_\S*solution[^"]*tag_hide-cell', page)) == solutions
        folded = sum("hide-input" in cell["metadata"].get("tags", []) for cell in cells)
        assert len(re.findall(r'class="cell [^"]*tag_hide-input', page)) == folded
        assert page.count("Show a solution") == solutions and page.count("Show the code") >= folded


def test_the_config_is_described_field_by_field(site):
    page = text_of(site / "docs" / "api" / "distillation.html")
    assert all(f"<strong>{name}</strong>" in page for name in DistillConfig.model_fields)


class Linked(HTMLParser):
    """The links to the glossary on a page: their words, and all elements that one stands in."""

    EMPTY = ("area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr")

    def __init__(self, page):
        super().__init__()
        self.around, self.places, self.links = [], [], []
        self.feed(text_of(page))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if "glossary-word" in told.get("class", "").split():
            self.links.append((told["href"], told.get("title")))
            self.places.append(set(self.around))
        if tag not in self.EMPTY:
            self.around.append(tag)

    def handle_endtag(self, tag):
        while self.around and self.around.pop() != tag:
            pass


def test_words_of_the_glossary_are_linked_once_on_each_page_of_the_course(site):
    anchors = set(re.findall(r'<dt id="(term-[^"]+)"', text_of(site / "docs" / "glossary.html")))
    ever = set()
    notebooks = sorted((site / "notebooks").glob("[0-9]*.html"))
    assert len(notebooks) == 9
    for page in [*notebooks, *(site / "docs" / f"{name}.html" for name in ("before", "tail", "after"))]:
        linked = Linked(page)
        targets = [href.partition("#")[2] for href, _ in linked.links]
        assert len(targets) >= (3 if page.stem == "tail" else 7), page.name
        assert set(targets) <= anchors and all(title for _, title in linked.links)
        pairs = [
            t for t in anchors if "-".join(t.split("-")[1:]) in ("bias-aligned-bias-conflicting", "real-synthetic")
        ]
        allowed = {t: 2 for t in [*pairs, "term-DEO_M-DEO_A", "term-inner-outer"]}  # entries of two words
        assert all(targets.count(t) <= allowed.get(t, 1) for t in targets), page.name
        for place in linked.places:
            assert not place & {"a", "code", "pre", "table", "h1", "h2", "h3", "script", "summary"}, page.name
        ever |= set(targets)
    assert {"term-group", "term-minority", "term-CVaR", "term-seed", "term-ECE", "term-Wilson-interval"} <= ever
    elsewhere = [page for page in (site / "docs" / "api").glob("*.html") if Linked(page).links]
    assert not elsewhere, "pages of reference have links of their own"
