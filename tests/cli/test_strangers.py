"""Runs and folders that come from somebody else, and what is known before long work begins."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdd_nb.cli import main
from rdd_nb.core.errors import RddError
from rdd_nb.data import sources
from rdd_nb.data.readers.registry import READERS
from rdd_nb.distillation import run_contents
from rdd_nb.distillation.run_folder import RunFolder
from tests.fuzz.attack import ATTACKS, rounds
from tests.helpers import one_line

TINY = ["--objective", "erm", "--ipc", "1", "--width", "4", "--iterations", "2", "--batch-real", "4", "--quiet"]
DIGITS = ["distill", "--data", "digits", "--scenario", "coloured", *TINY]
SMOKE = ["evaluate", "run", "--profile", "smoke", "--nets", "1", "--device", "cpu", "--quiet"]
posix = pytest.mark.skipif(os.name == "nt", reason="no pipes in folders")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged") / "run"
    assert main([*DIGITS, "--out", str(folder), "--checkpoint-every", "1"]) == 0
    assert main(["evaluate", str(folder), *SMOKE[2:]]) == 0
    return folder


@pytest.fixture
def run(tmp_path, judged, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(judged, "run")
    return RunFolder("run")


def refused(capsys, command: list[str], *words: str) -> str:
    capsys.readouterr()
    assert main(command) == 2
    printed, told = capsys.readouterr()
    lines = [line for line in told.splitlines() if not line.startswith("note: ")]
    assert printed == "" and len(lines) == 1 and not [word for word in words if word not in lines[0]], told
    return lines[0]


def edit(name: str, change) -> None:
    """Change what a file of the run says, and let its identity fit: whoever made it knew how."""
    held = json.loads(Path("run", name).read_text())
    change(held)
    Path("run", name).write_text(json.dumps(held))


# --- nothing of the reader's own is read, written or fetched unasked -------------------------------------------------


def test_a_folder_of_the_readers_is_read_only_where_it_is_named_here(run, capsys, monkeypatch):
    Path("private").mkdir()
    opened = []
    monkeypatch.setattr(sources, "read", lambda *given: opened.append(given))
    others = [f"{kind}:private" for kind in READERS]
    for name in (*others, "folder:.", "folder:~", "folder:/etc", "npz:/etc/x.npz"):
        edit("config.json", lambda held, name=name: held["source"].update(data=name))
        refused(capsys, SMOKE, "your folders are not read unasked", f"--data {name.partition(':')[0]}:PATH")
    assert opened == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion-mnist", "mnist"])
def test_nothing_is_downloaded_unasked(run, capsys, monkeypatch, name):
    import socket

    monkeypatch.setattr(sources, "DEBIAN", Path("nowhere"))
    monkeypatch.setattr(socket, "create_connection", pytest.fail)
    edit("config.json", lambda held: held["source"].update(data=name))
    refused(capsys, [*SMOKE, "--root", "empty"], f"was made from {name}", f"--data {name} downloads it")


@posix
def test_pictures_behind_a_link_are_neither_removed_nor_replaced(run):
    Path("photos").mkdir()
    Path("photos", "a.png").write_bytes(b"a photo")
    shutil.rmtree("run/figures")
    Path("run/figures").symlink_to("../photos", target_is_directory=True)
    with pytest.raises(RddError, match="figures is a link, which is not followed") as caught:
        RunFolder("run").create({"seed": 1}, overwrite=True)
    one_line(caught)
    assert os.listdir("photos") == ["a.png"] and Path("photos/a.png").read_bytes() == b"a photo"


@posix
@pytest.mark.parametrize("name", ["config.json", "metrics.json", "history.csv", "synthetic.safetensors", "scores.npz"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_neither_waited_for_nor_followed(run, capsys, name, kind):
    held = Path("run", name)
    shutil.copy(held, "elsewhere")
    held.unlink()
    {
        "pipe": lambda: os.mkfifo(held),
        "link": lambda: held.symlink_to("../elsewhere"),
        "folder": lambda: held.mkdir(),
    }[kind]()
    command = {
        "history.csv": [*DIGITS, "--out", "run", "--checkpoint-every", "1"],
        "scores.npz": ["export", "run", "--csv", "t.csv"],
    }.get(name, SMOKE)
    refused(capsys, command, name, f"a {kind}")


def test_exports_do_not_leave_their_folder(run, capsys):
    Path("theirs").mkdir()
    Path("out").mkdir()
    for name in RunFolder("run").load_synthetic().class_names:
        Path("out", name).symlink_to("../theirs", target_is_directory=True)
    refused(capsys, ["export", "run", "--png", "out", "--force"], "is a link")
    assert os.listdir("theirs") == []


# --- what a run says is checked before it is used ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "place", "value", "says"),
    [
        ("config.json", "source.size", 20_000, "source.size=20000"),
        ("config.json", "source.size", "28", "source.size='28'"),
        ("config.json", "source.size", True, "source.size=True"),
        ("config.json", "source.data", ["digits"], "source.data"),
        ("config.json", "source.options", [1], "source.options"),
        ("config.json", "source.options", {"bias": {"a": 1}}, "source.options.bias"),
        ("config.json", "source.data_seed", 10**30, "source.data_seed"),
        ("config.json", "source", "digits", "source='digits'"),
        ("config.json", "distill", [], "distill=[]"),
        ("config.json", "distill.tail", [0.5], "distill.tail"),
        ("config.json", "data.groups", 3, "data.groups=3"),
        ("metrics.json", "evaluation", "good", "evaluation='good'"),
        ("metrics.json", "evaluation.nets", "5", "evaluation.nets='5'"),
        ("metrics.json", "evaluation.nets", -1, "evaluation.nets=-1"),
        ("metrics.json", "evaluation.protocol", [], "evaluation.protocol=[]"),
        ("metrics.json", "machine", "a laptop", "machine='a laptop'"),
        ("metrics.json", "machine.cores", [2], "machine.cores"),
    ],
)
def test_wrong_kinds_are_named(run, file, place, value, says):
    def change(held):
        *parts, last = place.split(".")
        for part in parts:
            held = held[part]
        held[last] = value

    edit(file, change)
    with pytest.raises(RddError) as caught:
        if file == "config.json":  # as somebody writes it who knows how a run is made
            held = {k: v for k, v in json.loads(Path("run/config.json").read_text()).items() if k != "identity"}
            run_contents.contents(RunFolder("other").create(held))
        else:
            run_contents.contents(run)
    assert file in one_line(caught) and says in one_line(caught)


def test_what_a_run_says_comes_back_as_it_was_said(run):
    told = run_contents.contents(run)
    assert (told.source.data, told.source.scenario, told.source.groups) == ("digits", "coloured", "none")
    assert told.distill["ipc"] == 1 and told.evaluation is not None and told.evaluation.nets == 1
    assert told.evaluation.protocol["epochs"] == 3 and told.machine["rdd_nb"] == told.evaluation.machine["rdd_nb"]


def _resume(capsys, state, *words: str) -> None:
    for name in ("metrics.json", "history.csv", "synthetic.safetensors", "scores.npz"):
        Path("run", name).unlink(missing_ok=True)
    mark = {"identity": RunFolder("run").identity}
    torch.save({**state, **mark}, "run/checkpoint.pt")
    refused(capsys, [*DIGITS, "--out", "run", "--checkpoint-every", "1"], "checkpoint.pt", "delete it", *words)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"images": s["images"].double()},
        lambda s: {"images": s["images"].int()},
        lambda s: {"images": s["images"].to_sparse()},
        lambda s: {"images": s["images"].to("meta")},
        lambda s: {"images": s["images"] * float("nan")},
        lambda s: {"momentum": s["momentum"].half()},
        lambda s: {"momentum": s["momentum"][:1]},
        lambda s: {"images": "images"},
        lambda s: {"iteration": 99},
        lambda s: {"iteration": -1},
        lambda s: {"iteration": True},
        lambda s: {"losses": ("a",) * s["iteration"]},
        lambda s: {"losses": 0.5},
        lambda s: {"seconds": None},
        lambda s: {"more": 1},
    ],
)
def test_a_checkpoint_of_other_kinds_is_refused(run, capsys, change):
    state = run.load_checkpoint()
    _resume(capsys, {**state, **change(state)})


def test_a_checkpoint_that_would_inflate_is_not_unpacked(run, capsys):
    state = {**run.load_checkpoint(), "images": torch.zeros(10_000_000)}
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save({**state, "identity": run.identity}, buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for record in whole.infolist():
            small.writestr(record.filename, whole.read(record.filename))
    assert len(packed.getvalue()) < 1_000_000
    Path("run/metrics.json").unlink()
    Path("run/checkpoint.pt").write_bytes(packed.getvalue())
    refused(capsys, [*DIGITS, "--out", "run", "--checkpoint-every", "1"], "checkpoint.pt", "was not loaded")


@pytest.mark.parametrize("content", [None, "", "iteration,loss\n1,2\n", "iteration,loss,seconds\n1,a,2\n2,b,3\n"])
def test_a_finished_run_without_its_history_says_how_to_mend_it(run, capsys, content):
    path = Path("run/history.csv")
    if content is None:
        path.unlink()
    else:
        mark = json.loads(Path("run/config.json").read_text())["identity"]
        head, *rows = content.splitlines() or [""]
        path.write_text("\n".join([f"{head},identity" if head else "", *(f"{row},{mark}" for row in rows)]))
    command = [*DIGITS, "--out", "run", "--checkpoint-every", "1"]
    refused(capsys, command, "history.csv", "remove metrics.json")
    before = Path("run/synthetic.safetensors").read_bytes()
    Path("run/metrics.json").unlink()
    path.unlink(missing_ok=True)
    assert main(command) == 0 and len(RunFolder("run").history) == 2, "what it advises helps"
    assert Path("run/synthetic.safetensors").read_bytes() == before


# --- names stay what they are -----------------------------------------------------------------------------------------


def test_names_that_look_like_paths_are_told_apart(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pets").mkdir()
    draw, rows = np.random.default_rng(0), ["filename,label,group,split"]
    names = ["/usr/north", "/day/north", "/night/north", "$10k_$50k"]
    for i in range(64):
        Image.fromarray(draw.integers(0, 256, (16, 16), np.uint8)).save(f"pets/{i}.png")
        rows.append(f"{i}.png,{('C$x_{$', '/tmp/dog')[i % 2]},{names[i // 2 % 4]},{('train', 'test')[i // 8 % 2]}")
    Path("pets/metadata.csv").write_text("\n".join(rows) + "\n")
    assert main(["distill", "--data", "folder:pets", *TINY, "--out", "run"]) == 0
    capsys.readouterr()
    assert main([*SMOKE, "--data", "folder:pets", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    kept = RunFolder("run")
    for tables in (said["tables"], kept.metrics["evaluation"]["tables"]):
        assert {row["group"] for row in tables["group"]} == set(names)
    assert set(kept.load_synthetic().class_names) == {"C$x_{$", "/tmp/dog"} == set(kept.config["data"]["class_names"])
    assert "pets" in kept.config["source"]["data"] and str(tmp_path) not in Path("run/config.json").read_text()


# --- known before long work begins ------------------------------------------------------------------------------------


def never(*given, **named):
    raise AssertionError("work began")


def test_what_cannot_end_well_is_said_before_groups_are_looked_for(run, capsys, monkeypatch, tmp_path):
    from rdd_nb import clustering

    monkeypatch.setattr(clustering, "discover_groups", never)
    robust = ["distill", "--data", "digits", "--ipc", "2", "--quiet"]
    refused(capsys, [*robust, "--out", "run"], "run holds another run", "distill.ipc is 1 there, 2 here")
    refused(capsys, [*robust, "--ipc", "500", "--out", "new"], "ipc=500 is more than class")
    Path("file").write_text("")
    refused(capsys, [*robust, "--out", "file/x"], "cannot write")
    with run.lock(), monkeypatch.context() as patch:  # as another process would find it
        patch.setattr("filelock.FileLock.acquire", _taken)
        refused(capsys, [*DIGITS, "--out", "run"], "another process is working in run")
    Path("run/config.json").unlink()
    refused(capsys, [*DIGITS, "--out", "run"], "without its config.json")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        refused(capsys, [*robust, "--out", "new"], "the disk is full")


def _taken(*given, **named):
    import filelock

    raise filelock.Timeout("x")


def _full(handle):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_known_before_networks_are_trained(run, capsys, monkeypatch):
    monkeypatch.setattr("rdd_nb.models.training.train", never)
    before = Path("run/metrics.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        refused(capsys, SMOKE, "cannot write run: the disk is full")
    refused(capsys, [*SMOKE, "--nets", "0"], "--nets 0")
    refused(capsys, [*SMOKE, "--csv", "no/t.csv"], "cannot write --csv")
    assert Path("run/metrics.json").read_bytes() == before


def test_noise_needs_no_image_for_each_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["distill", "--data", "digits", *TINY, "--init", "noise", "--ipc", "300", "--out", "run"]) == 0
    assert RunFolder("run").load_synthetic().images.shape == (3000, 1, 28, 28)


# --- many of each kind ------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("kind", ATTACKS)
def test_rounds_of_attacks_end_in_success_or_one_line(kind):
    counts, faults = rounds(kind, range(40), seed=1)
    assert not faults, faults[0]
    assert sum(counts.values()) == 40 and counts["one line"] >= 5
