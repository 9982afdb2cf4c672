"""Attack the command line with thousands of hostile inputs, and count what came of them.

    python tests/fuzz/attack.py --rounds 1000 --seed 0 config folder run grid

Each round damages an input by its own seed and runs a command on it. It must end in time with status 0 (it could still
be used), 1 (some of many runs failed) or 2 and one line; everything else is a fault, which is printed with the round's
number, and the status of this program is then 1. The tests run some rounds of each kind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rdd_nb.cli import main  # noqa: E402
from tests.fuzz.hostile import VALUES, damage_file, spoil_text, stand_in  # noqa: E402

LIMIT = 60  # seconds that a round may take before it counts as hanging
TINY = ["--objective", "erm", "--ipc", "1", "--iterations", "2", "--width", "4", "--batch-real", "8", "--quiet"]
GRID = """\
fixed: {profile: smoke, tail: 0.5}
conditions:
  plain: {objective: erm}
  on: {objective: robust}
product: {ipc: [1, 2], tail: [0.2, 0.8]}
seeds: [0, 1]
"""
STUDY = """\
name: tiny
data: digits
seeds: [0, 1]
nets: 1
profile: smoke
distill: {ipc: 1, iterations: 2, width: 4}
scenarios:
  plain: {scenario: none}
  coloured: {scenario: coloured, bias: 0.9, grid: {bias: [0.8, 0.9]}}
methods:
  erm: {config: {objective: erm}}
  robust: {config: {objective: robust, tail: 0.5}, groups: known, scenarios: [coloured]}
  some: {coreset: random, ipc: 2}
