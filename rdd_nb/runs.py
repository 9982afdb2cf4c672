"""Run folders and the synthetic set: what a run leaves on disk, written atomically and safe to open from strangers.

A run folder holds ``config.json``, ``history.csv``, ``synthetic.safetensors``, ``checkpoint.pt``, ``figures/`` and
``metrics.json``. The last is written last: where it stands, the run is complete. Nothing here ever unpickles an
arbitrary object, and no absolute path of the machine is stored.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import ntpath
import os
import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import rdd_nb
from rdd_nb.errors import RddError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunFolder", "SyntheticSet", "atomic_write", "load_synthetic", "save_synthetic"]

FORMAT, FORMAT_VERSION = "rdd_nb.synthetic", "1"


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """A distilled set: ``ipc`` images for each class, in the units the networks see.

    Attributes:
        images: float32 ``[M, C, H, W]``, normalised: ``(pixel / 255 - mean) / std``; ``M = ipc × classes``.
        labels: int64 ``[M]`` in ``0..K-1``; every class occurs exactly ``ipc`` times, in any order.
        class_names: K names.
        mean, std: per channel, of ``pixel / 255``, of the real training set; length C.
        ipc: images per class.
        meta: where it comes from (dataset, scenario, matching, objective, seed, …), strings only.

    Raises:
        RddError: shapes, types or ranges that do not fit each other, or pixels that are not finite.

    >>> s = SyntheticSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,), ipc=1)
    >>> s.num_classes, s.shape, int(s.to_uint8()[0, 0, 0, 0])
    (2, (1, 4, 4), 128)
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ipc: int
    meta: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != torch.float32 or 0 in images.shape:
            raise RddError(f"synthetic images are {_shape(images)}: give float32 [M, C, H, W], none of them 0")
        if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise RddError(f"synthetic labels are {_shape(labels)}: give int64 [{len(images)}], one for each image")
        if not len(self.mean) == len(self.std) == images.shape[1]:
            raise RddError(
                f"mean {self.mean} and std {self.std}: give one number for each of {images.shape[1]} channels"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise RddError(f"mean {self.mean} and std {self.std} must be finite, and std above 0")
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.class_names):
            raise RddError(f"synthetic labels reach outside 0..{len(self.class_names) - 1}: name every class")
        counts = torch.bincount(labels, minlength=len(self.class_names)).tolist()
        if any(count != self.ipc for count in counts):
            raise RddError(f"ipc is {self.ipc} but the classes have {counts} synthetic images: give ipc of each")
        if not bool(torch.isfinite(images).all()):
            raise RddError("synthetic images hold NaN or infinite pixels: the distillation diverged; lower its lr")

    @property
    def num_classes(self) -> int:
        """How many classes, K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to_uint8(self) -> Tensor:
        """The images as ordinary pixels, uint8 ``[M, C, H, W]`` on the CPU: denormalised, clamped and rounded."""
        mean, std = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((self.images.detach().cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def as_tensor_dataset(self) -> torch.utils.data.TensorDataset:
        """``(image, label)`` pairs for a plain PyTorch ``DataLoader``, on the CPU and normalised."""
        return torch.utils.data.TensorDataset(self.images.detach().cpu(), self.labels.cpu())


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def save_synthetic(path: str | os.PathLike[str], synthetic: SyntheticSet) -> Path:
    """Write ``synthetic`` as safetensors, atomically; returns the path. Equal sets give equal bytes.

    The tensors are ``images`` (float32, normalised) and ``labels`` (int64). The metadata, all strings: ``format``
    ``"rdd_nb.synthetic"``, ``format_version``, ``parameterisation`` ``"pixels"``, ``ipc``, ``class_names``, ``mean``,
    ``std`` and ``meta`` as JSON, and ``rdd_nb``, the version that wrote it. Any safetensors reader opens it.

    Raises:
        RddError: the place is not writable or full.
    """
    tensors = {"images": synthetic.images.detach().cpu().contiguous(), "labels": synthetic.labels.cpu().contiguous()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parameterisation": "pixels",
        "ipc": str(synthetic.ipc),
        "class_names": json.dumps(list(synthetic.class_names)),
        "mean": json.dumps(list(synthetic.mean)),
        "std": json.dumps(list(synthetic.std)),
        "rdd_nb": rdd_nb.__version__,
        "meta": json.dumps({str(k): _without_folders(str(v)) for k, v in synthetic.meta.items()}, sort_keys=True),
    }
    data = safetensors.torch.save(tensors, metadata)
    # The library writes the header in the order of a hash map, another one each time: write it sorted instead.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return atomic_write(path, len(header).to_bytes(8, "little") + header + data[end:])


def load_synthetic(path: str | os.PathLike[str]) -> SyntheticSet:
    """Read a set that :func:`save_synthetic` wrote. Nothing in the file is executed.

    Raises:
        RddError: no such file; not safetensors, or truncated; safetensors of something else; another format version;
            tensors that do not fit each other or the metadata.
    """
    make = "make one with `rdd-nb distill` or rdd_nb.runs.save_synthetic"
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            said, names = file.metadata() or {}, sorted(file.keys())
            # clone: the library may map the file, and a later truncation of it would then kill the process
            tensors = {name: file.get_tensor(name).clone() for name in ("images", "labels") if name in names}
    except OSError as error:
        raise RddError(f"cannot read the synthetic set {path} ({error.strerror or error}): {make}") from None
    except safetensors.SafetensorError as error:
        raise RddError(f"{path} is truncated or no safetensors file ({error}): copy it again, or {make}") from None
    if said.get("format") != FORMAT:
        raise RddError(f"{path} holds the tensors {', '.join(names[:4]) or '(none)'}, not a synthetic set: {make}")
    if said.get("format_version") != FORMAT_VERSION or said.get("parameterisation") != "pixels":
        raise RddError(
            f"{path} has format version {said.get('format_version')} ({said.get('parameterisation')}), by rdd_nb "
            f"{said.get('rdd_nb')}; this one reads version {FORMAT_VERSION} (pixels): use the rdd_nb that wrote it"
        )
    try:
        return SyntheticSet(
            images=tensors["images"],
            labels=tensors["labels"],
            class_names=tuple(map(str, json.loads(said["class_names"]))),
            mean=tuple(map(float, json.loads(said["mean"]))),
            std=tuple(map(float, json.loads(said["std"]))),
            ipc=int(said["ipc"]),
            meta={str(k): str(v) for k, v in json.loads(said["meta"]).items()},
        )
    except RddError as error:
        raise RddError(f"{path} does not fit together: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RddError(f"{path} is a damaged synthetic set ({_one_line(error)}): {make}") from None


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a whole file or nothing: a temporary file beside it, flushed to the disk, then ``os.replace``.

    A text is written as UTF-8. A reader sees the old content or the new one, never a part; on failure the temporary
    file is removed and the old content stays.

    Raises:
        RddError: the folder is missing, not writable, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def _unwritable(path: Path, error: OSError) -> RddError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return RddError(f"cannot write {path}: the disk is full; free some space or use another folder, then run again")
    return RddError(f"cannot write {path}: {error.strerror or error}; use another folder")


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

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def create(self, config: Mapping[str, Any], overwrite: bool = False) -> RunFolder:
        """Make the folder and write ``config.json``; a run with the same config is left as it is, to be resumed.

        With ``overwrite`` the files of an earlier run (and no others) are removed first.

        Raises:
            RddError: the folder cannot be written, or holds a run with another config.
        """
        wanted = _plain(config, "config")
        try:
            (self.path / "figures").mkdir(parents=True, exist_ok=True)
            if overwrite:  # metrics.json first: a folder half removed must not look complete
                for name in ("metrics.json", "checkpoint.pt", "history.csv", "synthetic.safetensors", "config.json"):
                    (self.path / name).unlink(missing_ok=True)
                for figure in (self.path / "figures").iterdir():
                    if figure.suffix in (".png", ".svg", ".pdf"):
                        figure.unlink()
        except OSError as error:
            raise _unwritable(self.path, error) from None
        if (self.path / "config.json").exists():
            there = self.config
            keys = [key for key in {**there, **wanted} if there.get(key, self) != wanted.get(key, self)]
            if keys:
                told = [f"{k} is {there.get(k, 'absent')!r} there, {wanted.get(k, 'absent')!r} here" for k in keys[:3]]
                more = f", and {len(keys) - 3} more" if len(keys) > 3 else ""
                raise RddError(
                    f"{self.path} holds another run ({'; '.join(told)}{more}): use another folder, or overwrite it"
                )
            return self
        atomic_write(self.path / "config.json", json.dumps(wanted, indent=2) + "\n")
        return self

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The run that stands at ``path``.

        Raises:
            RddError: there is none, or its ``config.json`` cannot be read.
        """
        run = cls(path)
        if not (run.path / "config.json").is_file():
            raise RddError(f"no run in {run.path} (it has no config.json): give the `out` folder of `rdd-nb distill`")
        _ = run.config
        return run

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` says."""
        return self._json("config.json", "use another folder, or overwrite it")

    @property
    def complete(self) -> bool:
        """Whether the run ended: ``metrics.json`` is there and whole."""
        with contextlib.suppress(RddError):
            return self.metrics is not None
        return False

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says; RddError while the run is not complete."""
        return self._json("metrics.json", "the run is not complete; start it again and it resumes")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json`` and so declare the run complete: call it last. Numbers that are not finite → null."""
        atomic_write(self.path / "metrics.json", json.dumps(_plain(metrics, "metrics"), indent=2) + "\n")

    @property
    def history(self) -> pd.DataFrame:
        """``history.csv`` as a table, one row a step; empty when nothing is written yet."""
        path = self.path / "history.csv"
        if not path.exists():
            return pd.DataFrame()
        try:
            return pd.read_csv(path, float_precision="round_trip")
        except pd.errors.EmptyDataError:  # written from no rows
            return pd.DataFrame()
        except (OSError, ValueError) as error:
            raise RddError(f"cannot read {path} ({_one_line(error)}): delete it") from None

    def write_history(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Write ``history.csv`` anew; a resumed run writes the rows up to its checkpoint, so none is there twice."""
        table = pd.DataFrame([_plain(row, "history") for row in rows])
        atomic_write(self.path / "history.csv", table.to_csv(index=False, lineterminator="\n"))

    def append_history(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Add rows to ``history.csv`` (rewritten as a whole, atomically: append some steps at a time, not each)."""
        self.write_history([*self.history.to_dict("records"), *rows])

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint is there to resume from."""
        return (self.path / "checkpoint.pt").is_file()

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``: a dict of tensors, numbers, strings, and lists, tuples or dicts of these.

        Raises:
            RddError: the state holds something that could not be loaded back safely, or the place is not writable.
        """
        _check_state(state, "state")
        buffer = io.BytesIO()  # in memory first: torch reports a full disk in many ways, atomic_write in one
        torch.save(dict(state), buffer)
        atomic_write(self.path / "checkpoint.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any]:
        """Read ``checkpoint.pt`` with ``weights_only=True``, tensors on the CPU: no code in it can run.

        Raises:
            RddError: there is none, or it is truncated, foreign, or holds anything but tensors and plain values.
        """
        path = self.path / "checkpoint.pt"
        mend = "delete it to start this run afresh"
        if not path.is_file():
            raise RddError(f"no checkpoint in {self.path}: the run has not saved one yet")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # torch raises a dozen kinds for a file that is damaged or not its own
            name = type(error).__name__
            raise RddError(f"{path} is truncated, foreign or unsafe ({name}), and was not loaded: {mend}") from None
        if not isinstance(state, dict):
            raise RddError(f"{path} holds a {type(state).__name__}, not the state of a run: {mend}")
        return state

    def save_figure(self, name: str, figure: Figure, dpi: int = 110) -> Path:
        """Write a matplotlib figure to ``figures/<name>.png`` (or ``.svg``, ``.pdf`` where the name says so)."""
        if not re.fullmatch(r"[\w][\w .+-]*", name):
            raise RddError(f"a figure cannot be called {name!r}: use letters, digits, - and _")
        suffix = next((s for s in (".png", ".svg", ".pdf") if name.endswith(s)), "")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=(suffix or ".png")[1:], dpi=dpi, bbox_inches="tight")
        with contextlib.suppress(OSError):  # if it fails, the write below says why
            (self.path / "figures").mkdir(exist_ok=True)
        return atomic_write(self.path / "figures" / (name if suffix else name + ".png"), buffer.getvalue())

    def save_synthetic(self, synthetic: SyntheticSet) -> Path:
        """Write ``synthetic.safetensors``; see :func:`save_synthetic`."""
        return save_synthetic(self.path / "synthetic.safetensors", synthetic)

    def load_synthetic(self) -> SyntheticSet:
        """Read ``synthetic.safetensors``; see :func:`load_synthetic`."""
        return load_synthetic(self.path / "synthetic.safetensors")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process: a second run in it gets an RddError instead of mixing its files in.

        The lock ends with the ``with`` block or the process and leaves no file. Where the system has no ``flock``
        (Windows) nothing is locked. Temporary files of a run that was killed are removed on the way.
        """
        try:
            import fcntl
        except ImportError:
            yield
            return
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise RddError(f"no run folder {self.path} ({error.strerror}): create it first") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RddError(
                    f"another process is working in {self.path}: wait for it, or use another folder"
                ) from None
            except OSError:
                pass  # a file system without locks: go on without
            else:
                for left in self.path.glob(".*.tmp"):
                    with contextlib.suppress(OSError):
                        left.unlink()
            yield
        finally:
            os.close(handle)

    def _json(self, name: str, mend: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except OSError as error:
            raise RddError(f"cannot read {self.path / name} ({error.strerror}): {mend}") from None
        except ValueError as error:
            raise RddError(f"{self.path / name} is not whole JSON ({_one_line(error)}): {mend}") from None
        if not isinstance(value, dict):
            raise RddError(f"{self.path / name} is not a JSON object: {mend}")
        return value


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _plain(value: Any, where: str) -> Any:
    """``value`` in the types of JSON: numpy and torch numbers become Python's, NaN null, absolute paths their name."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    elif isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, os.PathLike)):
        return _without_folders(os.fspath(value) if isinstance(value, os.PathLike) else str(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise RddError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold: give numbers, strings, lists or dicts"
    )


def _without_folders(text: str) -> str:
    """``text`` with every absolute path cut to its last part: a run folder tells nothing about the machine.

    >>> _without_folders("folder:/home/ada/pets"), _without_folders("https://a.org/x"), _without_folders("runs/a")
    ('folder:pets', 'https://a.org/x', 'runs/a')
    """
    if not text.startswith("//") and posixpath.isabs(text):
        return posixpath.basename(text.rstrip("/"))
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        return ntpath.basename(text.rstrip("\\/"))
    return re.sub(r"(?<![^:=\s])(?:[A-Za-z]:[\\/]|/(?!/))(?:[^\\/:\s]+[\\/])*", "", text)


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
