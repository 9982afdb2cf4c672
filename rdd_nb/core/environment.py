"""What a number was measured on, the three profiles, and torchvision beside any build of torch."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import sys
from typing import Any

import torch

from rdd_nb.core.device import pick_device, tune_allocator
from rdd_nb.core.errors import unknown
from rdd_nb.core.version import __version__

__all__ = ["SIZES", "describe", "pick_profile", "setup", "torchvision"]

#: The three sizes every notebook and command knows.
SIZES = {
    "smoke": "seconds, for tests: the numbers mean nothing",
    "quick": "minutes on two CPU cores: real data, real effect",
    "full": "the papers' scale, for a GPU",
}


def pick_profile(name: str) -> str:
    """``name`` if it is one of :data:`SIZES`; an RddError naming the nearest otherwise."""
    if name not in SIZES:
        raise unknown("profile", name, SIZES)
    return name


def setup(profile: str, device: str = "auto") -> None:
    """Print what a notebook runs on, and prepare the process for it; the first thing a notebook does."""
    tune_allocator()
    said = describe(pick_device(device))
    print(
        f"rdd_nb {said['rdd_nb']} · torch {said['torch']} · {said['device']} ({said['cores']} cores, "
        f"{said['threads']} threads)\nprofile {profile}: {SIZES[pick_profile(profile)]}"
    )


_kept: list[torch.library.Library] = []  # a Library that is collected takes its schemas with it


@functools.cache
def torchvision() -> Any:
    """Import torchvision, also where a CPU build of torch stands beside PyPI's torchvision, built for CUDA.

    There torchvision's compiled operators do not load, and its import fails with ``operator torchvision::nms does not
    exist`` (pytorch/vision #9077, #9085): it registers shape functions for operators that nobody defined. Defining the
    two missing schemas first is enough; datasets, models, transforms and utils need no compiled operator.
    """
    if "torchvision" not in sys.modules and not _has_compiled_operators():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in (
            "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        ):
            library.define(schema)
        _kept.append(library)
    import importlib

    for part in ("datasets", "models", "transforms"):
        importlib.import_module(f"torchvision.{part}")
    return sys.modules["torchvision"]


def _has_compiled_operators() -> bool:
    """Whether torchvision's shared library loads beside this torch (a quick look, without importing torchvision)."""
    import importlib.util
    import pathlib

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # let the import itself say what is missing
    for path in pathlib.Path(spec.submodule_search_locations[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False


@functools.cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(device: str | torch.device = "cpu") -> dict[str, Any]:
    """What a number was measured on: hardware, threads, versions and date, to stand beside it.

    The processor's name is followed by the vector instructions that torch uses on it, such as AVX2: rounding and
    speed depend on them, and the name does not tell them.
    """
    device = torch.device(device)
    return {
        "rdd_nb": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "date": datetime.date.today().isoformat(),
    }
