"""Trajectory matching: seconds and peak memory of one iteration against the number of a student's steps.

    python tests/benchmarks/trajectory.py [--steps 10 20 40 80] [--width 32] [--ipc 10] [--threads 1] [--tries 4]

Random images of 32 × 32 pixels, three channels, ten classes, all of them in each step, each setting in a process of its
own. Prints a line of JSON for each: the median of some iterations, the first left out where there are more, and
the largest resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time


def one(steps: int, width: int, ipc: int, threads: int, tries: int) -> dict[str, float]:
    """Measure in this process."""
    import resource

    import torch

    from rdd_nb.core.device import tune_allocator
    from rdd_nb.distillation import matching
    from rdd_nb.models import augmentation, networks

    torch.set_num_threads(threads)
    tune_allocator()
    draw = torch.Generator().manual_seed(0)
    net = networks.build("convnet", (3, 32, 32), 10, width=width)
    start = matching.flat_parameters(net)
    target = start + 0.01 * torch.randn(start.shape, generator=draw)
    images, labels = torch.randn(10 * ipc, 3, 32, 32, generator=draw), torch.arange(10).repeat_interleave(ipc)
    taken = []
    for _ in range(tries):
        batches = []
        for _ in range(steps):
            part = torch.randperm(len(images), generator=draw)
            batches.append((part, augmentation.draw("color_crop_cutout_flip_scale_rotate", len(part), draw)))
        began = time.perf_counter()
        matching.match_trajectory(net, start, target, images, labels, batches, torch.tensor(0.01))
        taken.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    said = {"steps": steps, "width": width, "ipc": ipc, "threads": threads}
    return {**said, "seconds": round(statistics.median(taken[1:] or taken), 3), "peak_mb": round(peak / 1e6)}


def main() -> None:
    """Measure each number of steps in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for steps in given.steps:
        if given.here:
            print(json.dumps(one(steps, given.width, given.ipc, given.threads, given.tries)), flush=True)
        else:
            words = ["--steps", steps, "--width", given.width, "--ipc", given.ipc, "--threads", given.threads]
            words += ["--tries", given.tries, "--here"]
            subprocess.run([sys.executable, __file__, *map(str, words)], check=True)


if __name__ == "__main__":
    main()
