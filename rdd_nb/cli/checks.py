"""The command that looks at data before anything is made of them: ``rdd-nb checks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from rdd_nb.cli.options import (
    Data,
    DataSeed,
    Json,
    Options,
    Reading,
    Root,
    Scenario,
    emit,
    is_own,
    load,
    say,
    source_of,
)
from rdd_nb.core.errors import RddError

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.data import Checks

__all__ = ["command_checks"]

FOUND = 1  #: exit status where an error was found


def command_checks(
    data: Data,
    scenario: Scenario = "none",
    option: Options = None,
    data_seed: DataSeed = 0,
    reading: Reading = None,
    root: Root = None,
    ipc: Annotated[int, typer.Option(help="Images per class that are to be made.")] = 10,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with data, or easily misread: all of it at once, the gravest first, each with its remedy.

    Images that cannot be read, copies within the data and between training and test set, blank images, classes and
    groups that are too small, groups that tell the class. The exit status is 1 where an error was found.

    \b
    Example: rdd-nb checks --data folder:pets --size 32
    """
    from rdd_nb.data import validation
    from rdd_nb.data.findings import by_severity

    if ipc < 1:
        raise RddError(f"--ipc {ipc}: ask for at least 1 image per class")
    source = source_of(data, scenario, option, data_seed, reading)
    found = []
    if is_own(data):  # the loader would stop at the first file that it cannot read
        found = validation.files(data, **(reading or {}))
    named = data
    if not any(finding.severity == "error" for finding in found):
        splits = load(source, root)
        named = splits.name
        found += validation.examine(splits, ipc)
    found = by_severity(found)
    counts = {name: sum(finding.severity == name for finding in found) for name in validation.SEVERITIES}
    if as_json:
        told = {"data": named, "counts": counts, "findings": [vars(finding) for finding in found]}
        emit(cast("Checks", told))
    else:
        for finding in found:
            say(str(finding))
        counted = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
        say(f"{named}: {counted}")
    if counts["error"]:
        raise typer.Exit(FOUND)
