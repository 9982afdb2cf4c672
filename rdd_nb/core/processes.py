"""Processes and what they run on: cores, memory, graphics cards, threads of children, and the end of a whole tree.

Nothing here imports torch: whoever only starts other processes stays small.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["THREAD_NAMES", "children_with", "cores", "end_tree", "gpus", "memory", "revision", "threads_of_children"]

#: The variables by which numeric libraries are told their number of threads before they are imported.
THREAD_NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that are free for new processes: of the machine, or of the container that this runs in."""
    import psutil  # type: ignore[import-untyped, unused-ignore]

    return min(int(psutil.virtual_memory().available), _left_in_group())


def _left_in_group(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What Linux's control groups leave: the limit less what is used and cannot be given back; huge without one."""
    left = sys.maxsize
    for limit, used, told, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):  # another system, or "max"
            rows = dict(line.split(maxsplit=1) for line in (root / told).read_text().splitlines())
            spare = int((root / limit).read_text()) - int((root / used).read_text()) + int(rows.get(cache, 0))
            left = min(left, max(spare, 0))
    return left


def gpus() -> list[str]:
    """The graphics cards that a process may be given, as ``CUDA_VISIBLE_DEVICES`` names them; [] without any.

    That variable is believed where it is set; otherwise ``nvidia-smi`` is asked.
    """
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name.strip() for name in asked.split(",") if name.strip() not in ("", "-1")]
    try:
        said = subprocess.run(("nvidia-smi", "-L"), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    found = [line for line in said.stdout.splitlines() if line.startswith("GPU ")]
    return [str(k) for k in range(len(found))] if said.returncode == 0 else []


def revision() -> str:
    """The git revision of the code that runs, with ``-dirty`` where the package differs from it; empty outside git."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(("git", *words), capture_output=True, text=True, cwd=package, timeout=10)

    try:
        head, changed = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + "-dirty" * bool(changed.stdout.strip()) if head.returncode == 0 else ""


def threads_of_children(threads: int) -> contextlib.AbstractContextManager[None]:
    """What processes started meanwhile find in their environment, before they import torch."""
    return children_with(dict.fromkeys(THREAD_NAMES, str(threads)))


@contextlib.contextmanager
def children_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Processes started meanwhile find ``variables`` in their environment; afterwards it is as it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_tree(pid: int, itself: bool = True) -> None:
    """Kill all descendants of a process, and the process too, and wait until they are gone."""
    import psutil  # type: ignore[import-untyped, unused-ignore]

    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        doomed = top.children(recursive=True) + [top] * itself
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([p for p in doomed if p.pid != pid], timeout=5)
