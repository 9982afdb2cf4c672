"""The package as a house: imports only go down, and CONTRIBUTING.md knows every room."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / "rdd_nb").rglob("*.py")}
ROOMS = {name.removesuffix(".__init__"): path for name, path in ROOMS.items()}


def imports(path):
    """The rooms that a module imports anywhere, but for what only a type checker reads."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rdd_nb":
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in ROOMS else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names if name.name in ROOMS)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found - {"rdd_nb"}  # the front door gives everything; asking it for the version is no import of a room


def circle(graph):
    """A circle of imports, or None."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_imports_go_down():
    graph = {name: imports(path) - {name} for name, path in ROOMS.items() if name != "rdd_nb"}
    assert len(graph) > 50 and graph["rdd_nb.distillation.step"] > {
        "rdd_nb.distillation.matching",
        "rdd_nb.clustering",
    }, "imports are seen"
    assert circle(graph) is None


def test_a_circle_would_be_seen():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize("room", sorted({name.split(".")[1] for name in ROOMS if "." in name}))
def test_the_table_of_the_house_has_every_room(room):
    table = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| floor | rooms |")[2].partition("\n\n")[0]
    )
    assert room in re.findall(r"`(\w+)`", table), f"name {room} in the table of rooms in CONTRIBUTING.md"
