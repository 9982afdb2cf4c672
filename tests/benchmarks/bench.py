"""How fast the package is, beside the straightforward way and what the machine can do (``make bench``).

    python tests/benchmarks/bench.py [W1 W2 W3 W4 W5] [--repeats 5] [--device cpu] [--released FOLDER] [--write]

W1 gradient matching, ConvNet-3 of width 32 on 32 px RGB, 10 classes, ipc 10, batch_real 64, (outer, inner) = (2, 2)
W2 the released code's defaults: as W1 with width 128 and batch_real 256
W3 distribution matching, width 128, batch_real 256
W4 evaluation: 5 networks of width 128, 300 epochs over 100 images
W5 as W2 at ipc 50 and 100 classes (only where it is named: a graphics card, or much time)

Each is run in turns, ours and the reference (``reference.py``), and medians are compared; W1 and W2 also with the
method's released code where ``--released`` names a copy (``released.py``). The robust objective (R2) is timed beside
the plain one, and both in bfloat16 where the machine multiplies it faster than float32. Phases are what the profiler
finds under the names of :data:`rdd_nb.core.device.PHASES`, in a run of its own. Ceilings are measured here: a product
of matrices of 2048² and a copy of 256 MB. Random images: the arithmetic does not look at them. JSON on stdout, a line
for each result on stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import reference
import torch
from pages import filled, put, table
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import rdd_nb as rdd
from rdd_nb.clustering.groups import Groups
from rdd_nb.core import environment
from rdd_nb.core.device import PHASES, pick_device, tune_allocator
from rdd_nb.distillation.step import steps
from rdd_nb.experiments.doctor import ceilings, seconds
from rdd_nb.models import networks
from rdd_nb.models.training import train

GRADIENT = {"matching": "gradient", "outer": 2, "inner": 2, "ipc": 10}
WORKLOADS = {
    "W1": GRADIENT | {"batch_real": 64, "width": 32},
    "W2": GRADIENT | {"batch_real": 256, "width": 128},
    "W3": {"matching": "distribution", "batch_real": 256, "width": 128, "ipc": 10},
    "W5": GRADIENT | {"batch_real": 256, "width": 128, "ipc": 50},
}
CLASSES = {"W5": 100}
PROTOCOL = rdd.Protocol(epochs=300, width=128)


def random_data(classes: int = 10, each: int = 600, side: int = 32) -> rdd.ImageDataset:
    """Random RGB images in ``classes`` classes."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (classes * each, 3, side, side), generator=draw, dtype=torch.uint8)
    labels = torch.arange(classes).repeat_interleave(each)
    return rdd.ImageDataset(images, labels, tuple(map(str, range(classes))), (0.5,) * 3, (0.29,) * 3, name="random")


