"""What each of several nets said about each test sample; all that is reported is derived from it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import atomic_write
from rdd_nb.core.folders import parse_arrays, read_regular
from rdd_nb.distillation.run_folder import RunFolder

__all__ = ["Scores", "groupings", "scores_of"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What each of several nets said about each test sample.

    Attributes:
        predictions: int16 ``[nets, N]``, the predicted class.
        losses: float32 ``[nets, N]``, cross-entropy in nats.
        confidence: float32 ``[nets, N]``, probability of the predicted class.
        labels: int64 ``[N]``.
        class_names: K names.
        groups, group_names, minority, minority_names: of the test set, where it has them.
        evaluation: an id that ties them to what ``metrics.json`` of their run says (:func:`scores_of`); "" without.
    """

    predictions: NDArray[np.int16]
    losses: NDArray[np.float32]
    confidence: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    minority: NDArray[np.bool_] | None = None
    minority_names: tuple[str, str] = ("majority", "minority")
    evaluation: str = ""

    def __post_init__(self) -> None:
        shape = self.predictions.shape
        if len(shape) != 2 or not self.losses.shape == self.confidence.shape == shape:
            found = [list(a.shape) for a in (self.predictions, self.losses, self.confidence)]
            raise RddError(f"scores: predictions, losses and confidence must each be [nets, N], not {found}")
        kinds = {"predictions": "iu", "losses": "f", "confidence": "f", "labels": "iu", "groups": "iu", "minority": "b"}
        for name, kind in kinds.items():
            values = getattr(self, name)
            if values is not None and values.dtype.kind not in kind:
                raise RddError(
                    f"scores: {name} are {values.dtype}, not {dict(i='whole numbers', f='numbers', b='flags')[kind[0]]}"
                )
        for name in ("labels", "groups", "minority"):
            values = getattr(self, name)
            if values is not None and values.shape != shape[1:]:
                raise RddError(f"scores: {name} must be [{shape[1]}], one a test sample, not {list(values.shape)}")
        for name, names in (
            ("labels", self.class_names),
            ("groups", self.group_names),
            ("predictions", self.class_names),
        ):
            values = getattr(self, name)
            if values is not None and values.size and not 0 <= int(values.min()) <= int(values.max()) < len(names):
                raise RddError(f"scores: {name} reach outside 0 to {len(names) - 1}: there are {len(names)} names")
        if len(self.minority_names) != 2:
            raise RddError(f"scores: minority_names are {len(self.minority_names)} names, not two")

    @property
    def correct(self) -> NDArray[np.bool_]:
        """bool ``[nets, N]``."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Of each net, ``[nets]``."""
        return self.correct.mean(1)

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """Of each net on each class, ``[nets, K]``; NaN for a class without test samples."""
        hits = np.array([np.bincount(self.labels, weights=c, minlength=len(self.class_names)) for c in self.correct])
        sizes = np.bincount(self.labels, minlength=len(self.class_names))
        return np.divide(hits, sizes, out=np.full(hits.shape, np.nan), where=sizes > 0)

    def by_net(self, share: float | None = None) -> dict[str, NDArray[np.float64]]:
        """What each network achieves, ``[nets]`` by name: ``accuracy``; where the test set has a minority also more.

        That is ``majority`` and ``minority`` (accuracies of both sides), ``worst`` (the lower of the two), and
        ``mean``, in which the minority counts ``share`` (by default, its part of the test set): a scenario's test set
        often shows the minority more than training does, and ``mean`` is then what a user of such data meets.
        """
        found = {"accuracy": self.accuracy}
        if self.minority is None or not 0 < self.minority.sum() < len(self.minority):
            return found
        sides = [self.correct[:, self.minority == few].mean(1) for few in (False, True)]
        part = float(self.minority.mean()) if share is None else share
        found |= {"majority": sides[0], "minority": sides[1], "worst": np.minimum(*sides)}
        return found | {"mean": (1 - part) * sides[0] + part * sides[1]}

    def table(self, by: str = "group") -> pd.DataFrame:
        """A tidy table: net, group, n, correct. Every net has a row for every name, also where n is 0.

        Args:
            by: ``group`` (the named groups), ``minority`` (majority and minority), ``class``, ``class-group`` or
                ``all``.

        Raises:
            RddError: another ``by``, or one that the test set has no names for.
        """
        ids, names = self.partition(by)
        return self.table_of(ids, names)

    def table_of(self, ids: NDArray[Any], names: tuple[str, ...]) -> pd.DataFrame:
        """Like :meth:`table`, for groups of your own: ``ids`` int ``[N]`` into ``names``.

        Raises:
            RddError: ``ids`` of another length, or outside the names.
        """
        ids = np.asarray(ids)
        if ids.shape != self.labels.shape or not np.issubdtype(ids.dtype, np.integer):
            raise RddError(f"group ids must be whole numbers [{len(self.labels)}], one a test sample, not {ids.shape}")
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(names):
            raise RddError(f"group ids must be 0 to {len(names) - 1}, not {ids.min()} to {ids.max()}: name every group")
        sizes = np.bincount(ids, minlength=len(names))
        rows = [
            {"net": net, "group": name, "n": int(sizes[k]), "correct": int(right)}
            for net, hits in enumerate(self.correct)
            for k, (name, right) in enumerate(zip(names, np.bincount(ids, weights=hits, minlength=len(names))))
        ]
        return pd.DataFrame(rows)

    def partition(self, by: str) -> tuple[NDArray[Any], tuple[str, ...]]:
        """The id of each test sample's group, int ``[N]``, and the names they stand for; ``by`` as in :meth:`table`.

        Raises:
            RddError: another ``by``, or one that the test set has no names for.
        """
        if by == "all":
            return np.zeros(len(self.labels), dtype=int), ("all",)
        if by == "class":
            return self.labels, self.class_names
        if by == "minority" and self.minority is not None:
            return self.minority.astype(int), self.minority_names
        if by == "group" and self.groups is not None:
            return self.groups, self.group_names
        if by == "class-group" and self.groups is not None:
            names = tuple(f"{c} / {g}" for c in self.class_names for g in self.group_names)
            return self.labels * len(self.group_names) + self.groups, names
        known = ("all", "class", "group", "class-group", "minority")
        if by in known:
            raise RddError(f"the test set names no groups, so there is no table by {by!r}: use by='class' or by='all'")
        raise unknown("grouping", by, known)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as ``.npz`` at exactly ``path``, atomically and without pickle; returns the path."""
        arrays = {k: np.asarray(v) for k, v in vars(self).items() if v is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return atomic_write(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str], follow: bool = True) -> Scores:
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Args:
            path: of the file.
            follow: whether it may be a link; not where the folder it lies in may be a stranger's.

        Raises:
            RddError: no such file, or one that holds something else.
        """
        try:
            values = parse_arrays(read_regular(path, follow=follow), path, "scores", "evaluate the run again")
            for name in ("class_names", "group_names", "minority_names"):
                values[name] = tuple(map(str, values[name]))
            values["evaluation"] = str(values.get("evaluation", ""))
            return cls(**values)
        except FileNotFoundError:
            raise RddError(f"{path} does not exist: evaluate the run first") from None
        except RddError as error:
            raise RddError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise RddError(f"{path} holds no scores ({type(error).__name__}): evaluate the run again") from None


def groupings(scores: Scores) -> tuple[str, ...]:
    """The groupings that ``Scores.table`` can make of these scores, the most telling first."""
    minority = ("minority",) if scores.minority is not None else ()
    return (*minority, "group", "class", "class-group") if scores.groups is not None else (*minority, "class")


def scores_of(run: RunFolder) -> Scores:
    """The scores that an evaluation left in a run's folder, if they are those that its ``metrics.json`` tells of.

    Raises:
        RddError: there are none; or the two are of different evaluations, as after one that was killed at its end.
    """
    scores = Scores.load(run.files.at("scores.npz"), follow=False)
    told = run.metrics.get("evaluation") if run.complete else None
    if scores.evaluation != (told.get("id", "") if isinstance(told, dict) else ""):
        raise RddError(
            f"scores.npz and metrics.json in {run.path} are of two evaluations: run `rdd-nb evaluate` on it again"
        )
    return scores
