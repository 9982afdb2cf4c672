"""A notebook run a thousand times: a grid of parameters, each run in its own process and folder, resumed at any time.

    from rdd_nb.experiments import sweep

    plan = sweep.make_plan("notebooks/03_distillation.ipynb", {"product": {"tail": [0.2, 0.8]}, "seeds": [0, 1, 2]})
    result = sweep.run_sweep(plan, "runs/tails", workers=2)
    table = sweep.collect("runs/tails")  # a row a run: parameters, status, seconds, and what the notebook measured

On a terminal: ``rdd-nb sweep NOTEBOOK --grid grid.yaml --out runs/tails`` and ``rdd-nb report runs/tails``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rdd_nb.experiments.sweep.engine import Progress, Result, default_workers, run_sweep, stands
from rdd_nb.experiments.sweep.grid import Plan, Run, load_grid, make_plan
from rdd_nb.experiments.sweep.guard import Outcome

if TYPE_CHECKING:
    from rdd_nb.experiments.sweep.tables import collect as collect
    from rdd_nb.experiments.sweep.tables import outcomes as outcomes

__all__ = [
    "Outcome",
    "Plan",
    "Progress",
    "Result",
    "Run",
    "default_workers",
    "load_grid",
    "make_plan",
    "run_sweep",
    "stands",
]


def __getattr__(name: str) -> Any:  # pandas is imported when a table is asked for, so that a run's process stays small
    if name in ("collect", "outcomes"):
        return getattr(importlib.import_module("rdd_nb.experiments.sweep.tables"), name)
    raise AttributeError(f"module 'rdd_nb.experiments.sweep' has no attribute {name!r}")
