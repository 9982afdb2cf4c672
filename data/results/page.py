"""The generated parts of ``docs/study.md`` and ``README.md``: drawn from the tidy tables in this folder.

    python data/results/page.py [--check]

Rewrites what stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` and the pictures in ``docs/study/``;
all else on the page is left alone. A table that is not there yet gives a block that says so. With ``--check`` nothing
is written, and the exit status is 1 where a block is not what the tables say, or a picture is missing.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import itertools
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rdd_nb import clustering
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import atomic_write
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.evaluation import results
from rdd_nb.evaluation.results import gain_told, signed
from rdd_nb.figures import discovery_figures, sensitivity_figures, study_figures, trajectory_figures

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "study.md"
PAGES = (PAGE, HERE.parents[1] / "README.md")
ABSENT = "*Not measured yet.*"
RADIUS, TAIL = 0.5, 0.1  # where the table of the mechanism reads its curves
ORACLES = ("oracle", "known")  # what studies call group-synchronised matching with known groups
#: Names of the ablations: the scenario or method that they vary, and the value that their own name does not say.
ALIASES = {
    "rarer": "rotated-minority",
    "bias": "coloured",
    "coloured noisy": "coloured label_noise=0.1",
    "rotated noisy": "rotated-minority label_noise=0.1",
    "none noisy": "none label_noise=0.1",
    "cells": "robust space_name=cells",
    "plain start": "plain",
    "plain images": "plain",
    **dict.fromkeys(("groups", "number of groups", "robust power", "tail", "worst group", "start", "images"), "robust"),
}
#: Methods of the study that the ablations vary, and what they are called there.
VARIED = {"plain": "plain", "robust": "robust", "robust all raised": "all raised"}
#: What the tables call methods whose key does not say enough.
LABELS = {
    "balanced": "real images, group-balanced",
    "oracle": "group-synchronised, groups known (oracle)",
    "whole": "whole training set, 5 epochs",
    "whole group DRO": "whole training set, group DRO",
}
#: Published accuracies of plain methods, ten images per class, in %; on Fashion-MNIST where no other data set is named.
PUBLISHED = {"DC": 82.3, "DSA": 84.6, "DM": 83.5, "CIFAR-10 DM": 48.9}  # 2006.05929, 2102.08259, 2110.04181
MEASURE = "measure (robust, one default for all)"
ROBUSTNESS = ("Cluster-min", "Noise", "Blur", "Invert")

Draw = Callable[[], Figure]
Block = tuple[str, dict[str, Draw]]  # its Markdown, and the pictures that it shows


class Tables:
    """What a folder holds of a study's tables, each read once; None where there is none."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.csv"

    @functools.cached_property
    def table(self) -> pd.DataFrame | None:
        """Accuracies; the worst class stands for the worst group where a scenario names none."""
        return results.load_table(self.path) if self.path.exists() else None

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        """What each run was measured on."""
        try:
            return pd.read_csv(results.runs_path(self.path), dtype={"method": str, "scenario": str, "revision": str})
        except OSError as error:
            raise RddError(f"{self.path.name} lies alone ({error}): `rdd-nb study` writes its -runs.csv too") from None

    @functools.cached_property
    def mechanism(self) -> pd.DataFrame | None:
        """The curves of the mechanism."""
        path = results.mechanism_path(self.path)
        return pd.read_csv(path, keep_default_na=False, na_values=[""]) if path.exists() else None

    @functools.cached_property
    def said(self) -> pd.DataFrame:
        """Means over seeds."""
        return results.summary(self.means)

    @functools.cached_property
    def means(self) -> pd.DataFrame:
        """Means over networks, which both of them are made of."""
        assert self.table is not None
        return results.by_seed(study_figures.with_worst_class(self.table))

    @functools.cached_property
    def gains(self) -> pd.DataFrame:
        """Gains on plain; empty where there is no plain."""
        names = ["scenario", "method", "partition", "group", "seeds", "difference", "sd", "low", "high"]
        if self.table is None or "plain" not in set(self.table["method"]):
            return pd.DataFrame(columns=names)
        return results.differences(self.means)

    def accuracy(self, scenario: str, method: str, partition: str, group: str) -> pd.Series | None:
        """The row of :attr:`said`, or None."""
        return self._said.get((scenario, method, partition, group))

    def gain(self, scenario: str, method: str, partition: str, group: str) -> pd.Series | None:
        """The row of :attr:`gains`, or None."""
        return self._gains.get((scenario, method, partition, group))

    @functools.cached_property
    def _said(self) -> dict[tuple[str, ...], pd.Series]:
        return _rows(self.said)

    @functools.cached_property
    def _gains(self) -> dict[tuple[str, ...], pd.Series]:
        return _rows(self.gains)


def _rows(table: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    """The rows of a summary or of gains, by scenario, method, partition and group."""
    keys = zip(*(table[name] for name in ("scenario", "method", "partition", "group")))
    return dict(zip(keys, (row for _, row in table.iterrows())))


# --- words --------------------------------------------------------------------------------------------------------


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _accuracy(row: pd.Series | None, gain: pd.Series | None = None) -> str:
    if row is None:
        return "–"
    text = f"{100 * row['mean']:.1f}" + ("" if np.isnan(row["sd"]) else f" ± {100 * row['sd']:.1f}")
    return text if gain is None else f"{text} ({signed(100 * gain['difference'])})"


def _interval(row: pd.Series | None) -> str:
    if row is None:
        return "–"
    text = signed(100 * row["difference"])
    return text if np.isnan(row["low"]) else f"{text} [{signed(100 * row['low'])}, {signed(100 * row['high'])}]"


def _several(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values))


def _label(method: str) -> str:
    return LABELS.get(method, method)


def _epochs(signal: str) -> str:
    """A signal's key in ``discovery.csv``, in the page's words."""
    return re.sub(r"\bpass(es)?\b", lambda found: "epochs" if found[1] else "epoch", signal)


def _picture(name: str, alt: str) -> str:
    return f"![{alt}](study/{name}.png)"


# --- blocks -------------------------------------------------------------------------------------------------------


def measured(study: Tables, source: str = "study.csv") -> Block:
    """What the numbers were measured on, in a few sentences."""
    runs = study.runs
    seconds = runs[["discovery_seconds", "distill_seconds", "evaluate_seconds"]].sum().sum()
    dates = sorted(runs["date"].astype(str).unique())
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    device = _several(runs["device"])
    where = f"{_several(runs['processor'])} with {_several(runs['cores'])} cores"
    where += f" and {device}" if device != "cpu" else ", no GPU"
    return (
        f"From `data/results/{source}`: {len(runs)} {'runs' if len(runs) > 1 else 'run'}, {seconds / 3600:.1f} hours "
        f"of compute, measured {when} on {where}, threads per process: {_several(runs['threads'])}; torch "
        f"{_several(runs['torch'])}, Python "
        f"{_several(runs['python'])}, rdd_nb {_several(runs['rdd_nb'])} at revision {_several(runs['revision'])}. Data "
        f"{_several(str(name).split()[0] for name in runs['data'])}, seeds "
        f"{_several(sorted(runs['seed'].unique().tolist()))}, networks per run: {_several(runs['nets'])}, scored on "
        f"{_several('the test set' if s == 'test' else 'held-out training images' for s in runs['scored_on'])}."
    ), {}


