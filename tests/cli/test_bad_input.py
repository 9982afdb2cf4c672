"""The table of mistakes: each is told in one line that names what, where and how to mend it, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from rdd_nb.cli import main
from rdd_nb.distillation.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--objective", "erm", "--ipc", "1", "--width", "4", "--iterations", "2"]
TINY += ["--batch-real", "4", "--device", "cpu", "--quiet"]
DIGITS = ["distill", "--data", "digits", *TINY]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*DIGITS, "--out", str(folder), "--checkpoint-every", "1"]) == 0
    return folder


@pytest.fixture
def here(tmp_path, finished, monkeypatch):
    """A working directory with a finished run ``run``, an unfinished one ``half``, and images in ``pets``."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    shutil.copytree(finished, "half")
    for name in ("metrics.json", "synthetic.safetensors", "history.csv"):
        Path("half", name).unlink()
    Path("pets").mkdir()
    lines = ["filename,label,group,split"]
    for i in range(12):
        split, label, group = ("train", "test")[i >= 8], ("cat", "dog")[i % 2], ("day", "night")[i // 2 % 2]
        Image.fromarray(np.full((16, 16), 20 * i, np.uint8)).save(f"pets/{i}.png")
        lines.append(f"{i}.png,{label},{group},{split}")
    Path("pets/metadata.csv").write_text("\n".join(lines) + "\n")
    Path("file").write_text("a regular file")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(old: str, new: str):
    def change() -> None:
        path = Path("pets/metadata.csv")
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def truncate(name: str):
    return lambda: Path(name).write_bytes(Path(name).read_bytes()[:-20])


def cut_image() -> None:
    Image.effect_noise((64, 64), 90).resize((16, 16)).save("pets/3.png")
    Path("pets/3.png").write_bytes(Path("pets/3.png").read_bytes()[:-100])


def colour_image() -> None:
    Image.new("RGB", (16, 16), (200, 0, 0)).save("pets/3.png")


def class_folders() -> None:
    for label in ("cat", "dog"):
        Path("animals", label).mkdir(parents=True)
    Image.new("L", (16, 16)).save("animals/cat/0.png")


def foreign_tensors(name: str):
    return lambda: safetensors.torch.save_file({"weight": torch.zeros(2)}, name)


def foreign_checkpoint() -> None:
    torch.save({"weight": torch.zeros(2)}, "half/checkpoint.pt")


def not_finite_synthetic() -> None:
    tensors = safetensors.torch.load_file("run/synthetic.safetensors")
    with safetensors.safe_open("run/synthetic.safetensors", "pt") as file:
        said = file.metadata()
    tensors["images"][0] = float("nan")
    safetensors.torch.save_file(tensors, "run/synthetic.safetensors", said)


def text(name: str, content: str):
    return lambda: Path(name).write_text(content)


def without_source() -> None:
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "source": {}}))


