"""The loop: resumed, killed or diverging, a run ends with the same bits or a line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.loop import distill
from rdd_nb.distillation.run_folder import RunFolder
from tests.distillation.helpers import DATA, GROUPS, TINY, final, make


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch):
    config = DistillConfig(objective="group", **{**TINY, "checkpoint_every": 100})
    expected = final(config)
    room = sys.modules["rdd_nb.distillation.step"]
    real_step = room._step

    def interrupted(problem, state):
        if state.iteration == 2:
            raise KeyboardInterrupt
        return real_step(problem, state)

    monkeypatch.setattr(room, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    monkeypatch.undo()
    folder = RunFolder.open(tmp_path / "run")
    assert not folder.complete
    assert folder.load_checkpoint()["iteration"] == 2
    run = distill(DATA, config, GROUPS, out=tmp_path / "run", progress=False, device="cpu")
    assert torch.equal(run.synthetic.images, expected)
    assert len(run.history) == 4


KILLED = """
import sys, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
import rdd_nb as rdd
import tests.distillation.helpers as t
config = rdd.DistillConfig(objective="robust", matching={matching!r}, **{{**t.TINY, "iterations": {many}}})
rdd.distill(t.DATA, config, t.GROUPS, out={out!r}, progress=False, device="cpu")
"""


@pytest.mark.parametrize(("matching", "many"), [("distribution", 400), ("gradient", 120)])
def test_kill_minus_nine_and_resume_give_the_same_bits(tmp_path, matching, many):
    out = str(tmp_path / "run")
    code = KILLED.format(root=str(Path(__file__).parents[2]), matching=matching, many=many, out=out)
    process = subprocess.Popen([sys.executable, "-c", code])
    checkpoint, limit = tmp_path / "run" / "checkpoint.pt", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < limit:
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it could be killed"
    folder = RunFolder.open(out)
    done = folder.load_checkpoint()["iteration"]
    assert 0 < done < many and not folder.complete
    short = {**TINY, "iterations": many}
    config = DistillConfig(objective="robust", matching=matching, **short)
    resumed = distill(DATA, config, GROUPS, out=out, progress=False, device="cpu")
    assert folder.complete
    assert torch.equal(resumed.synthetic.images, final(config))
    # and a finished run is loaded, not run again
    assert torch.equal(
        distill(DATA, config, GROUPS, out=out, progress=False).synthetic.images, resumed.synthetic.images
    )


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
