"""Groups as the bytes of a file, so that a minute of looking for them is spent once."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pydantic
import torch

from rdd_nb.clustering.groups import Groups, Trial
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import parse_arrays
from rdd_nb.data.dataset import ImageDataset

__all__ = ["groups_from_bytes", "groups_to_bytes"]


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
        fits = fits and isinstance(groups.report, str)
        fits = fits and bool((groups.ids >= 0).all() and (groups.ids < groups.num_groups).all())
        if groups.learnable is not None:
            fits = fits and groups.learnable.shape == (data.num_classes, groups.num_groups)
            fits = fits and groups.learnable.dtype == torch.float64
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise RddError(f"these are no groups ({type(error).__name__}): find them anew") from None
    if not fits:
        raise RddError(f"these are groups of other data than {data.name!r}: find them anew")
    return groups, seconds
