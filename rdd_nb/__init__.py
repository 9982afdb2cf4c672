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

from rdd_nb.core.version import __version__ as __version__

if TYPE_CHECKING:
    from rdd_nb.clustering.coresets import coreset as coreset
    from rdd_nb.clustering.discovery import discover_groups as discover_groups
    from rdd_nb.clustering.groups import Groups as Groups
    from rdd_nb.clustering.groups import known_groups as known_groups
    from rdd_nb.core.errors import RddError as RddError
    from rdd_nb.data.dataset import ImageDataset as ImageDataset
    from rdd_nb.data.dataset import Splits as Splits
    from rdd_nb.data.loading import load as load
    from rdd_nb.data.scenarios import scenario as scenario
    from rdd_nb.data.synthetic_set import SyntheticSet as SyntheticSet
    from rdd_nb.data.synthetic_set import load_synthetic as load_synthetic
    from rdd_nb.distillation.config import DistillConfig as DistillConfig
    from rdd_nb.distillation.loop import distill as distill
    from rdd_nb.distillation.run_folder import RunFolder as RunFolder
    from rdd_nb.evaluation.predictions import evaluate as evaluate
    from rdd_nb.evaluation.scores import Scores as Scores
    from rdd_nb.evaluation.subgroups import group_table as group_table
    from rdd_nb.evaluation.subgroups import worst_group as worst_group
    from rdd_nb.models.protocol import Protocol as Protocol
    from rdd_nb.models.risk import cvar as cvar
    from rdd_nb.models.risk import group_cvar as group_cvar
    from rdd_nb.models.risk import robust_risk as robust_risk

#: The layers, lowest first: each imports only from those before it.
LAYERS = (
    "core",
    "data",
    "models",
    "clustering",
    "distillation",
    "evaluation",
    "figures",
    "reporting",
    "experiments",
    "course",
    "cli",
)
_HOMES = {
    "clustering.coresets": ("coreset",),
    "clustering.discovery": ("discover_groups",),
    "clustering.groups": (
        "Groups",
        "known_groups",
    ),
    "core.errors": ("RddError",),
    "data.dataset": (
        "ImageDataset",
        "Splits",
    ),
    "data.loading": ("load",),
    "data.scenarios": ("scenario",),
    "data.synthetic_set": (
        "SyntheticSet",
        "load_synthetic",
    ),
    "distillation.config": ("DistillConfig",),
    "distillation.loop": ("distill",),
    "distillation.run_folder": ("RunFolder",),
    "evaluation.predictions": ("evaluate",),
    "evaluation.scores": ("Scores",),
    "evaluation.subgroups": (
        "group_table",
        "worst_group",
    ),
    "models.protocol": ("Protocol",),
    "models.risk": (
        "cvar",
        "group_cvar",
        "robust_risk",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"rdd_nb.{_HOME_OF[name]}"), name)
    elif name in LAYERS:
        value = importlib.import_module(f"rdd_nb.{name}")
    else:
        raise AttributeError(f"module 'rdd_nb' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *LAYERS})
