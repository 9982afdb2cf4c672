"""Groups as the bytes of a file, so that a minute of looking for them is spent once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch

from rdd_nb.clustering.groups import STARTS, Groups, Trial
from rdd_nb.core import environment
from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder, parse_arrays
from rdd_nb.data.dataset import ImageDataset

__all__ = ["KeptGroups", "groups_from_bytes", "groups_to_bytes", "kept_files"]

PACKAGE = Path(__file__).parents[1]


def groups_to_bytes(groups: Groups, seconds: float = 0.0) -> bytes:
    """An ``.npz`` file of groups, and of how long it took to find them."""
    values = {f.name: getattr(groups, f.name) for f in dataclasses.fields(groups)}
    values["trials"] = json.dumps([dataclasses.asdict(each) for each in groups.trials])  # as text: no array holds them
    arrays = {k: v.cpu().numpy() if torch.is_tensor(v) else np.asarray(v) for k, v in values.items() if v is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, seconds=np.asarray(seconds), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def groups_from_bytes(held: bytes, data: ImageDataset) -> tuple[Groups, float]:
    """What :func:`groups_to_bytes` made of groups of ``data``, and the seconds; nothing in it is executed.

    Raises:
        RddError: it is something else, is damaged, or does not fit ``data``.

    >>> images, labels = torch.zeros(3, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1, 1])
    >>> data = ImageDataset(images, labels, ("cat", "dog"), (0.5,), (0.25,))
    >>> groups_from_bytes(groups_to_bytes(Groups(torch.tensor([0, 1, 0]), 2, "style"), 9.0), data)[0].ids.tolist()
    [0, 1, 0]
    """
    arrays = parse_arrays(held, "groups", "groups", "find them anew")
    try:
        values: dict[str, Any] = {k: torch.from_numpy(v) if v.ndim else v.item() for k, v in arrays.items()}
        trials = pydantic.TypeAdapter(tuple[Trial, ...]).validate_json(values.pop("trials", "[]"))
        seconds, groups = float(values.pop("seconds")), Groups(**values, trials=trials)
        fits = groups.ids.dtype == torch.int64 and groups.ids.shape == data.labels.shape
        fits = fits and isinstance(groups.num_groups, int) and isinstance(groups.source, str)
        fits = fits and isinstance(groups.report, str) and (groups.start is None or groups.start in STARTS)
        fits = fits and bool((groups.ids >= 0).all() and (groups.ids < groups.num_groups).all())
        if groups.learnable is not None:
            fits = fits and groups.learnable.shape == (data.num_classes, groups.num_groups)
            fits = fits and groups.learnable.dtype == torch.float64
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise RddError(f"these are no groups ({type(error).__name__}): find them anew") from None
    if not fits:
        raise RddError(f"these are groups of other data than {data.name!r}: find them anew")
    return groups, seconds


class KeptGroups:
    """A folder of groups that were found, known again by the contents of the data and by all that decides about them.

    That is what is asked for, this package's code, the version of PyTorch, and what computes: what is taken from here
    is to the bit what would be found anew. What is damaged, or cannot be written, is found anew.

    Args:
        folder: where; None to keep nothing.
        data: what groups are looked for in.
        device: what computes.
        asked: what else decides about all of them.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, data: ImageDataset, device: str, **asked: Any) -> None:
        self.folder, self.data = None if folder is None else Folder(folder), data
        if self.folder is not None:
            where = environment.describe(pick_device(device))
            self.asked = {
                "data": [data.digest, data.num_classes, data.mean, data.std],
                "code": _code(),
                "where": [where[name] for name in ("torch", "device", "processor", "threads")],
                **asked,
            }

    def or_found(self, find: Callable[[], Iterable[Groups]], **asked: Any) -> tuple[list[Groups], bool]:
        """The groups of this data for which the same was ``asked``, and whether they were here; else found and kept."""
        if self.folder is None:
            return list(find()), False
        told = json.dumps({**self.asked, **asked}, sort_keys=True)
        name = f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npz"
        with contextlib.suppress(OSError, RddError, KeyError):  # cut short, the archive in the archive may be read
            each = parse_arrays(self.folder.read(name), name, "groups", "find them anew")
            return [groups_from_bytes(each[str(k)].tobytes(), self.data)[0] for k in range(len(each))], True
        found, buffer = list(find()), io.BytesIO()
        held = {str(k): np.frombuffer(groups_to_bytes(groups), np.uint8) for k, groups in enumerate(found)}
        np.savez(buffer, **held)  # type: ignore[arg-type]
        with contextlib.suppress(OSError, RddError):
            self.folder.make()
            self.folder.write(name, buffer.getvalue())
        return found, False


def kept_files(folder: Path) -> list[Path]:
    """The files of :class:`KeptGroups` in ``folder``, and no others."""
    named = re.compile(r"[0-9a-f]{32}\.npz")
    return sorted(file for file in folder.glob("*.npz") if named.fullmatch(file.name) and file.is_file())


@functools.cache
def _code() -> str:
    """A digest of this package's code, as other code might find other groups."""
    total = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()
