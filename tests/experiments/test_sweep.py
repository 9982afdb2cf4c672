"""rdd_nb.experiments.sweep: runs that end, fail, are killed, take too long, fill the disk; and all of it resumed.

Kernels are really started and really killed here, so a test takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import v4

from rdd_nb import cli
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import locked
from rdd_nb.core.folders import Folder
from rdd_nb.experiments import sweep
from rdd_nb.experiments.sweep.record import LOG, Record, read

PARAMETERS = """\
x: float = 1.0
mode: str = "good"
seed: int = 0
out_dir: str = "runs/x"
"""
#: What the notebook does in its first cell; `mode` says which. It leaves the numbers of its processes in its folder.
WORK = """\
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(out_dir)
(folder / "pids.json").write_text(json.dumps([os.getpid(), os.getppid()]))
count = folder / "count"
count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
again = count.read_text() != "1"
print("begun", x, os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if mode == "raise":
    raise ValueError("no such thing")
if mode == "kill kernel":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "kill parent":
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if mode == "kill worker once" and not again:
    import psutil
    psutil.Process(os.getppid()).parent().kill()
    time.sleep(60)
if mode == "sleep" or (mode == "sleep once" and not again):
    time.sleep(60)
"""
MEASURE = """\
measured = {"mean": 0.5 + 0.1 * x, "worst": 0.3 - 0.01 * seed}
told = {"summary": measured, "by_net": {k: [v, v + 0.01] for k, v in measured.items()}}
(folder / "metrics.json").write_text(json.dumps(told))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, (WORK, MEASURE))]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(grid, **options):
    return sweep.run_sweep(sweep.make_plan("a.ipynb", grid), "out", **{"workers": 2, **options})


def folders() -> dict[str, Path]:
    return {record.name: p for p in sorted(Path("out").glob("runs/*")) if (record := record_of(p)) is not None}


def record_of(folder: Path) -> Record | None:
    return read(Folder(folder))


def stand(grid) -> list[str]:
    return list(sweep.stands(sweep.make_plan("a.ipynb", grid), "out").values())


