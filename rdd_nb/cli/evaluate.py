"""The command that judges a run: ``rdd-nb evaluate`` says whom it serves."""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rdd_nb.cli.options import (
    SOURCE,
    WORK,
    Device,
    Json,
    Options,
    Quiet,
    Reading,
    Root,
    complain,
    emit,
    is_own,
    load,
    pair,
    say,
)
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.escaping import csv_text

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.runs import Evaluate
    from rdd_nb.data.dataset import Splits

__all__ = ["command_evaluate"]

SHOWN = 5  #: columns of the table on soft labels, that of all images included


def command_evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a finished `rdd-nb distill`.", metavar="RUN")],
    profile: Annotated[
        str,
        typer.Option(
            metavar="smoke|quick|full", help="How the nets are trained: to try, on a laptop, as in the papers."
        ),
    ] = "quick",
    nets: Annotated[int, typer.Option(help="How many fresh nets.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides their weights and batches.")] = 0,
    learnt_step: Annotated[
        bool,
        typer.Option(
            "--learnt-step",
            help="Train at the step size that trajectory matching learnt, as MTT does, instead of the profile's.",
        ),
    ] = False,
    soft_labels: Annotated[
        bool,
        typer.Option(
            "--soft-labels",
            help="Also by a teacher's labels, the same for these images, for random ones, medoids and a group-balanced "
            "choice: what soft labels bring, and what distilling does.",
        ),
    ] = False,
    on: Annotated[
        str,
        typer.Option(
            metavar="test|validation",
            help="Which images to score on: those to report, or those that the data keep to choose settings by.",
        ),
    ] = "test",
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also the worst cluster, and accuracy under noise, blur, inversion.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Test on these data instead of those the run names.", rich_help_panel=SOURCE),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="NAME", help="Likewise, the scenario.", rich_help_panel=SOURCE)
    ] = None,
    option: Options = None,
    data_seed: Annotated[
        int | None, typer.Option(help="Likewise, the scenario's seed.", rich_help_panel=SOURCE)
    ] = None,
    reading: Reading = None,
    root: Root = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the table, tidy, as CSV here as well.", rich_help_panel=WORK),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="float32|bfloat16", help="Arithmetic of the training.", rich_help_panel=WORK)
    ] = "float32",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train fresh nets on a run's images and say how right they are about whom, with 95 % intervals.

    Keeps every prediction in RUN/scores.npz, and the table under "evaluation" in RUN/metrics.json. A run may come from
    somebody else: a folder of images is read, and a data set downloaded, only where --data names it here.

    \b
    Example: rdd-nb evaluate runs/demo --profile quick --nets 5
    """
    from tqdm import tqdm

    from rdd_nb.core.device import pick_device
    from rdd_nb.core.environment import describe
    from rdd_nb.core.files import atomic_write
    from rdd_nb.distillation.initialization import fingerprint
    from rdd_nb.distillation.run_contents import contents
    from rdd_nb.distillation.run_folder import RunFolder
    from rdd_nb.evaluation.label_effects import label_effects
    from rdd_nb.evaluation.predictions import matched, predict
    from rdd_nb.evaluation.subgroups import gap, worst_group
    from rdd_nb.models.protocol import PROFILES
    from rdd_nb.models.soft_labels import TEACHER
    from rdd_nb.models.training import train
    from rdd_nb.reporting.export import accuracies, group_tables

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    if on not in ("test", "validation"):
        raise unknown("images to score on", on, ("test", "validation"), "--on")
    if nets < 1 or nets > 10_000:
        raise RddError(f"--nets {nets}: give a number from 1 to 10,000; five are a good number")
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):  # before minutes of training
        raise RddError(f"cannot write --csv {csv}: give the path of a file in a folder that is there")
    protocol, where = dataclasses.replace(PROFILES[profile], precision=precision), pick_device(device)
    folder = RunFolder.open(run)
    _, synthetic, told = folder.metrics, folder.load_synthetic(), contents(folder)
    if learnt_step:
        if synthetic.step_size is None:
            raise RddError(f"{run} learnt no step size: only matching=trajectory does; leave --learnt-step out")
        protocol = dataclasses.replace(protocol, lr=synthetic.step_size)
    teacher = dataclasses.replace(TEACHER, steps=5, width=8) if profile == "smoke" else TEACHER
    source = told.source.model_dump(exclude_none=True)
    given: dict[str, Any] = {"data": data, "scenario": scenario, "data_seed": data_seed, **reading}
    given["options"] = dict(pair(text, "--option") for text in option) if option else None
    source |= {key: value for key, value in given.items() if value is not None}
    splits = _named_data(run, source, root, unasked=data is None)
    if on == "validation":
        splits = _validated(splits, run)
    test = matched(synthetic, splits.test)
    same = fingerprint(splits.train, None)["digest"] == told.data.digest
    if not same:
        complain("these are not the data that the run was distilled from", word="note")
    with folder.lock(), tqdm(desc=f"{nets} nets", unit="step", disable=quiet, mininterval=2.0) as bar:
        folder.files.probe(12 * nets * len(test) + 100_000)  # what will be written, before minutes of training

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        def tell(word: str) -> None:
            bar.set_postfix_str(word)

        trained = train(synthetic, protocol, nets=nets, seed=seed, device=device, progress=show)
        scores = predict(trained, test)
        tables = group_tables(scores)
        by = [name for name in tables if name != "all"]
        said: dict[str, Any] = {
            "id": secrets.token_hex(8),  # ties scores.npz to it
            "profile": profile,
            "protocol": vars(protocol),
            "learnt_step": learnt_step,
            "on": on,
            "nets": nets,
            "seed": seed,
            "source": source,
            "same_data": same,
            "accuracy": scores.accuracy.tolist(),
            "tables": {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
            "worst": {name: worst_group(scores, name)._asdict() for name in by},
            "gap": {name: gap(tables[name]["accuracy"] * tables[name]["n"], tables[name]["n"]) for name in by},
            "machine": describe(where),
        }
        if robustness:
            said["robustness"] = _robustness(trained, test, seed)
        if soft_labels:
            effects = label_effects(
                synthetic, splits, protocol, nets=nets, seed=seed, device=device, teacher=teacher, progress=tell
            )
            said["soft_labels"] = {"teacher": vars(teacher), "table": json.loads(effects.to_json(orient="records"))}
        dataclasses.replace(scores, evaluation=said["id"]).save(folder.path / "scores.npz")
        names = {str(name) for table in tables.values() for name in table["group"]}
        folder.write_metrics({**folder.metrics, "evaluation": said}, names=names)
    if csv is not None:
        atomic_write(csv, csv_text(accuracies(tables, folder.path.resolve().name)))
    if as_json:
        emit(cast("Evaluate", {"run": str(run), **folder.metrics["evaluation"]}))
    else:
        _print_evaluation(run, said)


def _named_data(run: Path, source: dict[str, Any], root: Path | None, unasked: bool) -> Splits:
    """The data that a run names; a folder, or a download, only where somebody asked for it here."""
    name = source.get("data")
    if not name:
        raise RddError(f"{run} does not say which data it was made from: pass --data NAME (and --scenario)")
    if not unasked:
        return load(source, root)
    if is_own(name):
        mend = f"pass --data {name.partition(':')[0]}:PATH"
        raise RddError(f"{run} was made from {name}, and your folders are not read unasked: {mend}")
    try:
        return load(source, root, download=False)
    except RddError as error:
        if "download=False" not in str(error):
            raise
        raise RddError(f"{run} was made from {name}, which is not here: --data {name} downloads it") from None


def _validated(splits: Splits, run: Path) -> Splits:
    """With the validation set in the test set's place, which is dropped unseen."""
    if splits.validation is None:
        raise RddError(
            f"{splits.name} has no validation set to score {run} on: make one (val/ beside train/ and test/, or split "
            "val of a table), or score on the test set"
        )
    return dataclasses.replace(splits, test=splits.validation, validation=None)


