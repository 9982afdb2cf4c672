"""The command that holds runs against one another, on the same test images: ``rdd-nb compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdd_nb.cli.options import Json, emit, say
from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import csv_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command_compare"]


def command_compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs that `rdd-nb evaluate` has judged on the same test images.", metavar="RUN…"
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="minority|group|class|class-group",
            help="The groups to tell apart; by default the first of these that the test images name.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as CSV here as well.")] = None,
    as_json: Json = False,
) -> None:
    """Say how each run differs from the first, for all images and for each group, with 95 % intervals.

    Differences are paired image by image and cover the images and the networks; p-values over groups are corrected
    (Holm). They are about these sets: another seed of the distillation gives another set, which only a study over seeds
    covers (`rdd-nb study`).

    \b
    Example: rdd-nb compare runs/plain runs/robust
    """
    from rdd_nb.core.files import atomic_write
    from rdd_nb.distillation.run_folder import RunFolder
    from rdd_nb.evaluation.run_comparison import compare_runs
    from rdd_nb.evaluation.scores import scores_of

    if len(runs) < 2:
        raise RddError(f"compare was given {len(runs)} run: name two at least, such as runs/plain runs/robust")
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise RddError(f"cannot write --csv {csv}: give the path of a file in a folder that is there")
    held = {}
    for run in runs:
        if str(run) in held:
            raise RddError(f"{run} is named twice: name each run once")
        folder = RunFolder.open(run)
        if not (folder.path / "scores.npz").is_file():
            raise RddError(f"{run} has not been judged yet: rdd-nb evaluate {run}")
        held[str(run)] = scores_of(folder)
    table = compare_runs(held, by)
    if csv is not None:
        atomic_write(csv, csv_text(table))
    if as_json:
        emit({"by": table["partition"].iloc[-1], "table": json.loads(table.to_json(orient="records"))})
        return
    _print(table, list(held))


def _print(table: pd.DataFrame, runs: list[str]) -> None:
    width = max(len(str(group)) for group in table["group"])
    say(f"{len(runs)} runs on {table['n'].iloc[0]:,} test images; differences are in points, to {runs[0]}")
    for run in runs:
        say(f"\n{run}")
        for row in table[table["run"] == run].itertuples():
            told = f"{100 * row.accuracy:5.1f} %  {100 * row.low:5.1f} – {100 * row.high:.1f}" if row.n else "    –"
            change = ""
            if run != runs[0] and row.n:
                ends = f"[{100 * row.difference_low:+.1f}, {100 * row.difference_high:+.1f}]"
                change = f"   {100 * row.difference:+5.1f} {ends:16} p {row.p_value:.3g}"
            say(f"  {row.group:{width}} {row.n:7,}  {told}{change}")
