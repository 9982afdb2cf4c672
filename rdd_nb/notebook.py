"""Notebooks as programs: inspect and check their parameters, run them with papermill, clean them for the repository.

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
import re
import tempfile
import time
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import nbformat

from rdd_nb.errors import RddError, unknown
from rdd_nb.files import atomic_write

__all__ = [
    "Parameter",
    "check_parameters",
    "clean",
    "fitted",
    "inspect",
    "mark_failed",
    "problems",
    "run_notebook",
    "source_of",
]

StrPath = str | os.PathLike[str]
WIDGETS = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would say on the terminal, our errors say
KEPT_CELL_KEYS = ("tags", "jupyter", "slideshow", "mystnb")


class Parameter(NamedTuple):
    """One line of a notebook's parameters cell: its default value, its annotation as text ("" if none), its comment."""

    default: Any
    annotation: str
    help: str


def _read(notebook: StrPath) -> Any:
    """The notebook as nbformat 4.5. Cells of older files that have no id get one made of their place and source."""
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
    cells = [c for c in _read(notebook).cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
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
    cells = [(c.source, c.metadata.get("tags", [])) for c in _read(notebook).cells if c.cell_type == "code"]
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
            hint = "; YAML reads 1e-3 as a text and 1.0e-3 as a number" if _is_number(value) else ""
            raise RddError(
                f"{what} is {value!r} ({type(value).__name__}): give {annotation}, such as {declared.default!r}{hint}"
            )
    return plain


def _is_number(value: Any) -> bool:
    """Whether a text is a number in the scientific notation that Python has and YAML 1.1 has not."""
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value) is not None


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
    path = Path(executed)
    nb = _read(path)
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
    nb, found = _read(notebook), []
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


def failure(executed: StrPath) -> tuple[str, str, str] | None:
    """Why an executed notebook does not count as complete: error in one line, cell, traceback; None if it does."""
    found = problems(executed)
    if not found:
        return None
    cell, _, error = found[0].partition("] ")
    cell, error = (f"{cell}]", error) if cell.startswith("In [") else ("", found[0])
    outputs = [o for c in _read(executed).cells if c.cell_type == "code" for o in c.outputs]
    trace: list[str] = next((o.traceback for o in outputs if o.output_type == "error"), [])
    return error, cell, "\n".join(trace)


def _error(output: Mapping[str, Any]) -> str:
    message = (str(output.get("evalue", "")).splitlines() or [""])[0]
    return f"{output.get('ename')}: {message}" if message else str(output.get("ename"))


def clean(notebook: StrPath) -> None:
    """Make an executed notebook fit for the repository, in place; a clean one stays byte for byte the same.

    Removes the metadata of papermill, widgets, Colab and editors, the injected parameters and the live widgets (a
    static picture stands beside each); counts the executions 1…n; joins the pieces of a stream and keeps of a progress
    line only what it showed last; keeps cell ids, and gives fixed ones to cells without.

    Raises:
        RddError: a cell failed or was not executed, or an output shows an absolute path of this machine.
    """
    found = problems(notebook)
    if found:
        raise RddError(f"{notebook} is not fit to be kept: {found[0]}; run it again from top to bottom")
    nb = _read(notebook)
    nb.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nb.cells = [c for c in nb.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in nb.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_CELL_KEYS if cell.metadata.get(key)}
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = _clean_outputs(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            path = _machine_path(output)
            if path:
                raise RddError(
                    f"{notebook}: the output of In [{count}] shows {path!r}, a path of this machine: print names only"
                )
    nbformat.validate(nb)
    atomic_write(notebook, nbformat.writes(nb) + "\n")


def _clean_outputs(outputs: list[Any]) -> list[Any]:
    kept = _joined([o for o in outputs if WIDGET_VIEW not in o.get("data", {})])
    for output in kept:
        if output.output_type == "stream":
            text = re.sub(r"\x1b\[\d*[ABCDGJK]", "", output.text.replace("\r\n", "\n"))  # cursor movements of bars
            output.text = "\n".join(_last_shown(line) for line in text.split("\n"))
    return _joined([o for o in kept if o.output_type != "stream" or o.text.strip()])


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with neighbouring pieces of one stream made one."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _last_shown(line: str) -> str:
    return next((part.rstrip() for part in reversed(line.split("\r")) if part.strip()), "") if "\r" in line else line


def _machine_path(output: Mapping[str, Any]) -> str | None:
    """The first absolute path of this machine or of anybody's home in the text of an output."""
    data = output.get("data", {})
    text = "\n".join([output.get("text", ""), *(str(v) for k, v in data.items() if not k.startswith("image/p"))])
    text = re.sub(r"data:[\w/+.-]+;base64,[\w+/=]+", "", text)
    here = [str(Path(p).resolve()) for p in (Path.home(), Path.cwd(), tempfile.gettempdir())]
    folders = "|".join(
        [*(re.escape(p) for p in here if len(p) > 1), r"/home", r"/Users", r"/root", r"/tmp", r"[A-Za-z]:\\+Users"]
    )
    match = re.search(rf"(?:(?<=file://)|(?<![\w./:-]))(?:{folders})(?:[\\/][^\s'\"<>)\]]*|(?![\w-]))", text)
    return match.group() if match else None
