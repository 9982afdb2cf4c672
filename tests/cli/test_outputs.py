"""What commands print with ``--json`` is what :mod:`rdd_nb.cli.outputs` states: asked of every one, really run."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import math
import os
from pathlib import Path

import click
import jsonschema
import nbformat
import numpy as np
import pytest
import torch
import typer
from nbformat import v4
from PIL import Image

from rdd_nb import cli, clustering
from rdd_nb.cli import main
from rdd_nb.cli.outputs import OUTPUTS
from rdd_nb.cli.schema import schema_of
from rdd_nb.clustering import Benefit, Groups, Trial
from rdd_nb.data import image_cache
from rdd_nb.distillation import loop
from tests.course.test_grading import handed_in

ROOT = Path(__file__).resolve().parents[2]
STUDY = ["study", str(ROOT / "data" / "studies" / "smoke.yaml"), "--workers", "0", "--device", "cpu", "--quiet"]
PETS = ["--data", "folder:pets"]
TINY = ["--ipc", "1", "--width", "4", "--iterations", "2", "--batch-real", "4", "--device", "cpu", "--quiet"]
JUDGED = ["--profile", "smoke", "--nets", "1", "--quiet", "--device", "cpu"]


def commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """Every command, by the words that call it."""
    found = {}
    for name, command in group.commands.items():
        found |= commands(command, f"{before}{name} ") if hasattr(command, "commands") else {f"{before}{name}": command}
    return found


def pets() -> None:
    """Tiny images of two classes, of which some are taken at dusk, in the training set alone."""
    Path("pets").mkdir()
    draw, lines = np.random.default_rng(0), ["filename,label,group,split"]
    for i in range(48):
        split, group = ("test" if i % 4 == 3 else "train"), ("dusk" if i % 4 == 0 and i < 24 else "day")
        Image.fromarray(draw.integers(0, 256, (16, 16)).astype(np.uint8)).save(f"pets/{i}.png")
        lines.append(f"{i}.png,{('cat', 'dog')[i // 4 % 2]},{group},{split}")
    Path("pets", "metadata.csv").write_text("\n".join(lines) + "\n")


def asked(*words: str, status: int = 0) -> object:
    """What a command prints with ``--json``, read as a strict reader does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = main([*words, "--json"])
    assert ended == status, err.getvalue()
    assert out.getvalue().count("\n") == 1, "one object on one line, and nothing else"
    return json.loads(out.getvalue(), parse_constant=lambda word: pytest.fail(f"{words} say {word}: that is no JSON"))


