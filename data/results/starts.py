"""What the start does: real images at random, k-means medoids, or spread over groups; the table ``starts.csv``.

    python data/results/starts.py --data FOLDER [--sets coloured …] [--seeds 100 101]

Training images alone: 30 % are held out, and of the rest groups are found by the default, and sets distilled plainly
and robustly from each start; networks judge the held-out images. ``FOLDER``, and what is measured already: ``real.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import real
import torch
from calibration import halves, rare

import rdd_nb as rdd

TABLE = Path(__file__).with_name("starts.csv")
SETS = (
    "cmaterdb",
    "cmaterdb, 5 %",
    "pullover or coat",
    "T-shirt or shirt",
    "coloured",
    "cat or dog",
    "c-fmnist background",
)
WAYS = (
    ("plain", "erm", "real"),
    ("plain", "erm", "medoids"),
    ("robust", "robust", "groups"),
    ("robust", "robust", "medoids"),
)


def main() -> None:
    """Measure what is missing, and rewrite the table after each: it can be stopped and started."""
    parser = argparse.ArgumentParser(description="starts of plain and robust distillation, on held-out training images")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(real.SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where = real.machine()
    for seed, name in real.unmeasured(TABLE, asked.seeds, asked.sets):
        met, held = halves(real.SETS[name](asked.data, seed).train, seed)
        held, groups = replace(held, minority=rare(held)), rdd.discover_groups(met, seed=seed, device="cpu")
        rows = []
        for method, objective, start in WAYS:
            if method == "robust" and not groups.raised:
                continue  # it is plain
            config = rdd.DistillConfig(objective=objective, init=start, seed=seed)
            run = rdd.distill(met, config, groups if method == "robust" else None, device="cpu", progress=False)
            scores = real.scored(run.synthetic, held, seed)
            told = {k: scores[k] for k in ("accuracy", "worst group", "minority") if k in scores}
            rows.append({"set": name, "seed": seed, "method": method, "start": start, **told, **where})
            print(rows[-1], flush=True)
        real.add(TABLE, rows)


if __name__ == "__main__":
    main()
