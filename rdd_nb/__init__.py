"""rdd_nb: group-distributionally-robust dataset distillation, as a course and a lab bench.

    import rdd_nb as rdd

    data = rdd.scenario(rdd.load("fashion-mnist-sample"), "coloured", bias=0.9, seed=0)
    groups = rdd.discover_groups(data.train, seed=0)
    run = rdd.distill(data.train, rdd.DistillConfig(objective="group", seed=0), groups, out="runs/demo")
    scores = rdd.evaluate(run.synthetic, data.test, nets=5)
    rdd.group_table(scores, by="minority")

Names below are imported when they are first used, so that ``import rdd_nb`` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "DistillConfig": "distill",
    "Groups": "clustering",
    "ImageDataset": "datasets",
    "Protocol": "evaluate",
    "RddError": "errors",
    "RunFolder": "runs",
    "Scores": "evaluate",
    "Splits": "datasets",
    "SyntheticSet": "runs",
    "cvar": "risk",
    "discover_groups": "clustering",
    "group_cvar": "risk",
    "group_table": "subgroups",
    "known_groups": "clustering",
    "load": "datasets",
    "load_synthetic": "runs",
    "robust_risk": "risk",
    "worst_group": "subgroups",
}
_FUNCTIONS_NAMED_AS_THEIR_ROOM = ("distill", "evaluate", "scenario")
