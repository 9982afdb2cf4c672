"""What it takes to load each form of data, the first time and again: seconds, and memory of its own.

    python tests/benchmarks/formats.py --images 200000

Makes data of 64 × 64 RGB in a temporary folder (JPEG of about 4 kB, hard links to a few hundred different ones), runs
``rdd-nb data fetch`` on each form, twice, with a cache of its own, and tells seconds by the clock and by the processor,
and the peak of memory that the process has for itself (on Linux), without the pages of mapped files, which the system
takes back when it needs them. Both begin at 1.5 s and 225 MB or so, which PyTorch and the package take.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

POOL, SIDE = 400, 64
CLASSES, GROUPS = 10, ("town", "wood")
COMMAND = "from rdd_nb.cli import main; raise SystemExit(main())"


def pool(root: Path) -> list[Path]:
    """Different images, as files."""
    draw, files = np.random.default_rng(0), []
    for i in range(POOL):
        coarse = Image.fromarray(draw.integers(0, 256, (9, 9, 3)).astype(np.uint8))
        noise = draw.integers(-24, 25, (SIDE, SIDE, 3))
        pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(int) + noise
        files.append(root / "pool" / f"{i}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1], quality=85)
    return files


def rows(count: int) -> Iterator[tuple[int, int, str, str]]:
    """Number, class, group and split of each image: a fifth is tested."""
    draw = np.random.default_rng(1)
    tested = draw.random(count) < 0.2
    for i in range(count):
        yield i, i % CLASSES, GROUPS[int(draw.random() < 0.1)], "test" if tested[i] else "train"


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # an image may have only so many names
        target.write_bytes(source.read_bytes())


def make(form: str, root: Path, count: int, files: list[Path]) -> tuple[str, list[str]]:
    """The data in one form; the words that name it to ``rdd-nb data fetch``."""
    folder = root / form
    if form == "folder":
        for i, label, _, split in rows(count):
            link(files[i % POOL], folder / split / f"class{label}" / f"{i}.jpg")
        return f"folder:{folder}", []
    if form in ("table", "hf"):
        head = "file_name,label,place,split" if form == "hf" else "img_filename,y,place,split"
        lines = [head]
        for i, label, group, split in rows(count):
            link(files[i % POOL], folder / f"{i // 1000}" / f"{i}.jpg")
            lines.append(f"{i // 1000}/{i}.jpg,{label},{group},{split if form == 'hf' else 2 * (split == 'test')}")
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
        return f"{form}:{folder}", ["--group", "place"]
    if form == "celeba":
        attributes, parts = [str(count), "Blond Male"], []
        for i, label, group, split in rows(count):
            link(files[i % POOL], folder / "img_align_celeba" / f"{i:06d}.jpg")
            attributes.append(f"{i:06d}.jpg {2 * (label % 2) - 1} {1 if group == 'wood' else -1}")
            parts.append(f"{i:06d}.jpg {2 * (split == 'test')}")
        (folder / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
        (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
        return f"celeba:{folder}", ["--label", "Blond", "--group", "Male"]
    if form == "domains":
        for i, label, group, _ in rows(count):
            link(files[i % POOL], folder / group / f"class{label}" / f"{i}.jpg")
        return f"domains:{folder}", []
    if form == "names":
        for i, label, group, _ in rows(count):
            link(files[i % POOL], folder / f"{label}_{group}_{i}.jpg")
        return f"names:{folder}", ["--pattern", "{kind}_{place}_{rest}", "--label", "kind", "--group", "place"]
    if form == "parquet":
        return f"hf:{shards(folder, count, files)}", ["--group", "place"]
    return f"npz:{arrays(folder, count, files)}", []


def shards(folder: Path, count: int, files: list[Path]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed, every = [path.read_bytes() for path in files], list(rows(count))
    for split in ("train", "test"):
        mine = [row for row in every if row[3] == split]
        for shard in range(0, len(mine), 20_000):
            part = mine[shard : shard + 20_000]
            table = pa.table(
                {
                    "image": [{"bytes": packed[i % POOL], "path": f"{i}.jpg"} for i, *_ in part],
                    "label": [label for _, label, *_ in part],
                    "place": [group for _, _, group, _ in part],
                }
            )
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / f"{split}-{shard // 20_000:05d}.parquet", row_group_size=1000)
    return folder


def arrays(folder: Path, count: int, files: list[Path]) -> Path:
    decoded = np.stack([np.asarray(Image.open(path)) for path in files])
    held, every = {}, list(rows(count))
    for split in ("train", "test"):
        mine = [row for row in every if row[3] == split]
        held[f"{split}_images"] = decoded[[i % POOL for i, *_ in mine]]
        held[f"{split}_labels"] = np.array([label for _, label, *_ in mine], np.uint8)
        held[f"{split}_groups"] = np.array([GROUPS.index(group) for _, _, group, _ in mine], np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "data.npz", **held)
    return folder / "data.npz"


def fetched(words: list[str], cache: Path) -> tuple[float, float, float]:
    """Seconds by the clock and by the processor, and megabytes of its own at most, of one command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "RDD_NB_CACHE": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "data", "fetch", *words, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    most, status = [0.0], Path(f"/proc/{process.pid}/status")

    def watch() -> None:
        while process.poll() is None:
            try:
                lines = status.read_text().splitlines()
            except OSError:
                return
            own = [int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon")]
            most[0] = max([most[0], *own])
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, said = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(said)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent, most[0]


FORMS = ("folder", "table", "celeba", "hf", "parquet", "domains", "names", "npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    asked = parser.parse_args()
    out = io.StringIO()
    print("| form | first: s, processor s, MB | again: s, processor s, MB |\n|---|---:|---:|", file=out)
    for form in asked.forms:
        with tempfile.TemporaryDirectory() as root:
            name, options = make(form, Path(root), asked.images, pool(Path(root)))
            told = [fetched([name, *options], Path(root) / "cache") for _ in range(2)]
        cells = [f"{clock:.1f}, {spent:.1f}, {size:.0f}" for clock, spent, size in told]
        line = f"| {form} | {' | '.join(cells)} |"
        print(line, file=sys.stderr, flush=True)
        print(line, file=out)
    print(out.getvalue(), end="")


if __name__ == "__main__":
    main()
