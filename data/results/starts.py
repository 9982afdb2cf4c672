"""What the start does, in distillation and in the trial: random images, medoids of classes or groups; ``starts.csv``.

    python data/results/starts.py --data FOLDER [--sets coloured …] [--seeds 100 101]

Training images alone: 30 % are held out, and of the rest groups are found by the default, and sets distilled plainly
and robustly from each start; networks judge the held-out images. Beside each stands what the trial says of that start,
and ``chosen`` is the one that the default takes. ``FOLDER``, and what is measured already: ``real.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import real
import torch
from calibration import halves, rare
from fronts import training

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.trials import POWER
from rdd_nb.data.dataset import ImageDataset

TABLE = Path(__file__).with_name("starts.csv")
SETS = (
    "cmaterdb",
    "cmaterdb, 5 %",
    "pullover or coat",
    "T-shirt or shirt",
    "coloured",
    "cat or dog",
    "c-fmnist background",
    "rotated-minority",
    "none",
)
WAYS = (
    ("plain", "erm", "real"),
    ("plain", "erm", "medoids"),
    ("robust", "robust", "groups"),
    ("robust", "robust", "medoids"),
    ("robust", "robust", "group-medoids"),
)


def told(data: ImageDataset, groups: Groups, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """What the trial says that each of the ways changes, against plain from random images: the mean, and the rare."""
    trial, few = clustering.Trials(data, seed=seed, device="cpu"), rare(data)
    natural = replace(groups, learnable=torch.zeros(data.num_classes, groups.num_groups, dtype=torch.float64))
    plain = trial.judge(natural, POWER)
    said = {}
    for method, _, start in WAYS:
        raised = groups if method == "robust" else natural
        change = 100 * (trial.judge(raised, POWER, start="groups" if start == "real" else start) - plain).mean(1)
        said[method, start] = {"trial": float(change.nanmean())}
        if few is not None:
            said[method, start]["trial rare"] = float(change[few].nanmean())
    return said


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
        met, held = halves(training(name, asked.data, seed), seed)
        held, groups = replace(held, minority=rare(held)), rdd.discover_groups(met, seed=seed, device="cpu")
        rows, said = [], told(met, groups, seed)
        for method, objective, start in WAYS:
            if method == "robust" and not groups.raised:
                continue  # it is plain
            config = rdd.DistillConfig(objective=objective, init=start, seed=seed)
            run = rdd.distill(met, config, groups if method == "robust" else None, device="cpu", progress=False)
            scores = real.scored(run.synthetic, held, seed)
            row = {"set": name, "seed": seed, "method": method, "start": start}
            row |= {k: scores[k] for k in ("accuracy", "worst group", "minority") if k in scores}
            chosen = (method == "robust") == groups.raised and start == (groups.start or "real")
            rows.append({**row, **said[method, start], "chosen": chosen, **where})
            print(rows[-1], flush=True)
        real.add(TABLE, rows)


if __name__ == "__main__":
    main()
