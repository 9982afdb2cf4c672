"""The benchmarks' pages say what their results say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {"bench": ("speed", "bench.json"), "sweep_scale": ("scale", "sweep-scale.json")}


def script(name):
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "benchmarks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module, importlib.import_module("pages")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_drawn_from_its_results(name):
    block, result = PAGES[name]
    module, pages = script(name)
    held = json.loads((ROOT / "data" / "results" / result).read_text(encoding="utf-8"))
    assert held["machine"]["date"] and held["machine"]["processor"], "a number says what it was measured on"
    said = pages.standing(ROOT / module.PAGE, block)
    assert said and said == module.words(held), f"run python tests/benchmarks/{name}.py --words"


def test_blocks_are_found_and_replaced(tmp_path):
    _, pages = script("bench")
    page = tmp_path / "a.md"
    page.write_text("x\n<!-- begin: n -->\nold\n<!-- end: n -->\ny\n")
    pages.put(page, "n", "new\n")
    assert (
        page.read_text() == "x\n<!-- begin: n -->\nnew\n<!-- end: n -->\ny\n" and pages.standing(page, "n") == "new\n"
    )
    with pytest.raises(SystemExit, match="no block m"):
        pages.put(page, "m", "")