def methods(study: Tables) -> Block:
    """The picture of all methods on all scenarios."""
    assert study.table is not None
    said = []
    for scenario in dict.fromkeys(study.said["scenario"]):
        side = study_figures.sides(study.said, scenario)[1]
        values = [(m, study.accuracy(scenario, m, side.partition, side.group)) for m in ("plain", "robust", *ORACLES)]
        told = ", ".join(f"{_label(m)} {100 * row['mean']:.0f}" for m, row in values if row is not None)
        said.append(f"{scenario} ({side.label}): {told}")
    alt = "Accuracy of every method on both sides of every scenario, in %. " + "; ".join(said)
    return _picture("methods", alt), {"methods": functools.partial(study_figures.methods_figure, study.table)}


def scenario(study: Tables, name: str) -> Block:
    """The two tables of a scenario: accuracies, and gains on plain with their intervals."""
    said = study.said[study.said["scenario"] == name]
    if said.empty:
        return ABSENT, {}
    marked = list(dict.fromkeys(said.loc[said["partition"] == "minority", "group"]))
    worst = study_figures.sides(study.said, name)[1].label
    columns = [*(("minority", group, group) for group in marked), ("all", "all", "all")]
    overall, balanced = (said.loc[said["partition"] == p, "mean"].to_numpy() for p in ("all", "balanced"))
    if not np.allclose(overall, balanced):  # classes of equal size: one column says both
        columns.append(("balanced", "balanced", "balanced"))
    columns.append(("worst", "worst", worst if worst.startswith("worst") else "worst group"))
    names = list(dict.fromkeys(said["method"]))
    first = [
        [_label(m), *(_accuracy(study.accuracy(name, m, *c[:2]), study.gain(name, m, *c[:2])) for c in columns)]
        for m in names
    ]
    second = [[_label(m), *(_interval(study.gain(name, m, *c[:2])) for c in columns)] for m in names if m != "plain"]
    seeds, nets = (_several(sorted(said.loc[said["partition"] == "all", k].unique())) for k in ("seeds", "nets"))
    head = [label for *_, label in columns]
    counts = f"{seeds} seeds, {nets} networks per seed; gain over plain in points"
    text = f"Accuracy in %, mean ± standard deviation over seeds ({counts}):\n\n"
    text += markdown(["method", *head], first)
    if len(study.gains):
        text += "\n\nGain over plain in points, paired by seed, with 95 % intervals over seeds:\n\n"
        text += markdown(["method", *head], second)
    return text, {}


def robustness(study: Tables) -> Block:
    """Cluster-min and corrupted images, with the standard deviation over seeds."""
    said = study.said[study.said["partition"] == "robustness"]
    if said.empty:
        return ABSENT, {}
    parts = []
    for name, part in said.groupby("scenario", sort=False):
        rows = [
            [
                _label(m),
                *(
                    _accuracy(*(f(str(name), m, "robustness", g) for f in (study.accuracy, study.gain)))
                    for g in ROBUSTNESS
                ),
            ]
            for m in dict.fromkeys(part["method"])
        ]
        text = f"`{name}`, accuracy in %, mean ± standard deviation over seeds (gain over plain in points):\n\n"
        bands = [
            [_label(m), *(_interval(study.gain(str(name), m, "robustness", g)) for g in ROBUSTNESS)]
            for m in dict.fromkeys(part["method"])
            if m != "plain"
        ]
        text += markdown(["method", *ROBUSTNESS], rows)
        if len(study.gains):
            text += "\n\nGain over plain in points, with 95 % intervals over seeds:\n\n"
            text += markdown(["method", *ROBUSTNESS], bands)
        parts.append(text)
    return "\n\n".join(parts), {}


class Goal(NamedTuple):
    """A pre-registered target; ``points`` is NaN where it is not measured."""

    what: str
    target: str
    points: float
    told: str
    reached: bool

    @property
    def measured(self) -> str:
        """What was measured, with its interval if it has one."""
        return "–" if np.isnan(self.points) else self.told or f"{self.points:.1f}"


def reached(study: Tables) -> list[Goal]:
    """The pre-registered targets, and what ``study`` measured of them."""

    def value(scenario: str, method: str, kind: int | str) -> float:
        side = _place(study, scenario, kind)
        row = None if side is None else study.accuracy(scenario, method, *side)
        return np.nan if row is None else 100 * float(row["mean"])

    def gain(scenario: str, kind: int | str) -> tuple[float, str]:
        side = _place(study, scenario, kind)
        row = None if side is None else study.gain(scenario, "robust", *side)
        return (np.nan, "") if row is None else (100 * float(row["difference"]), _interval(row))

    oracle = next((name for name in ORACLES if name in set(study.said["method"])), ORACLES[0])
    off = {method: value("coloured", method, 1) for method in ("plain", "robust", oracle)}
    closed = 100 * (off["robust"] - off["plain"]) / (off[oracle] - off["plain"])
    behind = value("coloured", "robust", 0) - value("coloured", oracle, 0)
    shares = _shares(study.runs)
    iteration = 100 * float(shares["weighing_share"]["robust"]) if "robust" in shares.index else np.nan
    none = gain("none", 0)
    rows: list[tuple[str, str, float, str, bool]] = [
        ("coloured: off-colour, %", "≥ 58", off["robust"], "", off["robust"] >= 58),
        ("coloured: share of the gap from plain to known groups closed, %", "> 80", closed, "", closed > 80),
        ("coloured: on-colour, against known groups", "≥ −3.0", behind, signed(behind), behind >= -3),
    ]
    for what, name, kind, least in (
        ("rotated-minority: rotated, gain over plain", "rotated-minority", 1, 12.0),
        ("rotated-minority: upright, gain over plain", "rotated-minority", 0, -1.5),
        ("long-tail: balanced, gain over plain", "long-tail", "balanced", 5.0),
        ("hidden-strata: worst stratum, gain over plain", "hidden-strata", 1, 10.0),
        ("hidden-strata: all, gain over plain", "hidden-strata", 0, -1.0),
    ):
        points, told = gain(name, kind)
        rows.append((what, f"≥ {signed(least)}", points, told, points >= least))
    rows += [
        ("none: all, gain over plain", "≥ −1.0", *none, none[0] >= -1),
        ("robust: weighting, % of an iteration's time", "≤ 10", iteration, "", iteration <= 10),
    ]
    return [Goal(*row) for row in rows]


def goals(study: Tables) -> Block:
    """One line per target."""
    made = [
        [goal.what, goal.target, goal.measured, "–" if np.isnan(goal.points) else "yes" if goal.reached else "no"]
        for goal in reached(study)
    ]
    return markdown([MEASURE, "target", "measured", "reached"], made), {}


def _in_the_place_of_robust(study: Tables, method: str) -> Tables:
    """The same tables with ``method`` as "robust", whose targets those are."""
    found = Tables(study.path.parent, study.path.stem)
    for what in ("table", "runs"):
        held = getattr(study, what)
        setattr(found, what, held[held["method"] != "robust"].replace({"method": {method: "robust"}}))
    return found


