"""What stands in the report of a run, before it is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.data.validation import Finding

__all__ = ["Report"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Report:
    """All that stands on the page.

    Attributes:
        title: a question or a name.
        data: name of the data.
        class_names, group_names: K and G; without groups, of one column called "all".
        counts: title (such as "training") → images, int ``[K, G]``.
        findings: of :mod:`rdd_nb.data.validation`.
        settings: name → value, in words.
        discovery: why which groups were raised, and what was tried, in words; empty where none were looked for.
        synthetic: the set.
        tables: method → accuracies with intervals: ``block`` (all, sides, group or class) and the columns of
            :func:`rdd_nb.evaluation.subgroups.group_table`. The first method is the run.
        finest: method → the table that is drawn, by the finest grouping that there is.
        bands: method → ends ``[k]`` of what random permutations show, see :func:`rdd_nb.reporting.report.rank_bands`.
        limits: what the numbers do not say, a sentence each.
        made_on: see :func:`rdd_nb.core.environment.describe`.
        command: how to make it again; empty where nobody told.
    """

    title: str
    data: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    counts: Mapping[str, Ints]
    findings: tuple[Finding, ...]
    settings: Mapping[str, str]
    discovery: str
    synthetic: SyntheticSet
    tables: Mapping[str, pd.DataFrame]
    finest: Mapping[str, pd.DataFrame]
    bands: Mapping[str, tuple[Floats, Floats]]
    limits: tuple[str, ...]
    made_on: Mapping[str, Any]
    command: str