"""


class Hangs(Exception):
    """A command that did not end in time."""


def outcome(command: list[str]) -> tuple[str, str]:
    """How a command ends: ``success``, ``some failed``, ``one line``, or what is a fault; and what it printed."""
    printed, told = io.StringIO(), io.StringIO()

    def late(number: int, frame: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            status = main(command)
    except Hangs:
        return "HANGS", traceback.format_exc()
    except BaseException:
        return "TRACEBACK", traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    lines = [line for line in told.getvalue().splitlines() if not line.startswith("note: ")]
    if any(letter in printed.getvalue() + told.getvalue() for letter in "\x1b\x07\x9b"):
        return "CONTROL CHARACTERS", told.getvalue()
    if status == 70:
        return "FAULT OF OURS", _trace(told.getvalue())
    if status == 2 and len(lines) == 1 and lines[0].startswith("rdd-nb: "):
        return "one line", lines[0]
    if status in (0, 1) and not any("Traceback" in line for line in lines):
        return ("success", "some failed")[status], ""
    return f"STATUS {status} AND {len(lines)} LINES", told.getvalue()


def _trace(told: str) -> str:
    name = told.rsplit("with ", 1)[-1].strip()
    with contextlib.suppress(OSError):
        text = Path(name).read_text()
        os.unlink(name)
        return text
    return told


# --- what is attacked: each prepares once, and makes a round's command of a seed -----------------------------------


def _quick(function: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function()


def attack_config(base: Path, draw: random.Random) -> list[str]:
    """Configs of distillations."""
    from rdd_nb.distillation.config import DistillConfig

    values: dict[str, Any] = {"objective": "erm", "ipc": 1, "iterations": 1, "width": 4, "batch_real": 4}
    for name in draw.sample(list(DistillConfig.model_fields), draw.choice([1, 1, 2, 3])):
        values[name] = draw.choice([*VALUES, 3, 5, 0.1, "real", "noise", "convnet", "gradient", "instance"])
    if values["iterations"] not in (None, 1) and not (type(values["iterations"]) is int and values["iterations"] < 10):
        values["iterations"] = 1  # long ones are allowed, and take their time
    Path("c.json").write_text(json.dumps(values))
    return ["distill", "--data", "digits", "--config", "c.json", "--out", "new", "--quiet"]


def prepare_run(base: Path) -> None:
    """A finished and judged run, and one that was interrupted."""
    coloured = ["distill", "--data", "digits", "--scenario", "coloured", *TINY]
    assert _quick(lambda: main([*coloured, "--out", str(base / "run")])) == 0
    assert _quick(lambda: main(["evaluate", str(base / "run"), *SMOKE])) == 0
    shutil.copytree(base / "run", base / "half")
    for name in ("metrics.json", "synthetic.safetensors", "history.csv", "scores.npz"):
        (base / "half" / name).unlink()
    assert _quick(lambda: main([*coloured, "--out", str(base / "twin"), "--checkpoint-every", "1"])) == 0
    shutil.copy(base / "twin" / "checkpoint.pt", base / "half" / "checkpoint.pt")
    shutil.copy(base / "twin" / "config.json", base / "half" / "config.json")


SMOKE = ["--profile", "smoke", "--nets", "1", "--device", "cpu", "--quiet"]


def attack_run(base: Path, draw: random.Random) -> list[str]:
    """Run folders: each of their files damaged, and each command that opens them."""
    shutil.copytree(base / "run", "run")
    shutil.copytree(base / "half", "half")
    names = ["config.json", "metrics.json", "history.csv", "synthetic.safetensors", "scores.npz", "checkpoint.pt"]
    half = draw.random() < 0.2
    name = draw.choice(["config.json", "checkpoint.pt"] if half else names)
    path = Path("half" if half else "run", name)
    if path.exists():
        damage_file(path, draw)
    if half:
        return [
            "distill",
            "--data",
            "digits",
            "--scenario",
            "coloured",
            *TINY,
            "--out",
            "half",
            "--checkpoint-every",
            "1",
        ]
    commands = [
        ["evaluate", "run", *SMOKE],
        ["evaluate", "run", *SMOKE, "--json"],
        ["export", "run", "--png", "images"],
        ["export", "run", "--card", "card.md"],
        ["export", "run", "--csv", "t.csv"],
        ["distill", "--data", "digits", "--scenario", "coloured", *TINY, "--out", "run"],
    ]
    return draw.choice(commands)


def prepare_folder(base: Path) -> None:
    """Images in two layouts."""
    noise = np.random.default_rng(0)
    for layout in ("csv", "classes"):
        rows = ["filename,label,group,split"]
        for i in range(24):
            split, label, group = ("train", "test")[i % 3 == 2], ("cat", "dog")[i % 2], ("day", "night")[i // 2 % 2]
            place = base / layout / ("" if layout == "csv" else f"{split}/{label}")
            place.mkdir(parents=True, exist_ok=True)
            suffix = ("png", "jpg", "bmp", "webp")[i % 4]
            pixels = noise.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.{suffix}")
            rows.append(f"{i}.{suffix},{label},{group},{split}")
        if layout == "csv":
            (base / layout / "metadata.csv").write_text("\n".join(rows) + "\n")


def attack_folder(base: Path, draw: random.Random) -> list[str]:
    """Folders of images: their tables, their files, their names."""
    layout = draw.choice(["csv", "classes"])
    shutil.copytree(base / layout, "pets")
    files = sorted(p for p in Path("pets").rglob("*") if p.is_file())
    for _ in range(draw.choice([1, 1, 2])):
        table = Path("pets/metadata.csv")
        path = table if table.is_file() and draw.random() < 0.6 else draw.choice(files)
        how = draw.random()
        if not path.is_file() or path.is_symlink():
            continue
        if how < 0.7:
            damage_file(path, draw)
        elif how < 0.8:
            with contextlib.suppress(OSError, ValueError):
                path.rename(path.parent / str(draw.choice(VALUES)))
        elif how < 0.9:
            _strange_image(path, draw)
        else:
            stand_in(path, draw)
    more = draw.choice([[], ["--size", "8"], ["--channels", "1"], ["--background", "white"], ["--size", "8", "--json"]])
    if draw.random() < 0.3:
        return ["distill", "--data", "folder:pets", *TINY, "--out", "new"]
    return ["data", "fetch", "folder:pets", *more]


def _strange_image(path: Path, draw: random.Random) -> None:
    """An image of another mode, size or format than its neighbours."""
    mode = draw.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "I"])
    size = draw.choice([(12, 12), (1, 1), (13, 12), (2000, 1)])
    image = Image.new(mode, size)
    with contextlib.suppress(Exception):
        path.unlink()
        image.save(path, format=draw.choice(["PNG", "JPEG", "TIFF", "GIF", "BMP", "EPS", "WEBP", "ICO"]))


def prepare_grid(base: Path) -> None:
    """A notebook of parameters."""
    import nbformat
    from nbformat import v4

    source = (
        "profile: str = 'smoke'\ntail: float = 0.5\nobjective: str = 'erm'\nipc: int | None = 1\nseed: int = 0\n"
        "names: list[str] = ['a']\nout_dir: str = 'runs/a'"
    )
    cell = v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell, v4.new_code_cell("1 + 1")]), base / "a.ipynb")


def attack_grid(base: Path, draw: random.Random) -> list[str]:
    """Grids, studies and notebooks: listed, not run."""
    shutil.copy(base / "a.ipynb", "a.ipynb")
    Path("g.yaml").write_text(GRID)
    Path("s.yaml").write_text(STUDY)
    kind = draw.choice(["g.yaml", "g.yaml", "s.yaml", "s.yaml", "a.ipynb"])
    if kind == "a.ipynb":
        Path("n.json").write_bytes(Path(kind).read_bytes())
        damage_file(Path("n.json"), draw)
        Path(kind).unlink()
        Path("n.json").rename(kind) if os.path.lexists("n.json") else None
    elif draw.random() < 0.85:
        text = spoil_text(Path(kind).read_text(), draw)
        Path(kind).write_bytes(text.encode("utf-8", "surrogatepass"))
    else:
        damage_file(Path(kind), draw)
    if kind == "s.yaml":
        return ["study", "s.yaml", "--out", "study", "--dry-run"]
    return ["sweep", "a.ipynb", "--grid", "g.yaml", "--out", "sweep", "--dry-run"]


ATTACKS: dict[str, tuple[Callable[[Path], None], Callable[[Path, random.Random], list[str]]]] = {
    "config": (lambda base: None, attack_config),
    "folder": (prepare_folder, attack_folder),
    "run": (prepare_run, attack_run),
    "grid": (prepare_grid, attack_grid),
}


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def rounds(kind: str, numbers: range, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Run the rounds ``numbers`` of an attack: how often each outcome was, and the faults in words."""
    prepare, attack = ATTACKS[kind]
    counts: Counter[str] = Counter()
    faults = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch, _inside(Path(scratch)):
        base = Path(scratch, "base")
        base.mkdir()
        prepare(base)
        for number in numbers:
            place = Path(scratch, f"round{number}")
            place.mkdir()
            with _inside(place):
                command = attack(base, random.Random(f"{seed} {kind} {number}"))
                how, said = outcome(command)
            shutil.rmtree(place, ignore_errors=True)
            counts[how] += 1
            if how not in ("success", "some failed", "one line"):
                faults.append(f"{kind} {number}: {' '.join(command)}: {how}\n{said}")
    return counts, faults


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(ATTACKS), help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failed = 0
    for kind in asked.kinds:
        began = time.monotonic()
        counts, faults = rounds(kind, range(asked.first, asked.first + asked.rounds), asked.seed)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        told = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        print(f"{kind}: {told} ({time.monotonic() - began:.0f} s, at most {most:.1f} GB)", flush=True)
        print(*faults, sep="\n\n", file=sys.stderr)
        failed += len(faults)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(_main())
