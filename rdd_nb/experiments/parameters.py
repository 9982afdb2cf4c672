"""What a notebook is as a program: its parameters, checked as a function's arguments are, and its code.

Papermill only warns of a parameter that nobody knows; here it is an error in one line that names the nearest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import json
import os
import sys
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pydantic

from rdd_nb.core.checked import Held, validated
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import parse_json, read_regular

__all__ = ["Parameter", "check_parameters", "fitted", "inspect", "nbformat_module", "read_notebook", "source_of"]

StrPath = str | os.PathLike[str]


class Parameter(NamedTuple):
    """One line of a notebook's parameters cell: its default value, its annotation as text ("" if none), its comment."""

    default: Any
    annotation: str
    help: str


def nbformat_module() -> Any:
    """nbformat, imported in a quarter of its time; only where it is needed, since kernels that run notebooks need none.

    jsonschema, by which it checks notebooks, builds the grammar of internationalised addresses where it finds the
    package rfc3987_syntax. That takes three seconds, and no notebook needs it. None means "not installed" to `import`.
    """
    name = "rfc3987_syntax"
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("nbformat")
    finally:
        if sys.modules[name] is None:
            del sys.modules[name]


def read_notebook(notebook: StrPath) -> Any:
    """The notebook as nbformat 4.5. Cells of older files that have no id get one made of their place and source.

    Raises:
        RddError: there is none, or the file is no notebook that can be run.
    """
    nbformat = nbformat_module()
    path, mend = Path(notebook), "give the path of an .ipynb file"
    where = f"{path} is not a Jupyter notebook"
    try:
        raw = parse_json(read_regular(path), path, mend)
    except RddError as error:
        raise RddError(f"{where}: {error}") from None
    except (OSError, ValueError) as error:  # the second of a path that no system has
        why = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"cannot read the notebook {path} ({why}): {mend}") from None
    try:
        if raw.get("nbformat") == 4:
            validated(_Notebook, raw, where, mend)
            for i, cell in enumerate(raw["cells"]):
                source = "".join(cell["source"]).encode(errors="replace")
                cell.setdefault("id", f"{i}-{hashlib.sha256(source).hexdigest()[:8]}")
                if cell["cell_type"] == "code":
                    cell.setdefault("outputs", [])
                    cell.setdefault("execution_count", None)
            raw["nbformat_minor"] = max(raw["nbformat_minor"], 5)
        read = nbformat.reads(json.dumps(raw), as_version=4)
        validated(_Notebook, read, where, mend)
    except (RddError, MemoryError):
        raise
    except Exception as error:  # of whatever the library stumbles over in old versions, and in outputs
        raise RddError(f"{where} ({one_line(error)}): {mend}") from None
    return read


class _Output(Held):
    output_type: str
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = pydantic.Field(default=[])


class _Tags(Held):
    tags: list[str] = pydantic.Field(default=[])
    papermill: dict[str, Any] = pydantic.Field(default={})


class _Cell(Held):
    cell_type: Literal["code", "markdown", "raw"]
    source: str | list[str]
    metadata: _Tags
    outputs: list[_Output] = pydantic.Field(default=[])
    execution_count: int | None = None


class _Notebook(Held):
    """As much of a notebook as is relied on, here and by papermill."""

    nbformat_minor: int = pydantic.Field(ge=0, le=1000)
    metadata: dict[str, Any]
    cells: list[_Cell]


def inspect(notebook: StrPath) -> dict[str, Parameter]:
    """The parameters of a notebook by name, from the first cell tagged ``parameters``; empty if there is none.

    The cell is parsed, not matched line by line as ``papermill.inspect_notebook`` does, which silently drops
    ``A | B`` annotations and lines with a second ``=``.

    Raises:
        RddError: no notebook there, or a parameters cell that holds anything but ``name: type = literal`` lines.
    """
    cells = [
        c for c in read_notebook(notebook).cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])
    ]
    source = cells[0].source if cells else ""
    try:
        return _declared(source, notebook)
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        if isinstance(error, RddError):
            raise
        raise RddError(
            f"the parameters cell of {notebook} is not plain Python ({one_line(error)}): one `name = literal` a line"
        ) from None
    except (RecursionError, MemoryError):  # the second is what the parser of some versions says of depth
        raise RddError(f"the parameters cell of {notebook} is nested too deep: write it flatter") from None


