"""How the time and memory of each part of the work grow with images, classes, pixels and groups.

    python tests/benchmarks/growth.py [--parts discovery report] [--axes images] [--write]
    python tests/benchmarks/growth.py --at images=200000 side=64 channels=3     (one point of each part)

Parts: ``discovery`` with its trial; ``distribution``, ``gradient`` and ``trajectory``, the start and three iterations
of robust matching with the groups at hand (for trajectories with an expert of one epoch); ``evaluation``, 20 steps of a
network and what it predicts of a fifth as many images; ``herding``; ``report``, tables and pages of a run. One thing
grows at a time, from 20,000 grey images of 28 × 28 in ten classes and two groups. The images are made up, a pattern for
each class and another for each group, and lie in a file that is mapped into memory. Each point is a process of its own:
seconds of the processor, and the peak of memory that the process has for itself (RssAnon, on Linux), of which 0.25 GB
are PyTorch and the package. Exponents are slopes in logarithms; the last one, from the last point but one, says how
things go on. With --write, what was measured joins data/results/growth.json, and from there docs/how-to/speed.md; what
is there is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from pages import MACHINE, filled, put, several, table
from scaling import exponent

PAGE, RESULT, PICTURE = Path("docs/how-to/speed.md"), Path("data/results/growth.json"), Path("docs/how-to/growth.png")
BASE = {"images": 20_000, "classes": 10, "side": 28, "groups": 2, "channels": 1}
AXES = {
    "images": (1_000, 10_000, 100_000, 1_000_000),
    "classes": (2, 10, 100, 1_000),
    "side": (28, 64, 128),
    "groups": (2, 50, 500, 5_000),
}
CALLED = {"images": "images", "classes": "classes", "side": "image size, pixels", "groups": "groups"}
PARTS = ("discovery", "distribution", "gradient", "trajectory", "evaluation", "herding", "report")
#: What does not grow with it: nobody tells discovery the groups.
LEFT_OUT = {("discovery", "groups"), ("herding", "groups")}


def made_up(sizes: dict[str, int], folder: Path) -> Any:
    """The data, as an :class:`~rdd_nb.ImageDataset` on a mapped file."""
    import torch

    from rdd_nb import ImageDataset

    count, classes, side, groups, channels = (sizes[k] for k in ("images", "classes", "side", "groups", "channels"))
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    ids = np.where(draw.random(count) < 0.9, 0, 1) if groups == 2 else draw.integers(0, groups, count)
    fine = np.kron(draw.integers(0, 128, (classes, channels, 7, 7)), np.ones((-(-side // 7), -(-side // 7))))
    fine = fine[..., :side, :side].astype(np.uint8)
    stripes = draw.integers(0, 64, (min(groups, 256), channels, 1, side)).astype(np.uint8)
    shape = (count, channels, side, side)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    for start in range(0, count, 10_000):
        part = slice(start, min(start + 10_000, count))
        noise = draw.integers(0, 64, (part.stop - start, *shape[1:]), np.uint8)
        images[part] = noise + fine[labels[part]] + stripes[ids[part] % len(stripes)]
    images.flush()
    del images
    mapped = torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c"))
    return ImageDataset(
        mapped,
        torch.from_numpy(labels.astype(np.int64)),
        tuple(f"class {i}" for i in range(classes)),
        mean=(0.5,) * channels,
        std=(0.2,) * channels,
        name="made up",
        groups=torch.from_numpy(ids.astype(np.int64)),
        group_names=tuple(f"group {i}" for i in range(groups)),
    )


def job(part: str, data: Any, folder: Path) -> Callable[[], object]:
    """What is to be timed, with all that it needs ready."""

    import rdd_nb as rdd
    from rdd_nb.clustering.coresets import coreset
    from rdd_nb.reporting import report

    few = min(10, int(data.class_counts.min()) // 2)
    if part == "discovery":
        return lambda: rdd.discover_groups(data, ipc=few, seed=0)
    if part == "herding":
        return lambda: coreset(data, "herding", few)
    if part in ("distribution", "gradient", "trajectory"):
        config = rdd.DistillConfig(matching=part, objective="robust", ipc=few, iterations=3, **(
            {"num_experts": 1, "expert_epochs": 1, "match_epochs": 1, "max_start_epoch": 0, "student_steps": 5}
            if part == "trajectory" else {}
        ))  # fmt: skip
        known = rdd.known_groups(data)
        return lambda: rdd.distill(data, config, known, progress=False)
    tested = max(data.num_classes, len(data) // 5)
    parts = {name: getattr(data, name)[:tested] for name in ("images", "labels", "groups")}
    test = dataclasses.replace(data, **parts)  # a part of the mapped file: a subset would be a copy
    chosen = coreset(data, "random", few)
    protocol = rdd.Protocol(steps=20, width=128 if part == "evaluation" else 8)
    if part == "evaluation":
        return lambda: rdd.evaluate(chosen, test, nets=1, protocol=protocol)
    config = rdd.DistillConfig(ipc=few, iterations=1, width=8, batch_real=4)
    run = rdd.distill(data, config, out=folder / "run", progress=False)
    rdd.evaluate(run.synthetic, test, nets=3, protocol=protocol).save(folder / "run" / "scores.npz")
    return lambda: report.write(folder / "run", folder / "report")


def own_megabytes() -> float:
    """Memory that this process has for itself now."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def child(part: str, sizes: dict[str, int]) -> None:
    """One point, printed as JSON."""
    with tempfile.TemporaryDirectory() as name:
        work = job(part, made_up(sizes, Path(name)), Path(name))
        most, ended = [own_megabytes()], threading.Event()

        def watch() -> None:
            while not ended.wait(0.01):
                most[0] = max(most[0], own_megabytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        work()
        clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        ended.set()
        watcher.join()
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": round(spent, 3), "clock": round(clock, 3), "megabytes": round(most[0])}))


def point(part: str, sizes: dict[str, int]) -> dict[str, float]:
    """Measured in a process of its own, with one thread: seconds of two that wait for one another count double."""
    words = [sys.executable, __file__, "--child", part, "--at", *(f"{k}={v}" for k, v in sizes.items())]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{part} at {sizes}: {done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def slope(points: list[dict[str, float]], key: str) -> float:
    """As :func:`scaling.exponent`, of two points at least."""
    return round(exponent([p["at"] for p in points], [p[key] for p in points]), 2)


def draw(found: dict[str, Any]) -> None:
    """Seconds (above) and memory (below) of each part against each of what grows."""
    figure, panels = plt.subplots(2, len(AXES), figsize=(12, 5.2), sharex="col", sharey="row", layout="constrained")
    for column, axis in enumerate(AXES):
        for number, part in enumerate(PARTS):
            points = found["points"].get(part, {}).get(axis)
            if not points:
                continue
            at = [p["at"] for p in points]
            for row, key in enumerate(("seconds", "megabytes")):
                values = [p[key] / (1 if row == 0 else 1000) for p in points]
                looks = {"color": f"C{number}", "label": part, "markersize": 4}  # the same in every panel
                panels[row][column].loglog(at, values, "osv^DPX"[number] + "-", **looks)
        panels[1][column].set_xlabel(CALLED[axis])
        panels[1][column].set_xticks(AXES[axis], [f"{value:,}" for value in AXES[axis]])
        panels[1][column].minorticks_off()
        for row in range(2):
            panels[row][column].grid(alpha=0.3)
    panels[0][0].set_ylabel("seconds of the processor")
    panels[1][0].set_ylabel("memory of its own, GB")
    panels[1][0].set_yticks((0.25, 0.5, 1, 2, 4, 8), ("0.25", "0.5", "1", "2", "4", "8"))
    panels[1][0].minorticks_off()
    handles = {h.get_label(): h for panel in panels[0] for h in panel.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=8)
    figure.savefig(PICTURE, dpi=100)
    plt.close(figure)


def words(found: dict[str, Any]) -> str:
    """The report as Markdown: the picture and a table."""
    rows = {}
    for part in PARTS:
        for axis, points in found["points"].get(part, {}).items():
            if len(points) < 2:
                continue
            rows[f"{part}, {CALLED[axis]} {points[0]['at']:,} to {points[-1]['at']:,}"] = [
                f"{points[0]['seconds']:.3g}",
                f"{points[-1]['seconds']:.3g}",
                f"{slope(points, 'seconds'):.2f}",
                f"{slope(points[-2:], 'seconds'):.2f}",
                f"{max(p['megabytes'] for p in points) / 1000:.2f}",
            ]
    every = [p["machine"] for axes in found["points"].values() for points in axes.values() for p in points]
    here = {key: several(machine[key] for machine in every) for key in MACHINE}
    said = (
        f"Measured on one core ({here['processor']}), {here['date']}, torch {here['torch']}, by "
        "`tests/benchmarks/growth.py`; every point is in `data/results/growth.json`."
    )
    head = ("part, and what grows", "first, s", "last, s", "exponent", "at the end", "most memory, GB")
    picture = f"![Seconds and memory against images, classes, pixels and groups]({PICTURE.name})"
    return "\n\n".join([filled(said), picture, table(head, rows)]) + "\n"


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), default=tuple(AXES))
    parser.add_argument("--most", type=int, default=10**9, help="leave out points above")
    parser.add_argument("--at", nargs="+", default=[], metavar="NAME=NUMBER", help=f"one point, of {', '.join(BASE)}")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"put the report into {RESULT}, too, and on {PAGE}")
    parser.add_argument("--words", action="store_true", help=f"only bring {PAGE} up to date with {RESULT}")
    asked = parser.parse_args()
    sizes = {**BASE, **{k: int(v) for k, v in (pair.split("=") for pair in asked.at)}}
    if sizes.keys() != BASE.keys():
        parser.error(f"--at knows {', '.join(BASE)}")
    if asked.child:
        return child(asked.child, sizes)
    if asked.at:
        for part in asked.parts:
            print(part, json.dumps(point(part, sizes)), flush=True)
        return None
    from rdd_nb.core import environment
    from rdd_nb.core.device import pick_device

    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"points": {}}
    if not asked.words:
        machine = {**environment.describe(pick_device("cpu")), "threads": 1}
        machine = {key: machine[key] for key in MACHINE}
        for part in asked.parts:
            for axis in asked.axes:
                if (part, axis) in LEFT_OUT:
                    continue
                held = found["points"].setdefault(part, {}).setdefault(axis, [])
                for value in AXES[axis]:
                    if value > asked.most or value in [p["at"] for p in held]:
                        continue
                    held.append({"at": value, **point(part, {**BASE, axis: value}), "machine": machine})
                    held.sort(key=lambda p: p["at"])
                    print(
                        part,
                        axis,
                        value,
                        json.dumps(next(p for p in held if p["at"] == value)),
                        file=sys.stderr,
                        flush=True,
                    )
                    if asked.write:  # what is measured is kept, whatever comes
                        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if asked.write or asked.words:
        draw(found)
        put(PAGE, "growth", words(found))
    else:
        print(words(found))
    return None


if __name__ == "__main__":
    main()
