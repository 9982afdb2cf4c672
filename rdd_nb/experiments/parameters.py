"""What a notebook is as a program: its parameters, checked as a function's arguments are, and its code.

Papermill only warns of a parameter that nobody knows; here it is an error in one line that names the nearest.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rdd_nb.core.errors import RddError, unknown

__all__ = ["Parameter", "check_parameters", "fitted", "inspect", "read_notebook", "source_of"]

StrPath = str | os.PathLike[str]


class Parameter(NamedTuple):
    """One line of a notebook's parameters cell: its default value, its annotation as text ("" if none), its comment."""

    default: Any
    annotation: str
    help: str


def read_notebook(notebook: StrPath) -> Any:
    """The notebook as nbformat 4.5. Cells of older files that have no id get one made of their place and source.

    Raises:
        RddError: there is none, or the file is no notebook.
    """
    import nbformat  # up to three seconds, with jsonschema's grammars: not for a kernel that reads a sweep's table

    path = Path(notebook)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("nbformat") == 4 and isinstance(raw["cells"], list):
            for i, cell in enumerate(raw["cells"]):
                source = "".join(cell["source"])
                cell.setdefault("id", f"{i}-{hashlib.sha256(source.encode()).hexdigest()[:8]}")
            raw["nbformat_minor"] = max(raw.get("nbformat_minor", 0), 5)
        return nbformat.reads(json.dumps(raw), as_version=4)
    except OSError as error:
        raise RddError(f"cannot read the notebook {path} ({error.strerror}): give the path of an .ipynb file") from None
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        raise RddError(f"{path} is not a Jupyter notebook: give the path of an .ipynb file") from None


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
    source, found = cells[0].source if cells else "", {}
    try:
        body = ast.parse(source).body
        comments = {
            t.start[0]: t.string
            for t in tokenize.generate_tokens(io.StringIO(source).readline)
            if t.type == tokenize.COMMENT
        }
    except (SyntaxError, tokenize.TokenError) as error:
        raise RddError(
            f"the parameters cell of {notebook} is not plain Python ({error}): one `name = literal` a line"
        ) from None
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a string that explains
        try:
            name, default, annotation = _literal(node)
        except ValueError:
            raise RddError(
                f"`{ast.unparse(node).splitlines()[0]}` in the parameters cell of {notebook} is no `name = literal`: "
                "derive values in a later cell"
            ) from None
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
        if not _fits(value, ast.parse(annotation, mode="eval").body):
            what = f"parameter {name!r} of {where}"
            if "bool" in annotation and isinstance(value, str):
                raise RddError(
                    f"{what} is the text {value!r}, not a boolean: use -y '{name}: {value.lower()}' (-p makes texts)"
                )
            raise RddError(
                f"{what} is {value!r} ({type(value).__name__}): give {annotation}, such as {declared.default!r}"
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


def _fits(value: Any, annotation: ast.expr) -> bool:
    """Whether a plain value has the annotated type; annotations that are not understood let everything pass."""
    if isinstance(annotation, ast.BinOp):
        return _fits(value, annotation.left) or _fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            return _fits(value, ast.parse(annotation.value, mode="eval").body)
        return value is None or annotation.value is not None
    if isinstance(annotation, ast.Subscript):
        name = ast.unparse(annotation.value).split(".")[-1].lower()
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if name in ("optional", "union"):
            return (name == "optional" and value is None) or any(_fits(value, i) for i in inner)
        if name == "literal":
            return value in [ast.literal_eval(i) for i in inner]
        if name == "list":
            return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
        return _fits(value, annotation.value)
    name = ast.unparse(annotation).split(".")[-1].lower()
    if isinstance(value, bool):
        return name not in ("int", "float", "str", "list", "tuple", "dict")
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    types |= {"list": (list,), "tuple": (list,), "dict": (dict,)}
    return isinstance(value, types.get(name, (object,)))
