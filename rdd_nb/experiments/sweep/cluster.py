"""Executors for a sweep on Dask: this machine's processes, a scheduler that runs already, or jobs of SLURM.

All of them need the extra ``cluster`` (``pip install 'rdd-nb[cluster]'``), and workers that see the sweep's folder, the
notebook's data and the package at the same paths. A Dask worker does next to nothing itself: it guards a process
(:mod:`rdd_nb.experiments.sweep.guard`), so one thread and little memory are enough for it, and it dies no death of the
notebook's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import unwritable
from rdd_nb.core.folders import Folder

__all__ = ["at_address", "is_open", "on_slurm", "slurm_options"]

WAIT = 60  # seconds for a scheduler to answer
NEEDED = "a cluster needs Dask: pip install 'rdd-nb[cluster]'"


@contextlib.contextmanager
def at_address(address: str) -> Iterator[tuple[Executor, int]]:
    """A scheduler that runs already, such as ``tcp://10.0.0.1:8786``: its executor, and how many workers it has.

    Raises:
        RddError: Dask is not installed, nobody answers there, or there are no workers yet.
    """
    try:
        from distributed import Client
    except ImportError:
        raise RddError(NEEDED) from None
    try:
        client = Client(address, timeout=WAIT / 6, set_as_default=False)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RddError(f"no Dask scheduler answers at {address!r} ({why}): start one with `dask scheduler`") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise RddError(f"the scheduler at {address!r} has no workers: start some with `dask worker {address}`")
        yield client.get_executor(), threads


def is_open(address: str) -> bool:
    """Whether whoever reaches a scheduler at this address may run code there: it asks nobody who they are.

    >>> [is_open(a) for a in ("tcp://10.0.0.1:8786", "10.0.0.1:8786", "tls://10.0.0.1:8786", "tcp://[::1]:8786")]
    [True, True, False, False]
    """
    way, _, rest = address.rpartition("://")
    host = rest.rpartition(":")[0].strip("[]") or rest
    with contextlib.suppress(ValueError):
        return way not in ("tls", "wss", "inproc") and not ipaddress.ip_address(host).is_loopback
    return way not in ("tls", "wss", "inproc") and host != "localhost"


@contextlib.contextmanager
def on_slurm(options: Mapping[str, Any], out: str | os.PathLike[str]) -> Iterator[tuple[Executor, int]]:
    """Jobs of SLURM, submitted now and cancelled at the end: the executor, and how many jobs.

    Scheduler and workers speak TLS by certificates that are made for this call and that only they have; the
    scheduler's page is shown to this machine alone, and the workers have none.

    Args:
        out: the sweep's folder; the certificates lie in it as long as this lasts, readable for their owner alone.
        options: ``jobs`` (how many, each one run at a time), and what ``dask_jobqueue.SLURMCluster`` takes: ``queue``,
            ``account``, ``walltime``, ``cores``, ``memory``, ``job_extra_directives``, … By default a job has 2 cores
            and 4 GB for an hour.

    Raises:
        RddError: Dask is not installed, there is no ``sbatch``, or an option is not known.
    """
    import shutil

    try:
        from dask_jobqueue import SLURMCluster
        from distributed import Client, Security
    except ImportError:
        raise RddError(NEEDED) from None
    if shutil.which("sbatch") is None:
        raise RddError("there is no `sbatch` here: --slurm works where SLURM's commands do, such as a login node")
    asked = {"cores": 2, "memory": "4GB", "walltime": "01:00:00", **options}
    jobs = asked.pop("jobs", 2)
    if type(jobs) is not int or jobs < 1:
        raise RddError(f"--slurm jobs={jobs}: give a whole number above 0")
    # One process with one thread a job: it guards one run, which may use all the cores of the job.
    given = {
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1", "--no-dashboard"],
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        **asked,
    }
    with _private(out) as place:
        try:
            given.setdefault("security", _certified(Security.temporary(), Path(place)))
            cluster = SLURMCluster(**given)
        except ImportError:  # of cryptography
            raise RddError(NEEDED) from None
        except (TypeError, ValueError) as error:
            raise RddError(f"--slurm {asked}: {' '.join(str(error).split())[:200]}") from None
        with cluster, Client(cluster, set_as_default=False) as client:
            cluster.scale(jobs=jobs)
            yield client.get_executor(), jobs


def _certified(security: Any, place: Path) -> Any:
    """Dask's ``Security``, with files in ``place`` of what a worker's command line has to name."""
    for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        path = place / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_text(getattr(security, name))
        setattr(security, name, str(path))
    return security


@contextlib.contextmanager
def _private(out: str | os.PathLike[str]) -> Iterator[str]:
    """A folder in the sweep's that its owner alone may enter, removed at the end."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".tls-", dir=Folder(out).make().resolve())
    except OSError as error:
        raise unwritable(Path(out), error) from None
    with folder as place:
        yield place


def slurm_options(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts as options. Only ``jobs`` and ``cores`` are numbers; a list of flags stands in brackets.

    >>> slurm_options(["account=012345", "jobs=20", "job_extra_directives=[--gres=gpu:1, --nodelist=n1,n2]"])
    {'account': '012345', 'jobs': 20, 'job_extra_directives': ['--gres=gpu:1', '--nodelist=n1,n2']}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise RddError(f"--slurm {pair!r} has no value: write it like --slurm queue=gpu")
        if value.startswith("[") and value.endswith("]"):
            parts = re.split(r",\s*(?=-)", value[1:-1])  # a flag may hold commas
            found[key] = [part.strip() for part in parts if part.strip()]
        else:
            found[key] = int(value) if key in ("jobs", "cores") and value.isdecimal() else value
    return found
