"""The command that looks for groups: ``rdd-nb discover`` says which are raised, why, and what that does to each."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rdd_nb.cli.options import (
    WORK,
    Data,
    DataSeed,
    Device,
    GroupPower,
    Json,
    NumGroups,
    Options,
    Price,
    Quiet,
    Reading,
    Root,
    Scenario,
    Unlabelled,
    emit,
    groups_folder,
    load,
    say,
    source_of,
    strict_json,
)
from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import csv_text, markdown, terminal
from rdd_nb.core.files import locked, unwritable, without_folders
from rdd_nb.core.folders import Folder

if TYPE_CHECKING:
    from torch import Tensor

    from rdd_nb.cli.outputs.data import Discover
    from rdd_nb.clustering.groups import Groups
    from rdd_nb.data.dataset import ImageDataset

__all__ = ["command_discover"]

COMMAND = "rdd-nb discover"
FILES = ("groups.json", "report.md", "groups.csv", "exemplars.png")  # the first says who wrote them
MOST_ROWS = 60  # of a table on a terminal; the files and --json have all
MOST_SHOWN, EXEMPLARS = 12, 6  # groups on the sheet, and images for each way to choose them
READ_FOR = "The groups that the data name, read for this display only, never for finding"
#: The ways to choose exemplars, and what such images tell.
WAYS = (
    ("nearest to the group's centre", "typical by construction, whatever the group holds"),
    ("farthest from it", "unusual by construction"),
    ("drawn at random", "an unbiased sample of the group"),
)
MEASURED = (
    "Distances are those of a frozen random network's features, in which any two groups can be compared; the groups "
    "may have been found in another view, where other images are near."
)
GROUPS_HEAD = ("class", "group", "images", "of its class", "of what is matched")
NAMED_HEAD = ("named group", "images", "of its classes", "of what is matched")


def command_discover(
    data: Data,
    scenario: Scenario = "none",
    option: Options = None,
    data_seed: DataSeed = 0,
    reading: Reading = None,
    root: Root = None,
    num_groups: NumGroups = 10,
    price: Price = None,
    unlabelled: Unlabelled = None,
    ipc: Annotated[int, typer.Option(help="Images per class of the set that is to be made, for the trial.")] = 10,
    group_power: GroupPower = 0.3,
    seed: Annotated[int, typer.Option(help="Of the networks, the clusterings and the trial.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write report.md, groups.csv, groups.json and exemplars.png here: a new folder, an empty one, or one "
            "that this command wrote.",
            rich_help_panel=WORK,
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for groups without reading a group label, and say which are raised, why, and what that does to each.

    It is what `rdd-nb distill` does before it begins: candidates from several views of the training images, a trial of
    what raising each brings on held-out ones, and the best of them, or nothing.

    \b
    Look:  rdd-nb discover --data digits --scenario coloured
    Keep:  rdd-nb discover --data folder:pets --size 32 --ipc 5 --out pets-groups
    """
    from rdd_nb.clustering import discover_groups, known_but, price_where
    from rdd_nb.core.device import pick_device
    from rdd_nb.distillation.config import DistillConfig

    # What no distillation takes is complained of before data are read.
    how = DistillConfig(ipc=ipc, seed=seed, group_power=group_power).model_dump(include={"ipc", "seed", "group_power"})
    how["price"] = price if price is not None else price_where(unlabelled is not None)
    pick_device(device)
    source = source_of(data, scenario, option, data_seed, reading)
    folder = None if out is None else Folder(out)
    if folder is not None:
        _expect(folder)
    train = load(source, root).train
    if not quiet:
        print(terminal(repr(train)), file=sys.stderr)
    with contextlib.ExitStack() as held:
        if folder is not None:
            held.enter_context(locked(folder.path))
            _expect(folder)
            folder.probe(4_000_000 + 100 * len(train))  # the files, before a minute of work
        where: dict[str, Any] = {"device": device, "kept": groups_folder(), "progress": not quiet}
        known = None if unlabelled is None else known_but(train, unlabelled)
        found = discover_groups(train, num_groups=num_groups, known=known, **how, **where)
        source |= {"num_groups": num_groups} | ({} if unlabelled is None else {"unlabelled": unlabelled})
        told = {"command": COMMAND, "source": source, **how, **_told(found, train, group_power)}
        if as_json:
            emit(cast("Discover", {**told, "out": None if out is None else str(out)}))
        else:
            say("\n".join(_lines(found, told)))
        if folder is None:
            return
        written = _write(folder, found, train, told, device)
    if not as_json:
        say(f"\nWritten to {folder.path}: {', '.join(written)}")


