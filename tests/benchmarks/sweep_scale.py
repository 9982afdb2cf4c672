"""What a sweep costs besides its runs: overhead a run, memory of the parent, and what a second worker buys.

    python tests/benchmarks/sweep_scale.py [--runs 1000] [--out runs/sweep-scale] [--real FOLDER] [--write]

With --write the numbers go to data/results/sweep-scale.json and from there into docs/how-to/sweeps.md (--words does
only the latter). Three measurements, on a notebook that does nothing, or computes for some seconds:

- starting: seconds from nothing to the end of an empty notebook, kernel only (jupyter_client), and a whole run;
- scale: `--runs` empty runs with a worker a core: seconds and CPU seconds a run, memory of the parent as it goes;
- workers: 8 runs that each compute for some seconds on one thread, with one worker and with two.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import time
from pathlib import Path

import nbformat
import psutil
from nbformat import v4
from pages import filled, put, table

from rdd_nb.core.processes import cores
from rdd_nb.experiments import sweep

EMPTY = "import json, pathlib\npathlib.Path(out_dir, 'metrics.json').write_text(json.dumps({'summary': {'x': x}}))"
BUSY = "import torch\ntorch.manual_seed(seed)\na = torch.randn(600, 600)\nfor _ in range(700):\n    a = (a @ a).tanh()"


def notebook(path: Path, code: str) -> Path:
    parameters = 'x: float = 0.0\nseed: int = 0\nout_dir: str = "runs/x"'
    cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), v4.new_code_cell(code)]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def kernel_alone(times: int = 10) -> float:
    """Seconds to start a kernel, run nothing in it, and end it."""
    from jupyter_client.manager import start_new_kernel

    taken = []
    for _ in range(times):
        began = time.perf_counter()
        manager, client = start_new_kernel(extra_arguments=["--log-level=CRITICAL"])
        client.execute("1", reply=True)
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def timed(path: Path, grid: dict, out: Path, workers: int, threads: int | None = None) -> dict:
    shutil.rmtree(out, ignore_errors=True)
    me, memory = psutil.Process(), []
    plan = sweep.make_plan(path, grid)
    before, own = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    began = time.perf_counter()

    def tell(outcome: sweep.Outcome | None, now: sweep.Progress) -> None:
        if outcome is not None and (now.done + now.failed) % max(1, now.total // 10) == 0:
            memory.append(round(me.memory_info().rss / 1e6, 1))
            print(
                f"{now.done} done, {now.failed} failed, {time.perf_counter() - began:.0f} s, {memory[-1]} MB",
                flush=True,
            )

    result = sweep.run_sweep(plan, out, workers=workers, threads=threads, tell=tell)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert result.done == result.total, result.failed
    return {
        "runs": result.total,
        "workers": workers,
        "seconds": round(seconds, 1),
        "seconds_a_run_and_worker": round(seconds * workers / result.total, 2),
        "cpu_seconds_a_run": round(spent / result.total, 2),
        "cpu_seconds_of_the_parent_a_run": round((time.process_time() - own) / result.total, 4),
        "parent_megabytes": memory,
        "kilobytes_a_run": round(sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / result.total / 1024, 1),
        "files_a_run": round(sum(p.is_file() for p in (out / "runs").rglob("*")) / result.total, 2),
    }


def folder_of(real: Path) -> dict:
    """What one run of a real notebook leaves: its folder in a sweep."""
    files = [p for p in real.rglob("*") if p.is_file()]
    return {"files": len(files), "megabytes": round(sum(p.stat().st_size for p in files) / 1e6, 2)}


def words(found: dict, runs: int = 10_000, cards: int = 100, minutes: float = 10.0) -> str:
    """The measured constants, and what they mean for a large sweep, as Markdown."""
    scale, here, real = found["scale"], found["machine"], found["real"]
    own = scale["cpu_seconds_a_run"]
    memory = scale["parent_megabytes"]
    hours = runs * minutes / 60 / cards
    look = found["seconds_to_look_at_all"] / scale["runs"] * runs
    parent = scale["cpu_seconds_of_the_parent_a_run"]
    rows = {
        "a kernel alone, started and ended": f"{found['kernel_seconds']:.2f} s",
        "a whole run of an empty notebook, one at a time": f"{found['one_by_one']['seconds_a_run_and_worker']:.2f} s",
        f"the same with {scale['workers']} workers, for each": f"{scale['seconds_a_run_and_worker']:.2f} s",
        "CPU seconds of a run, its kernel included": f"{own:.2f} s",
        "CPU seconds of the parent, for each run": f"{parent:.3f} s",
        "memory of the parent after a tenth of the runs, and after all": f"{memory[0]:.0f} MB, {memory[-1]:.0f} MB",
        "8 runs that compute, sooner with 2 workers than with 1": f"{found['sooner_with_two']:.2f} ×",
        "to look at all folders before anything starts": f"{found['seconds_to_look_at_all']:.2f} s",
        "files of an empty run": f"{scale['files_a_run']:.0f}",
        "files and space of a run of `03_distillation`": f"{real['files']}, {real['megabytes']:.1f} MB",
    }
    measured = (
        f"Measured on {here['cores']} cores ({here['processor']}), {here['date']}, with {scale['runs']:,} runs of a "
        "notebook that does nothing (`tests/benchmarks/sweep_scale.py`, numbers in `data/results/sweep-scale.json`):"
    )
    so = (
        f"So {runs:,} runs of {minutes:g} minutes each, on {cards} graphics cards with one worker each, take "
        f"{hours:.0f} hours. What is to be known beforehand:"
    )
    points = (
        f"- **Overhead** is {own:.1f} CPU seconds a run: {own / (minutes * 60):.1%} of its time, "
        f"{runs * own / 3600:.0f} CPU hours in all, on the workers. Runs of a few seconds are another matter: let one "
        "notebook do several.",
        f"- **The scheduler** sees a job end every {minutes * 60 / cards:.0f} seconds and never holds more than "
        f"{2 * cards} of them, as jobs are handed out one by one. The parent spends {runs * parent / 60:.1f} minutes "
        "of CPU on all of them, and its memory hardly grows.",
        f"- **Files** are {runs * real['files']:,}, in {runs:,} folders, and {runs * real['megabytes'] / 1000:.0f} GB: "
        "whoever runs a shared disk wants to be asked first. To look at all records before going on takes "
        f"{look:.0f} s on a local disk; on a network's, at a millisecond a file, {runs / 1000:.0f} s more.",
        f"- **Failures** are certain. If one run in a hundred dies with its machine, {runs // 100} are to be run "
        f"again: the second call does that in {runs / 100 * minutes / cards:.0f} minutes, the third finds one. A "
        f"worker that dies loses {minutes / 2:g} minutes on average, or what is behind its last checkpoint.",
    )
    parts = [filled(measured), table(("constant", "value"), rows), filled(so), "\n".join(map(filled, points))]
    return "\n\n".join(parts) + "\n"


PAGE, RESULT = Path("docs/how-to/sweeps.md"), Path("data/results/sweep-scale.json")


def main() -> None:
    """Measure, print JSON, and leave nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep-scale"))
    parser.add_argument("--real", type=Path, help="the folder of one run of 03_distillation in a sweep")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--words", action="store_true")
    asked = parser.parse_args()
    if asked.words:
        put(PAGE, "scale", words(json.loads(RESULT.read_text(encoding="utf-8"))))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    empty, busy = notebook(asked.out / "empty.ipynb", EMPTY), notebook(asked.out / "busy.ipynb", BUSY)
    found: dict = {"machine": {}, "kernel_seconds": round(kernel_alone(), 2)}
    found["one_by_one"] = timed(empty, {"seeds": list(range(20))}, asked.out / "one", 1)
    few = {w: timed(busy, {"seeds": list(range(8))}, asked.out / f"busy{w}", w, threads=1) for w in (1, 2)}
    found["busy"] = few
    found["sooner_with_two"] = round(few[1]["seconds"] / few[2]["seconds"], 2)
    found["scale"] = timed(empty, {"seeds": list(range(asked.runs))}, asked.out / "many", cores())
    began = time.perf_counter()
    sweep.stands(sweep.make_plan(empty, {"seeds": list(range(asked.runs))}), asked.out / "many")
    found["seconds_to_look_at_all"] = round(time.perf_counter() - began, 2)
    shutil.rmtree(asked.out)
    from rdd_nb.core import environment  # only now: it brings torch, and the parent's memory is measured

    found["machine"] = environment.describe()
    if asked.real is not None:
        found["real"] = folder_of(asked.real)
    print(json.dumps(found, indent=2))
    if asked.write:
        RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        put(PAGE, "scale", words(found))


if __name__ == "__main__":
    main()
