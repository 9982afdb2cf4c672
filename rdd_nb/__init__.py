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
import pkgutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdd_nb.clustering import Groups as Groups
    from rdd_nb.clustering import discover_groups as discover_groups
    from rdd_nb.clustering import known_groups as known_groups
    from rdd_nb.config import DistillConfig as DistillConfig
    from rdd_nb.coresets import coreset as coreset
    from rdd_nb.datasets import ImageDataset as ImageDataset
    from rdd_nb.datasets import Splits as Splits
    from rdd_nb.datasets import load as load
    from rdd_nb.distill import distill as distill
    from rdd_nb.errors import RddError as RddError
    from rdd_nb.evaluate import Scores as Scores
    from rdd_nb.evaluate import evaluate as evaluate
    from rdd_nb.risk import cvar as cvar
    from rdd_nb.risk import group_cvar as group_cvar
    from rdd_nb.risk import robust_risk as robust_risk
    from rdd_nb.runs import RunFolder as RunFolder
    from rdd_nb.runs import SyntheticSet as SyntheticSet
    from rdd_nb.runs import load_synthetic as load_synthetic
    from rdd_nb.scenarios import scenario as scenario
    from rdd_nb.subgroups import group_table as group_table
    from rdd_nb.subgroups import worst_group as worst_group
    from rdd_nb.training import Protocol as Protocol

__version__ = "0.1.0"

_HOME = {
    "clustering": ("Groups", "discover_groups", "known_groups"),
    "config": ("DistillConfig",),
    "coresets": ("coreset",),
    "datasets": ("ImageDataset", "Splits", "load"),
    "distill": ("distill",),
    "errors": ("RddError",),
    "evaluate": ("Scores", "evaluate"),
    "risk": ("cvar", "group_cvar", "robust_risk"),
    "runs": ("RunFolder", "SyntheticSet", "load_synthetic"),
    "scenarios": ("scenario",),
    "subgroups": ("group_table", "worst_group"),
    "training": ("Protocol",),
}
_ROOM_OF = {name: room for room, names in _HOME.items() for name in names}
_ROOMS = frozenset(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(f"rdd_nb.{_ROOM_OF[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"rdd_nb.{name}")
    else:
        raise AttributeError(f"module 'rdd_nb' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF, *_ROOMS})


class _Package(ModuleType):
    """Where a room and its main function share a name (``distill``, ``evaluate``), ``rdd_nb.name`` is the function.

    Importing ``rdd_nb.distill`` makes Python set the attribute to the room; this keeps it the function, whichever
    was asked for first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _ROOM_OF.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