def _told(found: Groups, data: ImageDataset, power: float) -> dict[str, Any]:
    """What was found, as JSON has it: the trials, each group's shares, and those of the groups that the data name."""
    trials = [trial.row() for trial in found.trials]
    return {
        "data": data.name,
        "raised": found.raised,
        "said": found.report.partition("\n")[0],
        "candidates": [trial for trial in trials if not trial["final"]],
        "trials": [trial for trial in trials if trial["final"]],
        "chosen": next((trial for trial in trials if trial["final"] and trial["kept"]), None),
        "groups": _shares(found, data, power),
        "named": {"read_for": READ_FOR, "groups": _named(found, data, power)},
    }


def _shares(found: Groups, data: ImageDataset, power: float) -> list[dict[str, Any]]:
    """Every group that has images: its part of its class, and of what is matched; by class, what gains most first."""
    from rdd_nb.clustering import group_shares

    sizes = found.sizes(data.labels, data.num_classes)
    matched = group_shares(found, data.labels, data.num_classes, power)
    rows = []
    for label, group in sizes.nonzero().tolist():
        count, share = int(sizes[label, group]), float(sizes[label, group] / sizes[label].sum())
        part = float(matched[label, group])
        mine = {"class": data.class_names[label], "label": label, "group": group, "size": count}
        rows.append({**mine, "share": share, "matched": part, "raised": part > share * (1 + 1e-6)})  # not by rounding
    return sorted(rows, key=lambda row: (row["label"], row["share"] - row["matched"], row["group"]))


def _named(found: Groups, data: ImageDataset, power: float) -> list[dict[str, Any]]:
    """How much of what is matched is of each minority that the data name, where nothing is raised and as it is now."""
    import torch

    from rdd_nb.clustering import group_mass, matched_mass

    marks: dict[str, Tensor] = {} if data.minority is None else {data.minority_names[1]: data.minority}
    for group, name in enumerate(data.group_names):
        mine = torch.as_tensor(data.groups == group)  # for mypy: where there are names there are groups
        if data.minority is None:
            marks[name] = mine
        elif not any(torch.equal(mine & data.minority, other) for other in marks.values()):  # the same images again
            marks[f"{data.minority_names[1]}: {name}"] = mine & data.minority
    plain = torch.ones(len(data))
    return [
        {
            "name": name,
            "size": int(marked.sum()),
            "share": matched_mass(plain, data.labels, marked),
            "matched": group_mass(found, data.labels, marked, power),
        }
        for name, marked in marks.items()
        if marked.any()
    ]


# ----------------------------------------------------------------------------------------------------------- in words


