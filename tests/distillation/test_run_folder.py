"""rdd_nb.distillation.run_folder: what stands on disk is whole, readable by anybody, and never executed."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write
from rdd_nb.data.synthetic_set import SyntheticSet, load_synthetic, save_synthetic
from rdd_nb.distillation.run_folder import RunFolder

torch.set_num_threads(1)


def make(channels: int = 1, classes: int = 2, ipc: int = 3, **changes) -> SyntheticSet:
    fields = {
        "images": torch.randn(classes * ipc, channels, 4, 5, generator=torch.Generator().manual_seed(0)),
        "labels": torch.arange(classes).repeat(ipc),
        "class_names": tuple(f"class {i}" for i in range(classes)),
        "mean": (0.4,) * channels,
        "std": (0.2,) * channels,
        "ipc": ipc,
        "meta": {"dataset": "digits", "objective": "robust"},
    }
    return SyntheticSet(**{**fields, **changes})


def one_line(caught: pytest.ExceptionInfo[RddError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


# The synthetic set


def test_shape_and_classes():
    s = make(channels=3, classes=4)
    assert (s.num_classes, s.shape) == (4, (3, 4, 5))
    image, label = s.as_tensor_dataset()[5]
    assert torch.equal(image, s.images[5]) and label == s.labels[5]


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_pixels_survive_normalising_and_back(seed):
    pixels = torch.randint(0, 256, (6, 3, 4, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.05, 0.3, 1.0)
    images = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    s = make(channels=3, images=images, mean=mean, std=std)
    assert torch.equal(s.to_uint8(), pixels)


def test_to_uint8_clamps_instead_of_wrapping():
    images = torch.stack([torch.full((1, 4, 5), 100.0), torch.full((1, 4, 5), -100.0)])
    s = make(images=images, labels=torch.tensor([0, 1]), ipc=1)
    assert s.to_uint8()[0].unique().tolist() == [255] and s.to_uint8()[1].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": torch.zeros(6, 4, 5)}, "float32 [M, C, H, W]"),
        ({"images": torch.zeros(6, 1, 4, 5, dtype=torch.float64)}, "float64"),
        ({"images": torch.zeros(0, 1, 4, 5), "labels": torch.zeros(0, dtype=torch.int64)}, "none of them 0"),
        ({"labels": torch.tensor([0, 1])}, "int64 [6]"),
        ({"labels": torch.arange(6) % 2 + 0.0}, "int64"),
        ({"labels": torch.tensor([0, 1, 2, 0, 1, 2])}, "outside 0..1"),
        ({"labels": torch.tensor([0, 0, 0, 0, 0, 1])}, "[5, 1]"),
        ({"labels": torch.tensor([0, 1] * 3), "images": torch.zeros(6, 1, 4, 5), "ipc": 2}, "ipc is 2"),
        ({"class_names": ("a", "b", "c")}, "[3, 3, 0]"),
        ({"mean": (0.1, 0.2)}, "each of 1 channels"),
        ({"std": (0.0,)}, "above 0"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"images": torch.full((6, 1, 4, 5), float("inf"))}, "NaN or infinite"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(changes, says):
    with pytest.raises(RddError) as caught:
        make(**changes)
    assert says in one_line(caught)


def test_synthetic_round_trip(tmp_path):
    s = make(channels=3, mean=(0.1, 1 / 3, 0.7), meta={"dataset": "folder:/home/ada/pets", "seed": "0", "é": "ü"})
    path = save_synthetic(tmp_path / "a.safetensors", s)
    t = load_synthetic(path)
    assert torch.equal(s.images, t.images) and torch.equal(s.labels, t.labels)
    assert (s.class_names, s.mean, s.std, s.ipc) == (t.class_names, t.mean, t.std, t.ipc)
    assert t.meta == {"dataset": "folder:pets", "seed": "0", "é": "ü"}


def test_equal_sets_give_equal_bytes(tmp_path):
    contents = {save_synthetic(tmp_path / f"{i}.safetensors", make()).read_bytes() for i in range(5)}
    assert len(contents) == 1


def test_any_safetensors_reader_opens_it(tmp_path):
    path = save_synthetic(tmp_path / "a.safetensors", make())
    assert torch.equal(safetensors.torch.load_file(path)["images"], make().images)


def test_synthetic_may_need_gradients_and_be_a_view(tmp_path):
    images = torch.randn(6, 4, 5, 1).permute(0, 3, 1, 2).requires_grad_()
    path = save_synthetic(tmp_path / "a.safetensors", make(images=images))
    assert torch.equal(load_synthetic(path).images, images.detach())


def foreign(path: Path, metadata=None, **tensors):
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def good_metadata(tmp_path) -> dict[str, str]:
    path = save_synthetic(tmp_path / "good.safetensors", make())
    with safetensors.safe_open(str(path), framework="pt") as file:
        return file.metadata()


def test_load_refuses_in_one_line_that_says_how_to_mend(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = save_synthetic(path, make()).read_bytes()

    def says(*parts: str) -> None:
        with pytest.raises(RddError) as caught:
            load_synthetic(path)
        text = one_line(caught)
        assert all(part in text for part in ("x.safetensors", *parts)), text

    for cut in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:cut])
        says("truncated", "copy it again")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 30)
    says("no safetensors file", "rdd-nb distill")
    foreign(path, weight=torch.zeros(3), bias=torch.zeros(1))
    says("the tensors bias, weight", "not a synthetic set", "rdd-nb distill")

    good, images, labels = good_metadata(tmp_path), make().images, make().labels
    foreign(path, {**good, "format_version": "2"}, images=images, labels=labels)
    says("format version 2", "use the rdd_nb that wrote it")
    foreign(path, {**good, "parameterisation": "latents"}, images=images, labels=labels)
    says("latents")
    foreign(path, good, images=images)
    says("damaged", "labels")
    foreign(path, {**good, "class_names": "[1"}, images=images, labels=labels)
    says("damaged")
    foreign(path, {**good, "meta": "[]"}, images=images, labels=labels)
    says("damaged")
    foreign(path, good, images=images[:4], labels=labels)
    says("does not fit together", "int64 [4]")
    foreign(path, good, images=images * float("nan"), labels=labels)
    says("NaN")
    path.unlink()
    says("cannot read")
    path.mkdir()
    says("cannot read")


# Atomic writes


def test_atomic_write_replaces_whole_files(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, "é" * 1000)
    atomic_write(path, b"short")
    assert path.read_bytes() == b"short" and os.listdir(tmp_path) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()  # readable to others, as any other file of the user


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced")
def test_a_reader_never_sees_a_part(tmp_path):
    path = atomic_write(tmp_path / "a.txt", "old" * 1000)
    with path.open() as reader:
        atomic_write(path, "new")
        assert reader.read() == "old" * 1000


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, number):
    path = atomic_write(tmp_path / "a.txt", "old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RddError, match="disk is full" if number == errno.ENOSPC else "Input/output") as caught:
        atomic_write(path, "new")
    assert "another folder" in one_line(caught)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


# Run folders


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
    assert left == ["config.json", "figures/mine.txt", "notes.txt"]


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
    assert json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail) == wanted
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
    run.save_synthetic(make())
    assert torch.equal(run.load_synthetic().images, make().images)


def _try_lock(path, queue):
    try:
        with RunFolder(path).lock():
            queue.put("got it")
    except RddError as error:
        queue.put(str(error))


@pytest.mark.skipif(os.name == "nt", reason="no flock")
def test_two_processes_in_one_folder(tmp_path):
    run = RunFolder(tmp_path).create(CONFIG)
    (tmp_path / ".metrics.json.1.tmp").write_text("left by a run that was killed")
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    queue = context.Queue()

    def other() -> str:
        process = context.Process(target=_try_lock, args=(tmp_path, queue))
        process.start()
        said = queue.get(timeout=20)
        process.join()
        return said

    with run.lock():
        assert "another process is working in" in other()
    assert other() == "got it"
    assert sorted(os.listdir(tmp_path)) == ["config.json", "figures"]
    with pytest.raises(RddError, match="create it first"), RunFolder(tmp_path / "none").lock():
        pass
