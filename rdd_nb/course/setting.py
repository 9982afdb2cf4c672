"""What a notebook's parameters mean, where several notebooks read them alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rdd_nb.core.errors import unknown
from rdd_nb.distillation.config import DistillConfig

__all__ = ["one_of", "scenario_options", "settle"]

#: The option that says how strong a scenario is; ``bias`` where none is named.
STRENGTH = {"rotated-minority": "fraction", "hidden-strata": "fraction", "long-tail": "ratio"}


def scenario_options(scenario: str, strength: float | None) -> dict[str, float]:
    """The options that give a scenario its strength, whatever it calls it; none for its default.

    >>> scenario_options("coloured", 0.95), scenario_options("long-tail", 100), scenario_options("coloured", None)
    ({'bias': 0.95}, {'ratio': 100}, {})
    """
    return {} if strength is None else {STRENGTH.get(scenario, "bias"): strength}


def one_of(kind: str, value: str, known: Collection[str]) -> str:
    """The value of a parameter that has only a few.

    Raises:
        RddError: it is none of those known.

    >>> one_of("part to score on", "test", ("test", "held-out"))
    'test'
    """
    if value not in known:
        raise unknown(kind, value, known)
    return value


def settle(
    profiled: Mapping[str, Mapping[str, Any]], named: Mapping[str, Any], other: Mapping[str, Any]
) -> DistillConfig:
    """The settings of a distillation: a profile's; over them the parameters that are not None, and over them others.

    Args:
        profiled: what the profile sets, under ``both`` and under the name of each kind of matching.
        named: the notebook's parameters of these names; None leaves a field to the profile or the default.
        other: any other fields, which win.

    >>> profiled = {"both": {"width": 32}, "gradient": {"iterations": 20}}
    >>> config = settle(profiled, {"ipc": 1, "tail": None}, {"matching": "gradient", "width": 16})
    >>> config.ipc, config.tail == DistillConfig().tail, config.matching, config.iterations, config.width
    (1, True, 'gradient', 20, 16)
    """
    given = {name: value for name, value in named.items() if value is not None} | dict(other)
    matching = given.get("matching", DistillConfig.model_fields["matching"].default)
    return DistillConfig(**{**profiled["both"], **profiled.get(matching, {}), **given})
