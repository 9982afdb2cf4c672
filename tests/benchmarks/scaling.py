"""How the time of an iteration grows with classes, images a class, width, and image size; and the arithmetic with it.

    python tests/benchmarks/scaling.py [--repeats 3] [--device cpu] [--write]

One thing at a time, around ten classes of 32 × 32 RGB, ten images a class, 64 real ones, width 32; gradient matching
with two matches and an epoch between them, distribution matching with one. Each point is timed by the code that runs
(medians), and its multiplications and additions are counted by torch. An exponent is the slope of a line through the
points in logarithms. For each phase (:data:`rdd_nb.core.device.PHASES`) it is taken between the first and the last
point, where the phase has at least a hundredth of the time. With --write, the numbers go to data/results/scaling.json,
and from there, with a picture, into docs/how-to/speed.md (--words does only that).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from bench import in_turns, one_by_one, phases, random_data
from pages import filled, put, table
from torch.utils.flop_counter import FlopCounterMode

import rdd_nb as rdd
from rdd_nb.clustering.groups import Groups
from rdd_nb.core import environment
from rdd_nb.core.device import pick_device, tune_allocator

PAGE, RESULT, PICTURE = Path("docs/how-to/speed.md"), Path("data/results/scaling.json"), Path("docs/how-to/scaling.png")
AXES = {"classes": (10, 20, 50, 100), "ipc": (1, 5, 10, 25, 50), "width": (16, 32, 64, 128), "side": (32, 64, 128)}
CALLED = {"classes": "classes", "ipc": "images a class", "width": "width", "side": "image size, pixels"}
KINDS = {"distribution": {}, "gradient": {"outer": 2, "inner": 1}}
BASE = {"batch_real": 64, "ipc": 10, "width": 32}


def point(kind: str, axis: str, value: int, repeats: int, device: torch.device) -> dict:
    """Seconds, GFLOP and phases of one iteration."""
    sizes = {"classes": 10, "side": 32}
    settings = {**BASE, "iterations": 10**6, "matching": kind, **KINDS[kind]}
    (sizes if axis in sizes else settings)[axis] = value
    data = random_data(sizes["classes"], 130, sizes["side"])
    groups = Groups(torch.arange(len(data)) % 10, 10, "random")
    work = one_by_one(data, rdd.DistillConfig(objective="robust", **settings), groups, str(device))
    taken = in_turns({"ours": work}, repeats, device)["ours"]
    with FlopCounterMode(display=False) as counter:
        work()
    return {"at": value, "seconds": taken, "gflop": counter.get_total_flops() / 1e9, "phases": phases(work, device, 1)}


def exponent(at: list[float], values: list[float]) -> float:
    """The slope in logarithms, by least squares."""
    return float(np.polyfit(np.log(at), np.log(values), 1)[0])


def grown(points: list[dict]) -> dict[str, float]:
    """Exponents of time, of arithmetic, and of each phase that takes a hundredth of the time at the last point."""
    at = [p["at"] for p in points]
    first, last = points[0], points[-1]
    found = {
        "time": exponent(at, [p["seconds"]["median"] for p in points]),
        "arithmetic": exponent(at, [p["gflop"] for p in points]),
    }
    for name, taken in last["phases"].items():
        if taken > 0.01 * sum(last["phases"].values()) and first["phases"].get(name, 0) > 0:
            found[name] = exponent([at[0], at[-1]], [first["phases"][name], taken])
    return {name: round(value, 2) for name, value in found.items()}


def draw(found: dict) -> None:
    """Time and arithmetic against each of the four, for both ways of matching; two lines that run alike, grow alike."""
    figure, panels = plt.subplots(1, len(AXES), figsize=(12, 3.2), sharey=True, layout="constrained")
    for panel, axis in zip(panels, AXES):
        for kind, colour in zip(KINDS, ("tab:blue", "tab:orange")):
            points = found[kind][axis]["points"]
            at, seconds = [p["at"] for p in points], [p["seconds"]["median"] for p in points]
            rate = seconds[0] / points[0]["gflop"]
            panel.loglog(at, seconds, "o-", color=colour, label=f"{kind}: time")
            panel.loglog(
                at,
                [rate * p["gflop"] for p in points],
                ":",
                color=colour,
                label="as the arithmetic grows from the first",
            )
        panel.set_xticks(AXES[axis], [str(v) for v in AXES[axis]], minor=False)
        panel.minorticks_off()
        panel.set_xlabel(CALLED[axis])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds an iteration")
    panels[0].legend(fontsize=7)
    figure.savefig(PICTURE, dpi=100)
    plt.close(figure)


def words(found: dict) -> str:
    """The report as Markdown: the picture, a table of exponents, and which phase grows fastest."""
    here = found["machine"]
    rows: dict[str, object] = {}
    for kind in KINDS:
        for axis, values in AXES.items():
            grew = found[kind][axis]["exponents"]
            terms = {k: v for k, v in grew.items() if k not in ("time", "arithmetic")}
            fastest = max(terms, key=lambda k: terms[k])
            points = found[kind][axis]["points"]
            rows[f"{kind}, {CALLED[axis]} {values[0]} to {values[-1]}"] = [
                *(f"{points[k]['seconds']['median']:.3g}" for k in (0, -1)),
                f"{grew['time']:.2f}",
                f"{grew['arithmetic']:.2f}",
                f"{fastest} {terms[fastest]:.2f}",
            ]
    said = (
        f"Measured on {here['cores']} cores ({here['processor']}), {here['date']}, torch {here['torch']}, robust "
        "objective, by `tests/benchmarks/scaling.py`; all numbers, and the exponent of every phase, in "
        "`data/results/scaling.json`."
    )
    head = ("what grows", "first, s", "last, s", "exponent of the time", "of the arithmetic", "fastest phase")
    picture = f"![Seconds an iteration against classes, images a class, width and image size]({PICTURE.name})"
    return "\n\n".join([filled(said), picture, table(head, rows)]) + "\n"


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help=f"put the report into {RESULT}, too, and on {PAGE}")
    parser.add_argument("--words", action="store_true", help=f"only bring {PAGE} up to date with {RESULT}")
    asked = parser.parse_args()
    if asked.words:
        found = json.loads(RESULT.read_text(encoding="utf-8"))
    else:
        device = pick_device(asked.device)
        tune_allocator()
        found = {"machine": environment.describe(device)}
        for kind in KINDS:
            found[kind] = {}
            for axis, values in AXES.items():
                points = [point(kind, axis, value, asked.repeats, device) for value in values]
                found[kind][axis] = {"points": points, "exponents": grown(points)}
                print(kind, axis, found[kind][axis]["exponents"], file=sys.stderr, flush=True)
        print(json.dumps(found, indent=2))
    if asked.write:
        RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if asked.write or asked.words:
        draw(found)
        put(PAGE, "scaling", words(found))


if __name__ == "__main__":
    main()
