"""The command about the course: ``rdd-nb course copy`` gives its notebooks to somebody who has no repository."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rdd_nb.cli.options import Json
from rdd_nb.core import resources
from rdd_nb.core.folders import put_files

__all__ = ["command_copy"]

FIRST = "00_quickstart.ipynb"


def command_copy(
    folder: Annotated[Path, typer.Argument(help="Where to; it is made if it is not there.", metavar="DIR")],
    student: Annotated[
        bool, typer.Option("--student", help="Copies for students: without solutions and outputs.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace notebooks there that differ, your work in them included.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy the course's notebooks into a folder of yours. What you changed there is never overwritten unasked.

    \b
    Example: rdd-nb course copy my-course
    """
    if student:
        from rdd_nb.course.student_copies import student_copies

        with tempfile.TemporaryDirectory() as scratch:
            contents = {path.name: path.read_bytes() for path in student_copies(resources.folder("notebooks"), scratch)}
    else:
        contents = {p.name: p.read_bytes() for p in sorted(resources.folder("notebooks").glob("[0-9]*.ipynb"))}
    written = put_files(folder, contents, force)
    if as_json:
        print(json.dumps({"folder": str(folder), "notebooks": list(contents), "written": [p.name for p in written]}))
        return
    kind = "for students, without solutions and outputs, " if student else ""
    there = len(contents) - len(written)
    print(f"notebooks {kind}copied to {folder}: {len(written)}" + (f" (there already: {there})" if there else ""))
    print(f"Begin with: jupyter lab {shlex.quote(str(folder / FIRST))}  (pip install jupyterlab, if you have it not)")
