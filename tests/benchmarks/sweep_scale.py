"""What a sweep costs besides its runs: overhead a run, memory of the parent, and what a second worker buys.

    python tests/benchmarks/sweep_scale.py [--runs 1000] [--out runs/sweep-scale]

Three measurements, on a notebook that does nothing, or computes for some seconds:

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

from rdd_nb import machine, sweep
from rdd_nb.processes import cores

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


def main() -> None:
    """Measure, print JSON, and leave nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep-scale"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    empty, busy = notebook(asked.out / "empty.ipynb", EMPTY), notebook(asked.out / "busy.ipynb", BUSY)
    found: dict = {"machine": machine.describe(), "kernel_seconds": round(kernel_alone(), 2)}
    found["one_by_one"] = timed(empty, {"seeds": list(range(20))}, asked.out / "one", 1)
    few = {w: timed(busy, {"seeds": list(range(8))}, asked.out / f"busy{w}", w, threads=1) for w in (1, 2)}
    found["busy"] = few
    found["sooner_with_two"] = round(few[1]["seconds"] / few[2]["seconds"], 2)
    found["scale"] = timed(empty, {"seeds": list(range(asked.runs))}, asked.out / "many", cores())
    began = time.perf_counter()
    sweep.stands(sweep.make_plan(empty, {"seeds": list(range(asked.runs))}), asked.out / "many")
    found["seconds_to_look_at_all"] = round(time.perf_counter() - began, 2)
    shutil.rmtree(asked.out)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
