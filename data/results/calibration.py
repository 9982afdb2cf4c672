"""Does the trial of what raising groups brings say what distillation does? The table ``calibration.csv``.

    python data/results/calibration.py --data FOLDER [--sets "cmaterdb, 5 %" …] [--seeds 100 101 102]

Training images alone: 30 % are held out; of the rest, groups are found, raised and distilled, and what that changes on
the held-out images, beside plain matching, stands beside what the trial says, for several parts of the way that it
moves its small sets (:data:`rdd_nb.clustering.trials.MOVED`). ``FOLDER``, and what is measured already: ``real.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import real
import torch

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.clustering import trials
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

TABLE = Path(__file__).with_name("calibration.csv")
SETS = ("cmaterdb, 5 %", "coloured", "pullover or coat", "T-shirt or shirt")
MOVED = (0.0, 0.5, 0.75, 1.0)
HELD_OUT = 0.3


def halves(data: ImageDataset, seed: int) -> tuple[ImageDataset, ImageDataset]:
    """What is learnt from, and what is held out."""
    order = torch.randperm(len(data), generator=stream(seed, "held out"))
    cut = round((1 - HELD_OUT) * len(data))
    return data.subset(order[:cut].sort().values), data.subset(order[cut:].sort().values)


def rare(data: ImageDataset) -> torch.Tensor | None:
    """Bool ``[N]``: the marked minority, or the last group."""
    if data.minority is not None or data.groups is None:
        return data.minority
    return data.groups == data.num_groups - 1


def ways(data: ImageDataset, seed: int) -> dict[str, Groups]:
    """Groupings by name, with how far each is raised."""
    before, after, *_ = clustering.candidates(data, seed=seed, device="cpu")
    found = {"probabilities": before, "before and after": after}
    if data.groups is not None:
        found["known"] = clustering.known_groups(data)
    return found


def told(data: ImageDataset, groups: Groups, seed: int) -> dict[str, float]:
    """What the trial says: the change of the mean and of the rare, for each part of the way."""
    said, few = {}, rare(data)
    natural = replace(groups, learnable=torch.zeros(data.num_classes, groups.num_groups, dtype=torch.float64))
    for moved in MOVED:
        trials.MOVED = moved
        trial = trials.Trials(data, seed=seed, device="cpu")
        change = 100 * (trial.judge(groups, trials.POWER) - trial.judge(natural, trials.POWER)).mean(1)
        said[f"trial mean, {moved:g}"] = float(change.nanmean())
        if few is not None:
            said[f"trial rare, {moved:g}"] = float(change[few].nanmean())
    return said


def main() -> None:
    """Measure what is missing, and rewrite the table after each: it can be stopped and started."""
    parser = argparse.ArgumentParser(description="the trial beside distillation, on held-out training images")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(real.SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where = real.machine()
    for seed, name in real.unmeasured(TABLE, asked.seeds, asked.sets):
        met, held = halves(real.SETS[name](asked.data, seed).train, seed)
        held = replace(held, minority=rare(held))
        scores: dict[str, dict[str, float]] = {}
        rows = []
        for way, groups in {"plain": None, **ways(met, seed)}.items():
            config = rdd.DistillConfig(objective="erm" if groups is None else "robust", seed=seed)
            run = rdd.distill(met, config, groups, device="cpu", progress=False)
            scores[way] = real.scored(run.synthetic, held, seed)
            if groups is None:
                continue
            changed = {k: scores[way][k] - scores["plain"][k] for k in ("accuracy", "minority") if k in scores[way]}
            row = {"set": name, "seed": seed, "groups": way, **changed, **told(met, groups, seed), **where}
            rows.append(row)
            print(row, flush=True)
        real.add(TABLE, rows)


if __name__ == "__main__":
    main()
