"""Runs beside the first of them, on the same test images: accuracy by group, and what each changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.evaluation.paired_tests import compare_groups, paired_difference
from rdd_nb.evaluation.scores import Scores, groupings
from rdd_nb.evaluation.subgroups import group_table

__all__ = ["compare_runs"]

#: What a run's rows say of its difference to the first.
CHANGES = ("difference", "difference_low", "difference_high", "p_value")


def compare_runs(scores: Mapping[str, Scores], by: str | None = None) -> pd.DataFrame:
    """Accuracy of each run on all images and on each group, and its difference to the first run.

    Args:
        scores: by the name of the run, two or more, on the same test images.
        by: ``minority``, ``group``, ``class`` or ``class-group``; by default the first that the scores name.

    Returns:
        One row for each run and group (``all`` first), with columns run, partition, group, n, nets, accuracy, low,
        high (:func:`rdd_nb.evaluation.subgroups.group_table`), and, NaN for the first run, difference,
        difference_low, difference_high, p_value (:func:`rdd_nb.evaluation.paired_tests.paired_difference`; those of the
        groups corrected for their number, :func:`rdd_nb.evaluation.paired_tests.compare_groups`).

    Raises:
        RddError: fewer than two runs, other test images or groups than those of the first run, or no such grouping.
    """
    if len(scores) < 2:
        raise RddError(f"{len(scores)} run to compare: name two at least")
    (first, base), *_ = scores.items()
    known = groupings(base)
    if by is not None and by not in known:
        raise unknown("grouping", by, known)
    by = by or known[0]
    ids, names = base.partition(by)
    parts = []
    for run, mine in scores.items():
        if mine.class_names != base.class_names or not np.array_equal(mine.labels, base.labels):
            raise RddError(f"{first} and {run} were judged on different test images: evaluate both on the same")
        codes, called = mine.partition(by) if by in groupings(mine) else (ids, ())
        if called != names or not np.array_equal(codes, ids):
            raise RddError(f"{first} and {run} name other groups of their test images: evaluate both on the same data")
        tables = [group_table(mine, part).assign(partition=part) for part in ("all", by)]
        table = pd.concat(tables, ignore_index=True).assign(run=run)
        table = table[["run", "partition", "group", "n", "nets", "accuracy", "low", "high"]]
        if run != first:
            whole = paired_difference(mine.correct, base.correct)
            change = compare_groups(mine.correct, base.correct, ids)
            change = change.set_index(change["group"].map(lambda code: names[int(code)])).reindex(names)
            for name, value, column in zip(CHANGES, whole, ("difference", "low", "high", "p_holm")):
                table[name] = [value, *change[column]]
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
