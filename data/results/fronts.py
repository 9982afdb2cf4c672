"""What raising buys the rare, and what it costs the others, by how far groups are raised: the table ``fronts.csv``.

    python data/results/fronts.py --data FOLDER [--sets coloured …] [--seeds 100 101 102]

Training images alone, in the trial that chooses groups (:class:`rdd_nb.clustering.Trials`): groups found, groups known,
and groups of which one label in twenty is known, raised by several strengths. Which images are rare is read to score
what was raised, never to find it. ``FOLDER``, and what is measured already: ``real.py``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import real
import torch
from calibration import rare

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.clustering.choice import STRENGTHS
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.trials import POWER
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

TABLE = Path(__file__).with_name("fronts.csv")
SETS = ("coloured", "c-mnist background", "c-fmnist background", "cmaterdb, 5 %", "rotated-minority", "background")
PART = 0.05  # of the group labels, where some are known


def training(name: str, folder: Path, seed: int) -> ImageDataset:
    """The training set of a real set, or of a scenario of the shipped sample."""
    if name in real.SETS:
        return real.SETS[name](folder, seed).train
    return rdd.scenario(rdd.load("fashion-mnist-sample"), name, seed=seed).train


def ways(data: ImageDataset, seed: int) -> dict[str, Groups]:
    """Groupings by name, with how far each is raised at strength 1."""
    before, after, *_ = clustering.candidates(data, seed=seed, device="cpu")
    assert data.groups is not None
    told_of = torch.rand(len(data), generator=stream(seed, "told of")) < PART
    some = data.groups.where(told_of, torch.tensor(clustering.UNKNOWN))
    partly = clustering.extended_groups(data, some, seed, "cpu")
    full = {"known": clustering.known_groups(data), f"known for {PART:.0%}": partly}
    in_full = {
        name: replace(groups, learnable=torch.ones(data.num_classes, groups.num_groups, dtype=torch.float64))
        for name, groups in full.items()
    }
    return {"probabilities": before, "before and after raising": after, **in_full}


def main() -> None:
    """Measure what is missing, and rewrite the table after each: it can be stopped and started."""
    parser = argparse.ArgumentParser(description="what raising buys and costs, in the trial, on training images")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where = real.machine()
    for seed, name in real.unmeasured(TABLE, asked.seeds, asked.sets):
        data = training(name, asked.data, seed)
        few, trial = rare(data), clustering.Trials(data, seed=seed, device="cpu")
        rows = []
        for way, groups in ways(data, seed).items():
            judged = {
                strength: trial.judge(replace(groups, learnable=strength * groups.learnable), POWER)
                for strength in (0.0, *STRENGTHS)
            }
            for strength in STRENGTHS:
                change = 100 * (judged[strength] - judged[0.0]).mean(1)
                sides = {"rare": float(change[few].nanmean()), "others": float(change[~few].nanmean())}
                rows.append({"set": name, "seed": seed, "groups": way, "strength": strength, **sides, **where})
        real.add(TABLE, rows)
        print(name, seed, flush=True)


if __name__ == "__main__":
    main()