def replication(again: Tables, study: Tables, ours: str = "robust") -> Block:
    """The same targets at fresh seeds, beside the study's, and from both together; reached by ``ours``."""
    assert again.table is not None and study.table is not None
    if ours != "robust":
        if not all(ours in set(tables.table["method"]) for tables in (again, study) if tables.table is not None):
            return ABSENT, {}
        again, study = (_in_the_place_of_robust(tables, ours) for tables in (again, study))
        assert again.table is not None and study.table is not None
    both = Tables(study.path.parent, study.path.stem)
    ours = study.table[study.table["method"].isin(again.table["method"])]
    both.table = pd.concat([ours, again.table], ignore_index=True)
    both.runs = pd.concat([study.runs, again.runs], ignore_index=True)
    told = zip(reached(study), reached(again), reached(both))
    rows = [[old.what, old.target, old.measured, new.measured, all_.measured] for old, new, all_ in told]
    counts = [len(set(t["seed"])) for t in (study.table, again.table, both.table)]
    head = [MEASURE, "target"]
    head += [f"{a} ({n} {'seeds' if n > 1 else 'seed'})" for a, n in zip(("study", "fresh", "together"), counts)]
    return f"{measured(again, again.path.name)[0]}\n\n{markdown(head, rows)}", {}


def _place(study: Tables, scenario: str, kind: int | str) -> tuple[str, str] | None:
    """Partition and group of a scenario's first (0) or second (1) side, or of ``kind`` itself; None if not run."""
    if scenario not in set(study.said["scenario"]):
        return None
    if isinstance(kind, str):
        return kind, kind
    side = study_figures.sides(study.said, scenario)[kind]
    return side.partition, side.group


def mechanism(study: Tables) -> Block:
    """For each scenario that marks a minority: the picture, and three numbers of each method."""
    curves = study.mechanism
    if curves is None:
        return ABSENT, {}
    parts: list[str] = []
    pictures: dict[str, Draw] = {}
    for name in dict.fromkeys(curves["scenario"]):
        mine = curves[curves["scenario"] == name]
        shown = [m for m in study_figures.METHODS if m in set(mine["method"])]
        sides = [s for s in dict.fromkeys(mine.loc[mine["quantity"] == "cvar", "side"]) if s != "all"]
        if len(sides) < 2 or not shown:
            continue
        rows = []
        for m in dict.fromkeys(mine["method"]):
            found = [_at(mine, m, "mass", sides[1], None)]
            found += [_at(mine, m, "coverage", side, RADIUS) for side in sides]
            found += [_at(mine, m, "cvar", side, TAIL) for side in sides]
            scales = (100, 100, 100, 1, 1)
            texts = ["–" if v is None else f"{v * k:.{0 if k > 1 else 2}f}" for v, k in zip(found, scales)]
            rows.append([_label(m), *texts])
        head = ["method", f"{sides[1]}: matched, %", *(f"{s}: covered, %" for s in sides)]
        head += [f"{s}: largest losses, nats" for s in sides]
        told = "; ".join(f"{row[0]} {row[1]} %" for row in rows if row[0] in map(_label, shown))
        alt = f"{name}: share of {sides[1]} in what is matched ({told}), coverage curves and CVaR curves of the methods"
        picture = f"mechanism-{re.sub(r'[^A-Za-z0-9]+', '-', name)}"
        pictures[picture] = functools.partial(study_figures.mechanism_figure, curves, name, shown)
        parts.append(f"{_picture(picture, alt)}\n\n{markdown(head, rows)}")
    read = f"Covered: within radius {RADIUS:g}; largest losses: the mean of the largest {TAIL:.0%}.".replace("%", " %")
    return "\n\n".join([*parts, read]) if parts else ABSENT, pictures


def _at(curves: pd.DataFrame, method: str, quantity: str, side: str, x: float | None) -> float | None:
    mine = curves[(curves["method"] == method) & (curves["quantity"] == quantity) & (curves["side"] == side)]
    if x is not None:
        mine = mine[np.isclose(mine["x"].astype(float), x)]
    return float(mine["value"].iloc[0]) if len(mine) else None


def selection(grid: Tables) -> Block:
    """The settings tried on held-out training images, the chosen one in bold, and their gains and losses."""
    assert grid.table is not None
    names = list(dict.fromkeys(grid.said["scenario"]))
    sides = {name: study_figures.sides(grid.said, name) for name in names}
    rows, along = [], []
    tried = {method: study_figures.split_name(method)[1] for method in dict.fromkeys(grid.said["method"])}
    chosen = [method for method, values in tried.items() if values and _is_default(values)][-1:]  # of the last round
    for method, values in tried.items():
        along += list(values)
        cells = []
        for name in names:
            both = [(s.partition, s.group) for s in sides[name]][::-1]
            if method == "plain":
                found = [grid.accuracy(name, method, *place) for place in both]
                cells.append(" / ".join("–" if r is None else f"{100 * r['mean']:.1f}" for r in found))
            else:
                gains = [grid.gain(name, method, *place) for place in both]
                cells.append(" / ".join("–" if r is None else signed(100 * r["difference"]) for r in gains))
        rows.append([f"**{method}**" if method in chosen else method, *cells])
    head = ["settings", *(f"{n}: {sides[n][1].label} / {sides[n][0].label}" for n in names)]
    read = "Plain in %, the others' gains over it in points; today's defaults in bold:"
    text = f"{measured(grid, grid.path.name)[0]}\n\n{read}\n\n{markdown(head, rows)}"
    if not along:
        return text, {}
    first = along[0]
    alt = f"Held-out accuracy of the minority against the majority for each scenario, along {first}; plain is a star"
    draw = functools.partial(sensitivity_figures.selection_figure, grid.table, first)
    return f"{text}\n\n{_picture('selection', alt)}", {"selection": draw}


def _is_default(values: dict[str, float | str]) -> bool:
    return all(_default(name) == value for name, value in values.items())


def _default(name: str) -> Any:
    """What holds where a name says nothing; None where that is not known."""
    defaults: dict[str, Any] = {
        k: p.default for k, p in inspect.signature(clustering.discover_groups).parameters.items()
    }
    defaults |= {name: field.default for name, field in DistillConfig.model_fields.items()}
    defaults |= {"fraction": 0.1, "bias": 0.9, "label_noise": 0.0}
    defaults["space_name"] = "probabilities"  # when the tables were measured; it is "auto" now
    value = defaults.get(name)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value  # as names are read


def _plainly(name: str) -> str:
    """A name of the ablations as what it varies: ``tail tail=0.2`` is ``robust tail=0.2``."""
    base = study_figures.split_name(name)[0]
    return ALIASES.get(base, base) + name.removeprefix(base)


