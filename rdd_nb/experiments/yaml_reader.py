"""YAML that people write (grids, studies, parameters), read in one place, with no surprise of type and no bomb.

YAML 1.2 by ruamel.yaml: ``on`` and ``no`` are words, ``5e-4`` is a number. On top of it, what a file of settings has no
use for is refused with its line: tags, dates, keys that stand twice or are no texts, numbers that readers of YAML take
for different things (``010``, ``2024_01``), and anything too large, too deep or not finite; aliases count written out.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular

__all__ = ["read", "read_text"]

BYTES, NODES, DEPTH, DIGITS = 1_000_000, 100_000, 32, 18
_KINDS = {
    "bool": "a boolean",
    "float": "a number",
    "int": "a whole number",
    "map": "a mapping",
    "null": "null",
    "seq": "a list",
    "str": "a text",
    "timestamp": "a date",
}
_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.nan")


def read(path: str | os.PathLike[str], what: str) -> Any:
    """What the YAML (or JSON) file ``path`` says, in Python's own types; ``what`` names its kind in an error.

    Raises:
        RddError: no such file, not YAML, or one of what is refused; with the line.
    """
    file = Path(path)
    try:
        held = read_regular(file, BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error).removeprefix(f"{file} is ")
        raise RddError(f"cannot read the {what} {file} ({why}): give the path of a YAML file") from None
    try:
        return read_text(held.decode("utf-8-sig"), str(file))
    except UnicodeDecodeError:
        raise RddError(f"{file} is not a text in UTF-8: write the {what} as YAML") from None


def read_text(text: str, where: str) -> Any:
    """Like :func:`read`, of a text; ``where`` says in an error where it comes from.

    >>> read_text("{tail: 5e-4, scenario: on, seeds: [0, 1]}", "-y")
    {'tail': 0.0005, 'scenario': 'on', 'seeds': [0, 1]}
    """
    if len(text) > BYTES:
        raise RddError(f"{where} is larger than {BYTES // 1_000_000} MB: a file of settings is shorter")
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except RecursionError:
        raise RddError(f"{where} is nested deeper than {DEPTH} levels: write it flatter") from None
    except YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise RddError(f"{where} is not YAML{line}: {problem or ' '.join(str(error).split())[:200]}") from None
    except ValueError as error:  # of a character that YAML does not have
        raise RddError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}") from None
    return None if node is None else _Builder(where).value(node, 0)


class _Builder:
    """Makes values of nodes, and refuses what :mod:`rdd_nb.experiments.yaml_reader` says."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def fault(self, node: Any, what: str) -> RddError:
        return RddError(f"{self.where}, line {node.start_mark.line + 1}: {what}")

    def value(self, node: Any, depth: int) -> Any:
        self.count += 1
        if self.count > NODES:
            raise self.fault(
                node, f"more than {NODES:,} values, with aliases written out: a file of settings has fewer"
            )
        if depth > DEPTH:
            raise self.fault(node, f"nested deeper than {DEPTH} levels: write it flatter")
        kind = str(node.tag).rpartition(":")[2]
        if not str(node.tag).startswith("tag:yaml.org,2002:") or kind not in _KINDS:
            raise self.fault(node, f"the tag {node.tag} is not read: write plain values")
        if isinstance(node, MappingNode):
            return self.mapping(node, depth)
        if isinstance(node, SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        assert isinstance(node, ScalarNode)
        return self.scalar(node, kind)

    def mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, depth + 1)
            if not isinstance(key, str):
                said = _KINDS.get(str(key_node.tag).rpartition(":")[2], "no text")
                raise self.fault(key_node, f"the key {key!r} is {said}, as YAML reads it: put it in quotes")
            if key in found:
                raise self.fault(key_node, f"{key!r} stands there twice: keep one of them")
            found[key] = self.value(value_node, depth + 1)
        return found

    def scalar(self, node: ScalarNode, kind: str) -> Any:
        text = str(node.value)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "timestamp":
            raise self.fault(node, f"{text} would be a date: put it in quotes, if it is a text")
        if kind == "bool" or not _NUMBER.fullmatch(text):
            raise self.fault(node, f"{text[:40]} is easily misread as {_KINDS[kind]}: write it plainly, or in quotes")
        if sum(letter.isdigit() for letter in text) > DIGITS:
            raise self.fault(node, f"{text[:20]}… has more than {DIGITS} digits: write a shorter number")
        number = int(text) if kind == "int" else float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            raise self.fault(node, f"{text} is not finite: give a number")
        return number
