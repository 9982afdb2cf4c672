"""How the documentation is built: ``make docs``, or ``sphinx-build -c docs . build/docs``. It needs no network.

The source folder is the repository itself, so that every page has one place and a link that works on the site works in
the repository as well. Notebooks are shown as they are committed and are not executed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pydantic
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

import rdd_nb
from rdd_nb.cli import main

project = "rdd_nb"
author = "The rdd_nb founders"
project_copyright = author
version = release = rdd_nb.__version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
extensions += ["glossary_links", "tail_page", "closing_page", "json_fields"]  # in docs/_ext
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "data/README.md",
    "data/results/README.md",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "build", "dist", "runs", "docs/front", "**/.ipynb_checkpoints"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

# --- prose and notebooks ------------------------------------------------------------------------------------------
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # as the notebooks' own text, so that computed sentences may hold formulas
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # no live widgets, hence nothing to fetch for them
nb_code_prompt_show = "Show the code"  # of cells tagged `hide-input`; for solutions see `fold`
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# --- the package --------------------------------------------------------------------------------------------------
MODULES = {module.name for module in pkgutil.walk_packages(rdd_nb.__path__, "rdd_nb.")}
for module in MODULES:  # as Python imports them, not as autodoc would
    importlib.import_module(module)
default_role = "literal"
highlight_language = "none"  # of blocks that name no language
nitpicky = True  # a role in a docstring that leads nowhere is an error …
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", "typing.*")]  # … but types of other libraries are not here
autodoc_default_options = {"members": True, "no-value": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# --- the look -----------------------------------------------------------------------------------------------------
html_theme = "sphinx_book_theme"
html_title = f"rdd_nb {version}"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["front"]  # the site's root redirects to the first page
html_copy_source = html_show_copyright = False

_mathjax = importlib.util.find_spec("sphinx-mathjax-offline")
if _mathjax is not None and _mathjax.submodule_search_locations:  # one file, with its letters; else from the network
    html_static_path.append(f"{_mathjax.submodule_search_locations[0]}/static/mathjax/tex-svg.js")
    mathjax_path = "tex-svg.js"


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Of a table, keep each number with its deviation or interval on one line; of a notebook, see :func:`fold`."""
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        source[0] = fold(source[0])
    else:
        apart = re.compile(r"(?<=\d) (?=[±/] )|(?<=±) (?=\d)|(?<=\d,) (?=[−+\d.]+\])")
        lines = source[0].split("\n")
        source[0] = "\n".join(apart.sub("\N{NO-BREAK SPACE}", line) if line.startswith("|") else line for line in lines)


#: Below the cell of an explorer, which shows nothing without a kernel; the tail has a page that needs none.
WITHOUT_KERNEL = "*In a live notebook the explorer stands here. Above are pictures of it.*"
TAIL = " **[Move the tail in your browser](../docs/tail.md)**, without a notebook."


def fold(notebook: str) -> str:
    """Fold a notebook's solutions, give its pictures their alternative text, and say where an explorer would be."""
    told = json.loads(notebook)
    explorers = [i for i, cell in enumerate(told["cells"]) if "widget" in cell["metadata"].get("tags", [])]
    for i in reversed(explorers):
        here = "TailExplorer(" in "".join(told["cells"][i - 2]["source"])
        note = WITHOUT_KERNEL + TAIL * here
        told["cells"].insert(i + 1, {"cell_type": "markdown", "id": f"note-{i}", "metadata": {}, "source": note})
    for cell in told["cells"]:
        tags = cell["metadata"].setdefault("tags", [])
        shown = cell["metadata"].setdefault("mystnb", {})
        if "solution" in tags:
            tags.append("hide-cell")
            shown |= {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
        alt = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in cell.get("outputs", [])]
        if any(alt):
            shown["image"] = {"alt": " ".join(filter(None, alt))}
    return json.dumps(told)


def only_at_home(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out what a module re-exports: it is documented in the module that defines it."""
    if type(obj).__name__ == "_tuplegetter":  # a field of a NamedTuple, which the class's own docstring tells of
        return True
    home, here = getattr(obj, "__module__", None), app.env.temp_data.get("autodoc:module")
    return True if what == "module" and isinstance(home, str) and home != here else None


def find_home(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Resolve a reference to a name that a module or its package re-exports to the module that defines it."""
    module, _, name = node["reftarget"].rpartition(".")
    module = module or node.get("py:module") or ""
    places = [place for place in (module, module.rpartition(".")[0]) if place in MODULES]
    if node["refdomain"] != "py" or not places:
        return None
    place = next((place for place in places if hasattr(importlib.import_module(place), name)), places[0])
    found = getattr(importlib.import_module(place), name, None)
    inside = (m for m in sorted(MODULES) if m.startswith(f"{place}."))
    homes = (m for m in inside if getattr(importlib.import_module(m), name, None) is found)
    home = getattr(found, "__module__", None) or next(homes, None)  # a constant does not know its module
    if found is None or home in (None, module):
        return None
    target = f"{home}.{getattr(found, '__qualname__', name)}"
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, content)


def fields_of_models(app: Sphinx, what: str, name: str, obj: Any, options: object, lines: list[str]) -> None:
    """List a pydantic model's fields with what they mean, as it declares them."""
    if what == "class" and issubclass(obj, pydantic.BaseModel):
        lines += ["", "Attributes:"]
        for field, told in obj.model_fields.items():
            said = [told.description] if told.description else []
            if told.is_required():
                said.append("required")
            elif told.default is not None:
                said.append(f"default ``{told.default!r}``")
            lines.append(f"    {field}: {'; '.join(said) or 'optional'}")


def fields_by_name(app: Sphinx, what: str, name: str, obj: Any, *given: object) -> tuple[str, str] | None:
    """The signature of a pydantic model; its fields and their bounds would fill a page, and are listed below it."""
    return ("(**fields)", "") if what == "class" and issubclass(obj, pydantic.BaseModel) else None


class CommandHelp(Directive):
    """What ``rdd-nb COMMAND --help`` prints."""

    required_arguments, final_argument_whitespace = 1, True

    def run(self) -> list[nodes.Node]:
        """A block of text as wide as the page."""
        said = io.StringIO()
        with mock.patch.dict(os.environ, COLUMNS="80", TERM="dumb"), contextlib.redirect_stdout(said):
            main([*self.arguments[0].split(), "--help"])
        text = "\n".join(line.rstrip() for line in said.getvalue().strip("\n").splitlines())
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> None:
    """Connect the steps above with the build."""
    app.add_directive("command-help", CommandHelp)
    app.connect("missing-reference", find_home)
    app.connect("source-read", prepare)
    app.connect("autodoc-skip-member", only_at_home)
    app.connect("autodoc-process-signature", fields_by_name)
    app.connect("autodoc-process-docstring", fields_of_models, priority=400)  # before the docstring's sections are read
