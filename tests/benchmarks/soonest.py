"""What reaches the accuracy of published distribution matching soonest? Accuracy against computing time.

    python tests/benchmarks/soonest.py choose [--seeds 300]
    python tests/benchmarks/soonest.py measure [--seeds 302 303 304]
    python tests/benchmarks/soonest.py words

Published distribution matching (DM) takes 20,000 iterations at step 1 from random real images. Others start from the
same data and are stopped at marks, where evaluation networks are trained on what they have. ``choose`` compares step
size, batch, momentum, start, shrinking steps and averaged images on held-out training images; ``measure`` takes DM, the
two best of these, the package's defaults for plain and robust matching, and gradient matching (DC), at seeds and on
test images that nobody has looked at. Fashion-MNIST's sample at 16 pixels and networks of width 16, where 20,000
iterations take minutes. Times are of one thread's computing (CPU seconds), with the finding of groups and of first
images in them, and without the evaluation. Rows go to data/results/soonest.csv as they come, and what stands there is
not run again; ``words`` brings docs/how-to/speed.md and its picture up to date.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pages import filled, put, table

import rdd_nb as rdd
from rdd_nb import figures
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.kmeans import kmeans
from rdd_nb.core import environment
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.distillation.initialization import State, initial_state
from rdd_nb.distillation.step import steps
from rdd_nb.evaluation.predictions import predict
from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, PINK
from rdd_nb.models.training import train

PAGE, TABLE, PICTURE = Path("docs/how-to/speed.md"), Path("data/results/soonest.csv"), Path("docs/how-to/soonest.png")
SCENARIOS = {"none": {}, "coloured": {"bias": 0.9}}
PROTOCOL = rdd.Protocol(epochs=100, lr=0.02, width=16)
NETS = 3
PUBLISHED = "DM, as published"
LONG = (0, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
SHORT = (20, 50, 100, 200, 500, 1000, 2000)
DM = {"matching": "distribution", "objective": "erm", "width": 16, "init": "real"}
MEDOIDS = {"lr_img": 10.0, "init": "medoids"}
#: What is varied: settings beside DM's, and the marks. Two are no setting of a config: ``shrinks`` takes the step down
#: to 0 in twenty stairs, ``averaged`` judges the mean of the images since the mark before (mostly the last half).
CANDIDATES: dict[str, tuple[dict, tuple[int, ...]]] = {
    PUBLISHED: ({"lr_img": 1.0}, LONG),
    "step 5": ({"lr_img": 5.0}, SHORT),
    "step 10": ({"lr_img": 10.0}, SHORT),
    "step 20": ({"lr_img": 20.0}, SHORT),
    "step 10, momentum 0.9": ({"lr_img": 10.0, "momentum_img": 0.9}, SHORT),
    "step 10, 256 real images": ({"lr_img": 10.0, "batch_real": 256}, SHORT[:-1]),
    "step 10, from medoids": (MEDOIDS, SHORT),
    "from medoids, 16 real images": ({**MEDOIDS, "batch_real": 16}, (*SHORT, 4000)),
    "from medoids, batches over 64 k-means cells": ({**MEDOIDS, "objective": "group", "group_power": 1.0}, SHORT),
    "from medoids, step 20 that shrinks to 0": ({**MEDOIDS, "lr_img": 20.0, "shrinks": True}, (2000,)),
    "from medoids, averaged since the last mark": ({**MEDOIDS, "averaged": True}, SHORT),
}
#: The published way, the two that `choose` found best (see the page), and what the package does by itself.
MEASURED: dict[str, tuple[dict, tuple[int, ...]]] = {
    PUBLISHED: CANDIDATES[PUBLISHED],
    "DM, from medoids": CANDIDATES["step 10, from medoids"],
    "DM, from medoids, k-means batches": CANDIDATES["from medoids, batches over 64 k-means cells"],
    "DM, our defaults": CANDIDATES["step 5"],
    "robust, our defaults": ({"objective": "robust", "init": "auto"}, SHORT),
    "gradient matching (DC)": ({"matching": "gradient"}, (10, 20, 50, 100, 200, 500)),
}
LOOKS = dict(zip(MEASURED, ((GREY, "-"), (BLUE, "-"), (BLUE, ":"), (GREEN, "-"), (ORANGE, "-"), (PINK, "-"))))


def course(splits: Splits, settings: dict, marks: tuple[int, ...], seed: int) -> Iterator[tuple[int, float, State]]:
    """(iterations, CPU seconds, state) at each mark of one distillation."""
    spent, began, data = 0.0, time.process_time(), splits.train
    settings = {**DM, **settings}
    stairs, averaged = 20 if settings.pop("shrinks", False) else 1, settings.pop("averaged", False)
    config = rdd.DistillConfig(**settings, iterations=max(marks), seed=seed)
    groups = None
    if config.objective == "robust":
        groups = rdd.discover_groups(data, seed=seed, device="cpu")
    elif config.objective == "group":  # of power 1: the plain mean, each cell's share in every batch
        groups = Groups(kmeans(data.normalised().flatten(1), data.labels, 64, seed), 64, "k-means in pixels")
    state = initial_state(data, config, groups)
    going = _down(data, config, groups, state, stairs)
    for mark in marks:
        met, mean = 0, torch.zeros_like(state.images)
        while state.iteration < mark:
            state = next(going)
            met, mean = met + 1, mean.add_(state.images) if averaged else mean
        judged_state = dataclasses.replace(state, images=mean / met) if averaged else state
        spent += time.process_time() - began
        yield mark, spent, judged_state
        began = time.process_time()


def _down(
    data: ImageDataset, config: rdd.DistillConfig, groups: Groups | None, state: State, stairs: int
) -> Iterator[State]:
    """The distillation's states, its step size falling in ``stairs`` of equal length and height."""
    for stair in range(stairs):
        until = config.num_iterations * (stair + 1) // stairs
        lower = {"iterations": until, "lr_img": config.step_size * (1 - stair / stairs)}
        for state in steps(data, config.model_copy(update=lower), groups, state, device="cpu"):  # noqa: B020
            yield state