def in_turns(ways: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Every way once to warm up, then ``repeats`` times in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            taken = seconds(work, device)
            if turn:
                times[name].append(taken)
    return {name: summed_up(taken) for name, taken in times.items()}


def summed_up(times: list[float]) -> dict[str, float]:
    """Median and spread."""
    found = {"median": statistics.median(times), "min": min(times), "max": max(times), "n": len(times)}
    return {name: round(value, 4) for name, value in found.items()}


def one_by_one(
    data: rdd.ImageDataset, config: rdd.DistillConfig, groups: Groups | None, device: str
) -> Callable[[], object]:
    """A call that does one more iteration of a distillation."""
    going = steps(data, config.model_copy(update={"iterations": 10**6}), groups, device=device)
    return lambda: next(going)


def by_hand(
    data: rdd.ImageDataset, config: rdd.DistillConfig, groups: Groups | None, device: torch.device
) -> Callable[[], object]:
    """The same by the reference."""
    images = data.normalised(torch.arange(len(data)))
    made = torch.randn(data.num_classes * config.ipc, *data.shape, device=device).requires_grad_()
    draw = torch.Generator().manual_seed(0)
    images, labels = images.to(device), data.labels.to(device)
    ids = None if groups is None else groups.ids.to(device)
    return lambda: reference.iteration(images, labels, ids, made, config, data.num_classes, draw)


def phases(work: Callable[[], object], device: torch.device, times: int = 2) -> dict[str, float]:
    """Seconds of one call by phase, each without the phases inside it; ``other`` is what no name covers."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    began = time.perf_counter()
    with profile(activities=activities) as profiler:
        for _ in range(times):
            work()
    whole = (time.perf_counter() - began) / times
    found = dict.fromkeys(PHASES, 0.0)
    for event in (e for e in profiler.events() if e.name.startswith("rdd: ")):
        found[event.name.removeprefix("rdd: ")] += event.cpu_time_total / 1e6 / times
        outer = event.cpu_parent
        while outer is not None and not outer.name.startswith("rdd: "):
            outer = outer.cpu_parent
        if outer is not None:
            found[outer.name.removeprefix("rdd: ")] -= event.cpu_time_total / 1e6 / times
    found = {name: value for name, value in found.items() if value}
    found["other"] = max(0.0, whole - sum(found.values()))
    return {name: round(value, 4) for name, value in found.items()}


def real_side(data: rdd.ImageDataset, config: rdd.DistillConfig, device: torch.device) -> dict[str, float]:
    """Achieved GFLOP/s of a class's gradient on the real side: forward and backward of ``batch_real`` images."""
    net = networks.build("convnet", data.shape, data.num_classes, width=config.width, seed=0).to(device)
    x = torch.randn(config.batch_real, *data.shape, device=device)
    y = torch.zeros(config.batch_real, dtype=torch.int64, device=device)
    weights = [p for p in net.parameters() if p.ndim > 1]

    def work() -> object:
        return torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), y), weights)

    with FlopCounterMode(display=False) as counter:
        work()
    taken = statistics.median(seconds(work, device) for _ in range(7))
    return {
        "gflop": round(counter.get_total_flops() / 1e9, 2),
        "gflops": round(counter.get_total_flops() / taken / 1e9, 1),
    }


