"""Where the arithmetic runs: device, precision, memory allocator, work side by side, and the phases a profiler sees."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch.profiler import record_function

from rdd_nb.core.errors import RddError

__all__ = [
    "PHASES",
    "PRECISIONS",
    "arithmetic",
    "differentiable_twice",
    "phase",
    "pick_device",
    "release_memory",
    "side_by_side",
    "tune_allocator",
]


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device called ``name``; ``"auto"`` takes CUDA where there is one and the CPU otherwise.

    Raises:
        RddError: the name is no device, or asks for one that this machine does not have.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RddError(f"unknown device {str(name)!r}: use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RddError(f"device {str(name)!r} asked for, but torch sees no CUDA here: use device=auto or device=cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise RddError(f"device {str(name)!r} asked for, but there are {count} here: use cuda:0 to cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RddError("device 'mps' asked for, but torch sees none here: use device=auto or device=cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise RddError(f"device {str(name)!r} is not supported: use auto, cpu, cuda or cuda:N")
    return device


#: In what networks compute where no gradient of the synthetic pixels goes through them.
PRECISIONS = {
    "float32": "single precision throughout",
    "bfloat16": "factors of 8 bits, sums in float32: several times as fast on processors and cards that have it",
}


def arithmetic(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within it, convolutions and matrix products on ``device`` compute in ``precision``, one of :data:`PRECISIONS`.

    Weights stay float32; what a network returns there is bfloat16, and is to be made ``.float()`` before it is summed
    over many samples. A gradient keeps the precision of its forward pass, also where it is taken outside.

    >>> with arithmetic("bfloat16", torch.device("cpu")):
    ...     (torch.ones(1, 3) @ torch.full((3, 1), 1 / 3)).dtype
    torch.bfloat16
    """
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def differentiable_twice() -> contextlib.AbstractContextManager[Any]:
    """Within it, a transformer's attention is computed by plain products: its fast kernels have no second derivative.

    Convolutional networks do not notice.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


#: What the time of a distillation's iteration goes to.
PHASES = ("network", "data", "augmentation", "real side", "synthetic side", "risk", "backward", "training between")


def phase(name: str) -> record_function:
    """A part of the work, by one of :data:`PHASES`, for whoever looks with ``torch.profiler``; costs microseconds.

    >>> with phase("risk"):
    ...     pass
    """
    return record_function(f"rdd: {name}")


T = TypeVar("T")

R = TypeVar("R")


class _Ended(Exception):
    """Raised in work that is no longer wanted, since other work failed or the user interrupted."""


def side_by_side(
    work: Callable[[T, Callable[[], None]], R], items: Iterable[T], device: torch.device, most: int = 10**9
) -> list[R]:
    """``[work(item, check) for item in items]``; on the CPU as many at a time as torch has threads, and at ``most``.

    Each gets its share of the threads, and just one where there are as many items or more. Two cores that share the
    small batches of one network wait for one another; with a network each they need a fifth less time. ``work`` calls
    ``check`` now and then, which ends it when it is no longer wanted.

    Raises:
        Exception: the first that any ``work`` raised, after all have ended.

    >>> side_by_side(lambda item, check: item**2, [1, 2, 3], torch.device("cpu"))
    [1, 4, 9]
    """
    items, threads = list(items), torch.get_num_threads()
    workers = min(threads, len(items), most)
    if workers < 2 or device.type != "cpu":
        return [work(item, lambda: None) for item in items]
    unwanted = threading.Event()

    def check() -> None:
        if unwanted.is_set():
            raise _Ended

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            try:
                jobs = [pool.submit(work, item, check) for item in items]
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:  # nothing is left to end if all went well
                unwanted.set()
                pool.shutdown(cancel_futures=True)
        failed = [job for job in jobs if not job.cancelled() and job.exception() is not None]
        for job in failed:
            if not isinstance(job.exception(), _Ended):
                job.result()
        return [job.result() for job in jobs]
    finally:
        torch.set_num_threads(threads)
        release_memory()


@functools.cache
def tune_allocator() -> bool:
    """Let glibc keep freed memory instead of returning every large tensor to the system.

    By default each tensor over 128 kB–32 MB is mapped anew and given back when it dies, so a network's forward and
    backward pass spend most of their time in page faults. Keeping the pages makes a ConvNet-3 of width 32 about 2.3
    times as fast on two CPU cores (``make bench`` measures it). Returns whether it took effect (Linux with glibc only;
    elsewhere nothing happens). The environment's own ``MALLOC_…_`` settings are respected.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # One arena (-8): the thread arenas are made of 64 MB heaps that cannot hold large tensors. Then the thresholds for
    # mapping (-3) and trimming (-1), and how much to take from the system at a time (-2).
    return all(mallopt(key, value) for key, value in ((-8, 1), (-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 64 << 20)))


def release_memory() -> bool:
    """Give the system what :func:`tune_allocator` made glibc keep; to be called between two pieces of work.

    Within one, kept pages are used again at once. The next one asks for other sizes, in other threads, and would pile
    up beside them: the quickstart grew to 1.8 GB. Returns whether there was anything to give back.
    """
    return tune_allocator() and bool(ctypes.CDLL(None).malloc_trim(0))
