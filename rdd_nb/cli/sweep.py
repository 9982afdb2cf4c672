"""The commands for many notebooks: ``rdd-nb sweep`` runs a grid of them, ``rdd-nb report`` tells what came of it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rdd_nb.cli.options import WORK, Json, Quiet, complain, duration, emit
from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import terminal

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.studies import Report, SweepPlan
    from rdd_nb.experiments.sweep.engine import Progress
    from rdd_nb.experiments.sweep.guard import Outcome

__all__ = ["command_report", "command_sweep"]

CLUSTER = "Cluster"


def command_sweep(
    notebook: Annotated[Path, typer.Argument(help="An .ipynb file with a cell tagged `parameters`.")],
    grid: Annotated[Path, typer.Option(metavar="GRID.yaml", help="What is fixed, and what varies.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The sweep's folder; each run has its own in it.")],
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time; by default one a graphics card, or one a core as far as memory reaches.",
            min=1,
            rich_help_panel=WORK,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Of each run; by default its share of the cores; on a cluster 1.", min=1, rich_help_panel=WORK
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Seconds of wall clock that a run may take.", metavar="SECONDS", rich_help_panel=WORK),
    ] = None,
    skip_failed: Annotated[
        bool, typer.Option("--skip-failed", help="Do not try again what has failed before.", rich_help_panel=WORK)
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Run on the workers of this Dask scheduler.", metavar="ADDRESS", rich_help_panel=CLUSTER),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="Run as jobs of SLURM: jobs=20, queue=gpu, walltime=02:00:00, …; repeat it.",
            metavar="KEY=VALUE",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and how each stands; run none.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a notebook over a grid of parameters, each run in its own process and folder. The same command resumes it.

    Everything is checked before anything starts. What is finished is not run again, unless the notebook's code or the
    package's version changed. A run that fails leaves its error in run.json, does not stop the others, and is tried
    again next time; the exit status is then 1.

    \b
    Example: rdd-nb sweep notebooks/03_distillation.ipynb --grid grid.yaml --out runs/tails
    with in grid.yaml:
      fixed: {iterations: 60}
      product: {tail: [0.2, 0.5, 1.0]}
      seeds: [0, 1, 2]
    """
    from rdd_nb.experiments import sweep

    if scheduler is not None and slurm:
        raise RddError("--scheduler and --slurm are two ways to one end: give one of them")
    plan = sweep.make_plan(notebook, sweep.load_grid(grid))
    if dry_run:
        how = sweep.stands(plan, out)
        if as_json:
            emit(cast("SweepPlan", {"notebook": notebook.name, "out": str(out), "runs": how}))
            return
        for name, stand in how.items():
            print(f"{stand:11} {_shown(name)}")
        print(f"{sum(stand == 'done' for stand in how.values())} of {len(how)} runs are done in {out}")
        return
    line = _Line(quiet)
    with _executor(scheduler, slurm, out) as (executor, size):
        result = sweep.run_sweep(
            plan,
            out,
            workers=workers or size,
            threads=threads,
            limit=limit,
            skip_failed=skip_failed,
            executor=executor,
            tell=line,
        )
    line.end()
    if as_json:
        emit(
            {
                "notebook": notebook.name,
                "out": str(out),
                "runs": result.total,
                "done": result.done,
                "ran": result.ran,
                "rerun": result.rerun,
                "failed": result.failed,
            }
        )
    else:
        again = f" ({result.rerun} of them again, as the notebook or the package changed)" if result.rerun else ""
        print(f"{result.done} of {result.total} runs are done, {result.ran} ran now{again}; rdd-nb report {out}")
    if result.failed:
        first = "; ".join(f"{name} ({why})" for name, why in list(result.failed.items())[:3])
        more = f"; and {len(result.failed) - 3} more" if len(result.failed) > 3 else ""
        complain(f"{len(result.failed)} runs failed, the same command tries them again: {first}{more}", 1)
        raise typer.Exit(1)


@contextlib.contextmanager
def _executor(scheduler: str | None, slurm: list[str] | None, out: Path) -> Iterator[tuple[Any, int | None]]:
    """The executor that was asked for and how many runs it takes at a time; None and None for this machine's own."""
    if scheduler is None and not slurm:
        yield None, None
        return
    from rdd_nb.experiments.sweep import cluster

    if scheduler is None:
        way = cluster.on_slurm(cluster.slurm_options(slurm or []), out)
    else:
        if cluster.is_open(scheduler):
            said = (
                f"note: {scheduler} does not ask who connects: whoever reaches it can run code on its workers (tls://)"
            )
            print(terminal(said), file=sys.stderr)
        way = cluster.at_address(scheduler)
    with way as found:
        yield found


def _shown(text: str) -> str:
    """A run's name, or what its notebook complained of, on one line, which does nothing to the terminal."""
    return terminal(" ".join(text.split()))


class _Line:
    """Progress on stderr: on a terminal a line that moves, and one that stays for each failure; else a line a run."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.moving, self.last, self.shown = quiet, sys.stderr.isatty(), 0.0, False

    def __call__(self, outcome: Outcome | None, now: Progress) -> None:
        if self.quiet:
            return
        left = "" if now.left is None else f", {duration(now.left)} left"
        said = f"{now.done} of {now.total} done, {now.failed} failed, {now.running} running{left}"
        if outcome is not None and (outcome.status != "done" or not self.moving):
            how = f"{outcome.seconds:.1f} s" if outcome.status == "done" else f"{outcome.status}: {outcome.error}"
            self._clear()
            print(_shown(f"[{said}] {outcome.name}: {how}"), file=sys.stderr, flush=True)
        if self.moving and (outcome is None or time.monotonic() - self.last > 0.2):
            self._clear()
            print(said, end="", file=sys.stderr, flush=True)
            self.last, self.shown = time.monotonic(), True

    def _clear(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr)
            self.shown = False

    def end(self) -> None:
        """Leave nothing of the moving line."""
        self._clear()
        sys.stderr.flush()


def command_report(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep.")],
    outcome: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What to report, a column of its table; repeat it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a sweep found: one page of HTML that stands alone, the same in Markdown, and a table.

    They are report.html, report.md, table.csv and (with pyarrow) table.parquet in the sweep's folder. Means are over
    seeds, with 95 % t-intervals. Also while the sweep runs: it reports what is done.

    \b
    Example: rdd-nb report runs/tails --outcome worst --outcome mean
    """
    from rdd_nb.experiments.sweep import page

    written = page.write(out, outcome or ())
    if as_json:
        files = {name: str(path) for name, path in written.files.items()}
        emit(cast("Report", {**files, "outcomes": written.outcomes}))
        return
    print(terminal(written.said))
    print("written: " + ", ".join(str(path) for path in written.files.values()))
