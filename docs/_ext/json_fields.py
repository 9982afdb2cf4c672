"""What a command prints with ``--json``, as tables of its schema: ``{json-fields} compare``.

A table for the object itself, and one for each kind of object in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rdd_nb.cli.schema import schema_of

WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null"}


def type_of(field: dict[str, Any]) -> str:
    """The type of a field in words.

    >>> type_of({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Mark"}}, {"type": "null"}]})
    'list of *Mark*, or null'
    """
    if "$ref" in field:
        return f"*{field['$ref'].rpartition('/')[2]}*"
    if "anyOf" in field:
        return ", or ".join(type_of(each) for each in field["anyOf"])
    if "const" in field or "enum" in field:
        return " | ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {type_of(field['items'])}"
    if field.get("type") == "object":
        inside = field.get("additionalProperties")
        return f"object: name → {type_of(inside)}" if isinstance(inside, dict) else "object"
    return WORDS.get(field.get("type", ""), field.get("type", "anything"))


def tables_of(command: str) -> Iterator[str]:
    """Lines of Markdown: the tables of a command's schema."""
    schema = schema_of(command)
    inner = schema.get("$defs", {})
    parts = {"": schema} if "properties" in schema else {}
    for title, part in {**parts, **inner}.items():
        yield from (f"*{title}*: {part.get('description', '')}" if title else "", "")
        yield from ("| key | type | what it is |", "|---|---|---|")
        for key, field in part["properties"].items():
            told = field.get("description", "")
            left = "" if key in part.get("required", ()) else "; may be left out"
            yield f"| `{key}` | {type_of(field).replace('|', chr(92) + '|')}{left} | {told} |"
        yield ""


class JsonFields(SphinxDirective):
    """The tables of one command."""

    required_arguments, final_argument_whitespace = 1, True

    def run(self) -> list[nodes.Node]:
        """The tables, as the page's own Markdown would have them."""
        place = nodes.container()
        self.state.nested_parse(StringList(list(tables_of(self.arguments[0])), source=__file__), 0, place)
        return place.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the directive with the build."""
    app.add_directive("json-fields", JsonFields)
    return {"parallel_read_safe": True}