def _beside(table: pd.DataFrame, study: Tables) -> pd.DataFrame:
    """The runs of the study around which ``table`` varies one thing at a time, where it has none of its own."""
    if study.table is None:
        return table.iloc[:0]
    scenarios = {study_figures.split_name(name)[0] for name in table["scenario"]}
    there = study.table["scenario"].isin(scenarios) & study.table["seed"].isin(table["seed"])  # a seed is a draw of all
    rows = study.table[there & study.table["method"].isin(VARIED)]
    rows = rows[~rows["partition"].isin(["cluster", "robustness"])].assign(method=lambda t: t["method"].map(VARIED))
    own = set(zip(table["scenario"], table["method"]))
    return rows[[way not in own for way in zip(rows["scenario"], rows["method"])]]


def sensitivity(sweep: Tables, study: Tables) -> Block:
    """For each swept value a picture and a table."""
    assert sweep.table is not None
    table = sweep.table.assign(**{c: sweep.table[c].map(_plainly) for c in ("scenario", "method")})
    beside = _beside(table, study)
    table = pd.concat([table, beside], ignore_index=True)
    means = study_figures.summary(table)
    parts = [measured(sweep, sweep.path.name)[0]]
    if len(beside):
        parts[0] += (
            f" Plain and the default, which they vary, are from `data/results/{study.path.name}`, at the same seeds."
        )
    pictures: dict[str, Draw] = {}
    swept = [study_figures.split_name(name)[1] for c in ("scenario", "method") for name in means[c]]
    for parameter in dict.fromkeys(key for at in swept for key in at):
        default = _default(parameter)
        said = sensitivity_figures.sweep_table(means, parameter, default)
        there = said[said["at"].notna()]
        ways = list(dict.fromkeys([*there["way"], *(["plain"] if "plain" in set(said["way"]) else [])]))
        ways.sort(key=lambda way: {"robust": 0, "plain": 1}.get(way, 2))
        ats = list(dict.fromkeys(there["at"]))
        ats = ats if any(isinstance(at, str) for at in ats) else sorted(ats)
        rows = []
        for panel in dict.fromkeys(there["panel"]):
            mine = said[said["panel"] == panel]
            for side in study_figures.sides(mine, mine["scenario"].iloc[0]):
                here = mine[(mine["partition"] == side.partition) & (mine["group"] == side.group)]
                for way in ways:
                    row = here[here["way"] == way]
                    found = {at: r for at, (_, r) in zip(row["at"], row.iterrows())}
                    if found:
                        cells = [_accuracy(found.get(at)) for at in ats]
                        if set(found) == {None}:  # the value does not concern it
                            cells = [f"{_accuracy(found[None])} for all", *[""] * (len(ats) - 1)]
                        rows.append([f"{panel}: {side.label}, {way}", *cells])
        name = f"sensitivity-{parameter}"
        alt = f"Accuracy of both sides against {parameter}, robust and plain, with bands over seeds"
        pictures[name] = functools.partial(
            sensitivity_figures.sensitivity_figure, table, parameter, methods=ways[:4], default=default
        )
        head = [parameter, *(f"{at:g}" if isinstance(at, float) else at for at in ats)]
        parts.append(f"{_picture(name, alt)}\n\n{markdown(head, rows)}")
    return "\n\n".join(parts), pictures


def _shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over all runs of each method, which keep their order."""
    numbers = ["discovery_seconds", "distill_seconds", "weighing_share", "evaluate_seconds"]
    return runs.groupby("method", sort=False)[numbers].mean()


def cost(study: Tables) -> Block:
    """Seconds of each method, as means over scenarios and seeds."""
    rows = []
    for method, row in _shares(study.runs).iterrows():
        weighing = row["weighing_share"]
        found = row["discovery_seconds"]
        rows.append(
            [
                _label(str(method)),
                f"{found:.1f}" if found else "–",
                f"{row['distill_seconds']:.1f}",
                "–" if np.isnan(weighing) else f"{100 * weighing:.1f}",
                f"{row['evaluate_seconds']:.1f}",
            ]
        )
    head = ["method", "groups, s", "images, s", "of which weighting, %", "training and scoring networks, s"]
    return f"One run, mean over scenarios and seeds:\n\n{markdown(head, rows)}", {}


def published(study: Tables) -> Block:
    """Plain methods beside their published accuracies, by network where there is one seed."""
    beside = [Tables(study.path.parent, f"{study.path.stem}-{rest}") for rest in ("dc", "cifar10")]  # by protocol
    parts = [part for part in (study, *beside) if part.table is not None]
    table = pd.concat([part.table for part in parts])
    one = table[table["partition"] == "all"].assign(accuracy=lambda t: 100 * t["correct"] / t["n"])
    rows = []
    for method, mine in one.groupby("method", sort=False):
        by_seed = mine.groupby("seed")["accuracy"].mean()
        told = ", ".join(f"{a:.1f}" for a in (by_seed if len(by_seed) > 1 else mine["accuracy"]))
        there = PUBLISHED.get(str(method))
        short = "–" if there is None else signed(mine["accuracy"].mean() - there)
        rows.append([str(method), told, f"{mine['accuracy'].mean():.1f}", f"{there or '–'}", short])
    each = "each seed" if one["seed"].nunique() > 1 else "each network"
    head = ["method", f"{each}, %", "mean, %", "published, %", "difference, points"]
    told = "\n\n".join(measured(part, part.path.name)[0] for part in parts)
    return f"{told}\n\n{markdown(head, rows)}", {}


#: What the README shows: methods, and what it calls them.
BRIEF = {
    "random": "random real images",
    "medoids": "real images, k-means medoids",
    "plain": "plain distillation",
    "plain from medoids": "plain distillation, from medoids",
    "robust tried": "**robust, groups discovered (the default)**",
    "robust": "**robust, groups of the biased network** (the default until groups were tried)",
    "robust known": "robust, groups known",
    "oracle": LABELS["oracle"],
    "whole": LABELS["whole"],
}


def brief(study: Tables) -> Block:
    """One table for the README: both sides of every scenario, for a few methods."""
    names = list(dict.fromkeys(study.said["scenario"]))
    rows = []
    for method, called in BRIEF.items():
        if study.table is None or method not in set(study.table["method"]):
            continue
        cells = []
        for name in names:
            both = [study.accuracy(name, method, s.partition, s.group) for s in study_figures.sides(study.said, name)]
            cells.append("–" if all(row is None for row in both) else " / ".join(map(_accuracy, both)))
        rows.append([called, *cells])
    head = ["", *(f"{n}: {' / '.join(s.label for s in study_figures.sides(study.said, n))}" for n in names)]
    return f"{measured(study)[0]}\n\n{markdown(head, rows)}", {}


#: Real sets of the README's first table, with the words for them.
REAL = {"cmaterdb, 5 %": "numerals in three scripts: all / rarest script", "cat or dog": "cats and dogs: all"}


def first(study: Tables) -> Block:
    """The README's first table: a painted shift beside real sets, what is gained and what is not."""
    table = _real(study.path.parent)
    if table is None or study.table is None or "robust tried" not in set(study.table["method"]):
        return ABSENT, {}
    shown = study_figures.sides(study.said, "coloured")
    rows = []
    for method, mine, called in (
        ("plain", "plain", "plain distillation"),
        ("plain from medoids", "plain, medoids", "plain distillation, from medoids"),
        ("robust tried", "robust", "**robust, the default**: no group label is read"),
        ("robust known", "robust known", "robust, groups known"),
    ):
        cells = [" / ".join(_accuracy(study.accuracy("coloured", method, s.partition, s.group)) for s in shown)]
        for name in REAL:
            part = table[table["set"] == name]
            levels = [_level(part, mine, measure) for measure in ("accuracy", "rare group")]
            cells.append(" / ".join(level for level in levels if level != "–") or "–")
        rows.append([called, *cells])
    head = ["", f"coloured clothes (painted): {' / '.join(s.label for s in shown)}", *REAL.values()]
    return markdown(head, rows), {}


