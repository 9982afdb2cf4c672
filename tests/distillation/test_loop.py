"""The loop: resumed, killed or diverging, a run ends with the same bits or a line."""

import dataclasses
import itertools
import multiprocessing
import signal
import sys
import time

import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.loop import distill
from rdd_nb.distillation.run_folder import RunFolder
from tests.distillation.helpers import DATA, GROUPS, TINY, final, make
from tests.helpers import killed_at_file, process_of


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch):
    config = DistillConfig(objective="group", **{**TINY, "checkpoint_every": 100})
    expected = final(config)
    module = sys.modules["rdd_nb.distillation.step"]
    real_step = module._step

    def interrupted(problem, state):
        if state.iteration == 2:
            raise KeyboardInterrupt
        return real_step(problem, state)

    monkeypatch.setattr(module, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    monkeypatch.undo()
    folder = RunFolder.open(tmp_path / "run")
    assert not folder.complete
    assert folder.load_checkpoint()["iteration"] == 2
    run = distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    assert torch.equal(run.synthetic.images, expected)
    assert len(run.history) == 4


def put_and_die(config, out, number, before):
    killed_at_file(number, before)
    distill(DATA, config, GROUPS, out=out, progress=False, device="cpu")


FILES = 8  # of a run of four iterations: config, four checkpoints, history, synthetic set, metrics


@pytest.mark.parametrize("matching", ["distribution", "gradient"])
def test_killed_at_any_file_and_resumed_it_ends_with_the_same_bits(tmp_path, matching):
    config = DistillConfig(objective="robust", matching=matching, **TINY)
    distill(DATA, config, GROUPS, out=tmp_path / "whole", progress=False)
    whole = (tmp_path / "whole" / "synthetic.safetensors").read_bytes()
    for number, before in itertools.product(range(1, FILES + 1), (True, False)):
        out = tmp_path / f"{number}{before}"
        process = process_of(put_and_die, config, out, number, before)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        folder = RunFolder(out)
        assert folder.complete == ((number, before) == (FILES, False))
        distill(DATA, config, GROUPS, out=out, progress=False, device="cpu")
        assert folder.complete and (out / "synthetic.safetensors").read_bytes() == whole
        assert not list(out.glob(".*.tmp")), "what a killed process left half written is removed"
    assert process_of(put_and_die, config, tmp_path / "all", FILES + 1, True).join() is None
    assert RunFolder(tmp_path / "all").complete, "there is no ninth file"


def test_killed_at_a_moment_that_nobody_chose_it_ends_with_the_same_bits(tmp_path):
    config = DistillConfig(objective="robust", **{**TINY, "iterations": 100})
    out = tmp_path / "run"
    process = process_of(put_and_die, config, out, 0, True)
    limit = time.monotonic() + 600
    while not (out / "checkpoint.pt").exists() and time.monotonic() < limit:
        time.sleep(0.005)
    time.sleep(0.1)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it had ended before it could be killed"
    folder = RunFolder.open(out)
    assert 0 < folder.load_checkpoint()["iteration"] < 100 and not folder.complete
    resumed = distill(DATA, config, GROUPS, out=out, progress=False, device="cpu").synthetic.images
    assert torch.equal(resumed, final(config))
    # and a finished run is loaded, not run again
    assert torch.equal(distill(DATA, config, GROUPS, out=out, progress=False).synthetic.images, resumed)


def test_two_that_start_together_in_one_folder_never_mix(tmp_path):
    """Each folder holds one seed's config with that seed's images, whoever came first; the other was refused."""
    configs = [DistillConfig(objective="erm", **{**TINY, "iterations": 1}, seed=seed) for seed in (0, 1)]
    wanted = [final(config, groups=None) for config in configs]

    def race(config, out, told):
        try:
            distill(DATA, config, out=out, progress=False, device="cpu")
        except RddError as error:
            told.put(str(error))

    context = multiprocessing.get_context("fork")
    for turn in range(20):
        out, told = tmp_path / str(turn), context.SimpleQueue()
        both = [process_of(race, config, out, told) for config in configs]
        for process in both:
            process.join()
        said = "holds another run" if told.empty() else told.get()
        assert "another process is working" in said or "holds another run" in said
        run = RunFolder.open(out)
        assert run.complete
        assert torch.equal(run.load_synthetic().images, wanted[run.config["distill"]["seed"]])


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ("a", "c", "b")},
        {"mean": (0.1,)},
        {"std": (0.9,)},
        {"images": DATA.images.reshape(len(DATA), 1, 4, 16)},
    ],
    ids=["classes", "mean", "std", "shape"],
)
def test_the_same_bytes_with_another_meaning_are_other_data(tmp_path, change):
    config = DistillConfig(objective="erm", **TINY)
    distill(DATA, config, out=tmp_path / "run", progress=False, device="cpu")
    with pytest.raises(RddError, match=r"holds another run \(data\."):
        distill(dataclasses.replace(DATA, **change), config, out=tmp_path / "run", progress=False, device="cpu")


def test_a_folder_whose_config_is_gone_is_not_taken_for_another_run(tmp_path):
    config = DistillConfig(objective="erm", **TINY)
    distill(DATA, config, out=tmp_path, progress=False, device="cpu")
    for name in ("config.json", "metrics.json", "history.csv", "synthetic.safetensors"):  # at last the checkpoint alone
        (tmp_path / name).unlink()
        (tmp_path / "config.json").unlink(missing_ok=True)
        with pytest.raises(RddError, match=r"without its config\.json"):
            distill(DATA, config.model_copy(update={"seed": 1}), out=tmp_path, progress=False, device="cpu")


def test_another_config_or_other_data_is_refused(tmp_path):
    config = DistillConfig(objective="erm", **TINY)
    distill(DATA, config, out=tmp_path / "run", progress=False, device="cpu")
    with pytest.raises(RddError, match="holds another run"):
        distill(DATA, config.model_copy(update={"seed": 3}), out=tmp_path / "run", progress=False)
    with pytest.raises(RddError, match="holds another run"):
        distill(make(seed=1)[0], config, out=tmp_path / "run", progress=False)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    config = DistillConfig(objective="erm", **TINY)
    distill(DATA, config, out=tmp_path / "run", progress=False, device="cpu")
    folder = RunFolder.open(tmp_path / "run")
    (folder.path / "metrics.json").unlink()
    folder.save_checkpoint({"iteration": 1, "images": torch.zeros(1, 1, 8, 8), "momentum": torch.zeros(1, 1, 8, 8)})
    with pytest.raises(RddError, match="no checkpoint of this run"):
        distill(DATA, config, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        ({"objective": "erm"}, "lower lr_img (now 1e+25) or change tail"),
        ({"objective": "robust"}, "lower lr_img (now 1e+25) or change tail"),
        (
            {"objective": "robust", "matching": "gradient", "outer": 2, "inner": 1},
            "or lr_net (now 0.01) or change tail",
        ),
    ],
)
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, settings, mend):
    config = DistillConfig(lr_img=1e25, **{**TINY, "iterations": 50, **settings})
    with pytest.raises(RddError, match=r"no longer finite at iteration \d+, match \d") as told:
        distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    assert mend in str(told.value)
    folder = RunFolder.open(tmp_path / "run")
    assert not folder.complete
    if folder.has_checkpoint:
        assert torch.isfinite(folder.load_checkpoint()["images"]).all()
