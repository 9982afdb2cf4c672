"""rdd-nb discover: what it prints is what discover_groups found, and what stands in its folder is of this command."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.cli import discover, distill, main, options
from rdd_nb.clustering import Benefit, Groups, Trial, group_mass, group_shares
from rdd_nb.core.escaping import markdown, terminal
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.run_contents import contents
from rdd_nb.distillation.run_folder import RunFolder
from tests.helpers import rng

NASTY = "\x1b[2J| *bold* <b> [x](y)"
TRIALS = (
    Trial("colour (3 groups)", "strength 0.8", Benefit(4.0, 1.0, 0.5), final=False, kept=True),
    Trial("features learnt (3 groups)", "strength 0.4", Benefit(-0.5, -1.0, 0.25), final=False, kept=True),
    Trial("colour (3 groups)", "strength 1", Benefit(3.0, -0.5, 0.25), final=True, kept=True),
    Trial("features learnt (3 groups)", "strength 1", Benefit(1.0, -2.0, 0.5), final=True, kept=False),
)
COMMAND = ["discover", "--data", "digits", "--device", "cpu", "--quiet"]  # of which `planted` makes its own data


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(names=("=cat", NASTY)) -> ImageDataset:
    """Forty images of two classes; a tenth of each is of the second named group, and marked as the minority."""
    labels, rare = torch.arange(40) % 2, torch.arange(40) // 2 % 10 == 0
    images = torch.randint(0, 200, (40, 1, 8, 8), generator=rng(0), dtype=torch.uint8)
    images[rare] += 50
    named = {"groups": rare.long(), "group_names": ("day", "night"), "minority": rare}
    return ImageDataset(images, labels, names, *statistics(images), **named, name="pets")


def found(data: ImageDataset, strength: float) -> Groups:
    """In class 0 the minority apart, in class 1 a single group; raised as far as ``strength`` says."""
    ids = torch.where(data.labels == 0, data.groups * 2, 0)
    trials = tuple(dataclasses.replace(trial, kept=trial.kept and strength > 0) for trial in TRIALS)
    report = clustering.choice._report(trials)
    return Groups(ids, 3, "colour (3 groups)", strength * torch.ones(2, 3).double(), report, trials)


@pytest.fixture(params=[1.0])
def planted(request, monkeypatch):
    """The command finds groups that are known beforehand, in data that are made at once."""
    data = made()
    monkeypatch.setattr(discover, "load", lambda source, root: Splits(data, data, "pets"))
    groups = found(data, request.param)
    monkeypatch.setattr(clustering, "discover_groups", lambda *given, **how: groups)
    return data, groups


def says(capsys, *command: str) -> str:
    capsys.readouterr()
    assert main(command) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def pets(folder="pets") -> None:
    """A folder of 48 tiny images of two classes, taken by day and a few by night."""
    Path(folder).mkdir()
    draw, lines = np.random.default_rng(0), ["filename,label,group,split"]
    for i in range(48):
        split, label = ("test" if i % 4 == 3 else "train"), ("cat", "dog")[i // 4 % 2]
        Image.fromarray(draw.integers(0, 256, (8, 8)).astype(np.uint8)).save(f"{folder}/{i}.png")
        lines.append(f"{i}.png,{label},{'night' if i < 8 else 'day'},{split}")
    Path(folder, "metadata.csv").write_text("\n".join(lines) + "\n")


def cells(lines):
    """Lines of an aligned table as their cells."""
    return [[cell.strip() for cell in line.split("  ") if cell] for line in lines]


# ------------------------------------------------------------------------------------------------- what really is found


def test_it_tells_what_discover_groups_finds(capsys):
    pets()
    command = ["discover", "--data", f"folder:{Path.cwd()}/pets", "--num-groups", "3", "--ipc", "2", "--seed", "4"]
    told = json.loads(says(capsys, *command, "--device", "cpu", "--quiet", "--json", "--out", "out"))
    data = rdd.load("folder:pets").train
    groups = rdd.discover_groups(data, num_groups=3, ipc=2, seed=4, device="cpu")
    assert told["said"] == groups.report.splitlines()[0] and told["raised"] == groups.raised
    trials = [
        Trial(benefit=Benefit(*(row.pop(name) for name in ("balanced", "mean", "error"))), **row)
        for row in told["candidates"] + told["trials"]
        if row.pop("value") is not None
    ]
    assert tuple(trials) == groups.trials
    chosen = told["chosen"]
    assert (chosen["start"] if chosen else None) == groups.start and groups.raised <= (chosen is not None)
    table = pd.read_csv("out/groups.csv")
    assert table["index"].tolist() == list(range(len(data))) and table["group"].tolist() == groups.ids.tolist()
    assert [data.class_names.index(name) for name in table["class"]] == data.labels.tolist()
    kept = json.loads(Path("out/groups.json").read_text())
    assert kept["source"] == {**told["source"], "data": "folder:pets"}, "a file tells no path of the machine"
    assert groups.report in Path("out/report.md").read_text()


def test_a_group_that_stands_for_no_label_leaves_the_others_known(capsys):
    """Half of the images say where they were taken, the rest `unseen`: what is said is used, at a price of 1."""
    pets()
    table = pd.read_csv("pets/metadata.csv")
    table.loc[1::2, "group"] = "unseen"
    table.to_csv("pets/metadata.csv", index=False)
    how = ["--data", "folder:pets", "--num-groups", "2", "--ipc", "2", "--device", "cpu", "--quiet"]
    told = json.loads(says(capsys, "discover", *how, "--unlabelled", "unseen", "--json"))
    assert told["price"] == 1 and told["source"]["unlabelled"] == "unseen"
    assert any(row["groups"].startswith("known in part") for row in told["candidates"])
    tiny = ["--width", "4", "--iterations", "1", "--batch-real", "4"]
    says(capsys, "distill", *how, *tiny, "--unlabelled", "unseen", "--out", "run")
    source = json.loads(Path("run/config.json").read_text())["source"]
    assert source["unlabelled"] == "unseen" and "price" not in source
    assert "known in part" in Path("run/groups.md").read_text()
    for words, said in (
        (["discover", *how, "--unlabelled", "unsene"], "did you mean 'unseen'"),
        (
            ["distill", *how, "--groups", "known", "--unlabelled", "unseen"],
            "--unlabelled has no effect with groups known",
        ),
        (["distill", *how, "--objective", "erm", "--unlabelled", "unseen"], "has no effect with groups none"),
        (
            ["discover", "--data", "fashion-mnist-sample", "--unlabelled", "x", "--quiet"],
            "names no groups, so none is called 'x'",
        ),
    ):
        assert main(words) == 2 and said in capsys.readouterr().err


def test_what_the_small_are_worth_is_asked_for_and_kept(capsys):
    """The price and the power reach the trial; a run records a price that is not the default."""
    pets()
    how = ["--data", "folder:pets", "--num-groups", "2", "--ipc", "2", "--device", "cpu", "--quiet"]
    told = json.loads(says(capsys, "discover", *how, "--price", "1", "--group-power", "0", "--json"))
    assert (told["price"], told["group_power"]) == (1, 0)
    asked = {"num_groups": 2, "ipc": 2, "price": 1, "group_power": 0}
    groups = rdd.discover_groups(rdd.load("folder:pets").train, **asked, device="cpu")
    assert told["said"] == groups.report.splitlines()[0] and "at a price of 1, and" in groups.report
    tiny = ["--width", "4", "--iterations", "1", "--batch-real", "4"]
    says(capsys, "distill", *how, *tiny, "--price", "1", "--group-power", "0", "--out", "dear")
    says(capsys, "distill", *how, *tiny, "--price", "0.1", "--out", "plain")
    assert Path("dear/groups.md").read_text() == groups.report + "\n"
    assert [contents(RunFolder.open(run)).source.price for run in ("dear", "plain")] == [1, None]
    assert main(["distill", *how, *tiny, "--out", "dear"]) == 2 and "dear" in capsys.readouterr().err
    for command in ("discover", "distill"):
        assert main([command, *how, "--price", "1.5"]) == 2 and "'--price': " in capsys.readouterr().err
    for command in (discover.command_discover, distill.command_distill):
        assert inspect.signature(command).parameters["price"].default is None
    prices = [clustering.price_where(known) for known in (False, True)]
    assert "by default {:g}, and {:g} with --unlabelled".format(*prices) in get_args(options.Price)[1].help
    power = inspect.signature(discover.command_discover).parameters["group_power"].default
    assert power == DistillConfig().group_power


def test_distill_tells_what_is_raised_and_keeps_why_and_what(capsys, monkeypatch):
    pets()
    tiny = ["--ipc", "2", "--width", "4", "--iterations", "1", "--batch-real", "4", "--device", "cpu"]
    command = ["distill", "--data", "folder:pets", *tiny, "--num-groups", "2", "--out", "run"]
    assert main(command) == 0
    groups = rdd.discover_groups(rdd.load("folder:pets").train, num_groups=2, ipc=2, device="cpu")
    first = groups.report.splitlines()[0]
    assert first in capsys.readouterr().err.splitlines() and ("plain matching" in first) == (not groups.raised)
    assert Path("run/groups.md").read_text() == groups.report + "\n"
    run = RunFolder.open("run")
    assert run.complete and contents(run).source.num_groups == 2
    Path("run/metrics.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(clustering, "discover_groups", pytest.fail)  # they stand in the run
        says(capsys, *command, "--quiet")
    assert run.complete and run.metrics["groups"]["said"] == first
    Path("run/groups.npz").write_bytes(b"lost")
    says(capsys, *command, "--quiet")
    run.create({"ipc": 1}, overwrite=True)
    assert not Path("run/groups.md").exists() and not Path("run/groups.npz").exists(), (
        "they were of the run that is gone"
    )


# ------------------------------------------------------------------------------------------------------- what is shown


def test_shares_are_those_of_group_shares_and_sum_to_one(capsys, planted):
    data, groups = planted
    told = json.loads(says(capsys, *COMMAND, "--json"))
    power = DistillConfig().group_power
    shares, table = group_shares(groups, data.labels, 2, power), pd.DataFrame(told["groups"])
    assert told["group_power"] == power and (told["command"], told["out"]) == ("rdd-nb discover", None)
    assert table[["label", "group", "size"]].to_numpy().tolist() == [[0, 2, 2], [0, 0, 18], [1, 0, 20]]
    assert table["share"].tolist() == pytest.approx([0.1, 0.9, 1])
    assert table["matched"].tolist() == [float(shares[row["label"], row["group"]]) for row in told["groups"]]
    assert table["raised"].tolist() == [True, False, False]
    for name in ("share", "matched"):
        assert table.groupby("label")[name].sum().tolist() == pytest.approx([1, 1])
    assert told["chosen"] == told["trials"][0]
    assert told["chosen"] == {
        **{name: getattr(TRIALS[2], name) for name in ("groups", "how", "final", "kept", "start")},
        **{**dataclasses.asdict(TRIALS[2].benefit), "value": 1.25},
    }
    assert "never for finding" in told["named"]["read_for"]
    (night,) = told["named"]["groups"]  # the group of the same images is not told twice
    mass = group_mass(groups, data.labels, data.minority, power)
    assert (night["name"], night["size"], night["share"]) == ("minority", 4, pytest.approx(0.1))
    assert night["matched"] == mass > 0.15


def test_a_terminal_gets_aligned_tables(capsys, planted):
    lines = says(capsys, *COMMAND).splitlines()
    assert lines[0] == planted[1].report.splitlines()[0]
    start = lines.index("Candidates, points against plain matching from random images:") + 2
    assert cells(lines[start : start + 3]) == [
        ["groups", "raised by", "start", "small groups count more", "all alike", "average ± error"],
        ["colour (3 groups)", "strength 0.8", "random images of each group", "+4.0", "+1.0", "+2.5 ± 0.5"],
        ["features learnt (3 groups)", "strength 0.4", "random images of each group", "-0.5", "-1.0", "-0.8 ± 0.2"],
    ]
    assert len({len(line) for line in lines[start : start + 3]}) == 1
    head = next(k for k, line in enumerate(lines) if line.startswith("class "))
    assert cells(lines[head + 1 : head + 3]) == [  # 0.1^0.3 of 0.1^0.3 + 0.9^0.3
        ["=cat", "2", "2", "10.0 %", "34.1 %"],
        ["=cat", "0", "18", "90.0 %", "65.9 %"],
    ]
    assert lines[head + 3] == "", "a class of one group has none to raise"
    named = next(k for k, line in enumerate(lines) if "never for finding" in line)
    assert cells(lines[named + 3 : named + 4])[0][:3] == ["minority", "4", "10.0 %"]


@pytest.mark.parametrize("planted", [0.0], indirect=True)
def test_where_nothing_is_raised_it_says_so_and_shows_no_images(capsys, planted):
    Path("out").mkdir()
    text = says(capsys, *COMMAND, "--out", "out")
    assert text.startswith("Nothing is raised: ") and "plain matching" in text and "what gains most" not in text
    assert "minority" in text, "what it means for those that the data name"
    assert sorted(p.name for p in Path("out").iterdir() if p.name[0] != ".") == [
        "groups.csv",
        "groups.json",
        "report.md",
    ]
    assert "exemplars.png" not in text + Path("out/report.md").read_text()
    told = json.loads(says(capsys, *COMMAND, "--json"))
    assert told["chosen"] is None and not told["raised"]
    assert all(row["matched"] == pytest.approx(row["share"]) for row in told["groups"] + told["named"]["groups"])


def test_names_of_strangers_do_nothing(capsys, monkeypatch):
    data = made((NASTY, "=cat"))  # now the first has the raised group
    monkeypatch.setattr(discover, "load", lambda source, root: Splits(data, data, "pets"))
    monkeypatch.setattr(clustering, "discover_groups", lambda *given, **how: found(data, 1.0))
    text = says(capsys, *COMMAND, "--out", "out")
    assert "\x1b" not in text and terminal(NASTY) in text
    page = Path("out/report.md").read_text()
    assert "\x1b" not in page and f"| {markdown(NASTY)} | 2 | 2 |" in page and NASTY[4:] not in page
    assert set(pd.read_csv("out/groups.csv")["class"]) == {NASTY, "'=cat"}


def test_a_terminal_of_ascii_gets_ascii(planted, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(COMMAND) == 0
    assert "+2.5 +- 0.5" in stream.buffer.getvalue().decode("ascii")


def test_a_long_table_is_cut_on_a_terminal(capsys, planted, monkeypatch):
    monkeypatch.setattr(discover, "MOST_ROWS", 1)
    assert "… and 1 more: see --json or --out" in says(capsys, *COMMAND)


# ---------------------------------------------------------------------------------------------------------- its folder


def test_a_folder_is_written_and_its_own_is_written_anew(capsys, planted):
    text = says(capsys, *COMMAND, "--out", "out")
    assert text.rstrip().endswith("Written to out: groups.json, report.md, groups.csv, exemplars.png")
    page = Path("out/report.md").read_text()
    assert planted[1].report in page and "unbiased sample" in page and "frozen random network" in page
    assert Image.open("out/exemplars.png").format == "PNG"
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    Path("out/report.md").write_text("old")
    says(capsys, *COMMAND, "--out", "out")
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    told = json.loads(says(capsys, *COMMAND, "--json", "--out", "out"))
    assert told["out"] == "out" and {**told, "out": None} == {**json.loads(before["groups.json"]), "out": None}


@pytest.mark.parametrize("planted", [0.0], indirect=True)
def test_images_of_an_earlier_call_go(capsys, planted):
    Path("out").mkdir()
    Path("out/groups.json").write_text('{"command": "rdd-nb discover"}')
    Path("out/exemplars.png").write_text("old")
    says(capsys, *COMMAND, "--out", "out")
    assert not Path("out/exemplars.png").exists()


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ({"report.md": "mine"}, "report.md"),
        ({"groups.json": "{}", "report.md": "mine"}, "groups.json"),
        ({"groups.json": '{"command": "rdd-nb discover"}', "notes.txt": "mine"}, "notes.txt"),
        ({"groups.json": "[broken"}, "groups.json"),
    ],
)
def test_a_folder_of_others_is_refused_before_anything_is_done(capsys, planted, monkeypatch, held, shown):
    monkeypatch.setattr(discover, "load", pytest.fail)
    Path("theirs").mkdir()
    for name, text in held.items():
        Path("theirs", name).write_text(text)
    assert main([*COMMAND, "--out", "theirs"]) == 2
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1 and f"theirs holds other files ({shown}): give a new folder" in told
    assert {path.name: path.read_text() for path in Path("theirs").iterdir()} == held


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ipc", "0"], ["ipc=0", "greater than or equal to 1"]),
        (["--num-groups", "0"], ["--num-groups", "rdd-nb discover --help"]),
        (["--data", "digts"], ["unknown dataset 'digts'", "'digits'"]),
        (["--scenario", "colored"], ["unknown scenario 'colored'", "'coloured'"]),
        (["--option", "bias"], ["--option 'bias' has no value"]),
        (["--device", "gpu"], ["unknown device 'gpu'"]),
        (["--out", "file"], ["cannot write file"]),
        (["--out", "file/out"], ["cannot write file/out"]),
    ],
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(capsys, options, words):
    Path("file").write_text("a regular file")
    assert main([*COMMAND, "--out", "new", *options]) == 2
    printed, told = capsys.readouterr()
    assert printed == "" and told.startswith("rdd-nb: ") and told.count("\n") == 1
    assert [word for word in words if word not in told] == [], told
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_its_help_has_an_example_and_its_default_is_that_of_a_distillation(capsys):
    text = says(capsys, "discover", "--help")
    assert "rdd-nb discover --data digits" in text
    assert inspect.signature(discover.command_discover).parameters["ipc"].default == DistillConfig().ipc


def test_groups_that_discover_found_are_taken_by_distill_and_told_by_data_cache(capsys, monkeypatch, tmp_path):
    pets()
    monkeypatch.setenv("RDD_NB_CACHE", str(tmp_path / "cache"))
    how = ["--data", "folder:pets", "--num-groups", "2", "--ipc", "2", "--device", "cpu"]
    first = says(capsys, "discover", *how, "--quiet")
    with monkeypatch.context() as patched:
        patched.setattr(clustering.discovery, "candidates", pytest.fail)
        patched.setattr(clustering.discovery, "Trials", pytest.fail)
        assert says(capsys, "discover", *how, "--quiet") == first
        says(
            capsys, "distill", *how, "--width", "4", "--iterations", "1", "--batch-real", "4", "--out", "run", "--quiet"
        )
    assert Path("run/groups.md").read_text().splitlines()[0] == first.splitlines()[0]
    assert "and groups found in 2 files, 0.0 MB, in " in says(capsys, "data", "cache")
    told = json.loads(says(capsys, "data", "cache", "--clear", "--json"))
    assert told["groups"]["files"] == 2 and told["groups"]["bytes"] > 0 and told["removed"]
    assert "groups found" not in says(capsys, "data", "cache")