def planted(data) -> Groups:
    """Groups whose trials could not be measured, of which one is raised."""
    trials = tuple(
        Trial("colour", "strength 1", Benefit(math.nan, 1.0, math.inf), last, True) for last in (False, True)
    )
    strength = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).double()
    return Groups(data.groups.clone(), 2, "colour", strength, clustering.choice._report(trials), trials)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Command → what it printed, in every form that it has."""
    folder = tmp_path_factory.mktemp("outputs")
    before, patch = Path.cwd(), pytest.MonkeyPatch()
    os.chdir(folder)
    try:
        yield _said(patch)
    finally:
        patch.undo()
        os.chdir(before)


def _said(patch):
    told = {}
    pets()
    told["data list"] = [asked("data", "list")]
    told["data fetch"] = [asked("data", "fetch", name) for name in ("digits", "folder:pets")]
    with patch.context() as changed:
        changed.setattr(image_cache, "LARGE", 0)
        changed.setenv("RDD_NB_CACHE", "kept")
        asked("data", "fetch", "folder:pets")
        told["data cache"] = [asked("data", "cache"), asked("data", "cache", "--clear"), asked("data", "cache")]
        changed.setenv("RDD_NB_CACHE", "off")
        told["data cache"] += [asked("data", "cache")]
    told["course copy"] = [asked("course", "copy", "mine"), asked("course", "copy", "mine")]
    handed_in(Path("handed", "anna"), solved=("carried_by",))
    Path("handed", "anna", "02_clusters_and_coverage.ipynb").write_text("{")
    told["course grade"] = [asked("course", "grade", "handed", "--seconds", "5")]
    for i in range(12):
        path = Path("broken", ("cat", "dog")[i % 2], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path("pets", f"{i}.png").read_bytes() if i else b"none")
    told["checks"] = [asked("checks", *PETS), asked("checks", "--data", "folder:broken", status=1)]
    found = asked("discover", *PETS, "--num-groups", "2", "--ipc", "1", "--device", "cpu", "--quiet", "--out", "found")
    with patch.context() as changed:
        changed.setattr(clustering, "discover_groups", lambda data, **how: planted(data))
        told["discover"] = [found, asked("discover", *PETS, "--device", "cpu", "--quiet")]
    plain = [*PETS, *TINY, "--objective", "erm"]
    learnt = ["--matching", "trajectory", "--num-experts", "1", "--expert-epochs", "1", "--match-epochs", "1"]
    real = loop.distill

    def diverged(*given, **how):
        run = real(*given, **how)
        return dataclasses.replace(run, history=run.history.assign(loss=math.nan))

    with patch.context() as changed:
        changed.setattr(loop, "distill", diverged)
        lost = asked("distill", *plain, "--out", "lost")
    told["distill"] = [
        lost,
        asked("distill", *plain, "--out", "a"),
        asked("distill", *PETS, *TINY, "--groups", "known", "--out", "b", "--formations", "2"),
        asked("distill", *plain, *learnt, "--learn-labels", "true", "--out", "c"),
    ]
    small = ["--ipc", "1", "--width", "4", "--batch-real", "4", "--nets", "1"]
    told["doctor"] = [asked("doctor", "--data", "digits", *small)]
    told["evaluate"] = [
        asked("evaluate", "a", *PETS, *JUDGED, "--robustness", "--soft-labels"),
        asked("evaluate", "b", *PETS, *JUDGED),
        asked("evaluate", "c", *PETS, *JUDGED),
    ]
    told["compare"] = [asked("compare", "a", "b", "c"), asked("compare", "a", "b", "--by", "class-group")]
    files = ["--png", "images", "--npz", "a.npz", "--card", "CARD.md", "--csv", "a.csv"]
    told["export"] = [asked("export", "a", *files), asked("export", "b", "--npz", "b.npz")]
    some = ["--only", "none/random", "--only", "none/plain", "--seeds", "0"]
    told["study"] = [asked(*STUDY, "--dry-run"), asked(*STUDY, *some)]
    cells = [v4.new_code_cell("x: float = 1.0\nout_dir: str = 'out'", metadata={"tags": ["parameters"]})]
    cells.append(v4.new_code_cell("import json, pathlib\nassert x < 2\nname = pathlib.Path(out_dir) / 'metrics.json'"))
    cells.append(v4.new_code_cell("told = {'summary': {'mean': x}}\n_ = name.write_text(json.dumps(told))"))
    nbformat.write(v4.new_notebook(cells=cells), "a.ipynb")
    Path("grid.yaml").write_text("product: {x: [1.0, 2.0]}\n")
    sweep = ["sweep", "a.ipynb", "--grid", "grid.yaml", "--out", "swept", "--workers", "1", "--quiet"]
    told["sweep"] = [asked(*sweep, "--dry-run"), asked(*sweep, status=1), asked(*sweep, "--dry-run")]
    told["report"] = [asked("report", "swept")]
    return told


def test_every_command_with_json_states_what_it_prints_and_no_other():
    whole = typer.main.get_command(cli._app("distill"))
    asked_of = {name for name, command in commands(whole).items() for p in command.params if "--json" in p.opts}
    assert asked_of == set(OUTPUTS), "say in rdd_nb.cli.outputs what it prints"


def test_json_is_printed_in_one_place():
    """Else a command could print what no type states, or a number that is no JSON."""
    for path in (ROOT / "rdd_nb" / "cli").rglob("*.py"):
        assert ("json.dumps" in path.read_text("utf-8")) == (path.name in ("options.py", "schema.py")), path


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_real_output_is_as_stated_and_nothing_else_would_be(said, command):
    schema = schema_of(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    holds = jsonschema.Draft202012Validator(schema)
    for told in said[command]:
        assert [f"{error.json_path}: {error.message}" for error in holds.iter_errors(told)] == []
    first = said[command][0]
    assert not holds.is_valid({**first, "more": 1})
    needed = [schema["$defs"][part["$ref"].rpartition("/")[2]] for part in schema.get("anyOf", [])] or [schema]
    for key in set.intersection(*(set(part["required"]) for part in needed)):
        less = copy.deepcopy(first)
        del less[key]
        assert not holds.is_valid(less), key


def test_what_is_stated_can_be_seen(said):
    """A key that no command ever prints is not stated, but for TensorBoard's, which is not installed everywhere."""
    for command, outputs in said.items():
        schema = schema_of(command)
        parts = [schema["$defs"][part["$ref"].rpartition("/")[2]] for part in schema.get("anyOf", [])] or [schema]
        stated = {key for part in parts for key in part["properties"]}
        assert stated - {key for told in outputs for key in told} <= {"tensorboard", "parquet"}, command


def test_what_cannot_be_measured_is_null(said):
    assert said["distill"][0]["loss"] is None
    trial = said["discover"][1]["chosen"]
    assert (trial["balanced"], trial["mean"], trial["error"], trial["value"]) == (None, 1.0, None, None)
    dusk = next(row for row in said["evaluate"][0]["tables"]["group"] if row["group"] == "dusk")
    assert dusk["n"] == 0 and dusk["accuracy"] is None and dusk["low"] is None
    assert said["evaluate"][0]["robustness"]["Acc"]["low"] is None, "one network has no interval"
    assert said["compare"][0]["table"][0]["difference"] is None


def test_the_command_prints_and_writes_the_schemas(tmp_path, capsys):
    assert main(["schema", "data", "list"]) == 0
    assert json.loads(capsys.readouterr().out) == schema_of("data list")
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == {name: schema_of(name) for name in OUTPUTS}
    assert main(["schema", "--out", str(tmp_path / "s")]) == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == sorted(
        f"{name.replace(' ', '-')}.schema.json" for name in OUTPUTS
    )
    assert json.loads((tmp_path / "s/data-fetch.schema.json").read_text()) == schema_of("data fetch")
    assert main(["schema", "data", "lists"]) == 2
    assert capsys.readouterr().err.startswith(
        "rdd-nb: unknown command with --json 'data lists': did you mean 'data list'"
    )


def test_each_field_says_what_it_is():
    """Units and nulls are told in words: no field without them, but where its name says all."""
    plain = {"seed", "nets", "name", "processor", "severity", "scenario", "method", "group", "profile", "command"}
    plain |= {
        "error",
        "warning",
        "note",
        "counts",
        "named",
        "source",
        "config",
        "protocol",
        "teacher",
        "machine",
        "table",
    }
    for command in OUTPUTS:
        schema = schema_of(command)
        for part in (schema, *schema.get("$defs", {}).values()):
            bare = {key for key, field in part.get("properties", {}).items() if "description" not in field}
            assert bare <= plain, (command, bare)
