"""Notebooks run with papermill, and whether they ran.

Papermill forgives what a thousand runs must not: it calls a notebook whose kernel died completed, and does not see an
exception inside a widget. Here each of these is an error in one line.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write, lock_of, locked
from rdd_nb.core.folders import Folder
from rdd_nb.experiments.parameters import StrPath, check_parameters, read_notebook

__all__ = ["NotStarted", "failure", "mark_failed", "problems", "run_notebook"]

DELIVERY = 60  # seconds that what a cell has printed may need to arrive, when the cell has ended
NOT_EXECUTED = "was not executed"
WIDGETS = "application/vnd.jupyter.widget-state+json"
logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would say on the terminal, our errors say


class NotStarted(RddError):
    """A kernel that did not come to run anything."""


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
        RddError: parameters that do not fit, an unwritable ``out`` or one that another process writes, no such kernel,
            a kernel that did not start, died or ran out of time, or a cell that failed: its number, the exception, and
            the executed copy.
    """
    source, target = Path(notebook), Path(out)
    plain = check_parameters(source, parameters or {})
    if target.suffix != ".ipynb" or target.resolve() == source.resolve():
        raise RddError(f"out is {target}: give another .ipynb path than the notebook's, for the executed copy")
    start = time.monotonic()
    # Another lock than the folder's own, which the notebook's kernel may want to hold.
    with locked(target.parent, lock_of(target.parent, ".notebook.lock")):
        _execute(source, target, plain, progress, kernel_name, timeout, linger)
    found = problems(target)
    if found:
        raise RddError(f"{source.name}: {found[0]} (executed copy: {target})")
    return {
        "notebook": source.name,
        "out": str(target),
        "parameters": plain,
        "seconds": round(time.monotonic() - start, 3),
    }


def _execute(
    source: Path,
    target: Path,
    plain: Mapping[str, Any],
    progress: TextIO | None,
    kernel_name: str,
    timeout: int | None,
    linger: bool,
) -> None:
    """Papermill, tried a second time where the kernel did not start."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from zmq import ZMQError

    for attempt in (1, 2):
        try:
            Folder(target.parent).remove(target.name)  # what stands there afterwards is of this run
            papermill.execute_notebook(
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)),  # else format fields
                parameters=plain,
                engine_name=_engine(),
                kernel_name=kernel_name,
                language="python",
                progress_bar=False,
                stdout_file=progress,
                stderr_file=progress,
                execution_timeout=timeout,
                iopub_timeout=DELIVERY,
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
            if mark_failed(target, _ended(error, why, timeout)):
                break
            if attempt == 2:  # once may be a race for the kernel's ports
                raise NotStarted(f"the kernel {kernel_name!r} did not start, twice, for {source.name}: {why}") from None
        except OSError as error:
            raise RddError(f"cannot run {source.name} into {target} ({error}): use another folder") from None


@functools.cache
def _engine() -> str:
    """The name of papermill's own engine, but for how often it writes the executed copy.

    Papermill writes it whole before and after every cell, prose too: of a notebook with pictures some 200 times. When
    code begins and in the end is as good: in between nothing changes but outputs, which it writes every 30 seconds.
    """
    from papermill.engines import NBClientEngine, papermill_engines

    class Sparing(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *arguments: Any, **options: Any) -> Any:
            save, start, complete = nb_man.save, nb_man.cell_start, nb_man.cell_complete

            def unsaved(step: Callable[..., None], *told: Any, **more: Any) -> None:
                nb_man.save = lambda **_: None
                try:
                    step(*told, **more)
                finally:
                    nb_man.save = save

            def cell_start(cell: Any, *told: Any, **more: Any) -> None:
                start(cell, *told, **more) if cell.cell_type == "code" else unsaved(start, cell, *told, **more)

            nb_man.cell_start, nb_man.cell_complete = cell_start, functools.partial(unsaved, complete)
            return super().execute_managed_notebook(nb_man, *arguments, **options)

    papermill_engines.register("rdd_nb", Sparing)
    return "rdd_nb"


def _ended(error: Exception, why: str, timeout: int | None) -> str:
    if "IOPub" in str(error):
        return f"printed more than arrived within {DELIVERY} s of its end: let it print less, or into a file of its own"
    return f"took longer than {timeout} s" if isinstance(error, TimeoutError) and timeout else f"ended: {why}"


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
        nb.metadata["papermill"] = {**_mapping(nb.metadata.get("papermill")), "exception": True}
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
            found.append(f"{label} {NOT_EXECUTED}")
    held: Any = nb.metadata
    for name in ("widgets", WIDGETS, "state"):
        held = _mapping(_mapping(held).get(name))
    models = [_mapping(model) for model in held.values()]
    told = [_mapping(m.get("state")).get("outputs") for m in models if m.get("model_name") == "OutputModel"]
    outputs = [_mapping(o) for each in told if isinstance(each, list) for o in each]
    return found + [f"a widget raised {_error(o)}" for o in outputs if o.get("output_type") == "error"]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
    if not found or found[0].endswith(NOT_EXECUTED):  # which is no cause
        return said, "", ""
    cell, _, error = found[0].partition("] ")
    cell, error = (f"{cell}]", error) if cell.startswith("In [") else ("", found[0])
    trace: list[str] = next((o.traceback for o in outputs if o.output_type == "error"), [])
    return error, cell, "\n".join(trace)


def _error(output: Mapping[str, Any]) -> str:
    """Kind and message: its first line that says something, and its last where that is another (numpy's cause)."""
    lines = [" ".join(line.split()) for line in str(output.get("evalue", "")).splitlines() if line.strip()]
    message = " … ".join(line[:300] for line in dict.fromkeys([*lines[:1], *lines[-1:]]))
    return f"{output.get('ename')}: {message}" if message else str(output.get("ename"))