def _lines(found: Groups, told: dict[str, Any]) -> list[str]:
    """The report, and the tables of :func:`_tables`, for a terminal: columns stand below one another."""
    lines, table = [], list[list[str]]()
    for line in [*found.report.splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if table:
            lines += _aligned([table[0], *table[2:]], left=2)  # the second row is Markdown's rule
            table = []
        lines.append(line)
    for title, head, rows in _tables(told):
        plain = [[terminal(" ".join(cell.split())) for cell in row] for row in rows]
        more = [f"… and {len(rows) - MOST_ROWS} more: see --json or --out"] if len(rows) > MOST_ROWS else []
        lines += [f"{title}:", "", *_aligned([head, *plain[:MOST_ROWS]], left=1), *more, ""]
    return lines[:-1]


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as lines; the first ``left`` columns begin below one another, the others end so.

    >>> _aligned([("class", "images"), ("bag", "7")], left=1)
    ['class  images', 'bag         7']
    """
    wide = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(f"{cell:<{w}}" if k < left else f"{cell:>{w}}" for k, (cell, w) in enumerate(zip(row, wide))).rstrip()
        for row in rows
    ]


def _tables(told: dict[str, Any]) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    """Titles, heads and rows: the groups of each class that has raised ones, and the groups that the data name."""
    raised = {row["label"] for row in told["groups"] if row["raised"]}
    shown = [row for row in told["groups"] if row["label"] in raised]
    tables: list[tuple[str, Sequence[str], list[list[str]]]] = []
    if shown:
        rows = [[row["class"], str(row["group"]), f"{row['size']:,}", *_parts(row)] for row in shown]
        title = (
            f"Groups of the classes that have raised ones, what gains most first (group_power {told['group_power']:g})"
        )
        tables.append((title, GROUPS_HEAD, rows))
    if told["named"]["groups"]:
        rows = [[row["name"], f"{row['size']:,}", *_parts(row)] for row in told["named"]["groups"]]
        tables.append((told["named"]["read_for"], NAMED_HEAD, rows))
    return tables


def _parts(row: dict[str, Any]) -> list[str]:
    return [f"{100 * row[name]:.1f} %" for name in ("share", "matched")]


def _markdown(found: Groups, told: dict[str, Any]) -> str:
    """The same as a page: names in it are neither headings nor links."""
    lines = [f"# Groups of {markdown(told['data'])}", "", found.report, ""]
    for title, head, rows in _tables(told):
        lines += [f"{title}:", "", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        lines += ["| " + " | ".join(map(markdown, row)) + " |" for row in rows] + [""]
    if told["raised"]:
        ways = "; ".join(f"*{way}*, {what}" for way, what in WAYS)
        lines += [
            "![Images of the groups that gain most](exemplars.png)",
            "",
            f"From left to right: {ways}. {MEASURED}",
            "",
        ]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- the folder


def _expect(folder: Folder) -> None:
    """Whether the files can be written there.

    Raises:
        RddError: the folder holds files of others, or stands where no folder can be.
    """
    try:
        there = sorted(name for name in os.listdir(folder.path) if not name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(folder.path, error) from None
    ours = False
    with contextlib.suppress(RddError):
        ours = folder.json(FILES[0], "").get("command") == COMMAND
    other = [name for name in there if not ours or name not in FILES]
    if other:
        said = terminal(" ".join(other[0].split()))
        raise RddError(f"{folder.path} holds other files ({said}): give a new folder, or one that this command wrote")


def _write(folder: Folder, found: Groups, data: ImageDataset, told: dict[str, Any], device: str) -> list[str]:
    """Write the files, all of them made before the first is; their names."""
    import pandas as pd

    source = {**told["source"], "data": without_folders(told["source"]["data"])}  # it tells nothing of the machine
    table = pd.DataFrame(
        {
            "index": range(len(data)),
            "class": [data.class_names[label] for label in data.labels.tolist()],
            "group": found.ids.numpy(),
        }
    )
    held: dict[str, bytes | str] = {
        "groups.json": strict_json({**told, "source": source}, indent=2) + "\n",
        "report.md": _markdown(found, told),
        "groups.csv": csv_text(table),
    }
    sheet = _sheet(found, data, told, device)
    if sheet:
        held["exemplars.png"] = sheet
    folder.remove(*(name for name in FILES if name not in held))  # of an earlier call
    for name, content in held.items():
        folder.write(name, content)
    return list(held)


def _sheet(found: Groups, data: ImageDataset, told: dict[str, Any], device: str) -> bytes:
    """Images of the groups that gain most, as a PNG; empty where none is raised."""
    from rdd_nb.clustering import space
    from rdd_nb.clustering.groups import exemplars
    from rdd_nb.core.random_streams import stream
    from rdd_nb.figures.discovery_figures import group_exemplars
    from rdd_nb.figures.figure import shortened

    raised = sorted((r for r in told["groups"] if r["raised"]), key=lambda r: r["share"] - r["matched"])[:MOST_SHOWN]
    if not raised:
        return b""
    points = space(data, "features", told["seed"], device)
    parts: dict[tuple[str, str], list[Any]] = {way: [] for way in WAYS}
    for row in raised:
        members = ((data.labels == row["label"]) & (found.ids == row["group"])).nonzero()[:, 0]
        draw = stream(told["seed"], "exemplars", row["label"], row["group"])
        for way, chosen in zip(WAYS, exemplars(points, members, EXEMPLARS, draw)):
            parts[way].append(data.images[chosen].numpy())
    names = [
        f"{shortened(row['class'], 9)}, group {row['group']}: {100 * row['share']:.0f} to {100 * row['matched']:.0f} %"
        for row in raised
    ]
    figure = group_exemplars(parts, names, EXEMPLARS)
    title = "The groups that gain most, with their part of the class and of what is matched"
    figure.suptitle(f"{title}\n(distances in the features of a frozen random network)")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in letters that the font has not
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