def wait_for(condition, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this should have happened by now"
        time.sleep(0.05)


def gone(folder: Path, seconds: float = 10) -> None:
    """Kernel and process of a run end, if they have not."""
    pids = json.loads((folder / "pids.json").read_text())
    wait_for(lambda: not any(map(alive, pids)), seconds)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


# --- what a sweep leaves


def test_runs_end_are_recorded_and_not_run_again(here):
    bad = {"conditions": {"bad": {"mode": "raise"}}, "product": {"x": [1]}}
    grid = [{"conditions": {"good": {}}, "product": {"x": [1, 2]}}, bad]
    told = []
    result = run(grid, threads=3, tell=lambda outcome, now: told.append((outcome, now)))
    assert (result.ran, result.done, result.total, result.rerun) == (3, 2, 3, 0)
    assert result.failed == {"bad, x=1": "raised ValueError: no such thing"}
    there = folders()
    record = record_of(there["good, x=2"])
    assert record.status == "done" and record.parameters == {"x": 2.0, "mode": "good", "seed": 0}
    assert record.seconds > 0 and record.made_on["threads"] == 3 and record.error == ""
    assert (there["good, x=2"] / LOG).read_text().startswith("begun 2 3 ")
    assert nbformat.read(there["good, x=2"] / "a.ipynb", 4).cells[-1].execution_count == 4
    failed = record_of(there["bad, x=1"])
    assert (failed.status, failed.cell) == ("failed", "In [3]")
    assert 'raise ValueError("no such thing")' in failed.traceback and "\x1b" not in failed.traceback
    last = told[-1][1]
    assert (last.done, last.failed, last.running, last.total, last.left) == (2, 1, 0, 3, 0)
    assert max(now.running for _, now in told) == 2
    table = sweep.collect("out")
    assert list(table["status"]) == ["done", "done", "failed"]
    assert list(table["mean"][:2]) == pytest.approx([0.6, 0.7]) and table["mean"][2:].isna().all()
    by_net = sweep.outcomes("out")
    assert list(by_net.columns) == ["way", "x", "mode", "seed", "net", "mean", "worst"] and len(by_net) == 4
    assert run(grid, skip_failed=True).ran == 0
    again = run(grid)
    assert again.ran == 1 and (there["good, x=1"] / "count").read_text() == "1"


def test_a_grid_that_grows_keeps_what_is_done_and_changed_code_runs_again_but_changed_prose_does_not(here):
    grid = {"seeds": [0]}
    assert run(grid).ran == 1
    result = run({"seeds": [0, 1]})
    assert (result.ran, result.done) == (1, 2)
    nb = nbformat.read("a.ipynb", 4)
    nb.cells.insert(0, v4.new_markdown_cell("# Words"))
    nbformat.write(nb, "a.ipynb")
    assert run(grid).ran == 0
    nb.cells[-1].source += "\n(folder / 'new').touch()"
    nbformat.write(nb, "a.ipynb")
    assert stand(grid) == ["outdated"]
    result = run(grid)
    assert (result.ran, result.rerun, result.done) == (1, 1, 1)
    folder = folders()["seed=0"]
    assert (folder / "new").exists() and (folder / "count").read_text() == "1", "nothing of the old run is left"


def test_each_run_has_a_graphics_card_of_its_own(here, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert sweep.default_workers() == 2
    run({"product": {"x": [1, 2]}})
    seen = {(folder / LOG).read_text().split()[-1] for folder in folders().values()}
    assert seen == {"3", "5"}


# --- what goes wrong


def test_nothing_of_a_killed_process_lives_when_its_run_has_ended(here):
    seen = []

    def tell(outcome, now):
        if outcome is not None:
            (folder,) = folders().values()
            seen.append([alive(pid) for pid in json.loads((folder / "pids.json").read_text())])

    run({"product": {"mode": ["kill parent"]}}, tell=tell)
    assert seen == [[False, False]], "so that whoever begins it again is alone"


def test_a_scheduler_that_anybody_may_use_is_remarked_on(here, monkeypatch, capsys):
    from rdd_nb.experiments.sweep import cluster

    def nobody(address):
        raise RddError(f"nobody at {address}")

    monkeypatch.setattr(cluster, "at_address", nobody)
    Path("g.yaml").write_text("seeds: [0]\n")
    for address, open_to_all in {"tcp://10.0.0.1:8786": True, "node7:1": True, "tls://10.0.0.1:1": False}.items():
        assert cli.main(["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out", "--scheduler", address]) == 2
        said = capsys.readouterr().err
        assert (f"note: {address} does not ask who connects" in said) == open_to_all and f"nobody at {address}" in said


def test_a_killed_kernel_a_killed_process_and_a_limit_are_recorded_and_stop_nobody(here):
    modes = ["kill kernel", "kill parent", "sleep", "good"]
    result = run({"product": {"mode": modes}}, limit=12)
    assert result.done == 1 and len(result.failed) == 3
    there = {name.removeprefix("mode="): (record_of(folder), folder) for name, folder in folders().items()}
    assert "died" in there["kill kernel"][0].error and there["kill kernel"][0].cell == "In [3]"
    assert "killed by signal 9" in there["kill parent"][0].error and there["kill parent"][0].cell == "In [3]"
    assert "took longer than 12 s" in there["sleep"][0].error and there["sleep"][0].cell == "In [3]"
    for record, folder in there.values():
        assert record.status == ("done" if folder.name.startswith("mode=good") else "failed")
        gone(folder)
    assert stand({"product": {"mode": modes}}) == ["failed"] * 3 + ["done"]


def start(*words: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", "import sys; from rdd_nb.cli import main; sys.exit(main())", "sweep", "a.ipynb"]
    default = signal.SIG_DFL  # a shell that starts tests in the background has SIGINT ignored
    return subprocess.Popen(
        [*command, "--out", "out", "--grid", "g.yaml", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, default),
        **options,
    )


def begun() -> list[Path]:
    return [f for f in folders().values() if (f / LOG).exists() and "begun" in (f / LOG).read_text()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_leaves_no_process_and_goes_on(here, number):
    Path("g.yaml").write_text("product: {mode: [sleep once], x: [1, 2, 3]}\n")
    process = start("--workers", "2", start_new_session=True)
    wait_for(lambda: len(begun()) == 2)
    left = begun()
    os.killpg(process.pid, number)  # as Ctrl-C on a terminal does, which all processes of the group hear
    err = process.communicate(timeout=300)[1]
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    if number == signal.SIGINT:
        assert "interrupted; the same command goes on from here" in err
    for folder in left:
        gone(folder)
        assert record_of(folder).status == "running" and not (folder / "metrics.json").exists()
        assert not list(folder.glob(".*.tmp")), "nothing half written"
    assert not list(Path("out").glob(".going-*")) or number == signal.SIGKILL
    grid = sweep.load_grid("g.yaml")
    assert sorted(stand(grid)) == ["interrupted", "interrupted", "missing"]
    for folder in left:
        (folder / "checkpoint").touch()
    Path("g.yaml").write_text("product: {mode: [sleep once], x: [1, 2]}\n")
    assert cli.main(["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out", "--workers", "2", "--quiet"]) == 0
    assert all((folder / "checkpoint").exists() for folder in left), "a run can go on from what it has left"


FULL = """
import subprocess, sys
from pathlib import Path
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", "out"], check=True)
from rdd_nb.experiments import sweep
plan = sweep.make_plan("a.ipynb", {"product": {"x": [1, 2]}})
try:
    sweep.run_sweep(plan, "out", workers=1)
except sweep.RddError as error:
    print("SAID", error)
print("STANDS", *sweep.stands(plan, "out").values())
for fat in Path("out").rglob("fat"):
    fat.unlink()
Path("small").touch()
result = sweep.run_sweep(plan, "out", workers=1)
print("THEN", result.done, result.total, list(Path("out").rglob(".*.tmp")))
"""


def test_a_full_disk_stops_the_sweep_and_nothing_is_lost(here):
    """On a disk of a megabyte, in a name space of its own, which the kernel may not allow."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no name space for a small disk here (unshare -rm)")
    nb = nbformat.read("a.ipynb", 4)
    nb.cells[1].source += "if not os.path.exists('small'):\n    (folder / 'fat').write_bytes(b'x' * 2_000_000)"
    nbformat.write(nb, "a.ipynb")
    Path("out").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    code = FULL.replace("sweep.RddError", "Exception")
    said = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=environment
    )
    lines = dict(line.split(" ", 1) for line in said.stdout.splitlines())
    assert "the disk is full; free some space" in lines["SAID"], said.stdout + said.stderr
    assert lines["STANDS"] == "interrupted missing", "the others were not driven into the same wall"
    assert lines["THEN"] == "2 2 []", "the same call goes on"


def test_mistakes_in_one_line(here, capsys):
    Path("g.yaml").write_text("product: {x: [1]}\n")
    Path("bad.yaml").write_text("product: {y: [1]}\n")
    Path("file").touch()

    def says(*words: str) -> str:
        status = cli.main(["sweep", *words])
        out, err = capsys.readouterr()
        assert status == 2 and out == "" and err.count("\n") == 1
        return err

    assert "unknown parameter 'y' in a.ipynb" in says("a.ipynb", "--grid", "bad.yaml", "--out", "out")
    assert not Path("out").exists(), "nothing is made before all is checked"
    assert "cannot read the notebook none.ipynb" in says("none.ipynb", "--grid", "g.yaml", "--out", "out")
    assert "cannot write file" in says("a.ipynb", "--grid", "g.yaml", "--out", "file")
    both = ("--scheduler", "tcp://x:1", "--slurm", "jobs=1")
    assert "give one of them" in says("a.ipynb", "--grid", "g.yaml", "--out", "out", *both)
    assert "--slurm 'queue' has no value" in says("a.ipynb", "--grid", "g.yaml", "--out", "out", "--slurm", "queue")
    with pytest.raises(RddError, match="numbers above 0"):
        run({}, limit=0)
    Path("out").mkdir()
    with locked(Path("out")):
        assert "another process is working in out" in says("a.ipynb", "--grid", "g.yaml", "--out", "out")
    with pytest.raises(RddError, match="no sweep in out"):
        sweep.collect("out")


def test_the_command_lists_runs_and_tells(here, capsys):
    Path("g.yaml").write_text("- conditions: {bad: {mode: raise}}\n- seeds: [1]\n")
    words = ["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out"]
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == ["missing     bad", "missing     seed=1", "0 of 2 runs are done in out"]
    assert not Path("out").exists()
    assert cli.main([*words, "--json"]) == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["done"] == 1 and told["ran"] == 2 and told["failed"] == {"bad": "raised ValueError: no such thing"}
    assert "bad: failed: raised ValueError: no such thing" in err and "1 runs failed, the same command" in err
    assert cli.main([*words, "--skip-failed", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert "1 of 2 runs are done, 0 ran now" in out and err.count("\n") == 1


# --- clusters


@pytest.fixture(scope="module")
def scheduler():
    """One for all tests: what one of them has killed there, the others find alive again."""
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    quiet = {"silence_logs": 50, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, **quiet) as cluster:
        yield cluster


def test_on_a_scheduler_and_with_a_worker_killed(here, scheduler, capsys):
    Path("g.yaml").write_text("product: {mode: [good, kill worker once, raise], x: [1]}\n")
    address = scheduler.scheduler_address
    words = ["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out", "--scheduler", address, "--json", "--quiet"]
    assert cli.main(words) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["done"] == 2 and list(told["failed"]) == ["mode=raise, x=1"]
    assert (folders()["mode=kill worker once, x=1"] / "count").read_text() == "2"
    for folder in folders().values():
        gone(folder)


CLIENT = """
import sys
from rdd_nb.experiments import sweep
from rdd_nb.experiments.sweep import cluster, engine, heartbeat
engine.SILENCE, heartbeat.BEAT = float(sys.argv[2]), 0.5
if __name__ == "__main__":
    with cluster.at_address(sys.argv[1]) as (executor, size):
        plan = sweep.make_plan("a.ipynb", sweep.load_grid("g.yaml"))
        print("END", sweep.run_sweep(plan, "out", executor=executor, workers=size).done, flush=True)
"""


def client(address: str, silence: float) -> subprocess.Popen:
    command = [sys.executable, "-c", CLIENT, address, str(silence)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kernels(folder: Path) -> list[int]:
    """The live processes of all kernels that have ever begun in a run's folder."""
    return [pid for pid in map(int, (folder / "kernels").read_text().split()) if alive(pid)]


@pytest.fixture
def counted(here):
    """The notebook, which says of each of its kernels that it lives; and waits for a file, to be sure of who works."""
    nb = nbformat.read("a.ipynb", 4)
    nb.cells[1].source += (
        "\nwith open(folder / 'kernels', 'a') as file:\n    file.write(f'{os.getpid()}\\n')"
        "\nwhile not (folder.parents[1] / 'go on').exists():\n    time.sleep(0.05)"
    )
    nbformat.write(nb, "a.ipynb")
    Path("g.yaml").write_text("seeds: [0, 1, 2]\n")
    return here


def test_a_client_that_is_killed_and_started_again_never_has_two_kernels_in_one_folder(counted, scheduler):
    """The runs of the killed one go on until its guards see that another one has begun, and only then begin anew."""
    Path("g.yaml").write_text("seeds: [0, 1]\n")
    first = client(scheduler.scheduler_address, silence=600)
    wait_for(lambda: len([f for f in folders().values() if (f / "kernels").exists()]) == 2)
    mine = folders()
    first.kill()
    first.communicate()
    before = {name: (kernels(folder), record_of(folder).token) for name, folder in mine.items()}
    assert all(len(live) == 1 for live, _ in before.values()), "the runs of a killed client go on"
    Path("out/.going-folder").mkdir()
    Path("out/.going-link").symlink_to("nowhere")
    most, second = 0, client(scheduler.scheduler_address, silence=600)
    deadline = time.monotonic() + 200
    while second.poll() is None:
        there = [folder for folder in folders().values() if (folder / "kernels").exists()]
        most = max([most, *(len(kernels(folder)) for folder in there)])
        if all(len((folder / "kernels").read_text().split()) == 2 for folder in mine.values()):
            Path("out/go on").touch()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert most == 1 and "END 2" in second.communicate()[0]
    for name, folder in mine.items():
        record = record_of(folder)
        assert record.status == "done" and record.token != before[name][1]
        assert before[name][0][0] == int((folder / "kernels").read_text().split()[0]) and not kernels(folder)
    assert {p.name for p in Path("out").glob(".going-*")} == {".going-folder", ".going-link"}, "others' are left alone"


def test_guards_end_their_runs_by_their_own_clock_when_nobody_waits_any_more(counted, scheduler):
    killed = client(scheduler.scheduler_address, silence=3)
    wait_for(lambda: len([f for f in folders().values() if (f / "kernels").exists()]) == 2)
    killed.kill()
    killed.communicate()
    for folder in folders().values():
        wait_for(lambda: not kernels(folder), 60)  # noqa: B023 (called at once)
        assert record_of(folder).status == "running", "nothing is written over"
    assert sorted(stand(sweep.load_grid("g.yaml"))) == ["interrupted", "interrupted", "missing"]
    Path("out/go on").touch()
    assert run(sweep.load_grid("g.yaml")).done == 3, "here, in the folders that guards elsewhere have left"


def test_interrupting_a_sweep_ends_its_runs_elsewhere(here, scheduler):
    from rdd_nb.experiments.sweep import cluster

    def interrupt():
        wait_for(lambda: len(begun()) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with cluster.at_address(scheduler.scheduler_address) as (executor, size):
            threading.Thread(target=interrupt, daemon=True).start()
            with pytest.raises(KeyboardInterrupt):
                run({"product": {"x": [1, 2, 3], "mode": ["sleep"]}}, executor=executor, workers=size)
            for folder in begun():
                gone(folder)
                assert record_of(folder).status == "running"
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(Path("out").glob(".going-*"))


SBATCH = """#!/bin/sh
# Takes a copy of the job's script, as sbatch does, and runs it at once, in the background.
here=$(dirname "$0")
for last; do :; done
cp "$last" "$here/job.sh"
sh "$here/job.sh" > "$here/job.log" 2>&1 &
echo $! >> "$here/pids"
echo "Submitted batch job $!"
"""


def test_as_jobs_of_slurm(here, monkeypatch, capsys):
    """The commands of SLURM are played by scripts that run a job here; the jobs themselves are Dask's own."""
    dask_jobqueue = pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")
    Path("bin").mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": '#!/bin/sh\nkill "$@" 2>/dev/null\ntrue\n'}.items():
        Path("bin", name).write_text(text)
        Path("bin", name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}")
    Path("g.yaml").write_text("seeds: [0, 1]\n")
    slurm = [w for pair in ("jobs=1", "queue=short", "cores=1", "memory=1GB") for w in ("--slurm", pair)]
    words = ["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "out", "--json", "--quiet", *slurm]
    seen = {}

    class Watched(dask_jobqueue.SLURMCluster):
        def scale(self, *given, **asked):
            if "address" not in seen:
                (private,) = Path("out").glob(".tls-*")
                modes = {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()}
                page = {sock.getsockname()[0] for sock in self.scheduler.http_server._sockets.values()}
                seen.update(address=self.scheduler_address, page=page, folder=private.stat().st_mode, modes=modes)
            return super().scale(*given, **asked)

    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", Watched)
    status = cli.main(words)
    out = capsys.readouterr().out
    assert status == 0 and json.loads(out)["done"] == 2
    assert seen["address"].startswith("tls://") and seen["page"] == {"127.0.0.1"}
    assert (stat.S_IMODE(seen["folder"]), seen["modes"]) == (0o700, {0o600}), "the key is nobody else's"
    assert not list(Path("out").glob(".tls-*")), "nor does it stay"
    script = Path("bin/job.sh").read_text()
    assert f"dask_worker {seen['address']} " in script and "--tls-key" in script and "--no-dashboard" in script
    wait_for(lambda: not any(alive(int(pid)) for pid in Path("bin/pids").read_text().split()))
    monkeypatch.setenv("PATH", str(here / "bin"))
    Path("bin/sbatch").unlink()
    assert cli.main(words) == 2
    assert "there is no `sbatch` here" in capsys.readouterr().err
