"""All that is open for a graphics card, in one call that fits a short loan of one.

    python tests/gpu/measure.py --out FOLDER [--minutes 9] [--released FOLDER] [STEP ...]

agreement  distances, gradients and images made on the card are those made on the CPU; classes at once are classes one
           after another; networks trained at once are networks trained alone; bfloat16 is near float32
waiting    the part of the time in which the card computes nothing, from the profiler's trace: W1 to W4
at-once    classes at once or one after another: time and memory, W1 and W2, for several budgets (step.GRAPH_BYTES)
new        time and memory of trajectories against a student's steps, and of formations; discovery; networks at once
bench      ``tests/benchmarks/bench.py``: beside the reference and, with --released, the released code; W5's memory
accuracy   published distribution matching on all of Fashion-MNIST (``data/studies/published-dsa.yaml``, one seed)

The order is that of importance. What a step found goes to FOLDER/gpu.json at once; a step that fails says so there, and
the others go on. No step begins without time left, and one that runs in a process of its own is stopped at the end of
it. ``--device cpu --small`` is a rehearsal: it runs the same code, and its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]  # where nothing is installed, the repository will do

import bench  # noqa: E402

import rdd_nb as rdd  # noqa: E402
from rdd_nb.clustering.groups import Groups  # noqa: E402
from rdd_nb.core import environment  # noqa: E402
from rdd_nb.core.device import PRECISIONS, pick_device  # noqa: E402
from rdd_nb.distillation import matching, step  # noqa: E402
from rdd_nb.distillation.experts import made_up_experts  # noqa: E402
from rdd_nb.distillation.step import steps  # noqa: E402
from rdd_nb.evaluation.predictions import predict  # noqa: E402
from rdd_nb.experiments.doctor import ceilings, seconds  # noqa: E402
from rdd_nb.models import networks  # noqa: E402
from rdd_nb.models.training import train  # noqa: E402

#: Cosines; the part of the same answers for networks. See docs/how-to/speed.md for bfloat16.
ALIKE = {"gradient matching, bfloat16 and float32": 0.995, "networks at once and alone, same answers": 0.95}
SMALL = {"batch_real": 8, "width": 4}


def cosine(one: Tensor, other: Tensor) -> float:
    """Between two tensors of any shape, on the CPU, in double precision."""
    return float(F.cosine_similarity(one.double().cpu().flatten(), other.double().cpu().flatten(), dim=0))


def agreement(asked: argparse.Namespace) -> dict:
    """Raises where what must agree does not; else how well it does."""
    device, found = asked.card, {}
    both: list[Tensor]
    draw = torch.Generator().manual_seed(0)
    real, made = (torch.randn(n, 3, 32, 32, generator=draw) for n in (64, 10))
    weights, shares = torch.full((1, 1, 64), 1 / 64), torch.ones(1, 1)
    gradients = []
    for where in (torch.device("cpu"), device):
        net = networks.build("convnet", (3, 32, 32), 10, width=32, seed=0).to(where)
        here = made.to(where).requires_grad_()
        fixed = (weights.to(where), shares.to(where))
        by_gradients = matching.gradient_loss(net, real.to(where), here, 0, lambda losses, fixed=fixed: fixed)
        features = [net.embed(x)[None] for x in (real.to(where), here)]
        by_means = matching.distribution_loss(*features, *fixed)
        gradients.append([torch.autograd.grad(loss, here)[0] for loss in (by_gradients, by_means)])
    for kind, here, there in zip(("gradient", "distribution"), *gradients):
        found[f"{kind} matching, card and CPU"] = cosine(here, there)
    data, groups = _data(asked, 10)
    held = rdd.load("fashion-mnist-sample")
    few = held.train.sample(100, seed=0)
    for kind in ("gradient", "distribution"):
        settings = {"matching": kind, "objective": "erm", "width": 32, "iterations": 1}  # 64 real images: one match
        both = [_moved(asked, few, rdd.DistillConfig(**settings, precision=p), None) for p in PRECISIONS]
        found[f"{kind} matching, bfloat16 and float32"] = cosine(*both)
    config = _config(asked, matching="gradient", objective="robust", outer=2, width=32, iterations=2)
    both = []
    for size in (0, 2**31):
        with _budget(device, size):
            both.append(_moved(asked, data, config, groups))
    found["classes at once and apart"] = cosine(*both)
    protocol = rdd.Protocol(epochs=2 if asked.small else 30, lr=0.1, width=8 if asked.small else 32)
    few = held.train.sample(10, seed=0)
    together, alone = (predict(train(few, protocol, nets=n, device=device), held.test) for n in (3, 1))
    found["networks at once and alone, same answers"] = float((together.predictions[0] == alone.predictions[0]).mean())
    bad = [f"{k}: {v:.4f}" for k, v in found.items() if v < ALIKE.get(k, 0.999)]
    if bad:
        raise AssertionError(f"do not agree: {'; '.join(bad)}; all: {json.dumps(found)}")
    return found


def waiting(asked: argparse.Namespace) -> dict:
    """For each workload, of one iteration (W4: a tenth of its passes): seconds, and the part the card idles in."""
    work: dict[str, Callable[[], object]] = {}
    data, groups = _data(asked, 600)
    for name in ("W1", "W2", "W3"):
        for objective, ids in (("erm", None), ("robust", groups)):
            config = _config(asked, **bench.WORKLOADS[name], objective=objective, iterations=10**6)
            work[f"{name}, {objective}"] = bench.one_by_one(data, config, ids, asked.device)
    protocol = dataclasses.replace(bench.PROTOCOL, epochs=2 if asked.small else 30, width=4 if asked.small else 128)
    work["W4"] = lambda: train(bench.hundred_images(), protocol, nets=5, device=asked.device)
    return {name: _idle(run, asked.card) for name, run in work.items()}


def _idle(work: Callable[[], object], device: torch.device) -> dict[str, float | None]:
    work()
    taken = seconds(work, device)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities) as profiler:
        traced = seconds(work, device)
    kernels = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith("rdd: ")
    ]
    idle = max(0.0, 1 - covered(kernels) / 1e6 / taken) if device.type == "cuda" else None
    return {"seconds": taken, "seconds, traced": traced, "kernels": len(kernels), "idle": idle}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of (start, end).

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def at_once(asked: argparse.Namespace) -> dict:
    """Seconds an iteration, and the card's peak memory in MB, for each budget in GB; 0 is one class after another."""
    found = {}
    data, _ = _data(asked, 600)
    for name in ("W1", "W2"):
        config = _config(asked, **bench.WORKLOADS[name], objective="erm", iterations=10**6)
        for gigabytes in (0, 0.5, 2, 8):
            with _budget(asked.card, int(gigabytes * 2**30)):
                run = bench.one_by_one(data, config, None, asked.device)
                run()
                if asked.card.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                taken = sorted(seconds(run, asked.card) for _ in range(1 if asked.small else 3))
                most = torch.cuda.max_memory_allocated() / 2**20 if asked.card.type == "cuda" else 0.0
                found[f"{name}, {gigabytes} GB"] = {"seconds": taken[len(taken) // 2], "megabytes": round(most)}
    return found


def new(asked: argparse.Namespace) -> dict:
    """Seconds and the card's peak memory in MB: an iteration of trajectories and of formations, discovery, training."""
    data, _ = _data(asked, 600)
    found: dict = {}
    for count in (1, 2) if asked.small else (10, 20, 40, 80):
        told = {"matching": "trajectory", "objective": "erm", "width": 128, "student_steps": count}
        found[f"trajectory, {count} steps"] = _iteration(asked, data, _config(asked, **told, iterations=10**6))
    for matched in ("distribution", "gradient"):
        for factor in (1, 2):
            told = {"matching": matched, "objective": "erm", "width": 128, "batch_real": 256, "formations": factor}
            config = _config(asked, **told, ipc=2 if asked.small else 10, iterations=10**6)
            found[f"{matched}, formations {factor}"] = _iteration(asked, data, config)
    with _peak(asked) as peak:
        taken = seconds(lambda: rdd.discover_groups(data, seed=0, device=asked.device), asked.card)
    found["discovery"] = {"images": len(data), "seconds": round(taken, 3), **peak}
    config = _config(asked, objective="erm", ipc=2 if asked.small else 10, iterations=1)
    images = rdd.distill(data, config, device=asked.device, progress=False).synthetic
    protocol = rdd.Protocol(steps=3 if asked.small else 300, width=4 if asked.small else 128)
    for nets in (1, 2) if asked.small else (1, 10, 50):
        with _peak(asked) as peak:
            taken = seconds(lambda: train(images, protocol, nets=nets, device=asked.device), asked.card)  # noqa: B023
        found[f"{nets} networks of 300 steps"] = {"seconds": round(taken, 3), **peak}
    return found


def _iteration(asked: argparse.Namespace, data: rdd.ImageDataset, config: rdd.DistillConfig) -> dict:
    experts = made_up_experts(data, config) if config.matching == "trajectory" else None
    going = steps(data, config, device=asked.device, experts=experts)
    next(going)
    with _peak(asked) as peak:
        taken = sorted(seconds(lambda: next(going), asked.card) for _ in range(1 if asked.small else 5))
    return {"seconds": round(taken[len(taken) // 2], 4), **peak}


@contextlib.contextmanager
def _peak(asked: argparse.Namespace) -> Iterator[dict]:
    """What is filled in at its end: the card's peak memory within it."""
    held: dict = {}
    if asked.card.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    yield held
    held["megabytes"] = round(torch.cuda.max_memory_allocated() / 2**20) if asked.card.type == "cuda" else 0


def benchmark(asked: argparse.Namespace) -> dict:
    """What ``bench.py`` prints."""
    words = [str(ROOT / "tests" / "benchmarks" / "bench.py"), "--device", asked.device, "--repeats", "3"]
    if asked.small:
        return {"would run": words}
    words += ["W1", "W2", "W3", "W4", "--memory", "W1", "W2", "W3", "W5"]
    words += ["--released", str(asked.released)] if asked.released else []
    return json.loads(_apart(asked, words))


def accuracy(asked: argparse.Namespace) -> dict:
    """The study's own table, one method and seed of it."""
    table = asked.out / "published.csv"
    words = ["-c", "from rdd_nb.cli import main; main()", "study", "data/studies/published-dsa.yaml"]
    words += ["--only", "fashion-mnist/DM", "--only", "fashion-mnist/random", "--seeds", "0", "--workers", "0"]
    words += ["--device", asked.device, "--out", str(asked.out / "published"), "--table", str(table)]
    if asked.small:
        words.append("--dry-run")
    return {"said": _apart(asked, words).splitlines()[-5:], "table": table.name}


def _apart(asked: argparse.Namespace, words: list[str]) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=_left(asked))
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout


def _left(asked: argparse.Namespace) -> float:
    return asked.until - time.monotonic()


def _data(asked: argparse.Namespace, each: int) -> tuple[rdd.ImageDataset, Groups]:
    data = bench.random_data(10, 30 if asked.small else max(each, 130))
    return data, Groups(torch.arange(len(data)) % 10, 10, "random")


def _config(asked: argparse.Namespace, **settings: object) -> rdd.DistillConfig:
    return rdd.DistillConfig(**{**settings, **(SMALL if asked.small else {})})  # type: ignore[arg-type]


def _moved(
    asked: argparse.Namespace, data: rdd.ImageDataset, config: rdd.DistillConfig, groups: Groups | None
) -> Tensor:
    """By how much a short distillation moves the images."""
    first = step.initial_state(data, config, groups).images
    *_, last = steps(data, config, groups, device=asked.device)
    return last.images.cpu() - first


class _budget:
    """Within it, ``step.GRAPH_BYTES`` of the device is this."""

    def __init__(self, device: torch.device, size: int):
        self.kind, self.size = device.type, size

    def __enter__(self) -> None:
        self.held = dict(step.GRAPH_BYTES)
        step.GRAPH_BYTES[self.kind] = self.size

    def __exit__(self, *_: object) -> None:
        step.GRAPH_BYTES.clear()
        step.GRAPH_BYTES.update(self.held)


STEPS = {
    "agreement": agreement,
    "waiting": waiting,
    "at-once": at_once,
    "new": new,
    "bench": benchmark,
    "accuracy": accuracy,
}


def main() -> None:
    """Do what is named, in the order above; exit status 1 where a step failed or was not begun."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--released", type=Path, help="a copy of the method's released code")
    parser.add_argument("--small", action="store_true", help="a rehearsal: smallest sizes")
    asked = parser.parse_args()
    wrong = [name for name in asked.steps if name not in STEPS]
    if wrong:
        parser.error(f"no step {wrong[0]!r}: there are {', '.join(STEPS)}")
    asked.until = time.monotonic() + 60 * asked.minutes
    try:
        asked.card = pick_device(asked.device)
    except rdd.RddError as error:
        parser.error(str(error))
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.out = asked.out.resolve()
    report: dict = {"machine": environment.describe(asked.card), "small": asked.small}
    report["ceilings"] = dataclasses.asdict(ceilings(asked.card))
    failed = []
    for name in asked.steps or STEPS:
        began = time.monotonic()
        if _left(asked) <= 0:
            report[name] = {"not begun": "no time left"}
        else:
            try:
                report[name] = STEPS[name](asked)
            except Exception as error:  # the steps after it are worth their time
                report[name] = {"failed": f"{type(error).__name__}: {error}", "where": traceback.format_exc()[-1500:]}
        if {"failed", "not begun"} & set(report[name]):
            failed.append(name)
        report[name] |= {"minutes": round((time.monotonic() - began) / 60, 2)}
        (asked.out / "gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(name, json.dumps(report[name]), flush=True)
    if failed:
        sys.exit(f"not done: {', '.join(failed)}; see {asked.out / 'gpu.json'}")


if __name__ == "__main__":
    main()
