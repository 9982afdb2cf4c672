"""The default on real sets: plain beside robust, groups discovered and known; the table ``real.csv``.

    python data/results/real.py --data FOLDER [--sets "cmaterdb, 5 %" …] [--methods plain robust …] [--seeds 0 1 2]

``FOLDER`` holds ``cifar10-jpeg.tar.xz``, ``cmaterdb.npz``, ``bar64.tar.xz`` and ``mnist.npz``; none of them is part of
this project. A seed draws which images are rare (where a set is cut), the groups, the distillation and the networks.
The test set is scored once. Where nothing is raised, robust is plain, and its networks are not trained a second time.
"""

from __future__ import annotations

import argparse
import itertools
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

import rdd_nb as rdd
from rdd_nb import clustering
from rdd_nb.core import environment
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset, Splits, statistics
from rdd_nb.evaluation import subgroups
from rdd_nb.models.protocol import PROFILES
from rdd_nb.models.training import train

TABLE = Path(__file__).with_name("real.csv")
ALIKE = "robust, groups alike"  # for those who hold every group as dear: group_power 0, at any price that is met
PLAIN = {None: "plain", "medoids": "plain, medoids"}  # by the start
#: Groups, and what of the distillation is not the default.
METHODS: dict[str, tuple[str | float | None, dict[str, str | float]]] = {
    "plain": (None, {"objective": "erm"}),
    "plain, medoids": (None, {"objective": "erm", "init": "medoids"}),
    "robust": ("auto", {}),
    ALIKE: ("auto", {"group_power": 0.0}),
    "robust, one view": ("probabilities", {}),  # the default before candidates were tried
    "robust known": ("known", {}),
    "robust known, medoids": ("known", {"init": "group-medoids"}),
    "group known": ("known", {"objective": "group", "group_power": 0.0}),  # FairDD
    "group dbscan": ("dbscan", {"objective": "group", "group_power": 0.0}),  # without labels, but batches drawn once
    "density": (None, {"objective": "density"}),  # Cui et al. (2406.06609)
    **{f"robust, {part:g} % known": (part / 100, {}) for part in (1, 5, 25)},  # the other labels are not
}
NETS = 3
SCORES = ("accuracy", "worst group", "rare group", "minority", "DEO_M", "DEO_A")
Part = tuple[Tensor, Tensor]  # images uint8 [N, C, H, W], labels


def splits(
    name: str,
    train: Part,
    test: Part,
    classes: tuple[str, ...],
    groups: tuple[Tensor, Tensor] | None = None,
    *names: str,
) -> Splits:
    """Two sets with the training set's statistics."""
    mean, std = statistics(train[0])
    ids = groups or (None, None)
    both = (ImageDataset(*part, classes, mean, std, i, names, name=name) for part, i in zip((train, test), ids))
    return Splits(*both, name)


def from_tar(file: Path, size: int | None = None) -> tuple[Part, Part, tuple[str, ...]]:
    """``train/<class>/…`` and ``test/<class>/…`` of an archive, in the order of their names."""
    kept = {"train": ([], []), "test": ([], [])}
    with tarfile.open(file) as archive:
        members = sorted((m for m in archive if m.isfile() and m.name.endswith(".jpg")), key=lambda m: m.name)
        classes = sorted({m.name.split("/")[-2] for m in members})
        for member in members:
            part, label = member.name.split("/")[-3:-1]
            image = Image.open(archive.extractfile(member)).convert("RGB")
            kept[part][0].append(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC) if size else image))
            kept[part][1].append(classes.index(label))
    parts = [
        (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels))
        for images, labels in kept.values()
    ]
    return parts[0], parts[1], tuple(classes)


def chosen(part: Part, labels: list[int], most: int) -> Part:
    """The first ``most`` of each of ``labels``, numbered anew."""
    index = torch.cat([(part[1] == label).nonzero()[:most, 0] for label in labels])
    new = torch.zeros(max(labels) + 1, dtype=torch.int64)
    new[labels] = torch.arange(len(labels))
    return part[0][index], new[part[1][index]]