def _robustness(trained: Any, test: Any, seed: int) -> dict[str, Any]:
    from rdd_nb.evaluation.corruptions import robustness
    from rdd_nb.evaluation.intervals import mean_interval

    table = robustness(trained, test, seed)
    return {str(m): mean_interval(part["value"])._asdict() for m, part in table.groupby("metric", sort=False)}


def _print_evaluation(run: Path, said: dict[str, Any]) -> None:
    protocol = said["protocol"]
    say(
        f"{run} on {said['source']['data']}, scenario {said['source'].get('scenario') or 'none'}: {said['nets']} nets, "
        f"profile {said['profile']} ({protocol['epochs']} epochs, {protocol['network']} of width {protocol['width']}"
        + (f", at the learnt step size {protocol['lr']:.3g})" if said["learnt_step"] else ")")
    )
    if said["on"] == "validation":
        say("Scored on the validation set: choose by it, and report what another evaluation says of the test set.")
    if said["profile"] == "smoke":
        say("Profile smoke only proves that it runs: these numbers mean nothing.")
    width = max(len(row["group"]) for table in said["tables"].values() for row in table)
    for name, table in said["tables"].items():
        say(f"\n{name:{max(width, 8)}}       n  accuracy  95 % interval")
        for row in table:
            say(f"{row['group']:{max(width, 8)}} {row['n']:7,}  {_percent(row['accuracy'])}    {_band(row)}")
        if name in said["worst"]:
            worst = said["worst"][name]
            say(
                f"worst: {worst['group']} {_percent(worst['value'])}, simultaneous band {_band(worst)}; "
                f"gap {_percent(said['gap'][name])}"
            )
    for name, row in said.get("robustness", {}).items():
        say(f"{name:12} {_percent(row['value'])}    {_band(row)} (over nets)")
    if "soft_labels" in said:
        _print_soft_labels(said["soft_labels"])
    say(f"\nEvery prediction: {run / 'scores.npz'}")


def _print_soft_labels(said: dict[str, Any]) -> None:
    rows = said["table"]
    every = list(dict.fromkeys(row["group"] for row in rows))
    groups = every[:SHOWN]
    say(f"\nlabels of one teacher ({said['teacher']['steps']} steps on the real training images)")
    say(f"{'images':16} {'labels':7} " + "  ".join(f"{group[:14]:>14}" for group in groups))
    for images, labels in dict.fromkeys((row["images"], row["labels"]) for row in rows):
        mine = {row["group"]: row for row in rows if (row["images"], row["labels"]) == (images, labels)}
        told = "  ".join(f"{_percent(mine[group]['accuracy']):>14}" for group in groups)
        say(f"{images:16} {labels:7} {told}")
    if len(every) > SHOWN:
        say(f"and {len(every) - SHOWN} more groups, in metrics.json and with --json")


def _percent(share: float | None) -> str:
    return "  –   " if share is None or share != share else f"{100 * share:4.1f} %"


def _band(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    return "–" if low is None or low != low else f"{100 * low:.1f} – {100 * high:.1f}"