def discovery(folder: Path) -> Block:
    """The minority's share in what is matched for each signal, and how stable its groups are."""
    path = folder / "discovery.csv"
    if not path.exists():
        return ABSENT, {}
    table = pd.read_csv(path)
    names = list(dict.fromkeys(table["scenario"]))
    rows = []
    for signal, part in table.groupby("signal", sort=False):
        by = part.groupby("scenario")
        cells = [f"{100 * by['mass_0'].mean()[n]:.0f} / {100 * by['mass_default'].mean()[n]:.0f}" for n in names]
        rows.append([_epochs(str(signal)), *cells, f"{part['stability'].mean():.2f}", f"{part['seconds'].mean():.1f}"])
    head = ["signal", *names, "stability", "seconds"]
    seeds = _several(sorted(table["seed"].unique().tolist()))
    read = "The minority's share in what is matched, %: power 0 / default power; means over seeds: "
    return f"{read}{seeds} (`data/results/discovery.csv`):\n\n{markdown(head, rows)}", {}


def strata(folder: Path, held: Sequence[Tables]) -> Block:
    """For each fine class: accuracy when it is rare and when it is not, and how far the groups raise it."""
    path, tables = folder / "strata.csv", [t.table for t in held if t.table is not None]
    if not path.exists() or not tables:
        return ABSENT, {}
    both = pd.concat(tables)
    both = both[(both["scenario"] == "hidden-strata") & (both["partition"] == "group")]
    right = both.groupby(["method", "seed", "group"])[["n", "correct"]].sum()
    wide = (100 * right["correct"] / right["n"]).unstack("method")
    table = pd.read_csv(path).join(wide, on=["seed", "group"])
    rows = []
    for rare, part in table.groupby("group", sort=False):
        seldom, often = part[part["rare"]], part[~part["rare"]]
        if len(seldom):
            gains = [signed(float((seldom[m] - seldom["plain"]).mean())) for m in ("robust", "medoids")]
            usual = f"{often['plain'].mean():.1f}" if len(often) else "–"
            shares = f"{100 * seldom['share'].mean():.0f} → {100 * seldom['mass'].mean():.0f}"
            rows.append([str(rare), str(len(seldom)), f"{seldom['plain'].mean():.1f}", usual, shares, *gains])
    rows.sort(key=lambda row: float(row[2]))
    head = ("stratum", "seeds in which it is rare", "plain, rare", "plain, not rare", "share of its class, % → matched")
    said = f"Means over seeds {_several(sorted(table['seed'].unique().tolist()))}, %; gains over plain in points:"
    return f"{said}\n\n{markdown((*head, 'robust, gain', 'medoids, gain'), rows)}", {}


def real(folder: Path) -> Block:
    """Plain on real sets, and what robust changes there: discovered groups beside known ones."""
    table = _real(folder)
    if table is None:
        return ABSENT, {}
    ways = {
        "plain, medoids": "plain, medoids",
        "robust": "robust",
        "robust, one view": "one view",
        "robust known": "known",
    }
    kept, rows = table[table["method"].isin(("plain", *ways)) & (table["set"] != "coloured")], []
    for name, part in kept.groupby("set", sort=False):
        found = part.loc[part["method"] == "robust", "found"].astype(str)
        cells = [f"{_level(part, 'plain', 'accuracy')}", *(_gain(part, way, "accuracy") for way in ways)]
        cells += [f"{_level(part, 'plain', 'worst group')}", *(_gain(part, way, "worst group") for way in ways)]
        rows.append([str(name), f"{found.str.startswith('Raised').sum()} of {len(found)}", *cells])
    told = ("plain, %", *ways.values())
    head = ("set", "raised in seeds", *told, *(f"worst group: {way}" for way in told))
    said = f"{_measured_real(table)} Gains over plain in points; over several seeds with 95 % t-intervals:"
    return f"{said}\n\n{markdown(head, rows)}", {}


def calibration(folder: Path) -> Block:
    """What the trial says beside what distillation does, for each part of the way that the small sets are moved."""
    path = folder / "calibration.csv"
    if not path.exists():
        return ABSENT, {}
    table = pd.read_csv(path)
    parts = [c.removeprefix("trial mean, ") for c in table if c.startswith("trial mean, ")]
    rows = []
    for (name, way), mine in table.groupby(["set", "groups"], sort=False):
        means = mine.select_dtypes("number").mean()
        for what, measured_as, said_as in (("mean", "accuracy", "mean"), ("rare", "minority", "rare")):
            if measured_as in means and pd.notna(means[measured_as]):
                each = " ".join(signed(value) for value in mine[measured_as])
                told = [signed(means[f"trial {said_as}, {part}"]) for part in parts]
                rows.append([str(name), str(way), what, f"{signed(means[measured_as])} ({each})", *told])
    said = (
        f"{_measured_in(path, table)} Changes against plain on held-out training images, points; means "
        f"over seeds {_several(sorted(table['seed'].unique().tolist()))}, in brackets each seed:"
    )
    head = ("set", "groups, raised in full", "of", "distilled", *(f"trial, moved by {part}" for part in parts))
    by_way = table.groupby(["set", "groups"]).mean(numeric_only=True)
    off = [by_way[f"trial mean, {part}"] - by_way["accuracy"] for part in parts]
    told = ", ".join(f"{each.abs().mean():.1f} ({signed(each.mean())})" for each in off)
    last = f"How far the trial is off in the mean, over {len(by_way)} ways, in absolute value (with its sign): {told}."
    return f"{said}\n\n{markdown(head, rows)}\n\n{last}", {}


PAID = (1.0, 3.0, 8.0)  # points of the others, where the fronts are read


def fronts(folder: Path) -> Block:
    """What raising buys the rare and costs the others, for groups found, known, and known in part."""
    path = folder / "fronts.csv"
    if not path.exists():
        return ABSENT, {}
    table = pd.read_csv(path)
    ways = list(dict.fromkeys(table["groups"]))
    rows = []
    for name, part in table.groupby("set", sort=False):
        lines = part.groupby(["groups", "strength"])[["rare", "others"]].mean()
        cells = (" / ".join(signed(_bought(lines.loc[way], cost)) for cost in PAID) for way in ways)
        rows.append([str(name), *cells])
    costs = " / ".join(f"{cost:g}" for cost in PAID)
    said = (
        f"{_measured_in(path, table)} In the trial, on training images, means over seeds "
        f"{_several(sorted(table['seed'].unique().tolist()))}: points that the rare gain where the others lose at most "
        f"{costs}:"
    )
    picture = _picture("fronts", "Points that the rare gain against points that the others lose, by groups")
    draw = functools.partial(discovery_figures.fronts, table)
    return f"{said}\n\n{markdown(['set', *ways], rows)}\n\n{picture}", {"fronts": draw}