def cmaterdb(folder: Path, seed: int, rare: float | None = None) -> Splits:
    """Numerals in three scripts; the last script cut to ``rare`` of each class."""
    held = np.load(folder / "cmaterdb.npz")
    pictures, labels, ids = (
        [torch.from_numpy(held[f"{part}_{what}"]) for part in ("train", "test")]
        for what in ("images", "labels", "groups")
    )
    pictures = [each.permute(0, 3, 1, 2).contiguous() for each in pictures]
    labels, ids, names = [x.long() for x in labels], [x.long() for x in ids], tuple(map(str, held["group_names"]))
    keep = torch.ones(len(labels[0]), dtype=torch.bool)
    for label in range(10) if rare else ():
        few = ((labels[0] == label) & (ids[0] == len(names) - 1)).nonzero()[:, 0]
        others = int((labels[0] == label).sum()) - len(few)
        shuffled = few[torch.randperm(len(few), generator=stream(seed, "cmaterdb"))]
        keep[shuffled[round(rare / (1 - rare) * others) :]] = False
    first = pictures[0][keep], labels[0][keep]
    classes = tuple(map(str, range(10)))
    return splits("cmaterdb", first, (pictures[1], labels[1]), classes, (ids[0][keep], ids[1]), *names)


def cifar10_s(folder: Path, seed: int) -> Splits:
    """FairDD's CIFAR10-S (2411.19623) of the first 600 images a class: five classes mostly colour, five mostly grey."""
    train, test, names = from_tar(folder / "cifar10-jpeg.tar.xz")
    base = splits("cifar10", chosen(train, list(range(10)), 600), test, names)
    return rdd.scenario(base, "grey-half", seed=seed, bias=0.9)


def cat_dog(folder: Path, seed: int) -> Splits:
    """Two classes of CIFAR-10, no groups."""
    train, test, names = from_tar(folder / "cifar10-jpeg.tar.xz")
    two = [names.index(name) for name in ("cat", "dog")]
    return splits("cat or dog", chosen(train, two, 2500), chosen(test, two, 1000), ("cat", "dog"))


def bar(folder: Path, seed: int, size: int = 32) -> Splits:
    """Biased Action Recognition (Nam et al., 2007.02561): actions in their usual places, tested in unusual ones."""
    return splits("bar", *from_tar(folder / "bar64.tar.xz", size))


def pair(first: str, second: str) -> Callable[[Path, int], Splits]:
    """Two classes of the shipped sample."""

    def make(folder: Path, seed: int) -> Splits:
        sample = rdd.load("fashion-mnist-sample")
        two = [sample.train.class_names.index(name) for name in (first, second)]
        parts = [chosen((d.images, d.labels), two, 10**6) for d in (sample.train, sample.test)]
        return splits(f"{first} or {second}", *parts, (first, second))

    return make


def fairdd(base: str, where: str, most: int = 1000) -> Callable[[Path, int], Splits]:
    """FairDD's C-MNIST and C-FMNIST (2411.19623), of the first ``most`` images a class: a class has its colour."""

    def make(folder: Path, seed: int) -> Splits:
        if base == "mnist":
            held = np.load(folder / "mnist.npz")
            train, test = (
                (torch.from_numpy(held[f"{p}_images"])[:, None], torch.from_numpy(held[f"{p}_labels"]).long())
                for p in ("train", "test")
            )
            names = tuple(map(str, range(10)))
        else:
            sample = rdd.load("fashion-mnist-sample")
            train, test = ((d.images, d.labels) for d in (sample.train, sample.test))
            names = sample.train.class_names
        few = [chosen(part, list(range(10)), count) for part, count in ((train, most), (test, 200))]
        return rdd.scenario(splits(base, *few, names), f"coloured-{where}", seed=seed, bias=0.9)

    return make


SETS: dict[str, Callable[[Path, int], Splits]] = {
    "cmaterdb, 5 %": lambda folder, seed: cmaterdb(folder, seed, 0.05),
    "c-mnist foreground": fairdd("mnist", "foreground"),
    "cat or dog": cat_dog,
    "pullover or coat": pair("pullover", "coat"),
    "T-shirt or shirt": pair("T-shirt", "shirt"),
    "bar, 32 px": bar,
    "bar, 64 px": lambda folder, seed: bar(folder, seed, 64),
    "cifar10-s": cifar10_s,
    "c-mnist background": fairdd("mnist", "background"),
    "cmaterdb": cmaterdb,
    "coloured": lambda folder, seed: rdd.scenario(rdd.load("fashion-mnist-sample"), "coloured", seed=seed, bias=0.9),
    "cmaterdb, 10 %": lambda folder, seed: cmaterdb(folder, seed, 0.1),
    "c-fmnist foreground": fairdd("fashion", "foreground"),
    "c-fmnist background": fairdd("fashion", "background"),
}


