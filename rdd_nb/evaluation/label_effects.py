"""What soft labels bring, and what distilling does: the same teacher's labels for a distilled set and for real images.

Networks that are trained by soft labels do better on any images. A gain that random real images have as well is the
teacher's, not the distillation's; so all sets that are compared are judged by the same labels, hard and soft (the
argument of DD-Ranking, Li et al., 2505.13300).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch

from rdd_nb.clustering.coresets import coreset
from rdd_nb.clustering.groups import known_groups
from rdd_nb.core.random_streams import seed_of
from rdd_nb.data.dataset import Splits
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.predictions import evaluate, matched, predict
from rdd_nb.evaluation.scores import Scores, groupings
from rdd_nb.evaluation.subgroups import group_table
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.soft_labels import TEACHER, taught
from rdd_nb.models.training import train

__all__ = ["label_effects"]

COLUMNS = ["images", "labels", "group", "n", "accuracy", "low", "high"]


def label_effects(
    synthetic: SyntheticSet,
    splits: Splits,
    protocol: Protocol | None = None,
    *,
    nets: int = 5,
    seed: int = 0,
    device: str | torch.device = "auto",
    teacher: Protocol = TEACHER,
    temperature: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Accuracy on the test images of networks trained on distilled and on real images, by hard and by soft labels.

    The real images are as many as the stored ones, in as many formations or as codes of the same decoder: ``random``,
    ``medoids``, and ``group-balanced`` where the training set names groups. One teacher, trained on the real training
    set, gives its labels to all of them. Its own accuracy stands in the rows of ``teacher``. Labels that were learnt
    with the images are ``learnt``.

    Args:
        synthetic: the distilled set.
        splits: the data it was made from.
        protocol: by which the networks are trained; default :class:`rdd_nb.models.protocol.Protocol`.
        nets, seed, device: of these networks, and of the teacher, which is one.
        teacher: how it is trained.
        temperature: of its labels.
        progress: called with a word on each set, before its networks are trained.

    Returns:
        One row for each set, kind of labels and group (``all``, and those of the first of minority, group and class
        that the test set names), with columns images, labels, group, n, accuracy, low, high
        (:func:`rdd_nb.evaluation.subgroups.group_table`).

    Raises:
        RddError: as :func:`rdd_nb.evaluation.predictions.evaluate`.
    """
    tell = progress or (lambda word: None)
    kept: dict[str, Any] = {"formations": synthetic.formations}
    if synthetic.latents is not None:
        kept = {"latents": 1, "decoder": synthetic.latents.decoder}
    sets = {"distilled": dataclasses.replace(synthetic, soft_labels=None)}
    for name, method in (("random", "random"), ("medoids", "medoids"), ("group-balanced", "balanced")):
        groups = known_groups(splits.train) if method == "balanced" and splits.train.groups is not None else None
        if method != "balanced" or groups is not None:
            sets[name] = coreset(splits.train, method, synthetic.ipc, groups=groups, seed=seed, **kept)
    test = matched(synthetic, splits.test)
    tell("teacher")
    teachers = train(splits.train, teacher, nets=1, seed=seed_of(seed, "teacher"), device=device)
    found = [_rows("teacher", "hard", predict(teachers, splits.test))]
    judged = [(name, "hard", made) for name, made in sets.items()]
    if synthetic.soft_labels is not None:
        judged.append(("distilled", "learnt", synthetic))
    judged += [(name, "soft", taught(made, teachers, temperature)) for name, made in sets.items()]
    for name, labels, made in judged:
        tell(f"{name}, {labels} labels")
        scores = evaluate(made, test, nets=nets, protocol=protocol, seed=seed, device=device)
        found.append(_rows(name, labels, scores))
    return pd.concat(found, ignore_index=True)[COLUMNS]


def _rows(images: str, labels: str, scores: Scores) -> pd.DataFrame:
    tables = [group_table(scores, name) for name in ("all", groupings(scores)[0])]
    return pd.concat(tables).assign(images=images, labels=labels)
