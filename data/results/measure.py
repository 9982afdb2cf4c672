"""The measurements behind ``foundation.csv``: methods side by side, in one protocol, over seeds.

    python data/results/measure.py [--part coloured|rotated] [--seeds 0 1 2] [--threads 1]

Each scenario × method × seed is a run folder under ``runs/measure``; what is there already is not run again, so the
script can be stopped and started. The table is rebuilt from the folders at the end of every call. Nothing is chosen on
test data: methods, settings and protocol stand below.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import pandas as pd
import torch

import rdd_nb as rdd
from rdd_nb import machine
from rdd_nb.clustering import group_mass
from rdd_nb.distill import initial_state
from rdd_nb.evaluate import Scores

HERE = Path(__file__).parent
RUNS = HERE.parents[1] / "runs" / "measure"
TABLE = HERE / "foundation.csv"
NETS = 3
PROTOCOL = rdd.Protocol(epochs=100, lr=0.02, width=32)  # PROFILES["quick"], spelled out
WHOLE = rdd.Protocol(epochs=5, lr=0.02, width=32)  # 200 steps of 256 real images

# Read at the start: it says which code runs, also when something is committed meanwhile.
REVISION = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
).stdout.strip()

#: name → (groups, settings); groups: none, discovered or known. ``subset`` is the initial images, undistilled.
COLOURED = {
    "random subset": ("none", None),
    "balanced subset, discovered groups": ("discovered", None),
    "balanced subset, known groups": ("known", None),
    "plain": ("none", {"objective": "erm"}),
    "plain, trained reference": ("none", {"objective": "erm", "iterations": 40, "outer": 5}),
    "R1 robust reference": (
        "discovered",
        {"objective": "erm", "init": "real", "iterations": 40, "outer": 5, "reference": "robust"},
    ),
    "R2 robust matching": ("discovered", {"objective": "robust"}),
    "R2 on cells": ("none", {"objective": "robust"}),
    "R3 discovered groups": ("discovered", {"objective": "group"}),
    "R3 discovered groups, random start": ("discovered", {"objective": "group", "init": "real"}),
    "R3 known groups": ("known", {"objective": "group"}),
    "R4 density": ("none", {"objective": "density"}),
    "whole set": ("none", "whole"),
}
GRADIENT = {"matching": "gradient", "iterations": 60, "outer": 2, "inner": 2}
ROTATED = {
    "random subset": ("none", None),
    "balanced subset, discovered groups": ("discovered", None),
    "plain": ("none", {**GRADIENT, "objective": "erm"}),
    "R1 robust reference": ("discovered", {**GRADIENT, "objective": "erm", "init": "real", "reference": "robust"}),
    "R2 robust matching": ("discovered", {**GRADIENT, "objective": "robust"}),
    "R2 robust matching, random start": ("discovered", {**GRADIENT, "objective": "robust", "init": "real"}),
    "R1 and R2": ("discovered", {**GRADIENT, "objective": "robust", "reference": "robust"}),
}
PARTS = {
    "coloured": ("coloured", {"bias": 0.9}, COLOURED),
    "rotated": ("rotated-minority", {"fraction": 0.1}, ROTATED),
}


def measure(part: str, method: str, seed: int) -> None:
    """One distillation and its evaluation, unless it is there already."""
    scenario, options, methods = PARTS[part]
    folder = RUNS / part / method.replace(" ", "-").replace(",", "") / f"seed{seed}"
    if (folder / "result.json").exists():
        return
    data = rdd.scenario(rdd.load("fashion-mnist-sample"), scenario, seed=seed, **options)
    which, settings = methods[method]
    start = time.perf_counter()
    groups = None
    if which == "discovered":
        groups = rdd.discover_groups(data.train, seed=seed, device="cpu")
    elif which == "known":
        groups = rdd.known_groups(data.train)
    discovery = time.perf_counter() - start
    protocol, seconds = PROTOCOL, 0.0
    if settings == "whole":
        trained_on, protocol = data.train, WHOLE
    elif settings is None:
        config = rdd.DistillConfig(seed=seed, init="real" if groups is None else "groups")
        images = initial_state(data.train, config, groups).images
        trained_on = rdd.SyntheticSet(
            images,
            torch.arange(data.train.num_classes).repeat_interleave(config.ipc),
            data.train.class_names,
            data.train.mean,
            data.train.std,
            config.ipc,
        )
    else:
        config = rdd.DistillConfig(seed=seed, **settings)
        run = rdd.distill(data.train, config, groups, out=folder, device="cpu", progress=f"{part} {method} {seed}")
        trained_on, seconds = run.synthetic, float(run.history.seconds.sum())
    scores = rdd.evaluate(trained_on, data.test, nets=NETS, protocol=protocol, seed=seed, device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    scores.save(folder / "scores.npz")
    said = {
        "scenario": data.name,
        "part": part,
        "method": method,
        "seed": seed,
        "minority_mass": None
        if groups is None
        else round(group_mass(groups, data.train.labels, data.train.minority), 4),
        "discovery_seconds": round(discovery, 2),
        "distill_seconds": round(seconds, 2),
        "revision": REVISION,
        **machine.describe(),
    }
    (folder / "result.json").write_text(json.dumps(said))


def collect() -> pd.DataFrame:
    """The tidy table of everything measured so far: a row for each net and side (majority, minority)."""
    tables = []
    for path in sorted(RUNS.glob("*/*/*/result.json")):
        said = json.loads(path.read_text())
        table = Scores.load(path.parent / "scores.npz").table("minority")
        for name, value in said.items():
            table[name] = value
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    """Run what is missing and rebuild the table."""
    parser = argparse.ArgumentParser(description="measure the methods of issue 2's closing table")
    parser.add_argument("--part", choices=sorted(PARTS), action="append")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        for part in args.part or sorted(PARTS):
            for method in args.methods or PARTS[part][2]:
                measure(part, method, seed)
    table = collect()
    table.to_csv(TABLE, index=False)
    table["accuracy"] = table["correct"] / table["n"] * 100
    means = table.groupby(["part", "method", "seed", "group"], sort=False)["accuracy"].mean()
    print(means.groupby(["part", "method", "group"], sort=False).agg(["mean", "std", "count"]).round(1).to_string())


if __name__ == "__main__":
    main()
