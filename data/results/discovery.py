"""Which signal finds the minority? The table ``discovery.csv``, on training data alone.

    python data/results/discovery.py [--seeds 100 101 102]

For each scenario, seed and signal: the minority's share in what is matched when groups count alike (``mass_0``) and at
the default power (``mass_default``), how far the groups found from two seeds agree (``stability``, adjusted Rand index
within classes: what could be known without labels), and seconds. No network is scored and no test image is read; group
labels are read to measure the share, never to find it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.clustering import reference_networks
from rdd_nb.clustering.groups import Groups
from rdd_nb.core import environment
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import ImageDataset

TABLE = Path(__file__).with_name("discovery.csv")
SCENARIOS = {
    "coloured": {"bias": 0.9},
    "rotated-minority": {"fraction": 0.1},
    "hidden-strata": {"fraction": 0.05},
    "background": {"bias": 0.9},
}
Find = Callable[[ImageDataset, int], Groups]


def _space(name: str, k: int = 10, learnable: bool = False) -> Find:
    return lambda data, seed: clustering.discover_groups(
        data, name, num_groups=k, learnable=learnable, seed=seed, device="cpu"
    )


def _points(points: Callable[[ImageDataset, int], Tensor]) -> Find:
    return lambda data, seed: Groups(clustering.kmeans(points(data, seed), data.labels, 10, seed), 10, "")


def _network(**options: float) -> Find:
    return _points(lambda data, seed: reference_networks.biased_probabilities(data, seed, device="cpu", **options))  # type: ignore[arg-type]


def _several(data: ImageDataset, seed: int) -> Tensor:
    return torch.stack(
        [reference_networks.biased_probabilities(data, seed_of(seed, i), device="cpu") for i in range(4)]
    ).mean(0)


def _two_views(data: ImageDataset, seed: int) -> Tensor:
    views = [clustering.space(data, name, seed, "cpu") for name in ("probabilities", "style")]
    return torch.cat([view / view.std() for view in views], 1)


#: Signals: name → a function of data and seed that finds groups; but for the default, all of these are raised.
SIGNALS: dict[str, Find] = {
    "pixels": _space("pixels"),
    "style": _space("style"),
    "frozen features": _space("features"),
    "predicted class": _space("predicted-class"),
    "probabilities": _space("probabilities"),
    "probabilities, where learnable (default)": _space("probabilities", learnable=True),
    "probabilities, 5 groups": _space("probabilities", 5),
    "probabilities, 20 groups": _space("probabilities", 20),
    "probabilities, 1 pass": _network(epochs=1),
    "probabilities, 4 passes": _network(epochs=4),
    "probabilities, 8 passes": _network(epochs=8),
    "probabilities, cross-entropy": _network(q=1e-3),
    "probabilities, mean of 4 networks": _points(_several),
    "probabilities and style": _points(_two_views),
}


def measure(data: ImageDataset, find: Find, seed: int) -> dict[str, float]:
    """One row's numbers."""
    began = time.perf_counter()
    groups = find(data, seed)
    seconds = time.perf_counter() - began
    ids, again = groups.ids, find(data, seed + 1000).ids
    assert data.minority is not None
    power = rdd.DistillConfig().group_power
    classes = [data.labels == label for label in range(data.num_classes)]
    return {
        "mass_0": clustering.group_mass(groups, data.labels, data.minority),
        "mass_default": clustering.group_mass(groups, data.labels, data.minority, power),
        "stability": float(np.mean([adjusted_rand_score(ids[c].numpy(), again[c].numpy()) for c in classes])),
        "seconds": seconds,
    }


def main() -> None:
    """Measure what is missing and rewrite the table after each row, so that it can be stopped and started."""
    parser = argparse.ArgumentParser(description="which signal finds the minority?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    torch.set_num_threads(1)
    table = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["scenario", "signal", "seed"])
    done = set(zip(table["scenario"], table["signal"], table["seed"]))
    where = {k: v for k, v in environment.describe().items() if k in ("rdd_nb", "torch", "processor", "date")}
    for seed, (name, options) in itertools.product(parser.parse_args().seeds, SCENARIOS.items()):
        data = rdd.scenario(rdd.load("fashion-mnist-sample"), name, seed=seed, **options).train
        for signal, find in SIGNALS.items():
            if (name, signal, seed) not in done:
                row = {"scenario": name, "signal": signal, "seed": seed, **measure(data, find, seed), **where}
                table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
                table.to_csv(TABLE, index=False, float_format="%.4g")
                print(f"{name} {signal} {seed}: {row['mass_0']:.2f} {row['mass_default']:.2f}", flush=True)
    means = table.groupby(["signal", "scenario"], sort=False)[["mass_0", "stability"]].mean().unstack()
    print(means.round(2).to_string())


if __name__ == "__main__":
    main()
