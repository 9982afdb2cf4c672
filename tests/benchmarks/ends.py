"""Where do distillations end that differ in one setting? From data/results into docs/how-to/speed.md.

rdd-nb study data/studies/precision.yaml --table data/results/precision.csv
rdd-nb study data/studies/quickstart.yaml --table data/results/quickstart.csv
rdd-nb study data/studies/quickstart-fresh.yaml --table data/results/quickstart-fresh.csv
python tests/benchmarks/ends.py --words
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pages import filled, put, table

from rdd_nb.evaluation import results

PAGE, RESULTS = Path("docs/how-to/speed.md"), Path("data/results")
SHOWN = {
    "none": ("none", "all", "all"),
    "coloured, off-colour": ("coloured", "minority", "off-colour"),
    "coloured, on-colour": ("coloured", "minority", "on-colour"),
}


class Study(NamedTuple):
    """What varies, from what to what; how its methods are called; what is the same for all runs."""

    setting: str
    levels: tuple[str, ...]
    kinds: dict[str, str]
    base: str
    beside: tuple[str, str] | None = None  # two methods, of which the page says how they differ where most matters


STUDIES = {
    "precision": Study(
        "precision",
        ("float32", "bfloat16"),
        {"plain": "plain", "robust": "robust", "gradient": "robust, gradient matching"},
        "16 pixels and width 16, scored in float32",
    ),
    "quickstart": Study(
        "iterations",
        ("120", "60", "40"),
        {"plain": "plain", "robust": "robust"},
        "28 pixels and width 32, four networks each, scored",
        ("robust iterations=120", "whole"),
    ),
}
STUDIES["quickstart-fresh"] = STUDIES["quickstart"]._replace(levels=("120", "60"))


def words(name: str) -> str:
    """A table of accuracies at the first level, and at each other with the paired difference over seeds."""
    study, path = STUDIES[name], RESULTS / f"{name}.csv"
    held, runs = results.load_table(path), pd.read_csv(results.runs_path(path))
    rows: dict[str, object] = {}
    for kind, called in study.kinds.items():
        first, *others = (f"{kind} {study.setting}={level}" for level in study.levels)
        mine = held[held["method"].isin([first, *others])]
        means = results.summary(mine).set_index(["scenario", "partition", "group", "method"])["mean"]
        gains = results.differences(mine, baseline=first).set_index(["scenario", "partition", "group", "method"])
        for where, key in SHOWN.items():
            if key[0] in set(mine["scenario"]):
                row = [f"{100 * means[(*key, first)]:.1f}"]
                for other in others:
                    row += [f"{100 * means[(*key, other)]:.1f}", _change(gains.loc[(*key, other)])]
                rows[f"{called}: {where}"] = row
    last = runs.iloc[-1]
    said = (
        f"{len(runs)} runs at {runs['seed'].nunique()} seeds, {study.base} on held-out training images "
        f"(`data/studies/{name}.yaml`); {last['processor']}, {last['date']}, torch {last['torch']}; all numbers in "
        f"`data/results/{name}.csv`. Accuracy in %, and the paired difference in points with a 95 % interval over "
        "seeds:"
    )
    head = ["what", study.levels[0]]
    for level in study.levels[1:]:
        head += [level, "difference"]
    blocks = [filled(said), table(tuple(head), rows)]
    if study.beside:
        one, other = study.beside
        sides = [SHOWN[f"coloured, {side}"] for side in ("off-colour", "on-colour")]
        gains = results.differences(held, baseline=other).set_index(["scenario", "partition", "group", "method"])
        off, on = (_change(gains.loc[(*side, one)]) for side in sides)
        said = f"Compared with two epochs over all images, {one} has {off} points off-colour, {on} on-colour."
        blocks.append(filled(said))
    return "\n\n".join(blocks) + "\n"


def _change(gain: pd.Series) -> str:
    interval = ", ".join(f"{100 * gain[end]:+.1f}" for end in ("low", "high"))
    return f"{100 * gain['difference']:+.1f} [{interval}]".replace("-", "−")


def main() -> None:
    """Bring the page up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", required=True)
    parser.parse_args()
    for name in STUDIES:
        put(PAGE, name, words(name))


if __name__ == "__main__":
    main()
