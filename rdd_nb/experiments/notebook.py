"""Notebooks as programs: inspect and check their parameters, run them with papermill, and see whether they ran.

Papermill forgives what a thousand runs must not: it only warns of a parameter nobody knows, calls a notebook whose
kernel died completed, and does not see an exception inside a widget. Here each of these is an error in one line.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import logging
import os
import time
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import atomic_write

__all__ = [
    "Parameter",
    "check_parameters",
    "failure",
    "fitted",
    "inspect",
    "mark_failed",
    "problems",
    "read_notebook",
    "run_notebook",
    "source_of",
]

StrPath = str | os.PathLike[str]
WIDGETS = "application/vnd.jupyter.widget-state+json"
logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would say on the terminal, our errors say


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


def run_notebook(
    notebook: StrPath,
    out: StrPath,
    parameters: Mapping[str, Any] | None = None,
    *,
    progress: TextIO | None = None,
    kernel_name: str = "python3",
    timeout: int | None = None,
    linger: bool = True,
) -> dict[str, Any]:
    """Execute a notebook with papermill; every cell must run to its end without an error, in widgets too.

    Args:
        notebook: the ``.ipynb`` file; it is not changed.
        out: where the executed copy goes; its folder is made, and it stays for inspection when a cell fails.
        parameters: checked with :func:`check_parameters`.
        progress: where the notebook's own output is shown live, as it is written (such as ``sys.stdout``).
        kernel_name: a Jupyter kernel; it starts in the current working directory and inherits the environment.
        timeout: seconds a single cell may take.
        linger: ask the kernel to leave when its last cell has run, and wait; without, it is ended at once, which is
            half a second sooner, and five where it does not hear.

    Returns:
        notebook (file name), out, parameters, and seconds it took.

    Raises:
        RddError: parameters that do not fit, an unwritable ``out``, no such kernel, a kernel that did not start, died
            or ran out of time, or a cell that failed: its number, the exception, and the executed copy.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from zmq import ZMQError

    source, target = Path(notebook), Path(out)
    plain = check_parameters(source, parameters or {})
    if target.suffix != ".ipynb" or target.resolve() == source.resolve():
        raise RddError(f"out is {target}: give another .ipynb path than the notebook's, for the executed copy")
    start = time.monotonic()
    for attempt in (1, 2):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # what stands there afterwards is of this run
            papermill.execute_notebook(
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)),  # else format fields
                parameters=plain,
                kernel_name=kernel_name,
                language="python",
                progress_bar=False,
                stdout_file=progress,
                stderr_file=progress,
                execution_timeout=timeout,
                shutdown_kernel="graceful" if linger else "immediate",
                extra_arguments=["--log-level=CRITICAL"],  # else each kernel remarks on the terminal that it uses TCP
            )
            break
        except NoSuchKernel:
            raise RddError(
                f"no Jupyter kernel {kernel_name!r}: `jupyter kernelspec list` names those there are"
            ) from None
        except papermill.PapermillExecutionError:
            break  # the executed copy says it all
        except (CellTimeoutError, DeadKernelError, RuntimeError, ZMQError) as error:  # the first is an OSError, too
            why = (str(error).splitlines() or [type(error).__name__])[0]
            if mark_failed(
                target, f"took longer than {timeout} s" if isinstance(error, CellTimeoutError) else f"ended: {why}"
            ):
                break
            if attempt == 2:  # once may be a race for the kernel's ports
                raise RddError(f"the kernel {kernel_name!r} did not start, twice, for {source.name}: {why}") from None
        except OSError as error:
            raise RddError(f"cannot run {source.name} into {target} ({error}): use another folder") from None
    found = problems(target)
    if found:
        raise RddError(f"{source.name}: {found[0]} (executed copy: {target})")
    return {
        "notebook": source.name,
        "out": str(target),
        "parameters": plain,
        "seconds": round(time.monotonic() - start, 3),
    }


def mark_failed(executed: StrPath, why: str) -> bool:
    """Write into an executed copy that its last begun cell failed (papermill has called all of them completed).

    Returns whether there is such a cell; if not, the kernel never started.
    """
    import nbformat

    path = Path(executed)
    nb = read_notebook(path)
    begun = [c for c in nb.cells if c.metadata.get("papermill", {}).get("start_time")]
    if begun:
        begun[-1].metadata.papermill.update(status="failed", exception=True, why=why)
        nb.metadata.papermill["exception"] = True
        atomic_write(path, nbformat.writes(nb))
    return bool(begun)


def problems(notebook: StrPath) -> list[str]:
    """Why an executed notebook does not count as complete, a line for each reason; empty if it does.

    Papermill's own ``status`` is ``completed`` for cells that never ran, so the evidence is taken: error outputs, code
    cells without an execution count, and errors caught by output widgets.
    """
    nb, found = read_notebook(notebook), []
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    for position, cell in enumerate(code, 1):
        label = f"In [{cell.execution_count or position}]"
        why = cell.metadata.get("papermill", {}).get("why")
        if why:
            found.append(f"{label} {why}")
        found += [f"{label} raised {_error(o)}" for o in cell.outputs if o.output_type == "error"]
        if cell.execution_count is None:
            found.append(f"{label} was not executed")
    models = nb.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {}).values()
    outputs = [o for m in models if m.get("model_name") == "OutputModel" for o in m.get("state", {}).get("outputs", ())]
    return found + [f"a widget raised {_error(o)}" for o in outputs if o.get("output_type") == "error"]


def failure(executed: StrPath, said: str) -> tuple[str, str, str]:
    """Why a run failed: error in one line, cell, traceback.

    Args:
        executed: the copy that it left, if it did.
        said: the error where the copy does not tell one.
    """
    try:
        found = problems(executed)
        outputs = [o for c in read_notebook(executed).cells if c.cell_type == "code" for o in c.outputs]
    except RddError:  # no copy, or half of one
        return said, "", ""
    if not found:
        return said, "", ""
    cell, _, error = found[0].partition("] ")
    cell, error = (f"{cell}]", error) if cell.startswith("In [") else ("", found[0])
    trace: list[str] = next((o.traceback for o in outputs if o.output_type == "error"), [])
    return error, cell, "\n".join(trace)


def _error(output: Mapping[str, Any]) -> str:
    message = (str(output.get("evalue", "")).splitlines() or [""])[0]
    return f"{output.get('ename')}: {message}" if message else str(output.get("ename"))
