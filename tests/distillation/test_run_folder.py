"""Run folders: what stands on disk is whole, readable by anybody, and never executed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from matplotlib.figure import Figure

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import save_synthetic
from rdd_nb.distillation.run_folder import RunFolder
from tests.helpers import made_set, one_line

CONFIG = {"dataset": "digits", "ipc": 1, "tail": 0.2, "seed": 0}


def test_create_writes_the_config_and_resumes_the_same_run(tmp_path):
    run = RunFolder(tmp_path / "deep" / "run").create(CONFIG)
    run.write_history([{"step": 0, "loss": 0.5}])
    again = RunFolder(run.path).create(dict(reversed(CONFIG.items())))
    assert again.config == CONFIG and len(again.history) == 1 and not again.complete


def test_another_config_is_refused_and_the_differing_keys_are_named(tmp_path):
    run = RunFolder(tmp_path / "run").create(CONFIG)
    with pytest.raises(RddError) as caught:
        RunFolder(run.path).create({**CONFIG, "ipc": 10, "tail": 1.0, "width": 32})
    text = one_line(caught)
    assert "ipc is 1 there, 10 here" in text and "tail is 0.2 there, 1.0 here" in text and "width is 'absent'" in text
    assert "another folder" in text and "overwrite" in text and "seed" not in text
    assert run.config == CONFIG
    with pytest.raises(RddError, match="and 7 more"):
        RunFolder(run.path).create({str(i): i for i in range(6)})


def test_overwrite_removes_the_earlier_run_and_nothing_else(tmp_path):
    run = RunFolder(tmp_path / "run").create(CONFIG)
    run.save_checkpoint({"step": 3})
    run.save_figure("curve", Figure())
    run.write_metrics({"accuracy": 0.1})
    (run.path / "notes.txt").write_text("mine")
    (run.path / "figures" / "mine.txt").write_text("mine")
    run.create({"ipc": 5}, overwrite=True)
    assert run.config == {"ipc": 5} and not run.complete and not run.has_checkpoint
    left = sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())
    assert left == [".lock", "config.json", "figures/mine.txt", "notes.txt"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RddError, match="cannot write") as caught:
            RunFolder(path).create(CONFIG)
        assert "another folder" in one_line(caught)

    def read_only(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(RddError, match="Read-only file system"):
        RunFolder(tmp_path / "run").create(CONFIG)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RddError, match="cannot write"):
        RunFolder(tmp_path / "run").create(CONFIG)


def test_open_needs_a_run(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RddError, match=r"no run in .*`rdd-nb distill`"):
            RunFolder.open(path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RddError, match="not whole JSON"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(RddError, match="not a JSON object"):
        RunFolder.open(tmp_path)


def test_complete_means_whole_metrics(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    assert not run.complete
    with pytest.raises(RddError, match="not complete"):
        _ = run.metrics
    (tmp_path / "metrics.json").write_text('{"accuracy": 0.')
    assert not run.complete
    run.write_metrics({"accuracy": 0.5})
    assert run.complete


def test_numbers_of_numpy_and_torch_become_plain_and_nan_null(tmp_path):
    run = RunFolder(tmp_path).create({"tail": np.float64(0.2), "ipc": np.int64(3), "lrs": (1, 2)})
    assert run.config == {"tail": 0.2, "ipc": 3, "lrs": [1, 2]}
    metrics = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": float("nan"),
        "d": [np.float64("inf")],
        "e": torch.tensor(2),
        "f": np.bool_(True),
        "g": {"h": np.array([[np.nan]])},
    }
    run.write_metrics(metrics)
    wanted = {"a": 0.5, "b": [0, 1], "c": None, "d": [None], "e": 2, "f": True, "g": {"h": [[None]]}}
    assert run.metrics == wanted
    held = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert held == {**wanted, "identity": run.identity}
    with pytest.raises(RddError, match=r"metrics\.a\[0\] is a object") as caught:
        run.write_metrics({"a": [object()]})
    one_line(caught)


def test_no_absolute_path_is_stored(tmp_path):
    config = {"root": tmp_path, "data": f"folder:{tmp_path}/pets", "deep": {"x": ["/etc/secret/a b.txt"]}}
    windows = {"w": r"C:\Users\ada\pets", "u": "folder:C:/Users/ada/pets", "url": "https://arxiv.org/abs/2402.04676"}
    run = RunFolder(tmp_path / "run").create({**config, **windows, "relative": Path("runs/a")})
    assert run.config == {
        "root": tmp_path.name,
        "data": "folder:pets",
        "deep": {"x": ["a b.txt"]},
        "w": "pets",
        "u": "folder:pets",
        "url": "https://arxiv.org/abs/2402.04676",
        "relative": os.path.join("runs", "a"),
    }


def test_history_keeps_every_bit_and_grows(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    assert run.history.empty
    rows = [{"step": i, "loss": float(np.random.default_rng(i).normal())} for i in range(20)]
    run.write_history(rows[:5])
    run.append_history(rows[5:])
    assert run.history.to_dict("records") == rows
    run.append_history([{"step": 20, "worst": 0.1}])
    assert run.history.worst.isna().sum() == 20 and np.isnan(run.history.loss.iloc[-1])
    run.write_history([])
    assert run.history.empty


def test_damaged_history_is_one_line(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    (tmp_path / "history.csv").write_bytes(b"a,b\n1,2\n1,2,3,4\n\xff")
    with pytest.raises(RddError, match=r"history\.csv") as caught:
        _ = run.history
    one_line(caught)


def test_checkpoint_round_trip(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    net = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    generator = torch.Generator().manual_seed(3)
    state = {
        "step": 7,
        "images": torch.randn(2, 3, requires_grad=True),
        "optimiser": optimiser.state_dict(),
        "net": net.state_dict(),
        "generator": generator.get_state(),
        "names": ["a", ("b", None, True, 0.5)],
    }
    assert not run.has_checkpoint
    run.save_checkpoint(state)
    back = run.load_checkpoint()
    assert run.has_checkpoint and back["step"] == 7 and back["names"] == state["names"]
    assert torch.equal(back["images"], state["images"])
    optimiser.load_state_dict(back["optimiser"])
    again = torch.Generator()
    again.set_state(back["generator"])
    assert torch.equal(torch.rand(3, generator=again), torch.rand(3, generator=generator))


def test_what_could_not_be_loaded_is_refused_when_saving(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    for state, says in (
        ({"a": {"b": [np.float64(1)]}}, "state['a']['b'][0] is a float64"),
        ({"a": Path("x")}, "Path"),
        ({("a",): 1}, "key"),
    ):
        with pytest.raises(RddError) as caught:
            run.save_checkpoint(state)
        assert says in one_line(caught)
    assert not run.has_checkpoint


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle")
@pytest.mark.parametrize("writer", ["pickle", "torch", "torch-legacy"])
def test_a_malicious_checkpoint_does_not_run(tmp_path, monkeypatch, writer):
    run, target, path = RunFolder(tmp_path).create(CONFIG), tmp_path / "owned", tmp_path / "checkpoint.pt"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"step": Malicious(target)}))
    else:
        torch.save({"step": Malicious(target)}, path, _use_new_zipfile_serialization=writer == "torch")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # an environment must not open the door again
    with pytest.raises(RddError, match="was not loaded: delete it to start this run afresh") as caught:
        run.load_checkpoint()
    one_line(caught)
    assert not target.exists()
    if writer == "pickle":  # the bait is live: an ordinary unpickling does create the file
        pickle.loads(path.read_bytes())["step"].close()
        assert target.exists()


def test_damaged_checkpoints_are_one_line(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(RddError, match="no checkpoint"):
        run.load_checkpoint()
    run.save_checkpoint({"images": torch.randn(50, 50)})
    whole = path.read_bytes()
    for content in (b"", whole[:10], whole[: len(whole) // 2], whole[:-30], b"hello", save_bytes()):
        path.write_bytes(content)
        with pytest.raises(RddError, match="delete it to start this run afresh") as caught:
            run.load_checkpoint()
        one_line(caught)
    torch.save([1, 2], path)
    with pytest.raises(RddError, match="holds a list"):
        run.load_checkpoint()


def save_bytes() -> bytes:
    return safetensors.torch.save({"a": torch.zeros(2)})


def test_figures_and_synthetic_set(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    figure = Figure(figsize=(1, 1))
    assert run.save_figure("curve", figure).read_bytes().startswith(b"\x89PNG")
    assert run.save_figure("curve.svg", figure) == tmp_path / "figures" / "curve.svg"
    with pytest.raises(RddError, match="cannot be called"):
        run.save_figure("../curve", figure)
    run.save_synthetic(made_set())
    assert torch.equal(run.load_synthetic().images, made_set().images)


def _try_lock(path, queue):
    try:
        with RunFolder(path).lock():
            queue.put("got it")
    except RddError as error:
        queue.put(str(error))


@pytest.mark.skipif(os.name == "nt", reason="no flock")
def test_two_processes_in_one_folder(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    (tmp_path / ".metrics.json.1.0123abcd.tmp").write_text("left by a run that was killed")
    (tmp_path / ".mine.tmp").write_text("not ours")
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    queue = context.Queue()

    def other() -> str:
        process = context.Process(target=_try_lock, args=(tmp_path, queue))
        process.start()
        said = queue.get(timeout=300)
        process.join()
        return said

    with run.lock():
        assert "another process is working in" in other()
    assert other() == "got it"
    assert sorted(os.listdir(tmp_path)) == [".lock", ".mine.tmp", "config.json", "figures"]
    with run.lock():
        run.create(CONFIG)  # who holds a folder may hold it twice


@pytest.mark.skipif(os.name == "nt", reason="no flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, number):
    import fcntl

    def refuse(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RddError, match="cannot lock files: use a folder on another disk"):
        RunFolder(tmp_path / "run").create(CONFIG)


OTHER = {**CONFIG, "seed": 1}


def finished(path, config=CONFIG, ipc=3):
    run = RunFolder(path).create(config)
    run.save_checkpoint({"iteration": 2})
    run.write_history([{"iteration": 1}])
    run.save_synthetic(made_set(ipc=ipc))
    run.write_metrics({"loss": 0.5})
    return run


FILES = {
    "metrics.json": lambda run: run.metrics,
    "checkpoint.pt": lambda run: run.load_checkpoint(),
    "history.csv": lambda run: run.history,
    "synthetic.safetensors": lambda run: run.load_synthetic(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_run_is_told_by_its_identity(tmp_path, name):
    mine, other = finished(tmp_path / "mine"), finished(tmp_path / "other", OTHER)
    FILES[name](mine)
    (mine.path / name).write_bytes((other.path / name).read_bytes())
    with pytest.raises(RddError, match=r"is of another run than config\.json") as caught:
        FILES[name](mine)
    assert name in one_line(caught)


@pytest.mark.parametrize("name", FILES)
def test_files_without_their_config_belong_to_nobody(tmp_path, name):
    run = finished(tmp_path)
    for other in {*FILES, "config.json"} - {name}:
        (tmp_path / other).unlink()
    with pytest.raises(RddError, match=r"without its config\.json"):
        RunFolder(tmp_path).create(OTHER)
    run.create(OTHER, overwrite=True)
    assert not (tmp_path / name).exists() and run.config == OTHER


def test_a_config_that_was_edited_is_no_run(tmp_path):
    run = finished(tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, "seed": 1}))
    for read in FILES.values():
        with pytest.raises(RddError, match="was changed after the run began"):
            read(run)


def test_a_run_from_before_there_were_identities_still_loads(tmp_path):
    run = finished(tmp_path / "new")
    held = json.loads((run.path / "config.json").read_text())
    del held["identity"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps({**held, "data": {"digest": "d"}}))
    save_synthetic(old / "synthetic.safetensors", made_set())
    (old / "metrics.json").write_text('{"loss": 0.5}')
    (old / "history.csv").write_text("iteration,loss\n1,0.5\n")
    run = RunFolder(old)
    assert run.complete and len(run.history) == 1 and run.load_synthetic().ipc == 3
    run.create({**held, "data": {"digest": "d", "shape": [1, 2, 2]}})  # what it did not know is not held against it
    with pytest.raises(RddError, match=r"data\.digest"):
        run.create({**held, "data": {"digest": "e"}})
