"""Official code of DM, FairDD and MTT beside ours, in turns at equal settings: seconds an iteration, and memory.

    python tests/benchmarks/peers.py --dm FOLDER --fairdd FOLDER --mtt FOLDER [--turns 3] [--threads 2] [--write]

Each FOLDER is a copy of github.com/VICO-UoE/DatasetCondensation, zqhang/FairDD or GeorgeCazenavette/mtt-distillation,
which you fetch; nothing of them is here. Their own ``main`` runs, on random images of 32 × 32 in colour, ten classes
and (FairDD) ten groups, with ten images a class; an iteration is timed between the networks that they make. What they
ask for and do not need here (a card, a tracking service, whitening, loaders of data) is replaced by stand-ins, and
they evaluate nothing. Theirs and ours take turns, each in a process of its own; the first iteration of each is left
out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from bench import one_by_one, random_data
from pages import MACHINE, filled, put, several, table
from released import keep_on_cpu, stub

import rdd_nb as rdd
from rdd_nb.core import environment
from rdd_nb.core.device import pick_device, tune_allocator

PAGE, RESULT = Path("docs/how-to/speed.md"), Path("data/results/peers.json")
CLASSES, EACH, IPC = 10, 400, 10
AUGMENT = "color_crop_cutout_flip_scale_rotate"
STUDENT = {"expert_epochs": 2, "max_start_epoch": 5}  # of MTT; the arithmetic does not depend on them
Settings = dict[str, Any]
#: Whose code, by workload, its settings, and how many iterations are timed.
WORKLOADS: dict[str, tuple[str, Settings, int]] = {
    "DM, width 32, 64 real images": ("dm", {"width": 32, "batch": 64}, 20),
    "DM, width 32, 256 real images": ("dm", {"width": 32, "batch": 256}, 10),
    "DM, width 128, 256 real images": ("dm", {"width": 128, "batch": 256}, 3),
    "FairDD with DM, width 32, 256 real images": ("fairdd", {"width": 32, "batch": 256}, 10),
    "FairDD with DM, width 128, 256 real images": ("fairdd", {"width": 128, "batch": 256}, 3),
    "MTT, width 32, N = 10": ("mtt", {"width": 32, "steps": 10}, 5),
    "MTT, width 32, N = 30": ("mtt", {"width": 32, "steps": 30}, 3),
    "MTT, width 32, N = 80": ("mtt", {"width": 32, "steps": 80}, 2),
    "MTT, width 128, N = 10": ("mtt", {"width": 128, "steps": 10}, 2),
}


class Enough(Exception):
    """Raised where the official code would begin an iteration that is not timed."""


def iterations_of(main: Callable[[], object], module: Any, calls: int) -> list[float]:
    """Seconds between the networks that ``module`` makes, one an iteration; what comes after the last is not run."""
    times: list[float] = []
    make = module.get_network

    def watched(*given: Any, **named: Any) -> Any:
        times.append(time.perf_counter())
        if len(times) > calls:
            raise Enough
        return make(*given, **named)

    with mock.patch.object(module, "get_network", watched), contextlib.suppress(Enough):
        main()
    return list(np.diff(times)[1:])


def theirs(code: str, folder: Path, settings: Settings, count: int) -> list[float]:
    """Iterations of the official ``main``, but for the first."""
    sys.path.insert(0, str(folder.resolve()))
    environment.torchvision()  # mends a CPU build of torch beside a CUDA build of torchvision
    import scipy.ndimage

    scipy.ndimage.interpolation = types.SimpleNamespace(rotate=scipy.ndimage.rotate)  # its name before SciPy 1.8
    sys.modules["scipy.ndimage.interpolation"] = scipy.ndimage.interpolation  # type: ignore[assignment]
    for name in ("kornia", "wandb"):
        stub(name)
    for name in ("data_handler", *(f"data_handler.{n}" for n in ("colour_mnist", "FashionMNIST", "cifar10", "celeba"))):
        stub(name)
    for name in ("data_handler.utkface", "data_handler.bffhq"):
        stub(name)
    if not torch.cuda.is_available():
        keep_on_cpu()
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(CLASSES * EACH, 3, 32, 32, generator=draw)
    labels = torch.arange(CLASSES).repeat_interleave(EACH).tolist()
    groups = torch.randint(10, (len(labels),), generator=draw).tolist()
    names = [str(c) for c in range(CLASSES)]
    data: list[Any] = list(zip(images, labels, groups)) if code == "fairdd" else list(zip(images, labels))
    said: tuple[Any, ...] = (3, (32, 32), CLASSES, names, (0.0,) * 3, (1.0,) * 3, data, data, None)
    utils = importlib.import_module("utils")
    wide = functools.partial(tuple, (settings["width"], 3, "relu", "instancenorm", "avgpooling"))
    with tempfile.TemporaryDirectory() as place, mock.patch.object(utils, "get_default_convnet_setting", wide):
        os.chdir(place)
        if code != "mtt":
            module = importlib.import_module("main_DM")
            module.__dict__.update(random_state=None, load_random_state=lambda state: None)  # of FairDD's first lines
            words = ["--ipc", IPC, "--batch_real", settings["batch"], "--num_exp", 1, "--Iteration", 10**6]
            sys.argv = ["main_DM.py", *map(str, words), *(["--FairDD"] if code == "fairdd" else [])]
            main = module.main
        else:
            identity = {c: c for c in range(CLASSES)}
            said = (*said, {"0": None}, identity, identity)
            module = importlib.import_module("distill")
            path = Path("buffers") / "CIFAR10_NO_ZCA" / "ConvNet"
            path.mkdir(parents=True)
            start = [p.detach() for p in utils.get_network("ConvNet", 3, CLASSES, (32, 32)).parameters()]
            torch.save([[[p + 0.01 * e for p in start] for e in range(9)]], path / "replay_buffer_0.pt")
            wandb = sys.modules["wandb"]
            wandb.init = lambda **given: setattr(wandb, "config", types.SimpleNamespace(_items=vars(given["config"])))  # type: ignore[attr-defined]
            wandb.log = lambda *given, **named: None  # type: ignore[attr-defined]
            wandb.run = types.SimpleNamespace(name="run")  # type: ignore[attr-defined]
            options = {"dataset": "CIFAR10", "subset": "", "model": "ConvNet", "res": 32, "ipc": IPC, "eval_mode": "S"}
            options |= {"num_eval": 0, "eval_it": 10**9, "epoch_eval_train": 1, "Iteration": 10**6, "lr_img": 1000.0}
            options |= {"lr_lr": 1e-5, "lr_teacher": 0.01, "lr_init": 0.01, "batch_real": 256, "batch_syn": None}
            options |= {"batch_train": 256, "pix_init": "real", "dsa": "True", "dsa_strategy": AUGMENT}
            options |= {"data_path": "data", "buffer_path": "buffers", "syn_steps": settings["steps"], "zca": False}
            options |= {"load_all": False, "no_aug": False, "texture": False, "canvas_size": 2, "canvas_samples": 1}
            options |= {"max_files": None, "max_experts": None, "force_save": False, **STUDENT}
            main = functools.partial(module.main, argparse.Namespace(**options))
        with (
            mock.patch.object(module, "get_eval_pool", lambda *_: []),
            mock.patch.object(module, "get_dataset", lambda *_, **__: said),
            mock.patch("sys.stdout", sys.stderr),
        ):
            return iterations_of(main, module, count + 1)


def ours(code: str, settings: Settings, count: int) -> list[float]:
    """As many of ours."""
    tune_allocator()
    data, groups = random_data(CLASSES, EACH, 32), None
    chosen: Settings = {"ipc": IPC, "width": settings["width"], "augment": AUGMENT}
    if code == "mtt":
        from rdd_nb.distillation.experts import made_up_experts
        from rdd_nb.distillation.step import steps

        chosen |= {"matching": "trajectory", "objective": "erm", "student_steps": settings["steps"], "num_experts": 1}
        config = rdd.DistillConfig(expert_epochs=9, match_epochs=2, max_start_epoch=5, iterations=10**6, **chosen)
        going = steps(data, config, device="cpu", experts=made_up_experts(data, config))
        work: Callable[[], object] = lambda: next(going)  # noqa: E731
    else:
        if code == "fairdd":
            ids = torch.randint(10, (len(data),), generator=torch.Generator().manual_seed(0))
            groups = rdd.Groups(ids, 10, "known")
        chosen |= {
            "objective": "erm" if groups is None else "group",
            "group_power": 0.0,
            "batch_real": settings["batch"],
        }
        config = rdd.DistillConfig(matching="distribution", **chosen)
        work = one_by_one(data, config, groups, "cpu")
    times = []
    for _ in range(count + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times[1:]


def run(who: str, name: str, folder: Path | None, threads: int) -> dict[str, Any]:
    """One process: its iterations' seconds, and its largest resident memory."""
    words = [sys.executable, __file__, "--child", who, name, "--threads", str(threads)]
    if folder is not None:
        words += [f"--{WORKLOADS[name][0]}", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"})
    if done.returncode:
        raise SystemExit(f"{who}, {name}: {done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def words(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = {}
    here = {key: several(told["machine"][key] for told in found["workloads"].values()) for key in MACHINE}
    for name, told in found["workloads"].items():
        mine, other = told["ours"], told["theirs"]
        rows[name] = [f"{mine['seconds']:.3g}", f"{other['seconds']:.3g}", f"{other['seconds'] / mine['seconds']:.2f}",
                      f"{mine['megabytes'] / 1000:.2f}", f"{other['megabytes'] / 1000:.2f}"]  # fmt: skip
    said = (
        f"Measured with {here['threads']} threads on {here['cores']} cores ({here['processor']}), {here['date']}, "
        f"torch {here['torch']}, by "
        "`tests/benchmarks/peers.py`: medians of iterations in turns, plain matching, random images of 32 × 32 RGB, "
        "ten images of each of ten classes; the largest resident memory of each process, the data in it. All numbers "
        "are in `data/results/peers.json`."
    )
    head = ("official code, settings", "ours, s", "theirs, s", "theirs takes, times", "ours, GB", "theirs, GB")
    return filled(said) + "\n\n" + table(head, rows) + "\n"


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for code in ("dm", "fairdd", "mtt"):
        parser.add_argument(f"--{code}", type=Path, help="a copy of the official code")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices=tuple(WORKLOADS), default=tuple(WORKLOADS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"put the report into {RESULT}, too, and on {PAGE}")
    asked = parser.parse_args()
    if asked.child:
        who, name = asked.child
        code, settings, count = WORKLOADS[name]
        torch.set_num_threads(asked.threads)
        times = ours(code, settings, count) if who == "ours" else theirs(code, getattr(asked, code), settings, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"times": [round(t, 4) for t in times], "megabytes": round(peak / 1e6)}))
        return
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"workloads": {}}
    machine = {**environment.describe(pick_device("cpu")), "threads": asked.threads}
    machine = {key: machine[key] for key in MACHINE}
    for name in asked.only:
        folder = getattr(asked, WORKLOADS[name][0])
        if folder is None:
            continue
        taken: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for _ in range(asked.turns):
            for who, told in taken.items():
                told.append(run(who, name, folder if who == "theirs" else None, asked.threads))
        found["workloads"][name] = {"machine": machine} | {
            who: {
                "seconds": round(statistics.median([t for one in told for t in one["times"]]), 4),
                "megabytes": max(one["megabytes"] for one in told),
            }
            for who, told in taken.items()
        }
        if asked.write:  # what is measured is kept, whatever comes
            RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        told = found["workloads"][name]
        print(name, {who: (told[who]["seconds"], told[who]["megabytes"]) for who in taken}, file=sys.stderr, flush=True)
    if asked.write:
        put(PAGE, "peers", words(found))
    else:
        print(words(found))


if __name__ == "__main__":
    main()
