"""rdd_nb.cli: two commands from real images to a table, the same config as in a notebook, and a help that is quick."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat import v4
from PIL import Image

from rdd_nb import cli
from rdd_nb.cli import main
from rdd_nb.core.errors import RddError
from rdd_nb.data import image_cache, loading, scenarios
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.scores import Scores
from rdd_nb.experiments.notebook import run_notebook
from tests.data.helpers import classes
from tests.helpers import killed_at_file, process_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--ipc", "1", "--width", "4", "--iterations", "3", "--batch-real", "4", "--device", "cpu", "--quiet"]
COLOURED = ["distill", "--data", "digits", "--scenario", "coloured", *SMALL]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def says(capsys, *command: str) -> str:
    capsys.readouterr()
    assert main(command) == 0, capsys.readouterr().err
    return capsys.readouterr().out


# --- help and lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        *([], ["data"], ["data", "list"], ["data", "fetch"], ["course"], ["course", "copy"]),
        *(["evaluate"], ["export"], ["run"], ["study"]),
    ],
)
def test_every_help_has_an_example(capsys, command):
    text = says(capsys, *command, "--help")
    assert "Usage: rdd-nb" in text
    assert text.count("rdd-nb") > 1 or command in (["course"], ["data"])


def test_without_a_command_there_is_help(capsys):
    assert "distill" in says(capsys)
    assert "fetch" in says(capsys, "data")


def test_distill_has_an_option_for_every_field_of_the_config(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    text = says(capsys, "distill", "--help")
    lines = text.splitlines()
    for name, field in DistillConfig.model_fields.items():
        option = "--" + name.replace("_", "-") + " "
        assert [line for line in lines if option in line], f"{option} is not in the help"
        start = (field.description or "").split(" ")[0]
        assert start and start.capitalize() in text
    assert "erm|robust|group|density" in text


def test_help_imports_nothing_heavy():
    start = (
        "import sys; from rdd_nb.cli import main; main(['--help']); main(['run', '--help']); "
        "print([m for m in ('torch', 'pandas', 'sklearn', 'papermill') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", start], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.rstrip().endswith("[]")


def test_version(capsys):
    import rdd_nb

    assert says(capsys, "--version") == f"rdd-nb {rdd_nb.__version__}\n"


def test_data_list(capsys):
    text = says(capsys, "data", "list")
    for name in (*loading.available(), *scenarios.available()):
        assert name in text
    held = json.loads(says(capsys, "data", "list", "--json"))
    assert held == {"datasets": loading.available(), "scenarios": scenarios.available()}


def test_data_fetch(capsys):
    line = says(capsys, "data", "fetch", "digits", "--size", "16")
    assert line.count("\n") == 1
    assert "1,438 train + 359 test images of 1×16×16, 10 classes" in line
    held = json.loads(says(capsys, "data", "fetch", "digits", "--json", "--root", "there"))
    assert (held["train"], held["test"], held["shape"], held["root"]) == (1438, 359, [1, 28, 28], "there")


def test_data_cache_tells_what_is_kept_and_removes_it(capsys, tmp_path, monkeypatch):
    classes(tmp_path / "pets")
    monkeypatch.setattr(image_cache, "LARGE", 0)
    monkeypatch.setenv("RDD_NB_CACHE", str(tmp_path / "kept"))
    assert says(capsys, "data", "cache") == f"0 sets, 0.00 GB in {tmp_path / 'kept'}\n"
    says(capsys, "data", "fetch", f"folder:{tmp_path / 'pets'}")
    said = says(capsys, "data", "cache").splitlines()
    assert said == ["    0.00 GB  folder:pets, 10 images of 1×6×6", f"1 set, 0.00 GB in {tmp_path / 'kept'}"]
    held = json.loads(says(capsys, "data", "cache", "--json"))
    assert held["sets"] == [{"name": "folder:pets", "shape": [10, 1, 6, 6], "bytes": held["bytes"]}]
    assert "1 set, 0.00 GB removed from" in says(capsys, "data", "cache", "--clear")
    assert json.loads(says(capsys, "data", "cache", "--json"))["sets"] == []
    monkeypatch.setenv("RDD_NB_CACHE", "off")
    assert says(capsys, "data", "cache") == "nothing is kept: RDD_NB_CACHE is off\n"


# --- distill and evaluate -------------------------------------------------------------------------------------------


def evaluate_and_die(number, before):
    killed_at_file(number, before)
    main(["evaluate", "run", "--profile", "smoke", "--nets", "3", "--seed", "1", "--quiet"])


@pytest.mark.parametrize(("number", "before"), [(1, True), (1, False), (2, True), (2, False)])
def test_scores_and_words_of_two_evaluations_are_never_taken_for_one(capsys, number, before):
    """Killed at scores.npz or metrics.json: what the card and the table say is of one evaluation, or they refuse."""
    says(capsys, *COLOURED, "--objective", "erm", "--out", "run")
    says(capsys, "evaluate", "run", "--profile", "smoke", "--nets", "2", "--quiet")
    process = process_of(evaluate_and_die, number, before)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    whole = (number, before) in ((1, True), (2, False))
    status = main(["export", "run", "--csv", "t.csv"])
    said = capsys.readouterr().err
    assert (status, "of two evaluations" in said) == ((0, False) if whole else (2, True))
    if whole:
        assert RunFolder.open("run").metrics["evaluation"]["nets"] == (2 if before else 3)
    says(capsys, "evaluate", "run", "--profile", "smoke", "--nets", "2", "--quiet")
    says(capsys, "export", "run", "--csv", "u.csv")


def test_two_runs_of_a_notebook_into_one_folder_do_not_mix(tmp_path):
    notebook = v4.new_notebook(cells=[v4.new_code_cell("import time; time.sleep(5)")])
    nbformat.write(notebook, tmp_path / "a.ipynb")

    def run(told):
        try:
            run_notebook("a.ipynb", "out/a.ipynb", linger=False)
            told.put("ran")
        except RddError as error:
            told.put(str(error))

    told = multiprocessing.get_context("fork").SimpleQueue()
    both = [process_of(run, told) for _ in range(2)]
    for process in both:
        process.join()
    said = sorted(told.get() for _ in both)
    assert "another process is working in out" in said[0] and said[1] == "ran"


def test_distill_then_evaluate(capsys):
    held = json.loads(says(capsys, *COLOURED, "--groups", "known", "--option", "bias=0.8", "--json"))
    assert held["out"] == "runs/digits-coloured-distribution-robust-s0", "the default folder says what is in it"
    assert held["iterations"] == 3 and held["config"] == DistillConfig(**held["config"]).model_dump(mode="json")
    run = RunFolder.open(held["out"])
    assert run.config["source"] == held["source"]
    assert held["source"]["options"] == {"bias": 0.8} and held["source"]["groups"] == "known"

    text = says(capsys, "evaluate", held["out"], "--profile", "smoke", "--nets", "2", "--robustness", "--quiet")
    for word in ("on-colour", "off-colour", "red", "worst:", "simultaneous band", "gap", "mean nothing", "Cluster-min"):
        assert word in text
    metrics = run.metrics
    assert metrics["iterations"] == 3, "what distill wrote stays"
    scores = Scores.load(run.path / "scores.npz")
    assert metrics["evaluation"]["accuracy"] == pytest.approx(scores.accuracy.tolist())

    command = ["evaluate", held["out"], "--profile", "smoke", "--nets", "2", "--quiet", "--json", "--csv", "t.csv"]
    said = json.loads(says(capsys, *command))
    table = pd.read_csv("t.csv")
    assert set(table["run"]) == {run.path.name} and table["partition"].unique().tolist() == ["all", "minority", "group"]
    assert table["accuracy"].tolist() == pytest.approx(
        [r["accuracy"] for part in said["tables"].values() for r in part]
    )
    assert set(said["tables"]) == {"all", "minority", "group"}
    assert said["accuracy"] == metrics["evaluation"]["accuracy"], "the same seed gives the same nets"
    assert said["same_data"] and said["profile"] == "smoke" and "torch" in said["machine"]
    worst = min(said["tables"]["group"], key=lambda row: row["accuracy"])
    assert said["worst"]["group"]["group"] == worst["group"]
    off = said["tables"]["minority"][1]
    assert off["group"] == "off-colour" and off["n"] == int(scores.minority.sum())
    assert off["accuracy"] == pytest.approx(scores.correct[:, scores.minority].mean())


def test_precision_is_kept_and_told(capsys):
    says(capsys, "distill", "--data", "digits", *SMALL, "--precision", "bfloat16", "--objective", "erm", "--out", "a")
    assert RunFolder.open("a").config["distill"]["precision"] == "bfloat16"
    words = ["evaluate", "a", "--profile", "smoke", "--nets", "1", "--quiet", "--json"]
    full, short = (json.loads(says(capsys, *words, *more)) for more in ([], ["--precision", "bfloat16"]))
    assert (full["protocol"]["precision"], short["protocol"]["precision"]) == ("float32", "bfloat16")
    assert main([*words, "--precision", "half"]) == 2
    assert capsys.readouterr().err == "rdd-nb: unknown precision 'half' in protocol: Known: bfloat16, float32\n"


def test_several_formations_an_image_from_distilling_to_export(capsys):
    said = says(capsys, *COLOURED, "--objective", "erm", "--ipc", "2", "--formations", "2", "--out", "a")
    assert "20 images (2 a class, which hold 8) in a" in said
    says(capsys, "evaluate", "a", "--profile", "smoke", "--nets", "1", "--quiet")
    said = says(capsys, "export", "a", "--png", "images")
    assert "80 images in images" in said and len(list(Path("images").rglob("*.png"))) == 80
    card = Path("images/README.md").read_text("utf-8")
    assert "20 synthetic images" in card and "a grid of 2 × 2 parts" in card and ": 8 a class" in card
    says(capsys, "distill", "--data", "folder:images", "--iterations", "1", "--ipc", "6", "--groups", "none", "--quiet")
    assert main([*COLOURED, "--formations", "9", "--out", "b"]) == 2
    assert capsys.readouterr().err.startswith("rdd-nb: formations=9 makes parts of 3 × 3 pixels")
    assert not Path("b").exists()


def test_the_validation_set_is_scored_on_where_there_is_one(capsys):
    digits = loading.load("digits").train
    for part, chosen in (("train", slice(0, 300)), ("val", slice(300, 360)), ("test", slice(360, 400))):
        for k, (image, label) in enumerate(zip(digits.images[chosen], digits.labels[chosen].tolist())):
            Path("mine", part, str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(Path("mine", part, str(label), f"{k}.png"))
    says(
        capsys,
        "distill",
        "--data",
        "folder:mine",
        "--iterations",
        "1",
        "--ipc",
        "2",
        "--objective",
        "erm",
        "--out",
        "a",
    )
    words = ["evaluate", "a", "--data", "folder:mine", "--profile", "smoke", "--nets", "1", "--json"]
    sizes = {on: json.loads(says(capsys, *words, "--on", on))["tables"]["all"][0]["n"] for on in ("test", "validation")}
    assert sizes == {"test": 40, "validation": 60}
    said = says(capsys, *words[:-1], "--on", "validation")
    assert "Scored on the validation set" in said
    says(capsys, "export", "a", "--card", "CARD.md")
    card = Path("CARD.md").read_text("utf-8")
    assert "60 real validation images" in card and "look better here than they are" in card
    says(capsys, *COLOURED, "--objective", "erm", "--out", "b")
    for more, words in ((["b", "--on", "validation"], "has no validation set"), (["b", "--on", "tset"], "'test'")):
        assert main(["evaluate", *more, "--profile", "smoke", "--nets", "1"]) == 2
        assert words in capsys.readouterr().err


def test_soft_labels_of_one_teacher_for_every_set(capsys):
    says(capsys, *COLOURED, "--objective", "erm", "--out", "a")
    words = ["evaluate", "a", "--profile", "smoke", "--nets", "1", "--soft-labels", "--quiet"]
    said = says(capsys, *words)
    assert "labels of one teacher (5 steps" in said
    for images in ("teacher", "distilled", "random", "medoids", "group-balanced"):
        assert images in said
    table = pd.DataFrame(json.loads(says(capsys, *words, "--json"))["soft_labels"]["table"])
    assert set(table["labels"]) == {"hard", "soft"} and {"all", "off-colour"} <= set(table["group"])
    assert RunFolder.open("a").metrics["evaluation"]["soft_labels"]["teacher"]["steps"] == 5


def test_experts_are_shared_and_the_learnt_step_size_is_told(capsys):
    short = ["--matching", "trajectory", "--objective", "erm", "--num-experts", "1", "--expert-epochs", "2"]
    short += ["--match-epochs", "1", "--student-steps", "2", "--experts", "kept"]
    for ipc in ("1", "2"):
        says(capsys, *COLOURED, *short, "--ipc", ipc, "--out", f"run{ipc}")
    assert [p.name for p in Path("kept").rglob("*.safetensors")] == ["expert-000.safetensors"]
    told = json.loads(says(capsys, "evaluate", "run2", "--profile", "smoke", "--nets", "1", "--learnt-step", "--json"))
    history = RunFolder.open("run2").history
    assert told["learnt_step"] is True
    assert told["protocol"]["lr"] == pytest.approx(history.step_size.iloc[-1], rel=1e-5)
    assert history.step_size.nunique() == 3
    said = says(capsys, "evaluate", "run2", "--profile", "smoke", "--nets", "1")
    assert "learnt step" not in said
    said = says(capsys, "evaluate", "run2", "--profile", "smoke", "--nets", "1", "--learnt-step")
    assert f"at the learnt step size {told['protocol']['lr']:.3g}" in said
    says(capsys, *COLOURED, "--objective", "erm", "--out", "other")
    assert main(["evaluate", "other", "--profile", "smoke", "--nets", "1", "--learnt-step"]) != 0
    assert "other learnt no step size: only matching=trajectory does" in capsys.readouterr().err


def test_without_groups_the_table_is_by_class(capsys):
    says(capsys, "distill", "--data", "digits", *SMALL, "--objective", "erm", "--out", "a")
    said = json.loads(says(capsys, "evaluate", "a", "--profile", "smoke", "--nets", "1", "--quiet", "--json"))
    assert set(said["tables"]) == {"all", "class"} and len(said["tables"]["class"]) == 10


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        (["--objective", "robust", "--num-groups", "2"], "discovered"),
        (["--objective", "group", "--num-groups", "2"], "discovered"),
        (["--objective", "erm"], "none"),
        (["--objective", "density"], "none"),
        (["--objective", "robust", "--groups", "none"], "none"),
    ],
)
def test_groups_follow_the_objective(capsys, options, groups):
    tiny = ["--size", "8", "--iterations", "1"]  # reference networks look at every image
    held = json.loads(says(capsys, "distill", "--data", "digits", *SMALL, *options, *tiny, "--json"))
    assert held["source"]["groups"] == groups
    found = RunFolder.open(held["out"]).config["data"]["groups"]
    assert (found is None) == (groups == "none")
    assert found is None or found["num_groups"] == 2


def test_options_win_over_set_over_the_file_over_the_default(capsys):
    Path("c.json").write_text('{"tail": 0.5, "seed": 3, "outer": 2, "width": 8}')
    command = ["distill", "--data", "digits", "--objective", "erm", "--ipc", "1", "--batch-real", "4", "--quiet"]
    command += ["--iterations", "1", "--config", "c.json", "--set", "tail=0.4", "--set", "seed=4", "--tail", "0.3"]
    config = json.loads(says(capsys, *command, "--json"))["config"]
    assert (config["tail"], config["seed"], config["outer"], config["width"], config["inner"]) == (0.3, 4, 2, 8, 1)
    again = ["distill", "--data", "digits", "--config", "runs/digits-none-distribution-erm-s4/config.json", "--quiet"]
    held = json.loads(says(capsys, *again, "--out", "again", "--json"))
    assert held["config"] == config, "the config.json of a run makes the same run"


def test_interrupted_it_says_how_to_go_on_and_ends_with_the_same_bits(capsys, monkeypatch):
    plain = ["distill", "--data", "digits", *SMALL, "--objective", "erm"]
    says(capsys, *plain, "--out", "whole")
    module, real = sys.modules["rdd_nb.distillation.loop"], sys.modules["rdd_nb.distillation.loop"].steps

    def interrupted(*arguments):
        for count, state in enumerate(real(*arguments), 1):
            yield state
            if count == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "steps", interrupted)
        assert main([*plain, "--out", "cut"]) == 130
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1 and "the same command" in told
    assert RunFolder.open("cut").load_checkpoint()["iteration"] == 2
    says(capsys, *plain, "--out", "cut")
    assert Path("cut/synthetic.safetensors").read_bytes() == Path("whole/synthetic.safetensors").read_bytes()
    assert "3 iterations" in says(capsys, *plain, "--out", "cut"), "a finished run is just told again"


def test_a_folder_of_images_is_told_without_its_path_and_asked_for(capsys, tmp_path):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for i in range(4):
                path = Path("secret", "pets", split, label, f"{i}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (16, 16), 60 * i).save(path)
    folder = f"folder:{tmp_path}/secret/pets"
    says(capsys, "distill", "--data", folder, *SMALL, "--objective", "erm")
    run = "runs/pets-none-distribution-erm-s0"
    assert "secret" not in Path(run, "config.json").read_text()
    command = ["evaluate", run, "--profile", "smoke", "--nets", "1", "--quiet", "--json"]
    assert main(command) == 2
    assert "pass --data folder:PATH" in capsys.readouterr().err
    assert json.loads(says(capsys, *command, "--data", folder))["same_data"]
    assert "secret" not in Path(run, "metrics.json").read_text()


def test_other_data_are_noted(capsys):
    says(capsys, *COLOURED, "--objective", "erm", "--out", "a")
    capsys.readouterr()
    assert main(["evaluate", "a", "--profile", "smoke", "--nets", "1", "--quiet", "--json", "--data-seed", "1"]) == 0
    printed, told = capsys.readouterr()
    assert "not the data" in told and not json.loads(printed)["same_data"]


# --- run ------------------------------------------------------------------------------------------------------------


def notebook(name: str, parameters: str, *sources: str) -> None:
    cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, sources)]
    nbformat.write(v4.new_notebook(cells=cells), name)


def test_run_a_notebook(capsys):
    notebook(
        "a.ipynb",
        'tail: float = 0.2\nname: str = "x"\nfast: bool = False\nseed: int = 0\nout_dir: str = "runs"',
        "print('here', repr([tail, name, fast, seed, out_dir]))",
    )
    text = says(capsys, "run", "a.ipynb", "--out", "b", "-p", "tail", "1e-3", "-p", "name", "007", "-y", "{fast: true}")
    assert "here [0.001, '007', True, 0, 'b']" in text, "the notebook's output is shown"
    assert text.rstrip().endswith("the executed copy is b/a.ipynb")
    assert Path("b/a.ipynb").is_file()


def test_a_cell_that_fails_is_an_error(capsys):
    notebook("a.ipynb", "seed: int = 0", "1 / 0")
    assert main(["run", "a.ipynb", "--out", "b"]) == 2
    told = capsys.readouterr().err
    assert "In [2] raised ZeroDivisionError" in told.splitlines()[-1] and "b/a.ipynb" in told


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["run", "a", "-p", "x", "-1"], ["run", "a", "-p", "x=-1"]),
        (["run", "a", "-p", "x=1", "-p", "y", "a=b"], ["run", "a", "-p", "x=1", "-p", "y=a=b"]),
        (["run", "a", "-p"], ["run", "a", "-p"]),
        (["evaluate", "-p", "x", "1"], ["evaluate", "-p", "x", "1"]),
    ],
)
def test_parameters_as_papermill_has_them(words, joined):
    assert cli._join_parameters(words) == joined


# --- study ----------------------------------------------------------------------------------------------------------

SMOKE = str(ROOT / "data" / "studies" / "smoke.yaml")
STUDY = ["study", SMOKE, "--workers", "0", "--device", "cpu"]


def test_a_dry_run_lists_the_units_and_runs_none(capsys):
    lines = says(capsys, *STUDY, "--dry-run", "--only", "none/*", "--seeds", "1").splitlines()
    assert lines[0] == "missing  none/random/seed1" and len(lines) == 6
    assert lines[-1] == "0 of 5 units are done in runs/study-smoke" and not Path("runs").exists()
    held = json.loads(says(capsys, *STUDY, "--dry-run", "--json", "--quiet"))
    assert len(held["units"]) == 24 and set(held["units"].values()) == {"missing"}


def test_a_study_tells_each_unit_and_writes_its_table(capsys):
    assert main([*STUDY, "--only", "*/plain", "--only", "none/random", "--seeds", "0", "--table", "t/study.csv"]) == 0
    printed, told = capsys.readouterr()
    assert [line.split(":")[0] for line in told.splitlines()] == [
        *("note", "note"),
        *("[1/3] coloured/plain/seed0", "[2/3] none/random/seed0", "[3/3] none/plain/seed0"),
    ]
    assert "coloured (1 seeds × 2 nets" in printed and "off-colour" in printed
    assert "3 of 24 units; table: t/study.csv, and what it was measured on: study-runs.csv" in printed
    runs = Path("t/study-runs.csv").read_text().splitlines()
    assert len(runs) == 4 and "revision" in runs[0]
    held = json.loads(says(capsys, *STUDY, "--seeds", "0", "--json", "--quiet", "--out", "runs/study-smoke"))
    assert (held["ran"], held["done"], held["units"], held["failed"]) == (9, 12, 24, {})
    assert held["table"] == "runs/study-smoke/table.csv" and Path(held["table"]).is_file()
    first = held["summary"][0]
    assert first["scenario"] == "coloured" and 0 <= first["mean"] <= 1 and first["low"] is None


def test_units_that_fail_are_named_in_one_line_at_the_end(capsys, monkeypatch):
    def failing(*arguments, **options):
        raise MemoryError("too big")

    monkeypatch.setattr(importlib.import_module("rdd_nb.experiments.study.units"), "coreset", failing)
    assert main([*STUDY, "--only", "*/random", "--only", "none/plain", "--seeds", "0", "--quiet"]) == 1
    printed, told = capsys.readouterr()
    assert told.count("\n") == 1 and told.startswith("rdd-nb: 2 of 3 units failed, the same command tries them again: ")
    assert "coloured/random/seed0 (MemoryError: too big); none/random/seed0" in told
    assert "1 of 24 units" in printed
    monkeypatch.undo()
    assert main([*STUDY, "--only", "nobody/plain"]) == 2
    assert "unknown SCENARIO/METHOD 'nobody/plain'" in capsys.readouterr().err
    assert main([*STUDY, "--seeds", "one"]) == 2 and "write --seeds 0,1" in capsys.readouterr().err
    assert main(["study", "absent.yaml"]) == 2 and "cannot read the study" in capsys.readouterr().err
