"""Seconds an iteration on fixed workloads (``make bench``): JSON on stdout, one line a workload on stderr.

    python tests/benchmarks/bench.py [--repeats 7] [--device cpu]

W1: gradient matching, ConvNet-3 of width 32 on 32 px RGB, 10 classes, ipc 10, batch_real 64, (outer, inner) = (2, 2),
siamese augmentation; plain and robust. The method's released code takes 3.1 s an iteration at W1 on two CPU cores.
W3: distribution matching at the same width, which is what the quickstart runs. W4: one evaluation net, 100 epochs.
Random images: the arithmetic does not look at them. ``allocator`` says whether freed memory is kept (``machine``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch

import rdd_nb as rdd
from rdd_nb import machine
from rdd_nb.clustering import Groups
from rdd_nb.distill import steps


def random_data(classes: int = 10, each: int = 300, side: int = 32) -> rdd.ImageDataset:
    """Random RGB images in ``classes`` classes."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (classes * each, 3, side, side), generator=draw, dtype=torch.uint8)
    labels = torch.arange(classes).repeat_interleave(each)
    return rdd.ImageDataset(images, labels, tuple(map(str, range(classes))), (0.5,) * 3, (0.29,) * 3, name="random")


def main() -> None:
    """Time every workload and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = machine.pick_device(args.device)
    data = random_data()
    groups = Groups(torch.arange(len(data)) % 10, 10, "random")
    w1 = {"matching": "gradient", "outer": 2, "inner": 2, "batch_real": 64, "width": 32, "ipc": 10}
    w3 = {"matching": "distribution", "batch_real": 64, "width": 32, "ipc": 10}
    workloads = {
        "W1 plain": (w1 | {"objective": "erm"}, None),
        "W1 robust (R2)": (w1 | {"objective": "robust"}, groups),
        "W1 robust reference (R1)": (w1 | {"objective": "erm", "reference": "robust"}, groups),
        "W3 plain": (w3 | {"objective": "erm"}, None),
        "W3 robust (R2)": (w3 | {"objective": "robust"}, groups),
    }
    report = {"machine": machine.describe(device), "allocator": machine.tune_allocator(), "seconds": {}}
    for name, (settings, given) in workloads.items():
        config = rdd.DistillConfig(iterations=args.repeats + 1, **settings)
        seconds = list(steps(data, config, given, device=args.device))[-1].seconds[1:]  # the first one warms up
        _note(report, name, seconds)
    distilled = rdd.SyntheticSet(
        torch.randn(100, 3, 32, 32), torch.arange(10).repeat_interleave(10), data.class_names, data.mean, data.std, 10
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        rdd.evaluate(distilled, data, nets=1, protocol=rdd.Protocol(epochs=100, width=32), device=args.device)
        times.append(time.perf_counter() - start)
    _note(report, "W4 one net, 100 epochs of 100 images", times)
    print(json.dumps(report, indent=2))


def _note(report: dict, name: str, seconds: list[float] | tuple[float, ...]) -> None:
    middle = statistics.median(seconds)
    report["seconds"][name] = {"median": round(middle, 3), "min": round(min(seconds), 3), "max": round(max(seconds), 3)}
    print(f"{name:40s} {middle:6.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})", file=sys.stderr)


if __name__ == "__main__":
    main()
