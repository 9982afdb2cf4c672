"""The command that says what the others print with ``--json``: ``rdd-nb schema``, as JSON Schema (draft 2020-12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rdd_nb.cli.options import say
from rdd_nb.core.errors import unknown
from rdd_nb.core.folders import put_files

__all__ = ["command_schema", "schema_of"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def command_schema(
    command: Annotated[
        list[str] | None, typer.Argument(help="Such as compare, or data fetch; by default all.", metavar="COMMAND")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write COMMAND.schema.json here instead of printing it.")
    ] = None,
) -> None:
    """Say what a command prints with --json, as JSON Schema: every key, its type, its unit, and what may be null.

    Without a command, one object with the schemas of all.

    \b
    One:  rdd-nb schema compare
    All:  rdd-nb schema --out schemas
    """
    from rdd_nb.cli.outputs import OUTPUTS

    asked = " ".join(command or ())
    if asked and asked not in OUTPUTS:
        raise unknown("command with --json", asked, OUTPUTS)
    schemas = {name: schema_of(name) for name in ([asked] if asked else OUTPUTS)}
    if out is None:
        print(json.dumps(schemas[asked] if asked else schemas, indent=2))
        return
    files = {f"{name.replace(' ', '-')}.schema.json": json.dumps(schemas[name], indent=2) + "\n" for name in schemas}
    put_files(out, files, force=True)
    say(f"{len(files)} schemas in {out}: {', '.join(files)}")


def schema_of(command: str) -> dict[str, Any]:
    """What a command prints with ``--json``, as JSON Schema (draft 2020-12). It has no keys but those that are named.

    Args:
        command: its words, a key of :data:`rdd_nb.cli.outputs.OUTPUTS`.

    >>> schema_of("data list")["required"]
    ['datasets', 'scenarios']
    """
    import pydantic

    from rdd_nb.cli.outputs import OUTPUTS, VERSION

    name = f"urn:rdd-nb:{command.replace(' ', '-')}:{VERSION}"
    told = _closed(pydantic.TypeAdapter(OUTPUTS[command]).json_schema())
    return {"$schema": DRAFT, "$id": name, "title": f"rdd-nb {command} --json", **told}


def _closed(schema: Any) -> Any:
    """A schema whose objects take no keys beside those they name, without the titles that only repeat these."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):  # whose keys are names
            kept[key] = {name: _closed(each) for name, each in value.items()}
        elif key == "description":
            kept[key] = value.replace("``", "`")
        elif key not in ("title", "default"):
            kept[key] = _closed(value)
    return kept | ({"additionalProperties": False} if "properties" in kept else {})