def _bought(line: pd.DataFrame, cost: float) -> float:
    """The most that the rare gain along a line of strengths, between them too, where others lose at most ``cost``."""
    points = [(0.0, 0.0), *zip(-line.sort_index()["others"], line.sort_index()["rare"])]
    met = [rare for paid, rare in points if paid <= cost]
    for (paid, rare), (more, next_rare) in itertools.pairwise(points):
        if min(paid, more) <= cost <= max(paid, more) and paid != more:
            met.append(rare + (next_rare - rare) * (cost - paid) / (more - paid))
    return max(met)


#: The method of ``real.csv`` → how much of the groups was told.
TOLD = {
    "robust": "0 % told",
    **{f"robust, {p} % known": f"{p} % told" for p in (1, 5, 25)},
    "robust known": "100 % told",
}


#: What is raised by default, and where all groups are held as dear: found, and known.
WORTH = {
    "robust": "robust, the default",
    "robust, groups alike": "groups found, all as dear",
    "robust known": "robust, groups known",
    "group known": "known, all as dear (FairDD)",
}


def gains_of(ways: Mapping[str, str], needed: str, folder: Path) -> Block:
    """What ``ways`` gain over plain, a row for all images and one for the rare of each set that has ``needed``.

    Args:
        ways: method of ``real.csv`` → what its column is called.
    """
    table = _real(folder)
    if table is None or needed not in set(table["method"]):
        return ABSENT, {}
    measured_in = table[table["method"] == needed]["set"].unique()
    rows = []
    for name, part in table[table["set"].isin(measured_in)].groupby("set", sort=False):
        rare = "minority" if part["minority"].notna().any() else "rare group"
        for measure, called in (("accuracy", "all"), (rare, "rare")):
            if part[measure].notna().any():
                gains = (_gain(part, method, measure) for method in ways)
                rows.append([str(name), called, _level(part, "plain", measure), *gains])
    said = f"{_measured_real(table)} Gains over plain in points; over several seeds with 95 % t-intervals:"
    return f"{said}\n\n{markdown(('set', 'of', 'plain, %', *ways.values()), rows)}", {}


#: Method and start of ``starts.csv`` beside plain from random images, with the words for them.
STARTS = {
    ("plain", "medoids"): "plain, medoids of classes",
    ("robust", "groups"): "robust, random images of groups",
    ("robust", "medoids"): "robust, medoids of classes",
    ("robust", "group-medoids"): "robust, medoids of groups",
}


def starts(folder: Path) -> Block:
    """What plain and robust distillation reach from other starts, on held-out images, and what the trial said."""
    path = folder / "starts.csv"
    if not path.exists():
        return ABSENT, {}
    table, rows = pd.read_csv(path), []
    for name, part in table.groupby("set", sort=False):
        chosen = part[part["chosen"]].set_index("seed")
        for measure, said, called in (("accuracy", "trial", "all"), ("minority", "trial rare", "rare")):
            if part[measure].isna().all():
                continue
            levels = part.pivot(index="seed", columns=["method", "start"], values=measure)
            foretold = part.pivot(index="seed", columns=["method", "start"], values=said)
            plain, cells = levels["plain", "real"], []
            for way in STARTS:
                gains = (levels[way] - plain).dropna() if way in levels else pd.Series(dtype=float)
                each = " ".join(signed(x) + "*" * _is(chosen, seed, way) for seed, x in gains.items())
                cells.append(f"{signed(gains.mean())} ({each}); {signed(foretold[way].mean())}" if each else "–")
            rows.append([str(name), called, f"{plain.mean():.1f}", *cells])
    gains = table.set_index(["set", "seed", "method", "start"])[["accuracy", "trial"]]
    plain = table[(table["method"] == "plain") & (table["start"] == "real")].set_index(["set", "seed"])["accuracy"]
    gains = gains.join(plain.rename("plain"), on=["set", "seed"]).query("~(method == 'plain' and start == 'real')")
    off = gains["trial"] - (gains["accuracy"] - gains["plain"])
    said = (
        f"{_measured_in(path, table)} On held-out training images: gains over plain from random real "
        f"images, points; means over seeds {_several(sorted(table['seed'].unique().tolist()))}, in brackets each seed "
        "(of robust, those at which something is raised; * what the default takes); last, what the trial said:"
    )
    told = (
        f"Over these {len(off)} ways and seeds the trial is off in the mean by {off.abs().mean():.1f} points in "
        f"absolute value, by {signed(off.mean())} on average, and its correlation with what distillation does is "
        f"{np.corrcoef(gains['trial'], gains['accuracy'] - gains['plain'])[0, 1]:.2f}."
    )
    return f"{said}\n\n{markdown(('set', 'of', 'plain, %', *STARTS.values()), rows)}\n\n{told}", {}


def _is(chosen: pd.DataFrame, seed: object, way: tuple[str, str]) -> bool:
    return seed in chosen.index and (chosen.at[seed, "method"], chosen.at[seed, "start"]) == way


#: Methods of FairDD's protocol in the order of the table, with the words for them.
FAIRDD = {
    "plain": "plain",
    "plain, medoids": "plain, from medoids",
    "group known": "group-synchronised, groups known (FairDD)",
    "group dbscan": "group-synchronised, DBSCAN in batches",
    "density": "density weights",
    "robust": "robust, groups discovered",
    "robust, groups alike": "robust, groups discovered, all held as dear",
}


def fairdd(folder: Path) -> Block:
    """FairDD's protocol in one run: matching with known groups, its form without labels, density weights, and ours."""
    table = _real(folder)
    if table is None or "density" not in set(table["method"]):
        return ABSENT, {}
    rows = []
    for name, part in table.groupby("set", sort=False):
        if name != "coloured" and "group known" in set(part["method"]):
            for method, called in FAIRDD.items():
                if method in set(part["method"]):
                    levels = [_level(part, method, m) for m in ("accuracy", "worst group", "DEO_M", "DEO_A")]
                    rows.append([str(name), called, str((part["method"] == method).sum()), *levels])
    head = ("set", "method", "seeds", "accuracy, %", "worst group, %", "DEO_M, %", "DEO_A, %")
    return f"{_measured_real(table)} ± is the standard deviation over seeds:\n\n{markdown(head, rows)}", {}


#: Trajectory matching beside distribution matching: the same objective, start and groups in each pair.
PAIRS = {name: f"trajectory {name}" for name in ("plain", "robust", "robust alike")}
#: The same with pixels that move by a tenth, for half as many students.
SMALL = {name: f"{changed} step 100" for name, changed in PAIRS.items()}


