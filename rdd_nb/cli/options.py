"""What the commands share: their options, how a word becomes a value, and how data are named."""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.escaping import terminal

if TYPE_CHECKING:
    from rdd_nb.cli.outputs import Output
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
DataSeed = Annotated[
    int, typer.Option(help="Decides which images a sample takes and the scenario shifts.", rich_help_panel=SOURCE)
]
Size = Annotated[int | None, typer.Option(help="Resize images to squares of so many pixels.", rich_help_panel=SOURCE)]
Reading = Any  #: how data are read: what :func:`reads_data` makes options of
NumGroups = Annotated[
    int, typer.Option(help="Groups to discover in each class.", min=1, rich_help_panel=SOURCE, show_default=True)
]
GroupPower = Annotated[
    float, typer.Option(help="What a group that is raised in full counts as: its size to this power.", min=0, max=1)
]
Price = Annotated[
    float | None,
    typer.Option(
        help="How many points of accuracy a point for small groups may cost, in the trial of discovered groups, which "
        "tells what each price buys; by default 0.1, and 1 with --unlabelled.",
        min=0,
        max=1,
        rich_help_panel=SOURCE,
    ),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP",
        help="The group that stands for no label: the others are known, and discovery extends them to its images.",
        rich_help_panel=SOURCE,
    ),
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


_READING: dict[str, tuple[Any, str, str]] = {
    "size": (int | None, "PIXELS", "Resize images to squares of so many pixels."),
    "fit": (str | None, "stretch|pad|crop", "How images that are no squares become them (with --size)."),
    "channels": (int | None, "1|3", "1 turns all images into grey, 3 into RGB."),
    "background": (str | None, "COLOUR", "What is behind transparent images, such as white."),
    "label": (str | None, "COLUMN", "The column that says the class."),
    "group": (list[str] | None, "COLUMN", "The column that says the group; given again, the columns are crossed."),
    "split": (str | None, "COLUMN", "The column that says the part: train, validation or test, or 0, 1, 2."),
    "file": (str | None, "COLUMN", "The column that names the image's file."),
    "images": (str | None, "FOLDER", "Where these files lie, within the folder of the data."),
    "pattern": (str | None, "PATTERN", "What names of files say, such as {age}_{gender}_{rest}."),
    "splits": (str | None, "TEXT", "Other words for the parts: 'a=train, b=test'."),
    "names": (str | None, "TEXT", "What values are called: 'y: 0=land, 1=water; age: 0..17=young, 18..=adult'."),
    "only_classes": (list[str] | None, "CLASS", "Keep these classes alone; may be given again."),
    "only_groups": (list[str] | None, "GROUP", "Keep these groups alone; may be given again."),
    "sample": (int | None, "N", "At most so many training images of each class, its groups with their shares."),
    "mapping": (Path | None, "FILE.yaml", "A file with the options above, by their names."),
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for each way in which data are read, in place of its parameter ``reading``.

    It gets what was given as a mapping, as :class:`rdd_nb.distillation.run_contents.Source` keeps it.
    """
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        mine = {name: given.pop(name) for name in _READING}
        command(**given, reading=_reading(mine))

    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name != "reading":
            parameters.append(parameter)
            continue
        for name, (kind, metavar, text) in _READING.items():
            flag = "--" + name.replace("_", "-")
            option = typer.Option(flag, metavar=metavar, help=text, rich_help_panel=SOURCE)
            parameters.append(parameter.replace(name=name, default=None, annotation=Annotated[kind, option]))
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def _reading(given: dict[str, Any]) -> dict[str, Any]:
    """What was given of how data are read, over what the file of ``--mapping`` says."""
    file = given.pop("mapping")
    said = {name: value for name, value in given.items() if value}
    if "splits" in said:
        said["splits"] = _pairs(said["splits"], "--splits", "a=train, b=test")
    if "names" in said:
        said["names"] = _named(said["names"])
    if file is not None:
        from rdd_nb.experiments.data_mapping import read_mapping

        said = read_mapping(file) | said
    return said


def _pairs(text: str, flag: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for piece in text.split(","):
        value, equals, name = (part.strip() for part in piece.partition("="))
        if not (value and equals and name):
            raise RddError(f"{flag} must read '{example}', and {piece.strip()!r} does not: mend it")
        if value in found:
            raise RddError(f"{flag} names {value!r} twice: keep one of them")
        found[value] = name
    return found


def _named(text: str) -> dict[str, dict[str, str]]:
    """Column → value → name, of a text such as ``"y: 0=land, 1=water; place: 0=field, 1=lake"``."""
    found: dict[str, dict[str, str]] = {}
    example = "y: 0=land, 1=water; place: 0=field, 1=lake"
    for piece in text.split(";"):
        column, colon, pairs = (part.strip() for part in piece.partition(":"))
        if not (column and colon):
            raise RddError(f"--names must read '{example}', and {piece.strip()!r} does not: mend it")
        if column in found:
            raise RddError(f"--names says {column!r} twice: keep one of them")
        found[column] = _pairs(pairs, "--names", example)
    return found


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
    data: str, scenario: str, option: list[str] | None, data_seed: int, reading: dict[str, Any]
) -> dict[str, Any]:
    """How to get the data again, from the options that say it: see :class:`rdd_nb.distillation.run_contents.Source`."""
    return {
        "data": data,
        "scenario": scenario,
        "options": dict(pair(text, "--option") for text in option or ()),
        "data_seed": data_seed,
        "size": None,
        **reading,
    }


def groups_folder() -> Path | None:
    """Where groups that were found are kept: a folder of the cache, and None where that is off."""
    from rdd_nb.data.image_cache import cache_folder

    root = cache_folder()
    return None if root is None else root / "groups"


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
    how = {key: source[key] for key in _READING if source.get(key) is not None}
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        splits = loading.load(source["data"], root, download=download, seed=seed, **how)
        shifted = scenario(splits, name, seed=seed, **(source.get("options") or {}))
    for remark in dict.fromkeys(str(each.message) for each in remarks if issubclass(each.category, UserWarning)):
        complain(remark, word="note")
    return shifted


def is_own(name: str) -> bool:
    """Whether a name of data says where files of the user's own lie."""
    from rdd_nb.data.readers.registry import kind_of

    return bool(kind_of(name))


def emit(told: Output) -> None:
    """Print what a command says with ``--json``, and nothing else (:mod:`rdd_nb.cli.outputs`)."""
    print(strict_json(told))


def strict_json(told: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: a number that is not finite, for which JSON has no word, is null.

    >>> strict_json({"loss": float("nan"), "ends": (0.5, float("inf"))})
    '{"loss": null, "ends": [0.5, null]}'
    """
    return json.dumps(_finite(told), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
