"""Codes in the place of images from the command line: distilled, judged, exported, and told what they take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rdd_nb.cli import main
from rdd_nb.data.decoders import Decoder, save_decoder
from rdd_nb.data.synthetic_set import load_synthetic
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.reporting import export
from rdd_nb.reporting.report import command_of
from tests.cli.test_commands import COLOURED, SMALL, says


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


CODED = ["--set", "parameterisation=latent", "--decoder-steps", "3", "--objective", "erm"]


def test_codes_from_distilling_to_export(capsys):
    said = says(capsys, *COLOURED, *CODED, "--latents", "6", "--ipc", "2", "--out", "a")
    numbers, weights = 10 * 2 * 6 * 392, load_synthetic("a/synthetic.safetensors").decoder_numbers
    kept = f"each is kept as a code of 392 numbers, {numbers:,} in all, and {numbers + weights:,} with the decoder"
    assert "120 images (12 a class; " in said and kept in said
    says(capsys, "evaluate", "a", "--profile", "smoke", "--nets", "1", "--quiet")
    says(capsys, "export", "a", "--png", "images", "--npz", "a.npz")
    card = Path("images/README.md").read_text("utf-8")
    assert "120 synthetic images" in card and kept in card
    assert "2 images a class in pixels would take as many numbers as the codes" in card
    assert "| parameterisation | latent |" in card and "| latents | 6 |" in card
    made = load_synthetic("a/synthetic.safetensors")
    with np.load("a.npz") as arrays:
        assert np.array_equal(arrays["images"], made.images.numpy()) and "stored" not in arrays
        assert np.array_equal(arrays["train_images"], made.to_uint8().permute(0, 2, 3, 1).numpy())
    assert (
        len(list(Path("images").rglob("*.png"))) == 120
        and "120 distilled images" in (Path("images") / export.SCRIPT).read_text()
    )
    assert torch.equal(made.to_torch().tensors[0], made.images)
    again = command_of(RunFolder.open("a"), _told("a"))
    assert "--parameterisation latent --latents 6 --decoder-steps 3" in again.replace("\n", " ")
    assert "formations" not in again


def _told(run):
    from rdd_nb.distillation.run_contents import contents

    return contents(RunFolder.open(run))


def test_a_decoder_of_ones_own(capsys):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 3 * 784), nn.Tanh(), nn.Unflatten(1, (3, 28, 28)))
    save_decoder("mine.safetensors", Decoder(module, (5,)))
    said = says(capsys, *COLOURED, *CODED, "--decoder", "mine.safetensors", "--init", "noise", "--out", "a")
    assert "80 images (8 a class; each is kept as a code of 5 numbers, 400 in all, and 14,512 with" in said
    held = json.loads(Path("a/config.json").read_text())
    assert held["decoder"] == Decoder(module, (5,)).digest and held["distill"]["decoder"] == "mine.safetensors"
    module[0].bias.data += 1
    save_decoder("mine.safetensors", Decoder(module, (5,)))
    for more, says_so in (
        (["--decoder", "mine.safetensors", "--init", "noise", "--out", "a"], "a holds another run (decoder is "),
        (["--decoder", "absent.safetensors", "--out", "b"], "cannot read the decoder absent.safetensors"),
        (["--latents", "97", "--out", "b"], "in the place of one image of 3 × 28 × 28 fit 1 to 48"),
        (["--formations", "2", "--out", "b"], "formations beside parameterisation=latent"),
    ):
        assert main([*COLOURED, *CODED, *more]) == 2
        error = capsys.readouterr().err
        assert error.startswith("rdd-nb: ") and says_so in error and error.count("\n") == 1
    assert main(["distill", "--data", "digits", *SMALL, *CODED, "--decoder", "mine.safetensors", "--out", "b"]) == 2
    assert "makes images of 3 × 28 × 28, and 'digits' has 1 × 28 × 28" in capsys.readouterr().err
    assert not Path("b").exists()


def test_the_doctor_counts_the_decoders_training(capsys):
    words = [
        "doctor",
        "--data",
        "digits",
        "--size",
        "8",
        "--width",
        "4",
        "--nets",
        "1",
        "--device",
        "cpu",
        "--ipc",
        "1",
    ]
    told = json.loads(says(capsys, *words, *CODED[2:], "--parameterisation", "latent", "--json"))
    assert told["decoder"] > 0
    assert told["seconds"] == pytest.approx(told["iteration"] * told["iterations"] + told["decoder"])
    assert "before them the decoder's training takes" in says(
        capsys, *words, "--parameterisation", "latent", "--objective", "erm"
    )