def _sides(study: Tables, scenario: str) -> list[tuple[str, str]]:
    """Partition and group of the majority, the minority (both empty where none is marked), and of all images."""
    mine = study.said[(study.said["scenario"] == scenario) & (study.said["partition"] == "minority")]
    rare = study_figures.sides(study.said, scenario)[1].group if len(mine) else ""
    common = next((group for group in dict.fromkeys(mine["group"]) if group != rare), "")
    return [("minority", common), ("minority", rare), ("all", "all")]


def _pairs(
    study: Tables, pairs: Collection[tuple[str, str]], what: str
) -> tuple[str, dict[str, dict[str, list[pd.Series | None]]]]:
    """A table of all methods on both sides, with what each changes beside the one it is paired with (base: changed).

    Returns:
        The table, whose last columns say ``what`` was changed; and by scenario and method the rows of its sides,
        majority, minority and all.
    """
    assert study.table is not None
    rows, held = [], {}
    known = set(study.table["method"])
    beside = {b: _rows(results.differences(study.means, a)) for a, b in pairs if {a, b} <= known}
    for name in dict.fromkeys(study.said["scenario"]):
        mine = study.said[study.said["scenario"] == name]
        sides = _sides(study, name)
        held[name] = {m: [study.accuracy(name, m, *c) for c in sides] for m in dict.fromkeys(mine["method"])}
        for method, cells in held[name].items():
            gains = [beside[method].get((name, method, *c)) if method in beside else None for c in sides]
            seeds = str(int(cells[2]["seeds"])) if cells[2] is not None else "0"
            rows.append([name, method, seeds, *map(_accuracy, cells), *map(_interval, gains)])
    head = ("scenario", "method", "seeds", "majority, %", "minority, %", "all, %")
    head += tuple(f"{side}: {what}" for side in ("majority", "minority", "all"))
    said = f"{measured(study, study.path.name)[0]} Differences in points, paired by seed, with 95 % t-intervals:"
    return f"{said}\n\n{markdown(head, rows)}", held


#: One thing at a time in trajectory matching: (what is asked, with, without).
ISOLATED = (
    ("robust experts, from random images", "trajectory random start", "trajectory plain"),
    ("a start spread over the groups, plain experts", "trajectory group start", "trajectory plain"),
    ("both", "trajectory robust", "trajectory plain"),
    ("robust experts, where the start is spread", "trajectory robust", "trajectory group start"),
    ("the start, where experts are robust", "trajectory robust", "trajectory random start"),
    ("both, of shuffled groups", "trajectory shuffled", "trajectory plain"),
    (
        "of experts: their loss alone (double objective, batches as the data are)",
        "trajectory double plain batches random start",
        "trajectory plain",
    ),
    ("of experts: that loss on top of robust batches", "trajectory double random start", "trajectory random start"),
    ("the same, where the start is spread", "trajectory double", "trajectory robust"),
    ("of experts: group DRO in place of robust batches", "trajectory group DRO", "trajectory robust"),
    ("trajectories, plain", "trajectory plain", "plain"),
    ("batches with all classes alike", "trajectory balanced", "trajectory plain"),
    ("group DRO over classes", "trajectory class DRO", "trajectory plain"),
    ("batches with all classes alike, step 100", "trajectory balanced step 100", "trajectory plain step 100"),
)


def trajectories(study: Tables) -> Block:
    """Each scenario's methods on both sides, what trajectories change by pairs, and the picture of both."""
    assert study.table is not None
    families = {"distribution": PAIRS.keys(), "trajectory": PAIRS.values(), "trajectory, step 100": SMALL.values()}
    some = Tables(study.path.parent, study.path.stem)
    some.table = study.table[study.table["method"].isin([m for members in families.values() for m in members])]
    text, held = _pairs(some, [*PAIRS.items(), *SMALL.items()], "trajectory − distribution")
    fronts = {
        name: {
            family: [(way, of[m][0]["mean"], of[m][1]["mean"]) for way, m in zip(PAIRS, members) if m in of]
            for family, members in families.items()
        }
        for name, of in held.items()
        if set(PAIRS) <= set(of)
    }
    alt = "Accuracy on the majority against the minority: for each matching a line from plain to robust alike."
    text = f"{text}\n\n{_picture('trajectories', alt)}\n\n{_isolated(study)}"
    return text, {"trajectories": functools.partial(trajectory_figures.fronts, fronts)}


def _isolated(study: Tables) -> str:
    """What each thing alone changes: levels with it, and paired differences."""
    assert study.table is not None
    known, rows = set(study.table["method"]), []
    scenarios = [name for name in ("coloured", "long-tail") if name in set(study.table["scenario"])]
    for scenario in scenarios:
        sides = _sides(study, scenario)
        here = set(study.said.loc[study.said["scenario"] == scenario, "method"])
        for asked, with_it, without in ISOLATED:
            if not {with_it, without} <= known & here or (scenario, without) == ("coloured", "plain"):
                continue
            gains = _rows(results.differences(study.means, without))
            levels = [_accuracy(study.accuracy(scenario, with_it, *side)) for side in sides]
            changes = [_interval(gains.get((scenario, with_it, *side))) for side in sides]
            rows.append([scenario, asked, with_it, *levels, *changes])
    head = ("scenario", "what alone", "method", "majority, %", "minority, %", "all, %")
    head += tuple(f"{side}: with − without" for side in ("majority", "minority", "all"))
    return f"One thing at a time:\n\n{markdown(head, rows)}"


#: Sets of the same storage: four smaller images in the place of each one; a teacher's labels in the place of the class.
FORMED = {name: f"{name}, formations" for name in ("random", "plain", "robust")}
TAUGHT = {name: f"{name}, soft labels" for name in FORMED}
#: Eight codes in the place of each image, and a decoder beside them.
CODED = {name: f"{name}, latents" for name in (*FORMED, "balanced")}
OF_FORMATIONS = ("formations", "formations-cifar10")


def formations(
    folder: Path,
    pairs: Mapping[str, str] = FORMED,
    what: str = "2 × 2 − 1",
    studies: Sequence[str] = OF_FORMATIONS,
    beside: Collection[str] = (),
) -> Block:
    """What formations change, or other ``pairs``, by study: the painted shifts, and CIFAR-10; with more methods."""
    found = [Tables(folder, name) for name in studies]
    mine = {*pairs, *pairs.values(), *beside}
    parts = []
    for study in found:
        if study.table is None or not set(pairs.values()) & set(study.table["method"]):
            continue
        here = study.table["scenario"].isin(study.table.loc[study.table["method"].isin(pairs.values()), "scenario"])
        study.table = study.table[here & study.table["method"].isin(mine)]
        parts.append(_pairs(study, pairs.items(), what)[0])
    return "\n\n".join(parts) or ABSENT, {}


def _real(folder: Path) -> pd.DataFrame | None:
    path = folder / "real.csv"
    if not path.exists():
        return None
    table = pd.read_csv(path)
    return table if "minority" in table else table.assign(minority=np.nan)


def _measured_in(path: Path, table: pd.DataFrame) -> str:
    """Where a table of this folder lies, and on what it was measured."""
    who = {c: _several(table[c].unique().tolist()) for c in ("date", "processor", "torch", "rdd_nb")}
    return (
        f"From `data/results/{path.name}`, measured {who['date']} on {who['processor']}, one thread; torch "
        f"{who['torch']}, rdd_nb {who['rdd_nb']}."
    )