def scored(synthetic: object, test: ImageDataset, seed: int) -> dict[str, float]:
    """Accuracy over networks, its mean over groups, of the worst group, and FairDD's DEO; %."""
    nets = train(synthetic, PROFILES["quick"], nets=NETS, seed=seed, device="cpu")  # type: ignore[arg-type]
    parts = torch.arange(len(test)).split(500)
    with torch.no_grad():
        said = np.stack([torch.cat([net(test.normalised(part)).argmax(1) for part in parts]).numpy() for net in nets])
    right = (said == test.labels.numpy()).mean(0)
    found = {"accuracy": 100 * float(right.mean())}
    if test.groups is not None:
        groups = [100 * float(right[(test.groups == g).numpy()].mean()) for g in range(test.num_groups)]
        deo = subgroups.recall_range(test.labels.numpy(), said, test.groups.numpy())
        if test.minority is not None:
            found["minority"] = 100 * float(right[test.minority.numpy()].mean())
        found |= {
            "worst group": min(groups),
            "rare group": groups[-1],
            "DEO_M": 100 * deo.maximum,
            "DEO_A": 100 * deo.mean,
        }
    return found


def machine() -> dict[str, str]:
    """What is measured on, for each row of a table."""
    return {k: v for k, v in environment.describe().items() if k in ("rdd_nb", "torch", "processor", "date")}


def unmeasured(path: Path, seeds: Sequence[int], sets: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Each seed and set that the table at ``path`` has no row of."""
    for seed, name in itertools.product(seeds, sets):
        table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["set", "seed"])
        if not ((table["set"] == name) & (table["seed"] == seed)).any():
            yield seed, name


def add(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Add rows to the table at ``path``; several may measure side by side."""
    with FileLock(path.with_suffix(".lock")):
        held = [pd.read_csv(path)] if path.exists() else []
        pd.concat([*held, pd.DataFrame(rows)], ignore_index=True).to_csv(path, index=False, float_format="%.4g")


def main() -> None:
    """Measure what is missing, and rewrite the table after each: it can be stopped and started."""
    parser = argparse.ArgumentParser(description="plain beside robust on real sets")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where = machine()
    for seed, name in itertools.product(asked.seeds, asked.sets):
        todo = [method for method in METHODS if method in asked.methods and method not in measured(name, seed)]
        data = SETS[name](asked.data, seed) if todo else None
        for method in todo:
            if "known" in method and data.train.groups is None:
                continue
            row = {"set": name, "seed": seed, "method": method}
            row |= one(data, method, seed, measured(name, seed)) | where
            add(TABLE, [row])
            print(row, flush=True)


def one(data: Splits, method: str, seed: int, known: dict[str, dict[str, float]]) -> dict[str, object]:
    """What a method reaches; of the default also what it found, and its seconds; ``known`` is what others reach."""
    kind, settings = METHODS[method]
    groups, told = None, {}
    if kind == "known":
        groups = clustering.known_groups(data.train)
    elif isinstance(kind, float):
        told_of = torch.rand(len(data.train), generator=stream(seed, "told of")) < kind
        some = data.train.groups.where(told_of, torch.tensor(clustering.UNKNOWN))
        groups = rdd.discover_groups(data.train, known=some, seed=seed, device="cpu")
        right = (groups.ids == data.train.groups)[~told_of]
        rare = (data.train.minority if data.train.minority is not None else data.train.groups == 2)[~told_of]
        told = {"found": f"{100 * float(right[rare].double().mean()):.0f} % of the others of the minority found"}
    elif kind is not None:
        began = time.perf_counter()
        most = 100 if kind == "dbscan" else 10
        dear = {"group_power": settings["group_power"], "price": 1.0} if method == ALIKE else {}
        groups = rdd.discover_groups(
            data.train, kind, seed=seed, device="cpu", num_groups=most, learnable=kind != "dbscan", **dear
        )
        if kind == "auto":
            told = {"found": groups.report.split("\n")[0], "seconds": time.perf_counter() - began}
            if not groups.raised and PLAIN[groups.start] in known:  # the same images, and the same networks on them
                return known[PLAIN[groups.start]] | told
    run = rdd.distill(data.train, rdd.DistillConfig(seed=seed, **settings), groups, device="cpu", progress=False)
    return {**scored(run.synthetic, data.test, seed), **told}


def measured(name: str, seed: int) -> dict[str, dict[str, float]]:
    """What the table has of a set at a seed, by method."""
    if not TABLE.exists():
        return {}
    table = pd.read_csv(TABLE)
    mine = table[(table["set"] == name) & (table["seed"] == seed)]
    return {row["method"]: {k: row[k] for k in SCORES if pd.notna(row.get(k))} for _, row in mine.iterrows()}


if __name__ == "__main__":
    main()
