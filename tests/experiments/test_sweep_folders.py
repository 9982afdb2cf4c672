"""Sweeps in folders that somebody has prepared: nothing outside them is read, written or removed, and nobody waits."""

import json
import os
import resource
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from rdd_nb import cli
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import lock_of, locked
from rdd_nb.core.folders import Folder
from rdd_nb.experiments import sweep
from rdd_nb.experiments.sweep import guard, heartbeat, page, tables
from rdd_nb.experiments.sweep.record import LOCK, Record, begin, finish, read
from tests.experiments.test_sweep_page import make, sided

PARAMETERS = 'mode: str = "good"\nmore: str = ""\nseed: int = 0\nout_dir: str = "runs/x"\n'
WORK = """\
import os, pathlib, shutil, sys
folder = pathlib.Path(out_dir)
print(repr(mode), *([repr(more)] if more else []), flush=True)
if mode == "remove":
    shutil.rmtree(folder)
if mode == "remove and make":
    shutil.rmtree(folder)
    folder.mkdir()
if mode == "folder":
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
if mode == "loud":
    for _ in range(200):
        sys.stdout.write(("x" * 99 + "\\n") * 500)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), v4.new_code_cell(WORK)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    monkeypatch.chdir(tmp_path)
    Path("outside").mkdir()
    Path("outside/keep").write_text("keep")
    return tmp_path


def untouched() -> bool:
    return os.listdir("outside") == ["keep"] and Path("outside/keep").read_text() == "keep"


def plan_of(grid) -> sweep.Plan:
    return sweep.make_plan("a.ipynb", grid)


def special(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(Path("outside" if kind == "link to a folder" else "outside/keep").resolve())


def test_links_and_pipes_in_the_place_of_a_runs_files_are_replaced_and_a_link_for_its_folder_is_refused(here):
    plan = plan_of({"product": {"mode": ["a", "b", "c"]}})
    link, *others = (Path("out/runs", run.folder) for run in plan.runs)
    special(link, "link to a folder")
    for place, kind in zip(others, ("link", "pipe")):
        for name in ("log.txt", "a.ipynb", "run.json"):
            special(place / name, kind)
    special(Path("out/sweep.json"), "pipe")
    special(Path("out/notebook/a.ipynb"), "link")
    result = sweep.run_sweep(plan, "out", workers=2)
    assert untouched()
    assert result.done == 2 and list(result.failed) == ["mode=a"]
    assert "is a link, which is not followed" in result.failed["mode=a"]
    for place, mode in zip(others, "bc"):
        assert (place / "log.txt").read_text() == f"'{mode}'\n" and read(Folder(place)).status == "done"
        assert not any((place / name).is_symlink() for name in os.listdir(place))
    assert list(sweep.collect("out")["status"]) == ["missing", "done", "done"]


@pytest.mark.parametrize("part", ["runs", "notebook"])
def test_a_link_for_a_part_of_the_sweep_is_refused_before_anything_runs(here, part):
    special(Path("out", part), "link to a folder")
    with pytest.raises(RddError, match="is a link, which is not followed"):
        sweep.run_sweep(plan_of({}), "out")
    assert untouched()
    with pytest.raises(RddError):
        sweep.collect("out")


def test_another_key_clears_a_runs_folder_but_no_link_leads_out_of_it_and_locks_stay(here):
    folder = Folder("out").part("runs/x")
    record = Record(name="x", condition="", parameters={}, key="one")
    begin(folder, record)
    special(folder.path / "linked", "link to a folder")
    (folder.path / "deep").mkdir()
    special(folder.path / "deep/linked", "link to a folder")
    with locked(folder.path, lock_of(folder.path, LOCK)):
        begin(folder, record.model_copy(update={"key": "two"}))
        assert sorted(os.listdir(folder.path)) == [LOCK, "run.json"] and untouched()


def test_a_record_is_ended_only_by_those_who_began_it(here):
    folder = Folder("out").part("runs/x")
    record = Record(name="x", condition="", parameters={}, key="k")
    first = begin(folder, record)
    second = begin(folder, record)
    assert first.token != second.token
    assert finish(folder, first, 1.0, "of the first").token == second.token
    assert read(folder) == second, "still running"
    assert finish(folder, second, 2.0).status == "done"
    assert finish(folder, first, 3.0, "late").status == "done" and read(folder).seconds == 2


def test_a_notebook_that_removes_its_own_folder_fails_and_the_others_go_on(here):
    result = sweep.run_sweep(
        plan_of({"product": {"mode": ["remove", "remove and make", "folder", "good"]}}), "out", workers=1
    )
    assert result.done == 1 and set(result.failed) == {"mode=remove", "mode=remove and make", "mode=folder"}
    for name in ("mode=remove", "mode=remove and make"):
        assert "was removed while it ran: let the notebook keep its out_dir" in result.failed[name]
    assert "run.json" in result.failed["mode=folder"]
    table = sweep.collect("out").set_index("run")
    assert list(table["status"]) == ["failed", "failed", "missing", "done"]
    assert "was removed while it ran" in table.loc["mode=remove", "error"]


def test_modules_of_the_current_folder_are_not_imported_by_what_runs_a_notebook(here):
    for name in ("papermill", "nbformat", "json", "filelock", "ipykernel", "psutil", "rdd_nb"):
        Path(f"{name}.py").write_text(f"open({name!r} + '.was-here', 'w')\nraise RuntimeError('mine')\n")
    result = sweep.run_sweep(plan_of({}), "out", workers=1)
    assert result.failed == {} and not list(Path().glob("*.was-here"))


def test_conditions_called_on_and_off_and_values_of_all_kinds(here):
    pairs = [("a/b", "$HOME"), ("../..", "é" * 300), ("two\nlines", "{x}"), ("=1+1", "\N{PILE OF POO}")]
    Path("g.yaml").write_text("conditions: {on: {mode: on}, off: {mode: off}}\n")
    assert cli.main(["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out", "--quiet"]) == 0
    table = sweep.collect("out")
    assert list(table["condition"]) == list(table["mode"]) == ["on", "off"] and set(table["status"]) == {"done"}
    assert [(Path("out") / f / "log.txt").read_text() for f in table["folder"]] == ["'on'\n", "'off'\n"]
    assert "| on | 1 |\n| off | 1 |" in page.write("out").files["md"].read_text()
    grid = [{"product": {"mode": [mode], "more": [more]}} for mode, more in pairs]
    result = sweep.run_sweep(plan_of(grid), "many", workers=2)
    assert result.done == len(pairs) and result.failed == {}
    for folder, (mode, more) in zip(sweep.collect("many")["folder"], pairs):
        place = Path("many", folder)
        assert (place / "log.txt").read_text() == f"{mode!r} {more!r}\n"
        assert place.parent == Path("many/runs") and len(place.name.encode()) <= 93
    assert "'=1+1" in page.write("many").files["csv"].read_text()
    assert sorted(os.listdir()) == ["a.ipynb", "g.yaml", "many", "out", "outside"]


def limited(monkeypatch, kind: int, most: int) -> None:
    """Processes that a guard starts may have no more of something."""
    start = f"import resource; resource.setrlimit({kind}, ({most}, {most})); " + guard.START
    monkeypatch.setattr(guard, "START", start)


@pytest.mark.parametrize(
    ("kind", "most", "says"),
    [
        (resource.RLIMIT_NOFILE, 10, "Too many open files"),
        (resource.RLIMIT_AS, 30_000_000, "log.txt ends: "),
    ],
)
def test_a_run_that_lacks_something_says_what(here, monkeypatch, kind, most, says):
    limited(monkeypatch, kind, most)
    (error,) = sweep.run_sweep(plan_of({}), "out", workers=1).failed.values()
    assert says in error and "was not executed" not in error and "\n" not in error


def test_much_output_arrives(here):
    assert sweep.run_sweep(plan_of({"product": {"mode": ["loud"]}}), "out", workers=1).done == 1
    assert next(Path("out/runs").glob("*/log.txt")).stat().st_size > 200 * 500 * 100


def test_a_heartbeat_that_is_gone_or_silent_ends_a_run_and_one_that_beats_does_not(here, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    folder = Folder("out")
    folder.make()
    path = folder.write(".going-x", "0")
    listener = heartbeat.Listener(path, 60)
    for count in range(100):
        folder.write(".going-x", str(count))
        now[0] += 59
        assert listener.over() == ""
    now[0] += 2
    assert listener.over() == "", "no change, for two seconds"
    now[0] += 59
    assert "no sign of life (.going-x) for 60 s" in listener.over()
    folder.write(".going-x", "again")
    now[0] += 2
    assert listener.over() == ""
    folder.remove(".going-x")
    now[0] += 2
    assert ".going-x was removed" in listener.over()
    os.mkfifo(path)
    other = heartbeat.Listener(path, 60)
    assert other.over() == "", "a pipe says nothing, and nobody waits for it"
    now[0] += 61
    assert "no sign of life" in other.over()


def test_a_guard_that_cannot_have_the_folder_says_so_and_writes_nothing(here, monkeypatch):
    monkeypatch.setattr(guard, "MARGIN", 0.0)
    folder = Folder("out").part("runs/x")
    record = Record(name="x", condition="", parameters={}, key="k")
    begun = begin(folder, record)
    job = guard.Job(record, "a.ipynb", "out", "x", {}, str(here), 1, silence=0.5)
    with locked(folder.path, lock_of(folder.path, LOCK)):
        outcome = guard.guard(job)
    assert outcome.status == "failed" and "another process still works in" in outcome.error
    assert read(folder) == begun and not (folder.path / "log.txt").exists()


def test_a_sweep_whose_heartbeat_is_removed_stops(here):
    def tell(outcome, now):
        for name in Folder("out").names():
            if name.startswith(".going-"):
                Folder("out").remove(name)

    with pytest.raises(RddError, match=r"the sweep stops, as .going-.* was removed"):
        sweep.run_sweep(plan_of({"seeds": [0, 1, 2, 3]}), "out", workers=1, tell=tell)
    assert "done" not in sweep.stands(plan_of({"seeds": [3]}), "out").values()


# --- what is read of a sweep


@pytest.fixture
def swept(tmp_path):
    make(tmp_path / "s", {"seeds": [0, 1]}, metrics=sided)
    return tmp_path / "s"


def first(folder: Path) -> Path:
    return min((folder / "runs").iterdir())


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "synthetic.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_of_a_run_is_not_read(here, swept, name, kind):
    (first(swept) / name).unlink(missing_ok=True)
    special(first(swept) / name, kind)
    table = sweep.collect(swept)
    assert list(table["status"]) == ["missing" if name == "run.json" else "done", "done"]
    assert page.write(swept).outcomes and untouched()


@pytest.mark.parametrize(
    "change",
    [
        *({"seconds": v} for v in ("3", -1, 1e300)),
        *({"status": "odd"}, {"made_on": []}, {"made_on": {"revision": [1]}}, {"parameters": []}),
        *({"began": "yesterday"}, {"name": 5}, {"error": None}),
    ],
)
def test_a_record_of_wrong_types_is_none(swept, change):
    path = first(swept) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert list(sweep.collect(swept)["status"]) == ["missing", "done"]
    page.write(swept)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"by_net": [1]}, "by_net=[1]"),
        ({"by_net": {"minority": ["a"]}}, "by_net.minority.0='a'"),
        ({"by_net": {"minority": [1.0], "majority": [1.0, 2.0]}}, "more networks for one measurement"),
        ({"by_net": {"minority": [float("nan")]}}, "finite number"),
        ({"by_net": {"minority": [10**400]}}, "by_net.minority.0"),
        ({"sides": []}, "sides=[]"),
        ({"sides": {"majority": "a", "minority": "b", "scored_on": "test"}}, "sides.share: field required"),
        ({"sides": {"majority": "a", "minority": "b", "scored_on": "test", "share": 5}}, "sides.share=5"),
        ({"cost": []}, "cost=[]"),
        ({"cost": {"distill_seconds": "1"}}, "cost.distill_seconds='1'"),
    ],
)
def test_measurements_of_wrong_types_are_one_line(swept, change, says):
    path = first(swept) / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RddError) as caught:
        tables.of_sweep(swept)
    assert says in str(caught.value) and "\n" not in str(caught.value) and "metrics.json" in str(caught.value)
    assert list(sweep.collect(swept)["status"]) == ["done", "done"]


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize("name", ["sweep.json", "notebook/a.ipynb"])
@pytest.mark.parametrize("text", [DEEP, "", "[1]", "{", '{"notebook": "../x.ipynb", "grid": {}}', '{"notebook": 5}'])
def test_what_is_no_sweep_is_one_line(swept, name, text):
    (swept / name).write_text(text)
    with pytest.raises(RddError) as caught:
        page.write(swept)
    assert "\n" not in str(caught.value)


def test_files_that_are_nested_without_end_count_as_none(swept):
    (first(swept) / "metrics.json").write_text(DEEP)
    table = sweep.collect(swept)
    assert list(table["status"]) == ["done", "done"] and table[tables.measured_columns(table)].iloc[0].isna().all()
    (first(swept) / "run.json").write_text(DEEP)
    assert list(sweep.collect(swept)["status"]) == ["missing", "done"]
