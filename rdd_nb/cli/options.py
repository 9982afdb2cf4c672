"""What the commands share: their options, how a word becomes a value, and how data are named."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.escaping import terminal

if TYPE_CHECKING:
    from rdd_nb.data.dataset import Splits

SOURCE, WORK = "Data", "Output and machine"

Data = Annotated[str, typer.Option(help="A data set: see `rdd-nb data list`.", metavar="NAME", rich_help_panel=SOURCE)]
Scenario = Annotated[
    str, typer.Option(help="How it is shifted: see `rdd-nb data list`.", metavar="NAME", rich_help_panel=SOURCE)
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="An option of the scenario, such as bias=0.95.", metavar="KEY=VALUE", rich_help_panel=SOURCE
    ),
]
DataSeed = Annotated[int, typer.Option(help="Decides which images the scenario shifts.", rich_help_panel=SOURCE)]
Size = Annotated[int | None, typer.Option(help="Resize images to squares of so many pixels.", rich_help_panel=SOURCE)]
Channels = Annotated[int | None, typer.Option(help="1 turns all images into grey, 3 into RGB.", rich_help_panel=SOURCE)]
Background = Annotated[
    str | None,
    typer.Option(help="What is behind transparent images, such as white.", metavar="COLOUR", rich_help_panel=SOURCE),
]
NumGroups = Annotated[
    int, typer.Option(help="Groups to discover in each class.", min=1, rich_help_panel=SOURCE, show_default=True)
]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Where data lie and downloads go (or the environment's RDD_NB_DATA).",
        metavar="DIR",
        rich_help_panel=SOURCE,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=WORK)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=WORK)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.", rich_help_panel=WORK)]


def pair(text: str, flag: str, separate: str = "=") -> tuple[str, Any]:
    """``NAME=VALUE`` as a name and a value of Python; ``flag`` and ``separate`` are for the error's text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise RddError(f"{flag} {text!r} has no value: write {flag} {name or 'NAME'}{separate}VALUE")
    return name, typed(value)


def typed(text: str) -> Any:
    """A value of the command line as Python has it; what is no plain number, such as 010 or 2024_01, stays a text.

    >>> [typed(text) for text in ("3", "1e-3", "true", "none", "red", "010", "2024_01")]
    [3, 0.001, True, None, 'red', '010', '2024_01']
    """
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    if re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", text):
        return int(text)
    if re.fullmatch(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?", text):
        return float(text)
    return text


def source_of(
    data: str,
    scenario: str,
    option: list[str] | None,
    data_seed: int,
    size: int | None,
    channels: int | None,
    background: str | None,
) -> dict[str, Any]:
    """How to get the data again, from the options that say it: see :class:`rdd_nb.distillation.run_contents.Source`."""
    return {
        "data": data,
        "scenario": scenario,
        "options": dict(pair(text, "--option") for text in option or ()),
        "data_seed": data_seed,
        "size": size,
        **{key: value for key, value in (("channels", channels), ("background", background)) if value is not None},
    }


def load(source: dict[str, Any], root: Path | None, download: bool = True) -> Splits:
    """The data that ``source`` names, shifted by its scenario; what the loader remarks goes to stderr.

    Args:
        source: see :class:`rdd_nb.distillation.run_contents.Source`.
        root: where data lie.
        download: whether what is not here may be downloaded.
    """
    from rdd_nb.data import loading, scenarios
    from rdd_nb.data.scenarios import scenario

    name, seed = source.get("scenario") or "none", source.get("data_seed") or 0
    if name not in scenarios.available():  # before a long download
        raise unknown("scenario", name, scenarios.available())
    how = {key: source[key] for key in ("size", "channels", "background") if source.get(key) is not None}
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        splits = loading.load(source["data"], root, download=download, **how)
    for remark in dict.fromkeys(str(each.message) for each in remarks if issubclass(each.category, UserWarning)):
        complain(remark, word="note")
    return scenario(splits, name, seed=seed, **(source.get("options") or {}))


def say(text: object = "") -> None:
    """Print a line for a person, in which names of strangers cannot move the cursor."""
    print(terminal(text))


def complain(message: str, status: int = 2, word: str = "rdd-nb") -> int:
    """Say what went wrong in one line on stderr; the exit status to end with."""
    print(f"{word}:", terminal(" ".join(message.split())), file=sys.stderr)
    return status


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(30), duration(300), duration(9000)
    ('30 s', '5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
