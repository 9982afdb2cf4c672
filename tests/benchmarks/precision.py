"""Where does a distillation in bfloat16 end? From data/results/precision.csv into docs/how-to/speed.md.

rdd-nb study data/studies/precision.yaml --table data/results/precision.csv
python tests/benchmarks/precision.py --words
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from pages import filled, put, table

from rdd_nb.study import results

PAGE, TABLE = Path("docs/how-to/speed.md"), Path("data/results/precision.csv")
SHOWN = {("none", "all", "all"): "none", ("coloured", "minority", "off-colour"): "coloured, off-colour"}
SHOWN |= {("coloured", "minority", "on-colour"): "coloured, on-colour"}
KINDS = {"plain": "plain", "robust": "robust", "gradient": "robust, gradient matching"}


def words(path: Path) -> str:
    """A table of accuracies in either precision, and their paired difference over seeds."""
    held, runs = results.load_table(path), pd.read_csv(results.runs_path(path))
    rows: dict[str, object] = {}
    for kind, called in KINDS.items():
        names = {p: f"{kind} precision={p}" for p in ("float32", "bfloat16")}
        mine = held[held["method"].isin(names.values())]
        means = results.summary(mine).set_index(["scenario", "partition", "group", "method"])["mean"]
        gains = results.differences(mine, baseline=names["float32"])
        gains = gains[gains["method"] == names["bfloat16"]].set_index(["scenario", "partition", "group"])
        for key, where in SHOWN.items():
            gain = gains.loc[key]
            interval = ", ".join(f"{100 * gain[end]:+.1f}" for end in ("low", "high"))
            change = f"{100 * gain['difference']:+.1f} [{interval}]".replace("-", "−")
            rows[f"{called}: {where}"] = [*(f"{100 * means[(*key, names[p])]:.1f}" for p in names), change]
    last = runs.iloc[-1]
    said = (
        f"{len(runs)} runs at {runs['seed'].nunique()} seeds, 16 pixels and width 16 (`data/studies/precision.yaml`), "
        f"scored in float32 on held-out training images; {last['processor']}, {last['date']}, torch {last['torch']}; "
        "all numbers in `data/results/precision.csv`. Accuracy in %, and the paired difference in points with a 95 % "
        "interval over seeds:"
    )
    head = ("what", "float32", "bfloat16", "difference")
    return f"{filled(said)}\n\n{table(head, rows)}\n"


def main() -> None:
    """Bring the page up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", required=True)
    parser.parse_args()
    put(PAGE, "precision", words(TABLE))


if __name__ == "__main__":
    main()
