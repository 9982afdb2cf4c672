"""Data of one's own from the command line: a mapping as options and as YAML, kept in the run, and read again."""

import json
from pathlib import Path

import numpy as np
import pytest

from rdd_nb.cli import main
from rdd_nb.cli.options import _READING
from rdd_nb.data.reading import Reading
from rdd_nb.distillation.run_contents import Source, contents
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.reporting.report import command_of
from tests.data.readers.test_table import birds

TINY = ["--objective", "erm", "--ipc", "1", "--width", "4", "--iterations", "2", "--batch-real", "4", "--quiet"]
MAPPING = """\
label: y
group: [place, light]
names:
  y: {"0": land bird, "1": water bird}
splits: {"0": train, "1": validation, "2": test}
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    birds(Path("birds"), 48)
    return "table:birds"


def said(capsys, *command):
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*command, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *command):
    capsys.readouterr()
    assert main(list(command)) == 2
    printed, told = capsys.readouterr()
    assert printed == "" and told.count("\n") == 1
    return told


def test_options_and_their_file_say_the_same(data, capsys):
    Path("birds.yaml").write_text(MAPPING)
    told = said(capsys, "data", "fetch", data, "--mapping", "birds.yaml")
    words = ["--label", "y", "--group", "place", "--group", "light", "--names", "y: 0=land bird, 1=water bird"]
    assert told == said(capsys, "data", "fetch", data, *words, "--splits", "0=train, 1=validation, 2=test")
    assert told["classes"] == ["land bird", "water bird"] and len(told["groups"]) == 4
    assert (told["train"], told["validation"], told["test"]) == (12, 18, 18)
    over = said(capsys, "data", "fetch", data, "--mapping", "birds.yaml", "--group", "place", "--sample", "3")
    assert over["groups"] == ["0", "1"] and over["train"] == 6, "an option wins over the file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lable: y", "unknown key 'lable' in birds.yaml: did you mean 'label'?"),
        ("label: 3", "label must be a text, not 3"),
        ("label: y\nlabel: x", "birds.yaml, line 2: 'label' stands there twice"),
        ("- y", "birds.yaml holds no mapping: write lines such as 'label: y'"),
        ("label: y\nnames: {y: {0: land}}", "birds.yaml, line 2: the key 0 is a whole number"),
        ("label: y\nnames: y", "names must be a mapping of columns to their values' names, as texts, not 'y'"),
        ("label: y\nsample: many", "sample must be a number of images for each class"),
        ("mapping: birds.yaml", "unknown key 'mapping' in birds.yaml"),
    ],
)
def test_a_mapping_that_says_nothing(data, capsys, text, words):
    Path("birds.yaml").write_text(text)
    assert words in refused(capsys, "data", "fetch", data, "--mapping", "birds.yaml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--splits", "train"], "--splits must read 'a=train, b=test', and 'train' does not"),
        (["--splits", "0=train,0=test"], "--splits names '0' twice"),
        (
            ["--names", "0=land"],
            "--names must read 'y: 0=land, 1=water; place: 0=field, 1=lake', and '0=land' does not",
        ),
        (["--names", "y: 0=a; y: 1=b"], "--names says 'y' twice"),
        (["--mapping", "none.yaml"], "cannot read the mapping none.yaml (No such file or directory)"),
        (["--group", "plaice"], "unknown column 'plaice' in birds/metadata.csv: did you mean 'place'?"),
    ],
)
def test_options_that_cannot_be_read(data, capsys, options, words):
    assert words in refused(capsys, "data", "fetch", data, "--label", "y", *options)


def test_a_run_keeps_how_its_data_were_read(data, capsys):
    reading = ["--label", "y", "--group", "place", "--names", "y: 0=land, 1=water", "--size", "8", "--sample", "6"]
    told = said(capsys, "distill", "--data", data, *reading, *TINY, "--out", "run")
    assert told["source"]["names"] == {"y": {"0": "land", "1": "water"}} and told["source"]["sample"] == 6
    kept = contents(RunFolder.open("run"))
    assert kept.source.group == ["place"] and kept.source.label == "y"
    again = command_of(RunFolder.open("run"), kept).splitlines()[0]
    assert " --label y --group place --sample 6 " in again and " --names 'y: 0=land, 1=water' " in again
    smoke = ["evaluate", "run", "--data", data, "--profile", "smoke", "--nets", "1", "--quiet"]
    judged = said(capsys, *smoke)
    assert judged["same_data"] and [row["group"] for row in judged["tables"]["group"]] == ["0", "1"]
    other = said(capsys, *smoke, "--group", "light", "--group", "place")
    assert other["same_data"] and len(other["tables"]["group"]) == 4, "the groups of an evaluation are its own"
    assert "not read unasked: pass --data table:PATH" in refused(capsys, *smoke[:2])


def test_arrays_are_distilled(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    held = {
        f"{split}_{what}": value
        for split in ("train", "test")
        for what, value in (("images", images), ("labels", np.arange(40) % 2), ("groups", np.arange(40) // 2 % 2))
    }
    np.savez("a.npz", **held, group_names=np.array(["day", "night"]))
    told = said(capsys, "distill", "--data", "npz:a.npz", "--groups", "known", *TINY)
    assert told["out"] == "runs/a.npz-none-distribution-erm-s0" and Path(told["out"], "config.json").is_file()


def test_every_way_of_reading_is_an_option_and_is_kept():
    fields = set(Reading.__dataclass_fields__)
    assert fields - {"seed"} == set(_READING) - {"mapping"}
    assert fields - {"seed"} <= set(Source.model_fields)