def notebook() -> None:
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "outputs": [],
        "execution_count": None,
    }
    cell["source"] = "tail: float = 0.2\nfast: bool = False"
    Path("a.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def nothing() -> None:
    pass


PETS = ["distill", "--data", "folder:pets", *TINY, "--out", "new"]
NEW = [*DIGITS, "--out", "new"]
SMOKE = ["evaluate", "run", "--profile", "smoke", "--nets", "1", "--device", "cpu", "--quiet"]
RESUME = [*DIGITS, "--out", "half", "--checkpoint-every", "1"]
RUN = ["run", "a.ipynb", "--out", "new"]

# id, what is done to the files before, the command, words of the one line
TABLE = [
    # names, with the nearest known one
    ("dataset", nothing, ["distill", "--data", "fashion-mnst"], ["unknown dataset", "did you mean 'fashion-mnist'"]),
    ("fetch", nothing, ["data", "fetch", "digts"], ["unknown dataset 'digts'", "did you mean 'digits'"]),
    ("scenario", nothing, [*NEW, "--scenario", "colored"], ["unknown scenario", "did you mean 'coloured'"]),
    (
        "scenario option",
        nothing,
        [*NEW, "--scenario", "coloured", "--option", "bia=0.9"],
        ["unknown option 'bia'", "'coloured'", "did you mean 'bias'"],
    ),
    ("option value", nothing, [*NEW, "--option", "bias"], ["--option 'bias' has no value", "bias=VALUE"]),
    ("profile", nothing, [*SMOKE, "--profile", "smok"], ["unknown profile 'smok'", "did you mean 'smoke'"]),
    ("objective", nothing, [*NEW, "--objective", "robst"], ["unknown objective 'robst'", "did you mean 'robust'"]),
    ("matching", nothing, [*NEW, "--matching", "gradients"], ["unknown matching", "did you mean 'gradient'"]),
    ("network", nothing, [*NEW, "--network", "convnt"], ["unknown network", "did you mean 'convnet'"]),
    ("groups", nothing, [*NEW, "--groups", "know"], ["unknown kind of groups 'know'", "did you mean 'known'"]),
    ("parameter", nothing, [*NEW, "--set", "tial=0.1"], ["unknown parameter 'tial'", "did you mean 'tail'"]),
    (
        "parameter in a file",
        text("c.json", '{"tial": 0.1}'),
        [*NEW, "--config", "c.json"],
        ["unknown parameter 'tial'", "did you mean 'tail'"],
    ),
    ("option of the command", nothing, [*NEW, "--tial", "0.1"], ["--tial", "--tail", "rdd-nb distill --help"]),
    ("command", nothing, ["distil"], ["'distil'", "'distill'", "rdd-nb --help"]),
    ("notebook's parameter", notebook, [*RUN, "-p", "tial", "1"], ["unknown parameter 'tial' in a.ipynb", "'tail'"]),
    # values
    ("tail 0", nothing, [*NEW, "--tail", "0"], ["tail='0'", "greater than 0"]),
    ("tail above 1", nothing, [*NEW, "--tail", "1.5"], ["tail='1.5'", "less than or equal to 1"]),
    ("tail below 0", nothing, [*NEW, "--tail", "-0.1"], ["tail='-0.1'", "greater than 0"]),
    ("tail no number", nothing, [*NEW, "--tail", "half"], ["tail='half'", "valid number"]),
    ("ipc too large", nothing, [*NEW, "--ipc", "900"], ["ipc=900", "class", "'digits'", "lower ipc"]),
    ("config not there", nothing, [*NEW, "--config", "no.json"], ["no.json", "No such file", "write an object"]),
    ("config no JSON", nothing, [*NEW, "--config", "file"], ["--config file is not whole JSON", "write an object"]),
    (
        "config a list",
        text("c.json", "[1]"),
        [*NEW, "--config", "c.json"],
        ["c.json is not a JSON object", "write an object"],
    ),
    ("no known groups", nothing, [*NEW, "--groups", "known"], ["'digits' names no groups", "scenario"]),
    ("group without", nothing, [*NEW, "--objective", "group", "--groups", "none"], ["objective=group", "no groups"]),
    ("no CUDA", nothing, [*NEW, "--device", "cuda"], ["'cuda'", "no CUDA here", "device=cpu"]),
    ("no CUDA to evaluate", nothing, [*SMOKE, "--device", "cuda:1"], ["'cuda:1'", "no CUDA here", "device=cpu"]),
    ("device", nothing, [*NEW, "--device", "gpu"], ["unknown device 'gpu'", "cuda"]),
    ("notebook's value", notebook, [*RUN, "-p", "tail", "half"], ["'tail' of a.ipynb is 'half'", "give float"]),
    ("notebook's value missing", notebook, [*RUN, "-p", "tail"], ["-p 'tail' has no value", "-p tail VALUE"]),
    ("notebook's YAML", notebook, [*RUN, "-y", "{a"], ["-y '{a' is not YAML, line 1"]),
    # images
    ("no folder", nothing, [*PETS, "--data", "folder:no"], ["'folder:no'", "no such folder", "folder:PATH"]),
    ("image missing", lambda: Path("pets/3.png").unlink(), PETS, ["metadata.csv line 5, 3.png", "no file"]),
    ("image cut", cut_image, PETS, ["metadata.csv line 5, 3.png", "cannot be read", "replace it"]),
    (
        "image no image",
        text("pets/3.png", "<html>"),
        PETS,
        ["line 5, 3.png", "is no PNG", "convert it or leave it out"],
    ),
    ("unknown group", edit("11.png,dog,night", "11.png,dog,dusk"), PETS, ["group 'dusk' occurs only in test", "add"]),
    ("unknown split", edit("3.png,dog,night,train", "3.png,dog,night,tain"), PETS, ["unknown split", "'train'"]),
    (
        "empty class",
        class_folders,
        [*PETS, "--data", "folder:animals"],
        ["animals/dog is a class without images", "add some"],
    ),
    ("mixed channels", colour_image, PETS, ["0.png is grey", "3.png is RGB"]),
    # files of a run
    ("set truncated", truncate("run/synthetic.safetensors"), SMOKE, ["run/synthetic.safetensors", "truncated", "copy"]),
    ("set foreign", foreign_tensors("run/synthetic.safetensors"), SMOKE, ["tensors weight", "rdd-nb distill"]),
    ("set no tensors", text("run/synthetic.safetensors", "PK"), SMOKE, ["no safetensors file", "rdd-nb distill"]),
    ("set not finite", not_finite_synthetic, SMOKE, ["run/synthetic.safetensors", "NaN", "lower"]),
    ("set missing", lambda: Path("run/synthetic.safetensors").unlink(), SMOKE, ["cannot read the synthetic set"]),
    ("checkpoint truncated", truncate("half/checkpoint.pt"), RESUME, ["half/checkpoint.pt", "truncated", "delete it"]),
    ("checkpoint foreign", foreign_checkpoint, RESUME, ["half/checkpoint.pt", "of another run", "delete"]),
    ("checkpoint no file of torch", text("half/checkpoint.pt", "x"), RESUME, ["half/checkpoint.pt", "delete it"]),
    ("config cut", truncate("run/config.json"), SMOKE, ["run/config.json", "not whole JSON"]),
    ("no run", nothing, ["evaluate", "nowhere"], ["no run in nowhere", "rdd-nb distill"]),
    ("not complete", nothing, ["evaluate", "half"], ["half/metrics.json", "not complete", "resumes"]),
    (
        "another run",
        nothing,
        [*DIGITS, "--out", "run", "--seed", "7"],
        ["run holds another run (distill.", "distill.seed is 0 there, 7 here", "use another folder"],
    ),
    ("other classes", nothing, [*SMOKE, "--data", "folder:pets"], ["trained on classes", "cat, dog", "same classes"]),
    ("other size", nothing, [*SMOKE, "--size", "16"], ["(1, 28, 28)", "(1, 16, 16)", "same size"]),
    ("no source", without_source, SMOKE, ["does not say which data", "pass --data"]),
    # export and copies
    ("export what", nothing, ["export", "run"], ["export of run", "say what to write", "--png DIR"]),
    ("export no run", nothing, ["export", "nowhere", "--png", "new"], ["no run in nowhere", "rdd-nb distill"]),
    (
        "export unfinished",
        nothing,
        ["export", "half", "--png", "new"],
        ["half/metrics.json", "not complete", "resumes"],
    ),
    (
        "export of no scores",
        nothing,
        ["export", "run", "--csv", "new.csv"],
        ["run/scores.npz", "evaluate the run first"],
    ),
    (
        "export into others",
        nothing,
        ["export", "run", "--png", "pets"],
        ["pets holds other files (0.png)", "new folder"],
    ),
    ("export over a file", nothing, ["export", "run", "--png", "file"], ["cannot write file", "use another folder"]),
    ("export below a file", nothing, ["export", "run", "--png", "file/x"], ["cannot write file/x", "another folder"]),
    ("card over a folder", nothing, ["export", "run", "--card", "pets"], ["pets is a folder", "give a file"]),
    ("card over a file", nothing, ["export", "run", "--card", "file"], ["file is there and differs", "--force"]),
    (
        "table of no folder",
        nothing,
        [*SMOKE, "--csv", "no/t.csv"],
        ["cannot write --csv no/t.csv", "folder that is there"],
    ),
    ("table over a folder", nothing, [*SMOKE, "--csv", "pets"], ["cannot write --csv pets", "path of a file"]),
    ("course over a file", nothing, ["course", "copy", "file"], ["cannot write file", "use another folder"]),
    ("course subcommand", nothing, ["course", "cpy"], ["'cpy'", "rdd-nb course --help"]),
    # where to
    ("out below a file", nothing, [*DIGITS, "--out", "file/run"], ["cannot write file/run", "use another folder"]),
    ("out is a file", nothing, [*DIGITS, "--out", "file"], ["cannot write file", "use another folder"]),
    ("notebook's out", notebook, ["run", "a.ipynb", "--out", "file/x"], ["file/x", "use another folder"]),
    ("notebook over itself", notebook, ["run", "a.ipynb", "--out", "."], ["a.ipynb", "another .ipynb path"]),
    ("no notebook", nothing, ["run", "b.ipynb", "--out", "new"], ["cannot read the notebook b.ipynb", "give the path"]),
]


@pytest.mark.parametrize(("prepare", "command", "words"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_a_mistake_is_told_in_one_line_and_nothing_is_lost(here, capsys, monkeypatch, prepare, command, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    prepare()
    before = files(here)
    capsys.readouterr()
    assert main(command) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.startswith("rdd-nb: ") and told.count("\n") == 1 and told.endswith("\n")
    assert [word for word in words if word not in told] == [], told
    assert "Traceback" not in told and "/tmp" not in told.replace(str(here), "")
    assert files(here) == before, "a command that could not begin leaves everything as it was"


def disk_is_full(monkeypatch, name: str) -> None:
    """Writing the file ``name`` fails half way, as on a full disk."""
    real = os.replace

    def replace(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("name", ["checkpoint.pt", "history.csv", "synthetic.safetensors", "metrics.json"])
def test_a_full_disk_while_distilling(here, capsys, monkeypatch, name):
    before = files(here)
    with monkeypatch.context() as patch:
        disk_is_full(patch, name)
        Path("half/checkpoint.pt").unlink()
        assert main(RESUME) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"cannot write half/{name}: the disk is full; free some space" in told
    after = files(here)
    assert {k: v for k, v in before.items() if k != "half/checkpoint.pt"}.items() <= after.items()
    assert not [path for path in after if path.endswith(".tmp")]
    assert main(RESUME) == 0, "with space again, the same command ends the run"
    assert Path("half/synthetic.safetensors").read_bytes() == Path("run/synthetic.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["scores.npz", "metrics.json"])
def test_a_full_disk_while_evaluating_keeps_the_metrics(here, capsys, monkeypatch, name):
    before = files(here)
    disk_is_full(monkeypatch, name)
    assert main(SMOKE) == 2
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1
    assert f"cannot write run/{name}: the disk is full; free some space" in told
    assert before.items() <= files(here).items()


def test_a_loss_that_is_no_longer_finite_names_the_iteration_and_keeps_the_last_good_images(here, capsys):
    before = files(here)
    # images of 1e29 are finite after the first step; what the next network makes of them is not
    assert main([*DIGITS, "--lr-img", "1e30", "--iterations", "9", "--out", "wild", "--checkpoint-every", "1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    folder = RunFolder.open("wild")
    held = folder.load_checkpoint()
    assert torch.isfinite(held["images"]).all() and torch.isfinite(held["momentum"]).all()
    assert held["iteration"] == len(held["losses"]) >= 1
    for word in (f"no longer finite at iteration {held['iteration'] + 1},", "lower lr_img (now 1e+30)", "is kept"):
        assert word in told
    assert not folder.complete
    assert before.items() <= files(here).items()


def test_images_that_overflow_are_never_saved(here, capsys):
    assert main([*DIGITS, "--lr-img", "1e300", "--out", "wild", "--checkpoint-every", "1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "images are no longer finite at iteration 1" in told
    assert not RunFolder.open("wild").has_checkpoint


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["distill", "--data", "digits", "--tail", "2"], "tail='2'"),
        (["evalute", "runs/a"], "Did you mean 'evaluate'"),
    ],
)
def test_as_a_process(tmp_path, command, words):
    start = "import sys; from rdd_nb.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rdd-nb: ") and done.stderr.count("\n") == 1 and words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_is_one_line_that_says_so_and_where_its_trace_is(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("rdd_nb.core.device.pick_device", lambda name: {}["a secret\nof ours"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(NEW) == 70
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1 and "a fault of rdd-nb, not of yours (KeyError: " in told
    (trace,) = tmp_path.glob("rdd-nb-*.txt")
    assert str(trace) in told and "Traceback" in trace.read_text() and "KeyError" in trace.read_text()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"),
            "memory ran out",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "there/x"), "there/x: Permission denied"),
    ],
)
def test_a_machine_that_cannot_is_no_fault_of_ours(capsys, monkeypatch, error, words):
    def fails(name):
        raise error

    monkeypatch.setattr("rdd_nb.core.device.pick_device", fails)
    assert main(NEW) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and words in told


def test_who_stops_reading_is_no_error():
    start = "import sys; from rdd_nb.cli import main; sys.exit(main(['data', 'list']))"
    done = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{start}"; echo $? >&2'], stdout=_closed(), stderr=-1)
    assert done.stderr.split() in ([b"1"], [b"141"])  # as the parser of the command line has it, or shells


def _closed() -> int:
    """The writing end of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


def test_a_terminal_of_ascii_shows_what_it_can():
    start = "import sys; from rdd_nb.cli import main; sys.exit(main(['data', 'list']))"
    done = subprocess.run(
        [sys.executable, "-c", start], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert done.returncode == 0 and done.stderr == b"" and b"28x28 grey" in done.stdout


def test_texts_of_strangers_cannot_move_the_cursor(here, capsys):
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "source": {"data": "folder:\x1b]0;title\x07\x9b31m"}}))
    for command in (SMOKE, ["distill", "--data", "di\x1b]0;title\x07gits"], ["export", "\x1b[2J", "--png", "x"]):
        assert main(command) == 2
        printed, told = capsys.readouterr()
        assert printed == "" and told.count("\n") == 1 and "\\x1b" in told
        assert not any(letter in told for letter in "\x1b\x9b\x07")