def judged(splits: Splits, state: State, seed: int) -> dict[str, float]:
    """Accuracy, %, of networks trained on the images; and of the minority, where there is one."""
    data, count = splits.train, len(state.images) // splits.train.num_classes
    labels = torch.arange(data.num_classes).repeat_interleave(count)
    made = rdd.SyntheticSet(state.images, labels, data.class_names, data.mean, data.std, count)
    scores = predict(train(made, PROTOCOL, nets=NETS, seed=seed, device="cpu"), splits.test)
    found = {"accuracy": 100 * float(scores.accuracy.mean())}
    if scores.minority is not None:
        found["minority"] = 100 * float(scores.correct[:, scores.minority].mean())
    return found


def run(part: str, ways: dict[str, tuple[dict, tuple[int, ...]]], scenarios: list[str], seeds: list[int]) -> None:
    """Measure what the table lacks."""
    torch.set_num_threads(1)
    where = {k: v for k, v in environment.describe().items() if k in ("rdd_nb", "torch", "processor", "date")}
    for seed in seeds:
        for name in scenarios:
            base = rdd.load("fashion-mnist-sample", size=16)
            splits = base if name == "none" else rdd.scenario(base, name, seed=seed, **SCENARIOS[name])
            if part == "choose":
                splits = Splits(*splits.train.hold_out(0.2, seed), splits.name)
            for way, (settings, marks) in ways.items():
                key = {"part": part, "scenario": name, "way": way, "seed": seed}
                held = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=list(key))
                if (held[list(key)] == pd.Series(key)).all(axis=1).any():
                    continue
                rows = []
                for mark, spent, state in course(splits, settings, marks, seed):
                    rows.append({**key, "iterations": mark, "seconds": spent, **judged(splits, state, seed), **where})
                held = pd.read_csv(TABLE) if TABLE.exists() else held  # another process may have written meanwhile
                pd.concat([held, pd.DataFrame(rows)]).to_csv(TABLE, index=False, float_format="%.5g")
                print(*key.values(), f"{rows[-1]['seconds']:.0f} s, {rows[-1]['accuracy']:.1f} %", flush=True)


def soonest(held: pd.DataFrame) -> pd.DataFrame:
    """For each way: seconds to the published accuracy, in each seed, as a part of what the published way took.

    Columns way, seed, reached (whether at all), iterations, seconds and part of the time at the first mark that
    reaches it, or at the last; whole, the part of the time at the last. No part is told where another processor
    measured the published way.
    """
    rows = []
    for seed, of_seed in held.groupby("seed"):
        goal = of_seed[of_seed["way"] == PUBLISHED].sort_values("iterations").iloc[-1]
        for way, points in of_seed.groupby("way", sort=False):
            there = points[points["accuracy"] >= goal["accuracy"]].sort_values("iterations")
            last = points.sort_values("iterations").iloc[-1]
            first = there.iloc[0] if len(there) else last
            one = goal["seconds"] if first["processor"] == goal["processor"] else np.nan
            times = (first["seconds"], first["seconds"] / one, last["seconds"] / one)
            rows.append((way, seed, bool(len(there)), int(first["iterations"]), *times))
    return pd.DataFrame(rows, columns=["way", "seed", "reached", "iterations", "seconds", "part", "whole"])


