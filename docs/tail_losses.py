"""The losses that the page on the tail shows: those of notebook 01, from its own cells, at its committed settings.

    python docs/tail_losses.py

Writes ``docs/tail_losses.csv`` anew. It runs the notebook's cells up to the one that computes the losses (seconds);
`make notebooks` runs it after that notebook.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "notebooks" / "01_risk_and_robustness.ipynb"
TABLE = HERE / "tail_losses.csv"


def measured() -> pd.DataFrame:
    """Columns ``loss`` (nats, six digits, the worst first) and ``group``, a row for each held-out image."""
    there, held = os.getcwd(), dict[str, object]()
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(scratch)  # for what the notebook writes
        try:
            for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
                if cell["cell_type"] == "code" and not {"losses", "few"} <= set(held):
                    exec("".join(cell["source"]), held)
        finally:
            os.chdir(there)
    few = held["few"].numpy()  # type: ignore[attr-defined]
    names = np.array([held["majority"], held["minority"]])[few.astype(int)]
    table = pd.DataFrame({"loss": held["losses"].numpy(), "group": names})  # type: ignore[attr-defined]
    table = table.sort_values("loss", ascending=False, kind="stable", ignore_index=True)
    return table.assign(loss=[float(f"{loss:.6g}") for loss in table["loss"]])


if __name__ == "__main__":
    measured().to_csv(TABLE, index=False, lineterminator="\n")