def _declared(source: str, notebook: StrPath) -> dict[str, Parameter]:
    body, found = ast.parse(source).body, {}
    comments = {
        t.start[0]: t.string
        for t in tokenize.generate_tokens(io.StringIO(source).readline)
        if t.type == tokenize.COMMENT
    }
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a string that explains
        try:
            name, default, annotation = _literal(node)
        except (ValueError, TypeError):  # such as a list as a key
            raise RddError(
                f"`{ast.unparse(node).splitlines()[0][:80]}` in the parameters cell of {notebook} is no "
                "`name = literal`: derive values in a later cell"
            ) from None
        if annotation and _parsed(annotation) is None:
            raise RddError(
                f"the annotation {annotation[:60]} of {name!r} in {notebook} is no type: write one, such as int"
            )
        found[name] = Parameter(default, annotation, comments.get(node.end_lineno or 0, "").lstrip("# "))
    return found


def source_of(notebook: StrPath) -> str:
    """A digest of a notebook's code: its code cells with their tags, in order. Prose and outputs are not in it."""
    cells = [(c.source, c.metadata.get("tags", [])) for c in read_notebook(notebook).cells if c.cell_type == "code"]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def _literal(node: ast.stmt) -> tuple[str, Any, str]:
    """Name, value and annotation of ``name: annotation = literal``; ValueError for any other statement."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or value is None:
        raise ValueError
    return (
        targets[0].id,
        ast.literal_eval(value),
        ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else "",
    )


def check_parameters(notebook: StrPath, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` as papermill can inject them, after a check against what the notebook declares.

    Numbers of numpy become Python's, tuples lists, paths strings. A parameter without annotation has the type of its
    default; whole numbers are fine where float is declared.

    Raises:
        RddError: a name the notebook does not have (the nearest is named), or a value of another type.
    """
    return fitted(inspect(notebook), parameters, Path(notebook).name)


def fitted(known: Mapping[str, Parameter], parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What :func:`check_parameters` does, for a notebook that has been inspected; ``where`` is its name."""
    plain = {}
    for name, value in parameters.items():
        if name not in known:
            raise unknown("parameter", name, known, where)
        declared = known[name]
        value = plain[name] = _plain(value)
        annotation = declared.annotation or ("Any" if declared.default is None else type(declared.default).__name__)
        tree = _parsed(annotation)
        if tree is not None and not _fits(value, tree):
            what = f"parameter {name!r} of {where}"
            if "bool" in annotation and isinstance(value, str):
                raise RddError(
                    f"{what} is the text {value!r}, not a boolean: use -y '{name}: {value.lower()}' (-p makes texts)"
                )
            raise RddError(
                f"{what} is {value!r} ({type(value).__name__}): give {annotation[:200]}, such as {declared.default!r}"
            )
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):  # numpy and torch, without importing them
        value = value.tolist()
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _parsed(annotation: str) -> ast.expr | None:
    """An annotation as Python reads it; a text in quotes is read once more. None where it is no expression."""
    try:
        tree = ast.parse(annotation.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return _parsed(tree.value)
    return tree


def _value(node: ast.expr) -> Any:
    """What a ``Literal`` lists; the node itself, which equals nothing, where it is no literal."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return node


def _fits(value: Any, annotation: ast.expr) -> bool:
    """Whether a plain value has the annotated type; annotations that are not understood let everything pass."""
    if isinstance(annotation, ast.BinOp):
        return _fits(value, annotation.left) or _fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            inside = _parsed(annotation.value)
            return inside is None or _fits(value, inside)
        return value is None or annotation.value is not None
    if isinstance(annotation, ast.Subscript):
        name = ast.unparse(annotation.value).split(".")[-1].lower()
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if name in ("optional", "union"):
            return (name == "optional" and value is None) or any(_fits(value, i) for i in inner)
        if name == "literal":
            return value in [_value(i) for i in inner]
        if name == "list":
            return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
        return _fits(value, annotation.value)
    name = ast.unparse(annotation).split(".")[-1].lower()
    if isinstance(value, bool):
        return name not in ("int", "float", "str", "list", "tuple", "dict")
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    types |= {"list": (list,), "tuple": (list,), "dict": (dict,)}
    return isinstance(value, types.get(name, (object,)))
