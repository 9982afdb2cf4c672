"""The command that makes a run: ``rdd-nb distill``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdd_nb.cli.options import (
    SOURCE,
    WORK,
    Data,
    DataSeed,
    Device,
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
    is_own,
    load,
    pair,
    say,
    source_of,
)
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.escaping import terminal
from rdd_nb.core.files import plain_name
from rdd_nb.core.folders import LARGEST_JSON, parse_json, read_regular

if TYPE_CHECKING:
    from rdd_nb.clustering.groups import Groups
    from rdd_nb.data.dataset import Splits
    from rdd_nb.distillation.config import DistillConfig

__all__ = ["command_distill", "settings_of"]


def command_distill(
    data: Data,
    scenario: Scenario = "none",
    option: Options = None,
    data_seed: DataSeed = 0,
    reading: Reading = None,
    root: Root = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="discovered|known|none",
            help="Which groups the objective sees: found without labels (default for robust and group), those the "
            "data name (the oracle), or none (default for erm and density).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    num_groups: NumGroups = 10,
    price: Price = None,
    unlabelled: Unlabelled = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The run folder; by default runs/DATA-SCENARIO-MATCHING-OBJECTIVE-sSEED.",
            rich_help_panel=WORK,
        ),
    ] = None,
    experts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For matching=trajectory: keep its experts here, where other runs find them; by default in the run.",
            rich_help_panel=WORK,
        ),
    ] = None,
    device: Device = "auto",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Config to start from: an object of the options below (or a run's config.json). Options given here "
            "win over it.",
            rich_help_panel="Config",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A config field by its Python name.", rich_help_panel="Config"
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    **fields: str | None,
) -> None:
    """Distil a data set into a run folder. Interrupted, the same command resumes it, and ends with the same bits.

    \b
    Plain:   rdd-nb distill --data digits --scenario coloured --objective erm
    Robust:  rdd-nb distill --data digits --scenario coloured --tail 0.2
    Oracle:  rdd-nb distill --data digits --scenario coloured --groups known
    Yours:   rdd-nb distill --data folder:pets --size 32 --ipc 5 --out runs/pets
    """
    from rdd_nb.clustering import price_where
    from rdd_nb.core.device import pick_device
    from rdd_nb.distillation.loop import distill, expect_room, kept_groups
    from rdd_nb.distillation.run_folder import RunFolder

    settings = settings_of(config, assignments or [], {k: v for k, v in fields.items() if v is not None})
    pick_device(device)
    source = source_of(data, scenario, option, data_seed, reading)
    source["groups"] = groups or ("discovered" if settings.objective in ("robust", "group") else "none")
    if source["groups"] == "discovered":
        source["num_groups"] = num_groups
        chosen = {
            "price": None if unlabelled is None and price == price_where(known=False) else price,
            "unlabelled": unlabelled,
        }
        source |= {k: v for k, v in chosen.items() if v is not None}  # by default a run stays what it was before these
    elif unlabelled is not None:
        raise RddError(f"--unlabelled has no effect with groups {source['groups']}: use --groups discovered")
    kinds = ("discovered", "known", "none")
    if source["groups"] not in kinds:
        raise unknown("kind of groups", groups, kinds)
    own = is_own(data)
    name = plain_name((data.partition(":")[2] if own else data).rstrip("/").rsplit("/", 1)[-1])
    folder = out or Path("runs", f"{name}-{scenario}-{settings.matching}-{settings.objective}-s{settings.seed}")
    splits = load(source, root)
    if not quiet:
        print(terminal(repr(splits.train)), file=sys.stderr)
    expect_room(RunFolder(folder), splits.train, settings, source, experts)  # before minutes of looking for groups
    kept = kept_groups(RunFolder(folder), splits.train) if source["groups"] == "discovered" else None
    found = kept or _groups(splits, source, settings, device, progress=not quiet)
    report = found.report if found is not None else ""
    if report and not quiet:
        print(terminal(report.splitlines()[0]), file=sys.stderr)
    kept_in: dict[str, Any] = {"out": folder, "experts": experts, "source": source}
    run = distill(splits.train, settings, found, **kept_in, device=device, progress=not quiet)
    if report:
        RunFolder(folder).files.write("groups.md", report + "\n")
    seconds, loss = float(run.history["seconds"].sum()), float(run.history["loss"].iloc[-1])
    if as_json:
        told = settings.model_dump(mode="json")
        done = len(run.history)
        emit(
            {"out": str(folder), "iterations": done, "seconds": seconds, "loss": loss, "source": source, "config": told}
        )
        return
    made = run.synthetic
    parts = "" if made.formations == 1 else f", which hold {settings.decoded_ipc}"
    parts += "" if made.latents is None else f"; {made.kept}"
    then = ["rdd-nb", "evaluate", str(folder), *(["--data", data] if own else [])]
    say(
        f"{len(made.images)} images ({made.ipc} a class{parts}) in {folder}: {len(run.history)} "
        f"iterations in {seconds:.1f} s, loss {loss:.4g}\nWho profits: {shlex.join(then)}"
    )


def settings_of(file: Path | None, assignments: list[str], options: dict[str, str | None]) -> DistillConfig:
    """The config: options over ``--set`` over the file over the defaults."""
    from rdd_nb.distillation.config import DistillConfig

    values: dict[str, Any] = {}
    if file is not None:
        mend = 'write an object like {"ipc": 10, "tail": 0.2}'
        try:
            read = parse_json(read_regular(file, LARGEST_JSON), f"--config {file}", mend)
        except OSError as error:
            raise RddError(f"cannot read --config {file} ({error.strerror}): {mend}") from None
        read = read.get("distill", read)  # a run's own config.json
        if not isinstance(read, dict):
            raise RddError(f"--config {file} holds a {type(read).__name__}, not an object: {mend}")
        values |= read
    values |= dict(pair(text, "--set") for text in assignments)
    return DistillConfig(**{**values, **options})


def _groups(
    splits: Splits, source: dict[str, Any], settings: DistillConfig, device: str, progress: bool
) -> Groups | None:
    from rdd_nb import clustering

    if source["groups"] == "none":
        return None
    if source["groups"] == "known":
        return clustering.known_groups(splits.train)
    how: dict[str, Any] = {k: source[k] for k in ("num_groups", "price") if k in source}
    if "unlabelled" in source:
        how["known"] = clustering.known_but(splits.train, source["unlabelled"])
    how |= {"ipc": settings.decoded_ipc, "group_power": settings.group_power, "seed": settings.seed, "device": device}
    how["kept"] = groups_folder()
    return clustering.discover_groups(splits.train, **how, progress=progress)