def _measured_real(table: pd.DataFrame) -> str:
    who = {c: _several(table[c].unique().tolist()) for c in ("date", "processor", "torch", "rdd_nb")}
    return (
        f"From `data/results/real.csv`, measured {who['date']} on {who['processor']}, one thread, no GPU; torch "
        f"{who['torch']}, rdd_nb {who['rdd_nb']}. Seeds {_several(sorted(table['seed'].unique().tolist()))}, "
        "3 networks each, ipc 10, width 32, 200 iterations, scored on the test set."
    )


def _level(part: pd.DataFrame, method: str, measure: str) -> str:
    """Mean and standard deviation over the seeds that have it; a dash for none."""
    held = part.loc[part["method"] == method, measure].dropna()
    if held.empty:
        return "–"
    return f"{held.mean():.1f}" + (f" ± {held.std():.1f}" if len(held) > 1 else "")


def _gain(part: pd.DataFrame, method: str, measure: str) -> str:
    """The paired gain over plain with its interval, over the seeds that have both; a dash for none."""
    wide = part.set_index(["seed", "method"])[measure].unstack("method")
    if method not in wide:
        return "–"
    gains = (wide[method] - wide["plain"]).dropna()
    if gains.empty:
        return "–"
    return gain_told(gains)


def read(folder: Path) -> dict[str, Tables]:
    """The tables in ``folder``, by the name of their study."""
    ablations = Tables(folder, "ablations" if (folder / "ablations.csv").exists() else "sensitivity")
    named = {
        "trajectories": "trajectories",
        "study": "study",
        "selection": "selection",
        "published": "published-cpu",
        "replication": "replication",
    }
    return {**{name: Tables(folder, file) for name, file in named.items()}, "sensitivity": ablations}


def block(name: str, held: Mapping[str, Tables]) -> Block:
    """The block called ``name``, from what :func:`read` found.

    Raises:
        RddError: no such block.
    """
    study = held["study"]
    if name == "discovery":
        return discovery(study.path.parent)
    whole = {
        "real": real,
        "fairdd": fairdd,
        "calibration": calibration,
        "fronts": fronts,
        "starts": starts,
        "partial": functools.partial(gains_of, TOLD, "robust, 5 % known"),
        "worth": functools.partial(gains_of, WORTH, "robust, groups alike"),
        "formations": formations,
        "labels": functools.partial(formations, pairs=TAUGHT, what="soft − hard"),
        "plain-trajectories": functools.partial(
            formations,
            pairs={"plain": "trajectory plain"},
            what="trajectory − distribution",
            studies=("trajectories-plain", "trajectories-cifar10"),
        ),
        "latents": functools.partial(
            formations, pairs=CODED, what="codes − pixels", studies=("latents",), beside=FORMED.values()
        ),
    }
    if name in whole:
        return whole[name](study.path.parent)
    if name == "strata":
        return strata(study.path.parent, (study, held["replication"]))
    made: dict[str, tuple[Tables, Callable[[Tables], Block]]] = {
        "measured": (study, measured),
        "methods": (study, methods),
        "goals": (study, goals),
        "robustness": (study, robustness),
        "mechanism": (study, mechanism),
        "cost": (study, cost),
        "brief": (study, brief),
        "first": (study, first),
        "selection": (held["selection"], selection),
        "published": (held["published"], published),
        "replication": (held["replication"], functools.partial(replication, study=study)),
        "today": (held["replication"], functools.partial(replication, study=study, ours="robust tried")),
        "trajectories": (held["trajectories"], trajectories),
        "sensitivity": (held["sensitivity"], functools.partial(sensitivity, study=study)),
    }
    if name.startswith("results-"):
        made[name] = (study, functools.partial(scenario, name=name.removeprefix("results-")))
    if name not in made:
        raise unknown("block", name, [*made, *whole, "discovery", "strata", "results-SCENARIO"], "the page")
    tables, make = made[name]
    return (ABSENT, {}) if tables.table is None or tables.table.empty else make(tables)


# --- the page -----------------------------------------------------------------------------------------------------

_MARKED = re.compile(r"(<!-- begin: (\S+) -->\n)(.*?)(<!-- end: (\S+) -->)", re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """The blocks of a page, by name, as they stand there.

    Raises:
        RddError: a mark without its partner, or a name twice.
    """
    found = {}
    for _, name, held, _, end in _MARKED.findall(text):
        if end != name or name in found or "<!-- begin:" in held:
            raise RddError(
                f"block {name!r} of the page ends as {end!r}, or stands there twice: give it one pair of marks"
            )
        found[name] = held
    if len(re.findall(r"<!-- (?:begin|end): ", text)) != 2 * len(found):
        raise RddError(
            "a mark of the page has no partner: write <!-- begin: NAME --> and <!-- end: NAME -->, a line each"
        )
    return found


def stale(page: Path, tables: Path) -> list[str]:
    """Blocks of ``page`` that differ from what ``tables`` say, and pictures that they show and that are not there."""
    wrong, found = [], read(tables)
    for name, held in blocks(page.read_text(encoding="utf-8")).items():
        text, pictures = block(name, found)
        if held != f"{text}\n":
            wrong.append(name)
        wrong += [f"study/{p}.png" for p in pictures if not (page.parent / "study" / f"{p}.png").exists()]
    return wrong


def write(page: Path, tables: Path) -> list[str]:
    """Bring the blocks of ``page`` and its pictures up to date; the names of the blocks that changed."""
    text = page.read_text(encoding="utf-8")
    found = read(tables)
    made = {name: block(name, found) for name in blocks(text)}
    changed = [name for name, held in blocks(text).items() if held != f"{made[name][0]}\n"]
    for _, pictures in made.values():
        for name, draw in pictures.items():
            (page.parent / "study").mkdir(exist_ok=True)
            atomic_write(page.parent / "study" / f"{name}.png", png(draw()))
    new = _MARKED.sub(lambda mark: f"{mark[1]}{made[mark[2]][0]}\n{mark[4]}", text)
    if new != text:
        atomic_write(page, new)
    return changed


def png(figure: Figure) -> bytes:
    """A figure as a small PNG: 256 colours are enough for dots and lines."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    PIL.Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()


def main(words: Sequence[str] | None = None) -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where something is stale")
    parser.add_argument(
        "--page",
        type=Path,
        action="append",
        help="a page, by default docs/study.md and README.md",
    )
    parser.add_argument("--tables", type=Path, default=HERE, help="the folder with study.csv and the others")
    asked = parser.parse_args(words)
    wrong = []
    for page in asked.page or PAGES:
        try:
            if asked.check:
                wrong += [f"{page.name}: {name}" for name in stale(page, asked.tables)]
            else:
                print(f"{page.name}: {', '.join(write(page, asked.tables)) or 'no block'} rewritten")
        except (RddError, OSError) as error:
            print(f"error: {page.name}: {error}", file=sys.stderr)
            return 2
    if wrong:
        print(f"stale: {'; '.join(wrong)}; run python data/results/page.py", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