def words(held: pd.DataFrame) -> str:
    """The report as Markdown."""
    paragraphs = []
    chosen = held[held["part"] == "choose"]
    found = soonest(chosen)
    rows: dict[str, object] = {}
    for way in CANDIDATES:
        of_way = found[found["way"] == way]
        reached = of_way[of_way["reached"]]
        most = chosen[chosen["way"] == way].groupby("iterations")["accuracy"].mean()
        rows[way] = [
            f"{len(reached)} of {len(of_way)}",
            f"{reached['part'].mean():.3f}" if reached["part"].notna().any() else "–",
            f"{most.max():.1f} at {most.idxmax():,}",
            f"{of_way['whole'].mean():.3f}",
        ]
    seeds = ", ".join(map(str, sorted(chosen["seed"].unique())))
    text = (
        f"Chosen on held-out training images of `none`, seeds {seeds}; times are parts of what the published way took "
        "at the same seed and on the same processor:"
    )
    paragraphs.append(filled(text))
    head = ("way", "reaches it", "after, of the time", "best mean accuracy, %, and after", "all of it, of the time")
    paragraphs.append(table(head, rows))
    measured = held[held["part"] == "measure"]
    rows = {}
    for name in [name for name in SCENARIOS if name in set(measured["scenario"])]:
        here = measured[measured["scenario"] == name]
        found = soonest(here)
        goals = here[here["way"] == PUBLISHED].sort_values("iterations").groupby("seed")["accuracy"].last()
        for way in (way for way in MEASURED if way in set(here["way"])):
            points, of_way = here[here["way"] == way], found[found["way"] == way]
            last = points[points["iterations"] == points["iterations"].max()].sort_values("seed")
            tenth = at_a_tenth(here, way)
            rows[f"{name}: {way}"] = [
                ", ".join(map(str, last["seed"])),
                _said(last["accuracy"]),
                _said(last["minority"]) if name != "none" else "–",
                _said(tenth),
                f"{(tenth - goals[tenth.index]).mean():+.1f}".replace("-", "−"),
                f"{int(of_way['reached'].sum())} of {len(of_way)}",
            ]
    seeds = ", ".join(map(str, sorted(measured["seed"].unique())))
    where = "; ".join(
        f"{processor}, {', '.join(sorted(rows['date'].unique()))}" for processor, rows in measured.groupby("processor")
    )
    text = (
        f"Measured on test images, seeds {seeds}, {NETS} networks each, {where}, torch {measured['torch'].iloc[-1]}, "
        "one thread; all numbers in `data/results/soonest.csv`:"
    )
    head = ("way", "seeds", "accuracy at the end, %", "minority, %", "at a tenth of DM's time, %")
    head = (*head, "mean of it beside DM's end, points", "seeds that reach DM's end")
    paragraphs += [filled(text), table(head, rows)]
    paragraphs.append(f"![Accuracy against computing time, of every way and seed]({PICTURE.name})")
    return "\n\n".join(paragraphs) + "\n"


def _said(values: pd.Series) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def at_a_tenth(here: pd.DataFrame, way: str) -> pd.Series:
    """By seed: the accuracy at the last mark within a tenth of what the published way took with it."""
    found = {}
    for seed, of_seed in here.groupby("seed"):
        limit = of_seed.loc[of_seed["way"] == PUBLISHED, "seconds"].max() / 10
        points = of_seed[(of_seed["way"] == way) & (of_seed["seconds"] <= limit)].sort_values("seconds")
        if len(points):
            found[seed] = points["accuracy"].iloc[-1]
    return pd.Series(found, dtype=float)


def draw(held: pd.DataFrame) -> Figure:
    """Accuracy against computing time, a line a seed: all of `none`; all and the minority of `coloured`."""
    panels = [("none", "accuracy", "none: all"), ("coloured", "accuracy", "coloured: all")]
    panels += [("coloured", "minority", "coloured: off-colour")]
    panels = [panel for panel in panels if panel[0] in set(held.loc[held["part"] == "measure", "scenario"])]
    figure = Figure(figsize=(1.5 + 3.5 * len(panels), 3.6), layout="constrained")
    for axes, (name, column, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for way, (colour, line) in LOOKS.items():
            here = held[(held["part"] == "measure") & (held["scenario"] == name) & (held["way"] == way)]
            for k, (_, points) in enumerate(here.groupby("seed")):
                points = points[points["iterations"] > 0].sort_values("seconds")
                label = way if k == 0 else None
                axes.semilogx(
                    points["seconds"], points[column], line, marker=".", color=colour, lw=1, ms=4, label=label
                )
        figures.clean_axes(axes).set(title=title, xlabel="seconds of computing", ylabel="accuracy, %")
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def main() -> None:
    """Measure one part, or write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["choose", "measure", "words"])
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--ways", nargs="+", choices=list(MEASURED), default=list(MEASURED), help="to measure")
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    asked = parser.parse_args()
    if asked.part == "choose":
        run("choose", CANDIDATES, ["none"], asked.seeds or [300])
    elif asked.part == "measure":
        run("measure", {way: MEASURED[way] for way in asked.ways}, asked.scenarios, asked.seeds or [302, 303, 304])
    else:
        held = pd.read_csv(TABLE)
        draw(held).savefig(PICTURE, dpi=100)
        put(PAGE, "soonest", words(held))


if __name__ == "__main__":
    main()
