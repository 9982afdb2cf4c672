"""Which rare strata are found? The table ``strata.csv``, on training data alone.

    python data/results/strata.py [--seeds 0 1 2 3 4 5 6 7]

For each seed of ``study.csv`` and ``replication.csv`` and each fine class of `hidden-strata`: whether it is a rare one,
how many training images it has, and its part of its coarse class in the data (``share``) and in what robust matching
draws (``mass``) with the groups that the default finds. ``page.py`` puts the accuracies beside it. It resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

import rdd_nb as rdd
from rdd_nb.core import environment
from rdd_nb.distillation.initialization import sampling_weights

TABLE = Path(__file__).with_name("strata.csv")


def measure(seed: int) -> pd.DataFrame:
    """A row for each fine class."""
    data = rdd.scenario(rdd.load("fashion-mnist-sample"), "hidden-strata", fraction=0.05, seed=seed).train
    groups = rdd.discover_groups(data, seed=seed, device="cpu")
    drawn = sampling_weights(data, rdd.DistillConfig(), groups)
    assert data.groups is not None and data.minority is not None
    where = {k: v for k, v in environment.describe().items() if k in ("rdd_nb", "torch", "processor", "date")}
    rows = []
    for place, name in enumerate(data.group_names):
        mine = data.groups == place
        of_class = data.labels == data.labels[mine][0]
        part = {"share": mine.sum() / of_class.sum(), "mass": drawn[mine].sum() / drawn[of_class].sum()}
        row = {"seed": seed, "group": name, "rare": bool(data.minority[mine].any()), "n": int(mine.sum())}
        rows.append({**row, **{k: float(v) for k, v in part.items()}, **where})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure the seeds that the table lacks."""
    parser = argparse.ArgumentParser(description="which rare strata are found?")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    torch.set_num_threads(1)
    for seed in parser.parse_args().seeds:
        held = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["seed"])
        if seed not in set(held["seed"]):
            pd.concat([held, measure(seed)]).to_csv(TABLE, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
