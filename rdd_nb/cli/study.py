"""The commands that run many things: ``rdd-nb run`` (a notebook) and ``rdd-nb study`` (methods side by side)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rdd_nb.cli.options import WORK, Device, Json, Quiet, complain, duration, emit, pair
from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import terminal

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.studies import StudyPlan

__all__ = ["command_run", "command_study"]


def command_run(
    notebook: Annotated[Path, typer.Argument(help="An .ipynb file; it is not changed.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the executed copy goes, and its out_dir.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="A parameter of the notebook; repeat it."),
    ] = None,
    yaml_text: Annotated[
        list[str] | None, typer.Option("-y", "--yaml", metavar="YAML", help="Parameters as YAML: '{tail: 0.2}'.")
    ] = None,
) -> None:
    """Run a notebook with papermill: its parameters are checked first, and a cell that fails is an error.

    \b
    Example: rdd-nb run notebooks/00_quickstart.ipynb --out runs/a -p tail 0.1
    """
    from rdd_nb.experiments import yaml_reader
    from rdd_nb.experiments.notebook import run_notebook
    from rdd_nb.experiments.parameters import inspect

    known = inspect(notebook)
    values: dict[str, Any] = {}
    for text in yaml_text or ():
        read = yaml_reader.read_text(text, f"-y {text[:60]!r}")
        if not isinstance(read, dict):
            raise RddError(f"-y {text[:60]!r} is not a mapping: write it like -y '{{tail: 0.2, seed: 3}}'")
        values |= read
    for text in parameter or ():
        name, value = pair(text, "-p", separate=" ")
        declared = known.get(name)
        is_text = declared is not None and declared.annotation in ("str", "") and isinstance(declared.default, str)
        values[name] = text.split("=", 1)[1] if is_text else value
    if "out_dir" in known:
        values.setdefault("out_dir", str(out))
    target = out / notebook.with_suffix(".ipynb").name
    done = run_notebook(notebook, target, values, progress=sys.stdout)
    print(f"{notebook.name} ran in {done['seconds']:.1f} s; the executed copy is {target}")


def command_study(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Such as data/studies/quick.yaml.")],
    workers: Annotated[int, typer.Option(help="Processes; 0 works in this one.", min=0, rich_help_panel=WORK)] = 2,
    threads: Annotated[
        int | None,
        typer.Option(help="Of each process; by default its share of the cores.", min=1, rich_help_panel=WORK),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The study's folder; by default runs/study-NAME.", rich_help_panel=WORK),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH.csv",
            help="Where the table goes, and PATH-runs.csv beside it; by default table.csv in the study's folder.",
            rich_help_panel=WORK,
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the runs that the table holds with the same settings, and run the others."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SCENARIO/METHOD", help="Run these alone; repeat it. * stands for anything."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1", help="Run these seeds alone.")] = None,
    baseline: Annotated[str, typer.Option(help="The method that the printed gains are over.")] = "plain",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the units and how each stands; run none.")] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run scenario × method × seed, each in a run folder, and write one table. The same command resumes it.

    What is finished is not run again unless its settings changed. A unit that fails leaves error.json in its folder,
    does not stop the others, and is tried again next time; the exit status is then 1. With --add, the table grows: what
    other machines or earlier days have put there stays, and is not run again.

    \b
    Example: rdd-nb study data/studies/quick.yaml --workers 2 --table data/results/study.csv
    """
    from rdd_nb.evaluation import results
    from rdd_nb.experiments.study import tables
    from rdd_nb.experiments.study.plan import load_plan
    from rdd_nb.experiments.study.run import Outcome, run_study
    from rdd_nb.experiments.study.units import state

    plan = load_plan(config)
    folder = out or Path("runs") / f"study-{plan.name}"
    target = table or folder / "table.csv"
    before, there = tables.held(target, plan.units)
    chosen = plan.pick(only or (), _seeds(seeds))
    units = [unit for unit in chosen if not (add and unit.name in there)]
    for note in () if quiet else plan.notes:
        print(terminal(f"note: {note}"), file=sys.stderr)
    if dry_run:
        stands = {unit.name: state(folder, unit) for unit in units}
        if as_json:
            emit(cast("StudyPlan", {"study": plan.name, "out": str(folder), "units": stands}))
            return
        for name, how in stands.items():
            print(f"{how:8} {name}")
        also = f"; {target} holds {len(chosen) - len(units)} more" if add else ""
        print(f"{sum(how == 'done' for how in stands.values())} of {len(units)} units are done in {folder}{also}")
        return

    lost = sum(unit.name in there and state(folder, unit) != "done" for unit in plan.units)
    if lost and not add:
        raise RddError(f"{target} holds {lost} runs that {folder} does not: --add keeps them, or use another --table")

    tables.check_place(target)
    tables.collect(folder, plan.units)  # what is finished can be read, which is known before more is run

    def tell(done: Outcome, finished: int, of: int, left: float) -> None:
        if not quiet:
            how = f"{done.seconds:.1f} s" if done.error is None else f"failed: {done.error}"
            said = f"[{finished}/{of}] {done.unit.name}: {how}; {duration(left)} left"
            print(terminal(said), file=sys.stderr, flush=True)

    outcomes = run_study(plan, folder, units=units, workers=workers, threads=threads, device=device, tell=tell)
    made = tables.collect(folder, [unit for unit in plan.units if not (add and unit.name in there)])
    made = tables.join([before, made], plan.units) if add else made
    held, runs = made.table, made.runs
    if len(held):
        tables.write_tables(target, *made)
    failed = {done.unit.name: done.error for done in outcomes if done.error is not None}
    if as_json:
        means = json.loads(results.summary(held).to_json(orient="records")) if len(held) else []
        emit(
            {
                "study": plan.name,
                "out": str(folder),
                "table": str(target),
                "units": len(plan.units),
                "done": len(runs),
                "ran": len(outcomes),
                "failed": failed,
                "summary": means,
            }
        )
    elif len(held):
        print(terminal(results.overview(held, baseline)))
        print(f"\n{len(runs)} of {len(plan.units)} units; table: {target}, and what it was measured on: ", end="")
        print(results.runs_path(target).name)
    if failed:
        names = "; ".join(f"{name} ({why})" for name, why in failed.items())
        complain(f"{len(failed)} of {len(outcomes)} units failed, the same command tries them again: {names}", 1)
        raise typer.Exit(1)


def _seeds(text: str | None) -> list[int]:
    try:
        return [int(word) for word in (text or "").replace(",", " ").split()]
    except ValueError:
        raise RddError(f"--seeds {text!r} should be whole numbers: write --seeds 0,1") from None
