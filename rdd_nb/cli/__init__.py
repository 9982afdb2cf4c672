"""The command ``rdd-nb`` (its ``--help`` lists what it can). What it does, the notebooks do with the same functions.

Results go to stdout (with ``--json``: one JSON object and nothing else), progress to stderr. A mistake is told in one
line on stderr, with exit status 2. Everything heavy is imported when a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import inspect
import io
import os
import re
import sys
import tempfile
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from rdd_nb.cli.checks import command_checks
from rdd_nb.cli.compare import command_compare
from rdd_nb.cli.course import command_copy, command_grade
from rdd_nb.cli.data import command_cache, command_fetch, command_list
from rdd_nb.cli.discover import command_discover
from rdd_nb.cli.distill import command_distill
from rdd_nb.cli.doctor import command_doctor
from rdd_nb.cli.evaluate import command_evaluate
from rdd_nb.cli.export import command_export
from rdd_nb.cli.options import complain, reads_data
from rdd_nb.cli.schema import command_schema
from rdd_nb.cli.study import command_run, command_study
from rdd_nb.cli.sweep import command_report, command_sweep
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line

__all__ = ["main"]

INTERRUPTED, PIPE = 130, 141  # as shells have it: 128 + SIGINT, 128 + SIGPIPE
FAULT = 70  # as sysexits.h has it: an internal error
WITH_CONFIG = ("distill", "doctor")  # commands with an option for every field of a DistillConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with ``arguments`` (default: the process's) and return the exit status.

    0: done; 1: some of many runs failed; 2: a mistake in what was asked for, or a machine that cannot do it, told in
    one line on stderr; 70: a fault of this program, told in one line that names the file with its trace; 130:
    interrupted.

    >>> main(["data", "list", "--json"])  # doctest: +ELLIPSIS
    {"datasets": {"fashion-mnist-sample": ...}
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any language, on a terminal of ASCII as well
            stream.reconfigure(errors="rdd_nb.plain")
    if words in ([], ["course"], ["data"]):
        words.append("--help")
    try:
        chosen = next((word for word in words if not word.startswith("-")), "")
        command = _command(chosen if chosen in WITH_CONFIG else "")
        status = command.main(args=_join_parameters(words), prog_name="rdd-nb", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except RddError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # who read what is printed has gone, such as `head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for Python's own last flush)
        return PIPE
    except Exception as error:
        if hasattr(error, "format_message"):  # what the parser of the command line raises has it
            context = getattr(error, "ctx", None)
            said = error.format_message()
            said += "" if said.endswith((".", "?", "!")) else "."
            return complain(f"{said} See `{context.command_path if context else 'rdd-nb'} --help`.")
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    """Say what nobody thought of: that the machine is too small, or that the fault is ours."""
    said = one_line(error)
    if isinstance(error, MemoryError) or re.search(r"(?i)not enough memory|out of memory", str(error)):
        return complain(f"memory ran out ({said}): close other programs, or use smaller images, widths or batches")
    if isinstance(error, OSError) and error.filename is not None:
        return complain(f"{error.filename}: {error.strerror}: mend that, or use another place")
    told = "and its trace could not be written"
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="rdd-nb-", suffix=".txt", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
        told = f"please report it, with {name}"
    return complain(f"a fault of rdd-nb, not of yours ({type(error).__name__}: {said}): {told}", FAULT)


_PLAIN = {"×": "x", "–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "±": "+-", "“": '"', "”": '"', "→": "->"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """For a terminal that has not the letters: our own signs in ASCII, and other letters by their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    told = (_PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text)
    return "".join(told), error.end


codecs.register_error("rdd_nb.plain", _plainly)


@functools.cache
def _command(chosen: str) -> typer.core.TyperGroup:
    """What reads a command line; made once for those who call :func:`main` again and again."""
    return typer.main.get_group(_app(chosen))


def _app(chosen: str) -> typer.Typer:
    """The commands. One of :data:`WITH_CONFIG` has its config's options where it is ``chosen``, as they need torch."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.callback()(_root)
    data = typer.Typer(rich_markup_mode="rich", help="See which data there are, and fetch them.")
    data.command("list")(command_list)
    data.command("fetch")(_interruptible(reads_data(command_fetch), "the same command goes on from here"))
    data.command("cache")(command_cache)
    app.add_typer(data, name="data")
    course = typer.Typer(rich_markup_mode="rich", help="Take the course's notebooks home, and mark students' copies.")
    course.command("copy")(command_copy)
    course.command("grade")(command_grade)
    app.add_typer(course, name="course")
    app.command("checks")(_interruptible(reads_data(command_checks), "the same command begins it again"))
    app.command("compare")(command_compare)
    app.command("discover")(_interruptible(reads_data(command_discover), "the same command begins it again"))
    app.command("distill")(_with_config_options(reads_data(command_distill), chosen == "distill"))
    app.command("doctor")(_with_config_options(command_doctor, chosen == "doctor", "the same command begins it again"))
    app.command("evaluate")(
        _interruptible(reads_data(command_evaluate), "the same command begins it again, the run is as it was")
    )
    app.command("export")(command_export)
    app.command("schema")(command_schema)
    app.command("run")(_interruptible(command_run, "the same command begins it again"))
    app.command("study")(_interruptible(command_study, "the same command goes on from here"))
    app.command("sweep")(_interruptible(command_sweep, "the same command goes on from here"))
    app.command("report")(_interruptible(command_report, "the same command begins it again"))
    return app


def _interruptible(command: Callable[..., None], then: str) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        try:
            command(**given)
        except KeyboardInterrupt:  # caught here, as versions of the parser differ in what they make of it
            complain(f"interrupted; {then}", INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def _with_config_options(
    command: Callable[..., None], wanted: bool, then: str = "the same command resumes it"
) -> Callable[..., None]:
    """``command`` with an option for every field of ``DistillConfig``, in place of its ``**fields``."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    if wanted:
        from rdd_nb.distillation.config import DistillConfig

        for name, field in DistillConfig.model_fields.items():
            choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
            kind = next((t for t in (*typing.get_args(field.annotation), field.annotation) if isinstance(t, type)), str)
            option = typer.Option(
                "--" + name.replace("_", "-"),
                metavar="|".join(map(str, choices)) or kind.__name__.upper(),
                help=_help(field.description or "", field.default),
                show_default=False,
                rich_help_panel="Config",
            )
            # A text, so that the config itself reads it and complains in the same words as in a notebook.
            parameters.append(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
                )
            )
    wrapped = _interruptible(command, then)
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _help(text: str, default: Any) -> str:
    return text[:1].upper() + text[1:] + ("." if default is None else f". Default {default}.")


# --- the commands; their docstrings are their help ----------------------------------------------------------------


def _version(asked: bool) -> None:
    if asked:
        import rdd_nb

        print(f"rdd-nb {rdd_nb.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Distil a data set into a few images per class without forgetting the minority, and measure what that costs whom.

    Two commands from real images to an honest table:

    \b
    rdd-nb distill --data fashion-mnist-sample --scenario coloured --out runs/a
    rdd-nb evaluate runs/a
    """


def _join_parameters(words: list[str]) -> list[str]:
    """``-p NAME VALUE``, as papermill has it, as ``-p NAME=VALUE``, which the parser of the command line can read."""
    joined, rest = [], iter(words)
    for word in rest:
        joined.append(word)
        if word in ("-p", "--parameter") and words[0] == "run":
            name = next(rest, None)
            if name is not None and "=" not in name:
                value = next(rest, None)
                name = name if value is None else f"{name}={value}"
            joined += [] if name is None else [name]
    return joined
