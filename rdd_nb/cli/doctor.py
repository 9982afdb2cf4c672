"""The command about the machine: ``rdd-nb doctor`` says what slows it down, and how long a run will take on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rdd_nb.cli.distill import settings_of
from rdd_nb.cli.options import SOURCE, Device, Json, Root, Size, duration, emit, load

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.runs import Doctor

__all__ = ["command_doctor"]


def command_doctor(
    data: Annotated[
        str, typer.Option(help="The data set to try it on.", metavar="NAME", rich_help_panel=SOURCE)
    ] = "fashion-mnist-sample",
    size: Size = None,
    root: Root = None,
    nets: Annotated[int, typer.Option(help="Networks of an evaluation.", min=1)] = 5,
    device: Device = "auto",
    as_json: Json = False,
    **fields: str | None,
) -> None:
    """Look at this machine, and try a distillation for some seconds to say how long all of it would take.

    The options of `rdd-nb distill` say which one; by default that with all defaults.

    \b
    Example: rdd-nb doctor --data cifar10 --matching gradient --width 128 --iterations 1000
    """
    from rdd_nb.core.device import pick_device
    from rdd_nb.experiments import doctor

    config = settings_of(None, [], {k: v for k, v in fields.items() if v is not None})
    where = pick_device(device)
    lines = doctor.findings(device)
    if not as_json:
        print("\n".join(lines))
    found = doctor.ceilings(where)
    splits = load({"data": data, "size": size}, root)
    wanted = doctor.expected(splits.train, config, device, nets=nets)
    shorter = None
    if found.has_bfloat16 and config.precision == "float32":
        short = config.model_copy(update={"precision": "bfloat16"})
        shorter = doctor.iteration(splits.train, short, device)
    if as_json:
        told = {"findings": lines, **dataclasses.asdict(found), "data": splits.name, **dataclasses.asdict(wanted)}
        emit(cast("Doctor", {**told, "seconds": wanted.seconds, "iteration_in_bfloat16": shorter}))
        return
    print(
        f"at best {found.gflops:.0f} GFLOP/s in a matrix product ({found.bfloat16:.0f} in bfloat16), "
        f"{found.gigabytes:.0f} GB/s in a copy"
    )
    print(
        f"{config.matching} matching, {config.objective}, width {config.width}, ipc {config.ipc} on {splits.name}: "
        f"{wanted.iteration:.3g} s an iteration, {wanted.images:,.0f} images a second; "
        f"{wanted.iterations:,} iterations take {duration(wanted.seconds - wanted.experts - wanted.decoder)}"
    )
    if wanted.experts:
        print(
            f"before them {config.num_experts} experts of {config.expert_epochs} epochs take "
            f"{duration(wanted.experts)} and {wanted.expert_bytes / 1e6:,.0f} MB, once for all runs that share them"
        )
    if wanted.decoder:
        what = "the decoder's" if config.decoder is None else "an encoder's"
        print(f"before them {what} training takes {duration(wanted.decoder)}")
    if shorter is not None:
        gain = wanted.iteration / shorter
        word = f"{gain:.1f} times as fast" if gain > 1.1 else "no faster"
        print(f"with precision=bfloat16 {shorter:.3g} s an iteration: {word}")
    print(f"an evaluation with {nets} networks (profile=quick) takes {duration(wanted.evaluation)}")
