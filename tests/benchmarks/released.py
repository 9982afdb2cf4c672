"""The method's released code on random images, timed by its own calls: one line of JSON, seconds an iteration.

    python tests/benchmarks/released.py FOLDER --iterations 6 --width 32 --batch 64 --ipc 10 --classes 10

FOLDER is a copy of github.com/Mming11/RobustDatasetDistillation, which you fetch; nothing of it is here. It asks for a
graphics card, a tracking service and packages that this loop does not need, so on a machine without CUDA these are
replaced by stand-ins: tensors that are sent to a card stay, the service only notes the time.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import itertools
import json
import sys
import tempfile
import time
import types
from pathlib import Path
from unittest import mock

import torch

from rdd_nb.core.environment import torchvision


class _Stub(types.ModuleType):
    """A module in which every name is there and does nothing."""

    def __getattr__(self, name: str) -> mock.MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock(name=f"{self.__name__}.{name}")


def stub(name: str) -> _Stub:
    """Put a stand-in for a module where imports find it."""
    module = _Stub(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []
    sys.modules[name] = module
    return module


def keep_on_cpu() -> None:
    """What is sent to a card stays where it is."""
    send, arange = torch.Tensor.to, torch.arange

    def to(tensor: torch.Tensor, *where: object, **how: object) -> torch.Tensor:
        where = tuple("cpu" if str(w).startswith("cuda") else w for w in where)
        return send(tensor, *where, **how)

    def ranged(*ends: float, **how: object) -> torch.Tensor:
        if str(how.get("device", "")).startswith("cuda"):
            how["device"] = "cpu"
        return arange(*ends, **how)

    torch.Tensor.to, torch.Tensor.cuda, torch.arange = to, lambda tensor, *_, **__: tensor, ranged


def main() -> None:
    """Run the released loop and print the seconds of its iterations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for name, default in {"iterations": 6, "width": 32, "batch": 64, "ipc": 10, "classes": 10, "outer": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.folder.resolve()))
    times: list[float] = []
    stub("wandb").log = lambda *_, **__: times.append(time.perf_counter())
    for name in (
        "kornia",
        "ema_pytorch",
        "fast_pytorch_kmeans",
        "stylegan_xl",
        "dnnlib",
        "legacy",
        "einops",
        "einops.layers.torch",
    ):
        try:
            if name == "stylegan_xl":
                raise ImportError
            __import__(name)
        except ImportError:
            stub(name)
    torchvision()  # mends a CPU build of torch beside a CUDA build of torchvision
    if not torch.cuda.is_available():
        keep_on_cpu()
    sys.argv = [sys.argv[0]]
    import distill_rdd
    import shared_args

    options = shared_args.add_shared_args()
    for name, kind, default in (("lr_img", float, 1.0), ("lr_w", float, 0.001), ("lr_g", float, 0.0001)):
        options.add_argument(f"--{name}", type=kind, default=default)
    for name, kind, default in (("lr_net", float, 0.01), ("inner_loop", int, 2), ("dis_metric", str, "ours")):
        options.add_argument(f"--{name}", type=kind, default=default)
    options.add_argument("--outer_loop", type=int, default=asked.outer)
    args = options.parse_args([])
    args.dataset, args.ipc, args.width, args.depth = "CIFAR10", asked.ipc, asked.width, 3
    args.batch_real, args.eval_mode, args.eval_it, args.Iteration = asked.batch, "S", 10**9, asked.iterations
    args.save_path = tempfile.mkdtemp()
    each = max(300, 2 * asked.batch)
    images = torch.randn(asked.classes * each, 3, 32, 32)
    labels = torch.arange(asked.classes).repeat_interleave(each).tolist()
    names = {c: c for c in range(asked.classes)}
    data = list(zip(images, labels))
    said = (3, (32, 32), asked.classes, list(names), (0,) * 3, (1,) * 3, data, data, None, None, names, names)
    with (
        mock.patch.object(distill_rdd, "get_dataset", lambda *_, **__: said),
        mock.patch.object(distill_rdd, "get_robust_data", lambda *_, **__: None),
        mock.patch.object(distill_rdd, "get_eval_pool", lambda *_: ["ConvNet"]),
    ):
        distill_rdd.main(args)
    print(json.dumps([round(b - a, 4) for a, b in itertools.pairwise(times)]))


if __name__ == "__main__":
    main()
