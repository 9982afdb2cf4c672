"""rdd_nb.experiments.doctor: what slows a machine down, and how long a run will take on it."""

import functools
import json
import os
import time

import pytest
import torch

from rdd_nb import cli
from rdd_nb.core.errors import RddError
from rdd_nb.data import loading
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import load_or_train_experts
from rdd_nb.distillation.loop import distill
from rdd_nb.experiments import doctor
from rdd_nb.models.autoencoder import train_autoencoder
from rdd_nb.models.protocol import Protocol

SMALL = {"width": 4, "depth": 2, "batch_real": 8, "ipc": 1}


def test_ceilings_are_those_of_this_machine():
    found = doctor.ceilings(torch.device("cpu"), tries=2)
    assert 1 < found.gflops < 1e5 and 0.5 < found.gigabytes < 1e4 and 0 < found.bfloat16 < 1e5


@pytest.mark.parametrize(("short", "largest"), [(1.0, 256), (40.0, 2048)])
def test_large_products_are_not_tried_where_bfloat16_is_imitated(monkeypatch, short, largest):
    """There one product of 2048³ takes a minute; half of what float32 reaches says that it is imitated."""
    tried = []

    def gflops(a, device, tries):
        if a.dtype == torch.bfloat16:
            tried.append(len(a))
        return short if a.dtype == torch.bfloat16 else 10.0

    monkeypatch.setattr(doctor, "_gflops", gflops)
    assert doctor.ceilings(torch.device("cpu"), tries=1).bfloat16 == short and max(tried) == largest


@pytest.fixture
def own_clock(monkeypatch):
    """Time in which others had the processor does not count."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


@pytest.mark.parametrize("objective", ["erm", "robust"])
def test_what_is_expected_is_about_what_it_takes(own_clock, objective):
    data = loading.load("digits", size=8).train
    config = DistillConfig(objective=objective, iterations=150, augment="none", **SMALL)
    wanted = doctor.expected(data, config, "cpu", protocol=Protocol(epochs=20, width=4), nets=3)
    assert wanted.iterations == 150 and wanted.seconds == pytest.approx(150 * wanted.iteration)
    assert wanted.images == pytest.approx(10 * 9 / wanted.iteration) and wanted.evaluation > 0
    taken = distill(data, config, progress=False, device="cpu").history.seconds.sum()
    assert taken / 8 < wanted.seconds < 8 * taken, "within the noise of a machine"


def test_a_decoders_training_counts_to_what_is_expected(own_clock):
    data = loading.load("digits", size=8).train
    coded = {"parameterisation": "latent", "latents": 4, "decoder_steps": 60}
    config = DistillConfig(objective="erm", iterations=5, **coded, **SMALL)
    wanted = doctor.expected(data, config, "cpu", protocol=Protocol(epochs=2, width=4), nets=1)
    assert wanted.seconds == pytest.approx(5 * wanted.iteration + wanted.decoder)
    assert wanted.images == pytest.approx(10 * (8 + 4) / wanted.iteration), "all codes are images"
    began = time.perf_counter()
    train_autoencoder(data, 4, steps=60, device="cpu")
    taken = time.perf_counter() - began
    assert taken / 8 < wanted.decoder < 8 * taken, "within the noise of a machine"


def test_experts_count_to_what_is_expected(own_clock):
    data = loading.load("digits", size=8).train
    config = DistillConfig(matching="trajectory", num_experts=2, expert_epochs=3, iterations=7, **SMALL)
    wanted = doctor.expected(data, config, "cpu", protocol=Protocol(epochs=2, width=4), nets=1)
    assert wanted.seconds == pytest.approx(7 * wanted.iteration + wanted.experts)
    assert wanted.images == pytest.approx(config.matched(10) / wanted.iteration)
    made = load_or_train_experts(data, config, device="cpu")
    assert wanted.expert_bytes == sum(path.nbytes for path in made.paths)
    assert made.seconds / 20 < wanted.experts < 20 * made.seconds, "within the noise of a machine"


def test_it_minds_what_slows_the_machine_down(monkeypatch):
    quiet = {"gpus": [], "cores": 64}
    for name, value in quiet.items():
        monkeypatch.setattr(doctor, name, lambda value=value: value)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0, 0))
    monkeypatch.setattr(doctor, "tune_allocator", lambda: True)
    assert not any(line.startswith("mind:") for line in doctor.findings("cpu"))
    monkeypatch.setattr(doctor, "gpus", lambda: ["0", "1"])
    monkeypatch.setattr(doctor, "cores", lambda: 0)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0, 0))
    monkeypatch.setattr(doctor, "tune_allocator", lambda: False)
    said = [line for line in doctor.findings("cpu") if line.startswith("mind:")]
    assert len(said) == 4
    for line, word in zip(said, ("2 graphics cards", "set OMP_NUM_THREADS", "1.7 processes were busy", "freed memory")):
        assert word in line
    with pytest.raises(RddError, match="unknown device"):
        doctor.findings("gpu0")


def test_the_command(capsys, monkeypatch):
    once = functools.partial(doctor.ceilings, tries=1)
    monkeypatch.setattr(doctor, "ceilings", functools.cache(once))  # the machine's, for both calls
    words = ["doctor", "--data", "digits", "--size", "8", "--iterations", "300", "--nets", "2", "--ipc", "1"]
    words += ["--width", "4"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "distribution matching, robust, width 4, ipc 1 on digits" in said and "300 iterations take" in said
    assert "GFLOP/s in a matrix product" in said and "an evaluation with 2 networks" in said
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["iterations"] == 300 and told["seconds"] == pytest.approx(300 * told["iteration"])
    assert cli.main(["doctor", "--widht", "4"]) == 2
    assert cli.main(["doctor", "--width", "none"]) == 2
    assert "width" in capsys.readouterr().err
