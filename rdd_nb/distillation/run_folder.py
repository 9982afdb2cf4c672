"""Run folders and the synthetic set: what a run leaves on disk, written atomically and safe to open from strangers.

A run folder holds ``config.json``, ``history.csv``, ``synthetic.safetensors``, ``checkpoint.pt``, ``figures/`` and
``metrics.json``. The last is written last: where it stands, the run is complete. Each of these files carries the run's
*identity*, a digest of its config, so files of two runs are told apart whatever befell the folder. Groups that were
looked for stand in ``groups.npz``, whose digest is in the config; ``rdd-nb distill`` adds ``groups.md``, why which are
raised, for people: nothing reads it. Nothing here ever unpickles an arbitrary object, and no absolute path is stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import lock_of, locked, one_line, without_folders
from rdd_nb.core.folders import Folder
from rdd_nb.data.synthetic_set import SyntheticSet, load_synthetic, save_synthetic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunFolder"]


#: What a run leaves beside its config; metrics.json first, so that a folder half removed does not look complete.
FILES = (
    *("metrics.json", "scores.npz", "checkpoint.pt", "history.csv", "synthetic.safetensors"),
    *("groups.npz", "groups.md"),
)
OVERWRITE = "use another folder, or overwrite it"


class RunFolder:
    """One run on disk. ``RunFolder(path).create(config)`` begins or resumes it, ``RunFolder.open(path)`` reads it.

    All writes are atomic. The folder is safe to share: of absolute paths only the last part is stored, so two data
    folders of one name look alike here; tell them apart with another key in ``config``.

    >>> import tempfile
    >>> run = RunFolder(tempfile.mkdtemp()).create({"ipc": 1, "seed": 0})
    >>> run.write_metrics({"accuracy": 0.5})
    >>> RunFolder.open(run.path).complete, run.metrics
    (True, {'accuracy': 0.5})
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.files = Folder(self.path)
        self._lock = lock_of(self.path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def create(self, config: Mapping[str, Any], overwrite: bool = False) -> RunFolder:
        """Make the folder and write ``config.json``; a run with the same config is left as it is, to be resumed.

        With ``overwrite`` the files of an earlier run (and no others) are removed first. The folder is locked
        meanwhile; who goes on to work in it holds it before (:meth:`lock`).

        Raises:
            RddError: another process works in the folder, it cannot be written, it holds a run with another config, or
                files of a run whose ``config.json`` is gone.
        """
        plain = _plain(config, "config")
        with self.lock():
            return self._create(plain, overwrite)

    def _create(self, plain: dict[str, Any], overwrite: bool) -> RunFolder:
        self.files.make("figures")
        if overwrite:
            figures = self.files.names("figures", (".png", ".svg", ".pdf"))
            self.files.remove(*FILES, "config.json", *(f"figures/{name}" for name in figures))
        self._expect(plain)
        if not self.files.there("config.json"):
            self.files.write("config.json", json.dumps({**plain, "identity": _digest(plain)}, indent=2) + "\n")
        return self

    def expect(self, config: Mapping[str, Any]) -> None:
        """Whether the folder can take a run of ``config``, of which some keys may still be unknown (left out).

        Raises:
            RddError: it holds another run, or files of one whose ``config.json`` is gone; another process works in it.
        """
        if self.files.there(".lock"):
            with self.lock():
                pass
        self._expect(_plain(config, "config"), partly=True)

    def _expect(self, plain: dict[str, Any], partly: bool = False) -> None:
        if not self.files.there("config.json"):
            left = [name for name in FILES if self.files.there(name)]
            if left:
                raise RddError(
                    f"{self.path} holds {left[0]} of a run without its config.json, so nobody knows which: {OVERWRITE}"
                )
            return
        held = self._config()
        old = not held.pop("identity", "")
        there, wanted = _leaves(held), _leaves(plain)
        keys = [
            key
            for key in ({**wanted} if partly else {**there, **wanted})
            if there.get(key, self) != wanted.get(key, self)
        ]
        if old:  # of a version that knew less of its data
            keys = [key for key in keys if key in there or not key.startswith("data.")]
        if keys:
            told = [f"{k} is {there.get(k, 'absent')!r} there, {wanted.get(k, 'absent')!r} here" for k in keys[:3]]
            more = f", and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise RddError(f"{self.path} holds another run ({'; '.join(told)}{more}): {OVERWRITE}")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The run that stands at ``path``.

        Raises:
            RddError: there is none, or its ``config.json`` cannot be read.
        """
        run = cls(path)
        if not run.files.there("config.json"):
            raise RddError(f"no run in {run.path} (it has no config.json): give the `out` folder of `rdd-nb distill`")
        _ = run.config
        return run

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` says, its identity left out."""
        return {k: v for k, v in self._config().items() if k != "identity"}

    @property
    def identity(self) -> str:
        """The digest of the config that every file of the run carries; "" where there is none, as before 0.1.0."""
        if not self.files.there("config.json"):
            return ""
        held = self._config()
        said = held.pop("identity", "")
        if said and said != _digest(held):
            raise RddError(f"{self.path / 'config.json'} was changed after the run began: use another folder")
        return str(said)

    @property
    def complete(self) -> bool:
        """Whether the run ended: ``metrics.json`` is there and whole."""
        with contextlib.suppress(RddError):
            return self.metrics is not None
        return False

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says; RddError while the run is not complete."""
        return self._own(self.files.json("metrics.json", "the run is not complete; start it again and it resumes"))

    def write_metrics(self, metrics: Mapping[str, Any], names: Collection[str] = ()) -> None:
        """Write ``metrics.json`` and so declare the run complete: call it last. Numbers that are not finite → null.

        ``names`` of classes and groups stay as they are, also where they look like a path (see the class).
        """
        marked = {**_plain(metrics, "metrics", frozenset(names)), **self._mark()}
        self.files.write("metrics.json", json.dumps(marked, indent=2) + "\n")

    @property
    def history(self) -> pd.DataFrame:
        """``history.csv`` as a table, one row a step; empty when nothing is written yet."""
        if not self.files.there("history.csv"):
            return pd.DataFrame()
        try:
            held = io.BytesIO(self.files.read("history.csv"))
            table = pd.read_csv(held, float_precision="round_trip", dtype={"identity": str})
        except pd.errors.EmptyDataError:  # written from no rows
            return pd.DataFrame()
        except RddError:
            raise
        except (OSError, ValueError) as error:
            raise RddError(f"cannot read {self.path / 'history.csv'} ({one_line(error)}): delete it") from None
        for said in table.pop("identity").unique() if "identity" in table else [""] * bool(len(table)):
            self._check("history.csv", str(said))
        return table

    def write_history(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Write ``history.csv`` anew; a resumed run writes the rows up to its checkpoint, so none is there twice."""
        mark = self._mark()
        table = pd.DataFrame([{**_plain(row, "history"), **mark} for row in rows])
        self.files.write("history.csv", table.to_csv(index=False, lineterminator="\n"))

    def append_history(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Add rows to ``history.csv`` (rewritten as a whole, atomically: append some steps at a time, not each)."""
        self.write_history([*self.history.to_dict("records"), *rows])

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint is there to resume from."""
        return self.files.there("checkpoint.pt")

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``: a dict of tensors, numbers, strings, and lists, tuples or dicts of these.

        Raises:
            RddError: the state holds something that could not be loaded back safely, or the place is not writable.
        """
        _check_state(state, "state")
        buffer = io.BytesIO()  # in memory first: torch reports a full disk in many ways, Folder.write in one
        torch.save({**state, **self._mark()}, buffer)
        self.files.write("checkpoint.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any]:
        """Read ``checkpoint.pt`` with ``weights_only=True``, tensors on the CPU: no code in it can run.

        Raises:
            RddError: there is none, or it is truncated, foreign, or holds anything but tensors and plain values.
        """
        path, mend = self.path / "checkpoint.pt", "delete it to start this run afresh"
        if not self.has_checkpoint:
            raise RddError(f"no checkpoint in {self.path}: the run has not saved one yet")
        try:
            data = self.files.read("checkpoint.pt")
            with zipfile.ZipFile(io.BytesIO(data)) as records:  # as torch writes it: nothing in it is compressed
                if any(record.compress_type != zipfile.ZIP_STORED for record in records.infolist()):
                    raise ValueError("compressed")
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (MemoryError, RddError):
            raise
        except Exception as error:  # torch raises a dozen kinds for a file that is damaged or not its own
            name = type(error).__name__
            raise RddError(f"{path} is truncated, foreign or unsafe ({name}), and was not loaded: {mend}") from None
        if not isinstance(state, dict):
            raise RddError(f"{path} holds a {type(state).__name__}, not the state of a run: {mend}")
        self._check("checkpoint.pt", str(state.pop("identity", "")), mend)
        return state

    def save_figure(self, name: str, figure: Figure, dpi: int = 110) -> Path:
        """Write a matplotlib figure to ``figures/<name>.png`` (or ``.svg``, ``.pdf`` where the name says so)."""
        if not re.fullmatch(r"[\w][\w .+-]*", name):
            raise RddError(f"a figure cannot be called {name!r}: use letters, digits, - and _")
        suffix = next((s for s in (".png", ".svg", ".pdf") if name.endswith(s)), "")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=(suffix or ".png")[1:], dpi=dpi, bbox_inches="tight")
        return self.files.write(f"figures/{name if suffix else name + '.png'}", buffer.getvalue())

    def save_synthetic(self, synthetic: SyntheticSet) -> Path:
        """Write ``synthetic.safetensors``; see :func:`save_synthetic`."""
        marked = dataclasses.replace(synthetic, meta={**synthetic.meta, **self._mark()})
        return save_synthetic(self.files.at("synthetic.safetensors"), marked)

    def load_synthetic(self) -> SyntheticSet:
        """Read ``synthetic.safetensors``; see :func:`load_synthetic`."""
        synthetic = load_synthetic(self.files.at("synthetic.safetensors"), follow=False)
        self._check("synthetic.safetensors", synthetic.meta.get("identity", ""))
        return dataclasses.replace(synthetic, meta={k: v for k, v in synthetic.meta.items() if k != "identity"})

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process, and make it; see :func:`rdd_nb.core.files.locked`."""
        with locked(self.path, self._lock):
            yield

    def _mark(self) -> dict[str, str]:
        identity = self.identity
        return {"identity": identity} if identity else {}

    def _check(self, name: str, said: str, mend: str = "put the right one back, or use another folder") -> None:
        if said != self.identity:
            raise RddError(f"{self.path / name} is of another run than config.json beside it: {mend}")

    def _own(self, held: dict[str, Any]) -> dict[str, Any]:
        self._check("metrics.json", str(held.pop("identity", "")))
        return held

    def _config(self) -> dict[str, Any]:
        return self.files.json("config.json", OVERWRITE)


NAMES = ("class_names", "group_names")  # keys whose texts are no paths, whatever they look like


def _plain(value: Any, where: str, names: frozenset[str] = frozenset()) -> Any:
    """``value`` in the types of JSON: numpy and torch numbers become Python's, NaN null, absolute paths their name."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    elif isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        path = Path(os.fspath(value))
        return path.name if path.is_absolute() else without_folders(str(path))
    if isinstance(value, str):
        return str(value) if value in names else without_folders(value)
    if isinstance(value, Mapping):
        told = {
            k: frozenset(map(str, v)) if k in NAMES and isinstance(v, (list, tuple)) else names
            for k, v in value.items()
        }
        return {str(k): _plain(v, f"{where}.{k}", told[k]) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", names) for i, v in enumerate(value)]
    raise RddError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold: give numbers, strings, lists or dicts"
    )


def _digest(config: Mapping[str, Any]) -> str:
    """The identity of a run; where its data come from (``source``) is told beside it, and no part of it."""
    known = {k: v for k, v in config.items() if k != "source"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _leaves(config: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """What a config holds by dotted name, as ``distill.tail``, so that a message names just what differs."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        found |= _leaves(value, f"{inside}{name}.") if nested else {f"{inside}{name}": value}
    return found


def _check_state(value: Any, where: str) -> None:
    """Refuse at saving what ``weights_only=True`` would refuse at loading, when hours of work are lost."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise RddError(f"the checkpoint's {where} has the key {key!r}: use strings or integers")
            _check_state(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _check_state(item, f"{where}[{i}]")
    elif type(value) not in (bool, int, float, str, type(None), torch.nn.Parameter) and not isinstance(value, Tensor):
        raise RddError(
            f"the checkpoint's {where} is a {type(value).__name__}, which cannot be loaded back safely: give tensors, "
            "numbers, strings, lists, tuples or dicts"
        )
