"""The benchmarks' pages say what their results say."""

import importlib.util
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    "bench": ("speed", "bench.json"),
    "sweep_scale": ("scale", "sweep-scale.json"),
    "scaling": ("scaling", "scaling.json"),
}


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


@pytest.mark.parametrize(
    ("name", "block"),
    [("soonest", "soonest"), ("ends", "precision"), ("ends", "quickstart"), ("ends", "quickstart-fresh")],
)
def test_a_page_is_drawn_from_its_table(name, block, monkeypatch):
    monkeypatch.chdir(ROOT)
    module, pages = script(name)
    said = pages.standing(module.PAGE, block)
    held = pd.read_csv(module.TABLE) if name == "soonest" else block
    assert said and said == module.words(held), f"run python tests/benchmarks/{name}.py and its words"


def test_pictures_are_there():
    for name in ("scaling", "soonest"):
        module, _ = script(name)
        assert (ROOT / module.PICTURE).stat().st_size < 200_000
        assert module.PICTURE.name in (ROOT / module.PAGE).read_text(encoding="utf-8")


def test_exponents_are_slopes():
    scaling, _ = script("scaling")
    points = [
        {
            "at": n,
            "seconds": {"median": 3 * n**1.5},
            "gflop": 7 * n,
            "phases": {"backward": 2.0 * n**2, "risk": 1e-3 * n, "other": 1.0},
        }
        for n in (10, 20, 50)
    ]
    assert scaling.grown(points) == {"time": 1.5, "arithmetic": 1.0, "backward": 2.0}, (
        "risk and other take no hundredth"
    )


def test_soonest_is_the_first_mark_that_reaches_the_published_accuracy():
    soonest, _ = script("soonest")
    rows = [
        (0, soonest.PUBLISHED, 10, 50.0, 70.0),
        (0, soonest.PUBLISHED, 1000, 200.0, 76.0),
        (0, "step 5", 10, 4.0, 75.0),
        (0, "step 5", 100, 10.0, 76.0),
        (0, "step 5", 200, 20.0, 75.0),
        (0, "step 10", 10, 4.0, 75.9),
        (0, "elsewhere", 10, 1.0, 77.0),
    ]
    held = pd.DataFrame(rows, columns=["seed", "way", "iterations", "seconds", "accuracy"])
    held["processor"] = ["another" if way == "elsewhere" else "one" for way in held["way"]]
    found = soonest.soonest(held).set_index("way")
    assert found.loc["step 5", ["reached", "iterations", "part", "whole"]].tolist() == [True, 100, 0.05, 0.1]
    assert found.loc["elsewhere", "reached"] and found.loc["elsewhere", ["part", "whole"]].isna().all()
    assert not found.loc["step 10", "reached"] and found.loc[soonest.PUBLISHED, "part"] == 1.0
    assert soonest.at_a_tenth(held, "step 5").to_dict() == {0: 75.0}, "the last mark within a tenth of 200 s"


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
