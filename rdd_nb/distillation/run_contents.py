"""What a run folder says of itself, as types with bounds: a folder may come from a stranger, or from an editor.

:class:`rdd_nb.distillation.run_folder.RunFolder` keeps any JSON object, as notebooks have measurements of their own.
Whoever acts on what stands there asks for :func:`contents` instead, and gets values of the kinds that are meant.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from rdd_nb.core.checked import Held, validated
from rdd_nb.distillation.run_folder import RunFolder

__all__ = ["Contents", "Data", "Discovery", "Evaluation", "Scalar", "Source", "Trial", "contents"]

LARGEST_SIDE = 4096  #: pixels, to which images may be resized
Text = Annotated[str, pydantic.Field(max_length=4096)]
Whole = Annotated[int, pydantic.Field(ge=-(2**63), lt=2**63)]
Scalar = bool | Whole | float | Text | None


class Source(Held):
    """How to get the data again: the options of ``rdd-nb distill`` by their names.

    From ``size`` to ``sample`` they are those of :class:`rdd_nb.data.reading.Reading`.
    """

    data: Text = ""
    scenario: Text | None = None
    options: dict[Text, Scalar | list[Scalar]] = pydantic.Field(default_factory=dict, max_length=100)
    data_seed: Whole | None = None
    size: int | None = pydantic.Field(default=None, ge=1, le=LARGEST_SIDE)
    channels: int | None = pydantic.Field(default=None, ge=1, le=3)
    background: Text | None = None
    fit: Literal["stretch", "pad", "crop"] | None = None
    label: Text | None = None
    group: list[Text] = pydantic.Field(default_factory=list, max_length=10)
    split: Text | None = None
    file: Text | None = None
    images: Text | None = None
    pattern: Text | None = None
    splits: dict[Text, Text] = pydantic.Field(default_factory=dict, max_length=1000)
    names: dict[Text, dict[Text, Text]] = pydantic.Field(default_factory=dict, max_length=100)
    only_classes: list[Text] = pydantic.Field(default_factory=list, max_length=10_000)
    only_groups: list[Text] = pydantic.Field(default_factory=list, max_length=10_000)
    sample: int | None = pydantic.Field(default=None, ge=1, le=10_000_000)
    groups: Text | None = None
    num_groups: int | None = pydantic.Field(default=None, ge=1, le=1_000_000)
    price: float | None = pydantic.Field(default=None, ge=0, le=1)
    unlabelled: Text | None = None


class Groups(Held):
    """The groups that the objective saw."""

    source: Text = ""
    num_groups: int = pydantic.Field(default=0, ge=0)


class Trial(Held):
    """One way of raising groups that was tried (:class:`rdd_nb.clustering.groups.Trial`)."""

    groups: Text
    how: Text
    value: float
    error: float
    final: bool
    kept: bool
    start: Text = "groups"  # where none is said, from before there was a choice


class Discovery(Held):
    """Why which groups were raised, in a sentence, and what was tried."""

    said: Text = ""
    trials: list[Trial] = pydantic.Field(default_factory=list, max_length=1000)


class Data(Held):
    """The data that a run is of."""

    name: Text = ""
    digest: Text = ""
    groups: Groups | None = None


class Evaluation(Held):
    """How ``rdd-nb evaluate`` judged the run."""

    id: Text = ""
    profile: Text = ""
    on: Text = "test"
    protocol: dict[Text, Scalar] = pydantic.Field(default_factory=dict)
    nets: int = pydantic.Field(default=0, ge=0, le=100_000)
    seed: Whole = 0
    machine: dict[Text, Scalar] = pydantic.Field(default_factory=dict)


class _Config(Held):
    source: Source | None = None
    data: Data | None = None
    distill: dict[Text, Scalar] | None = None


class _Metrics(Held):
    evaluation: Evaluation | None = None
    groups: Discovery | None = None
    machine: dict[Text, Scalar] | None = None


class Contents(Held):
    """What a run says of itself; what it does not say is empty.

    Attributes:
        source: how to get its data again.
        data: which they were.
        distill: the fields of its :class:`rdd_nb.distillation.config.DistillConfig`.
        discovery: how its groups were found; None where none were looked for.
        evaluation: how it was judged; None unless it was.
        machine: what it was made on.
    """

    source: Source
    data: Data
    distill: dict[Text, Scalar]
    discovery: Discovery | None
    evaluation: Evaluation | None
    machine: dict[Text, Scalar]


def contents(run: RunFolder) -> Contents:
    """What ``config.json`` and, if the run is complete, ``metrics.json`` say.

    Raises:
        RddError: something in them is not of its kind, or out of all bounds.
    """
    config = validated(_Config, run.config, str(run.path / "config.json"), "put the right one back")
    said = validated(_Metrics, run.metrics if run.complete else {}, str(run.path / "metrics.json"), "evaluate it again")
    return Contents(
        source=config.source or Source(),
        data=config.data or Data(),
        distill=config.distill or {},
        discovery=said.groups,
        evaluation=said.evaluation,
        machine=said.machine or {},
    )