def released(folder: Path, config: rdd.DistillConfig, classes: int, repeats: int) -> dict[str, float]:
    """The released code at the same settings, in a process of its own."""
    script = Path(__file__).with_name("released.py")
    settings = {"iterations": repeats + 1, "width": config.width, "batch": config.batch_real, "ipc": config.ipc}
    words = [f"--{k}={v}" for k, v in {**settings, "classes": classes, "outer": config.outer}.items()]
    done = subprocess.run([sys.executable, str(script), str(folder), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the released code in {folder} did not run: {done.stderr.splitlines()[-1:]}")
    return summed_up(json.loads(done.stdout.splitlines()[-1])[1:])


def matching(name: str, asked: argparse.Namespace, device: torch.device) -> dict:
    """One of the workloads that distil."""
    classes = CLASSES.get(name, 10)
    data = random_data(classes)
    groups = Groups(torch.arange(len(data)) % 10, 10, "random")
    settings = {"iterations": 10**6, **WORKLOADS[name]}
    plain, robust = (rdd.DistillConfig(objective=o, **settings) for o in ("erm", "robust"))
    ways = {
        "plain": one_by_one(data, plain, None, asked.device),
        "robust": one_by_one(data, robust, groups, asked.device),
    }
    if asked.bfloat16:
        for way, config in (("plain", plain), ("robust", robust)):
            short = config.model_copy(update={"precision": "bfloat16"})
            ways[f"{way}, bfloat16"] = one_by_one(data, short, groups if way == "robust" else None, asked.device)
    mine = list(ways)
    if name != "W5":
        ways |= {
            "plain, reference": by_hand(data, plain, None, device),
            "robust, reference": by_hand(data, robust, groups, device),
        }
    found: dict = {"seconds": in_turns(ways, asked.repeats, device)}
    middle = {way: times["median"] for way, times in found["seconds"].items()}
    found["ratio"] = {
        w: round(middle[f"{w.split(',')[0]}, reference"] / middle[w], 2) for w in mine if "plain, reference" in middle
    }
    found["phases"] = phases(ways["robust"], device)
    found["real_side"] = real_side(data, plain, device)
    if asked.released is not None and plain.matching == "gradient":
        found["released"] = released(asked.released, plain, classes, max(2, asked.repeats // 2))
        found["ratio"] |= {f"{w}, released": round(found["released"]["median"] / middle[w], 2) for w in mine}
    found["images_a_second"] = round(plain.matched(classes) / middle["robust"])
    return found


def evaluation(asked: argparse.Namespace, device: torch.device) -> dict:
    """W4, by a tenth of its epochs: the work of an epoch does not change."""
    protocol = rdd.Protocol(epochs=PROTOCOL.epochs // 10, width=PROTOCOL.width)
    held = hundred_images()
    ways: dict[str, Callable[[], object]] = {"ours": lambda: train(held, protocol, nets=5, device=asked.device)}
    if asked.bfloat16:
        short = dataclasses.replace(protocol, precision="bfloat16")
        ways["bfloat16"] = lambda: train(held, short, nets=5, device=asked.device)
    mine = list(ways)
    made, labels = held.images.to(device), held.labels.to(device)
    ways["reference"] = lambda: reference.train(made, labels, protocol, 5, 10)
    found: dict = {
        "seconds_of_a_tenth": in_turns(ways, max(2, asked.repeats // 2), device),
        "gflop": evaluation_gflop(),
    }
    middle = {way: times["median"] for way, times in found["seconds_of_a_tenth"].items()}
    return found | {"ratio": {w: round(middle["reference"] / middle[w], 2) for w in mine}}


def hundred_images() -> rdd.SyntheticSet:
    """What W4 trains on: random, ten of each of ten classes."""
    labels = torch.arange(10).repeat_interleave(10)
    return rdd.SyntheticSet(torch.randn(100, 3, 32, 32), labels, tuple("0123456789"), (0.5,) * 3, (0.29,) * 3, 10)


def evaluation_gflop() -> float:
    """W4's arithmetic, all five networks and 300 epochs: counted in one epoch of one of them."""
    with FlopCounterMode(display=False) as counter:
        train(hundred_images(), dataclasses.replace(PROTOCOL, epochs=1), nets=1, device="cpu")
    return round(5 * PROTOCOL.epochs * counter.get_total_flops() / 1e9)


def words(found: dict) -> str:
    """The report as Markdown: ratios, what of the machine is reached, and where the time goes."""
    here, most = found["machine"], found["ceilings"]
    names = [name for name in ("W1", "W2", "W3") if name in found]
    ratios: dict[str, object] = {}
    for name in names:
        took, ratio = found[name]["seconds"], found[name]["ratio"]
        for way in (w for w in took if "reference" not in w):
            beside = [f"{ratio[k]:.2f}" if k in ratio else "–" for k in (way, f"{way}, released")]
            ratios[f"{name}, {way}"] = [f"{took[way]['median']:.3g} s an iteration", *beside]
    if "W4" in found:
        for way, name in {"ours": "W4, five networks", "bfloat16": "W4, five networks, bfloat16"}.items():
            if way in found["W4"]["ratio"]:
                tenth = found["W4"]["seconds_of_a_tenth"][way]["median"]
                ratios[name] = [f"{10 * tenth:.0f} s", f"{found['W4']['ratio'][way]:.2f}", "–"]
    shown = [p for p in (*PHASES, "other") if any(found[n]["phases"].get(p, 0) > 0 for n in names)]
    shares: dict[str, object] = {}
    for p in shown:
        shares[p] = [f"{found[n]['phases'].get(p, 0) / sum(found[n]['phases'].values()):.1%}" for n in names]
    reached = ", ".join(
        f"{name} {found[name]['real_side']['gflops']:.0f} ({found[name]['real_side']['gflops'] / most['gflops']:.0%})"
        for name in names
    )
    measured = (
        f"Measured on {here['cores']} cores ({here['processor']}), {here['date']}, torch {here['torch']}, no graphics "
        "card, by `tests/benchmarks/bench.py`; all numbers in `data/results/bench.json`. Ratios are medians of runs in "
        "turns: how many times as long the other takes."
    )
    ceiling = (
        f"This machine reaches {most['gflops']:.0f} GFLOP/s in a float32 product of 2048³, {most['bfloat16']:.0f} in a "
        f"bfloat16 one, and {most['gigabytes']:.0f} GB/s in a copy. The gradient of a class's real images, forward and "
        f"backward, reaches, in GFLOP/s of float32: {reached}. Where that is near the ceiling, nothing is to be had "
        "but by less arithmetic, or shorter numbers."
    )
    if "gflop" in found.get("W4", {}):
        least = found["W4"]["gflop"] / most["gflops"]
        slow = 10 * found["W4"]["seconds_of_a_tenth"]["reference"]["median"]
        ceiling += (
            f" W4 is {found['W4']['gflop']:,} GFLOP, {least:.0f} s at the ceiling: with this arithmetic, in float32, "
            f"{slow / least:.1f} times as fast as the reference is the end here."
        )
    held = ", ".join(f"{name} {m['megabytes'] / 1000:.1f}" for name, m in found["memory"].items())
    most_memory = (
        f"Peak memory of a process that does one match, in GB: {held}. W5 is W2 with 100 classes and 50 images a "
        "class, where one class after another keeps the graph small."
    )
    head = ("workload", "ours", "reference takes, times", "released code takes, times")
    return (
        "\n\n".join(
            [
                filled(measured),
                table(head, ratios),
                filled(ceiling),
                filled(most_memory),
                filled("Where an iteration's time goes, with the robust objective:"),
                table(("phase", *names), shares),
            ]
        )
        + "\n"
    )


def memory(name: str, device: str) -> dict[str, float]:
    """Peak megabytes of a process that does one match of a workload; training between is not in it."""
    words = [sys.executable, str(Path(__file__)), "--once", name, "--device", device]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def once(name: str, device: str) -> dict[str, float]:
    """What :func:`memory` asks its process for."""
    data = random_data(CLASSES.get(name, 10))
    settings = {**WORKLOADS[name], "outer": 1, "iterations": 1}
    began = time.perf_counter()
    next(steps(data, rdd.DistillConfig(objective="erm", **settings), None, device=device))
    found = {"seconds": round(time.perf_counter() - began, 1)}
    found["megabytes"] = peak_megabytes()
    if torch.cuda.is_available() and pick_device(device).type == "cuda":
        found["megabytes_of_the_card"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def peak_megabytes() -> int:
    """Of this process; getrusage would tell the peak of whoever started it, too, where that was higher (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():
        return round(int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


PAGE, RESULT = Path("docs/how-to/speed.md"), Path("data/results/bench.json")


def main() -> None:
    """Measure what is named, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["W1", "W2", "W3", "W4"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--released", type=Path, help="a copy of the method's released code")
    parser.add_argument("--memory", nargs="*", default=["W1", "W2", "W3", "W5"], help="whose memory to measure")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"put the report into {RESULT}, too, and on {PAGE}")
    parser.add_argument("--add", action="store_true", help=f"keep the other workloads in {RESULT}, of this machine")
    parser.add_argument("--words", action="store_true", help=f"only bring {PAGE} up to date with {RESULT}")
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(asked.once, asked.device)))
        return
    if asked.words:
        put(PAGE, "speed", words(json.loads(RESULT.read_text(encoding="utf-8"))))
        return
    device = pick_device(asked.device)
    tune_allocator()
    most = ceilings(device)
    asked.bfloat16 = most.has_bfloat16
    report: dict = {"machine": environment.describe(device), "ceilings": dataclasses.asdict(most)}
    held: dict = {}
    if asked.add:  # looked at before minutes of measuring
        held = json.loads(RESULT.read_text(encoding="utf-8"))
        if any(held["machine"][k] != report["machine"][k] for k in ("processor", "date")):
            raise SystemExit(f"{RESULT} is of another machine or day: measure all of it anew")
    for name in asked.workloads:
        report[name] = evaluation(asked, device) if name == "W4" else matching(name, asked, device)
        print(name, json.dumps(report[name]), file=sys.stderr, flush=True)
    report = {**held, **report}
    report["memory"] = held.get("memory", {}) | {name: memory(name, asked.device) for name in asked.memory}
    text = json.dumps(report, indent=2)
    print(text)
    if asked.write:
        RESULT.write_text(text + "\n", encoding="utf-8")
        put(PAGE, "speed", words(report))


if __name__ == "__main__":
    main()
