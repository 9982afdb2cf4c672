"""What tests of several layers share."""

import contextlib
import io
import itertools
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.experiments.parameters import check_parameters, read_notebook


def rng(seed: int = 0) -> torch.Generator:
    """A fresh generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def made_set(channels: int = 1, classes: int = 2, ipc: int = 3, **changes) -> SyntheticSet:
    fields = {
        "images": torch.randn(classes * ipc, channels, 4, 5, generator=torch.Generator().manual_seed(0)),
        "labels": torch.arange(classes).repeat(ipc),
        "class_names": tuple(f"class {i}" for i in range(classes)),
        "mean": (0.4,) * channels,
        "std": (0.2,) * channels,
        "ipc": ipc,
        "meta": {"dataset": "digits", "objective": "robust"},
    }
    return SyntheticSet(**{**fields, **changes})


def hugging_face():
    """The package ``datasets`` of Hugging Face, where it is installed."""
    return pytest.importorskip("datasets", reason="large, and of no other use here: pip install datasets")


def one_line(caught: pytest.ExceptionInfo[RddError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def killed_at_file(number: int, before: bool) -> None:
    """Let this process end, like a machine without power, at the ``number``-th file that it puts in its place."""
    real, count = os.replace, itertools.count(1)

    def deadly(source, target):
        last = next(count) == number
        if not (last and before):
            real(source, target)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly


def process_of(work, *arguments) -> multiprocessing.Process:
    """A started copy of this process that does ``work``."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def run_in_a_copy(notebook: Path, **parameters) -> None:
    """A notebook's code, cell after cell, in a copy of this process, which need not import all anew as a kernel does.

    For what other parameters make of a notebook that ``test_notebooks`` runs in a kernel.
    """

    def work():
        scope, met, said = {"__name__": "__main__"}, False, io.StringIO()
        for number, cell in enumerate(read_notebook(notebook).cells):
            if cell.cell_type == "code":
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    exec(compile(cell.source, f"cell {number} of {notebook.name}", "exec"), scope)
                if "parameters" in cell.metadata.get("tags", []):
                    scope |= check_parameters(notebook, parameters)
                    met = True
        assert met, "no cell takes the parameters"
        assert "Traceback (most recent call last)" not in said.getvalue(), said.getvalue()  # as of a widget's callback

    process = process_of(work)
    process.join(600)  # to end a hang
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0, f"{notebook.name} has failed; see what it has written to stderr"
