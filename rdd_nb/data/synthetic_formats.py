"""A synthetic set in the forms that other tools take: arrays of NumPy, and an object of Hugging Face's ``datasets``.

The sets are :class:`rdd_nb.data.synthetic_set.SyntheticSet`, whose methods call these functions.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import Tensor

from rdd_nb.core.errors import RddError

__all__ = ["to_datasets", "to_npz"]


def to_npz(synthetic: Any) -> bytes:
    """A ``.npz`` file that needs no unpickling, in the layout of MedMNIST, with the exact values beside the pixels.

    - ``train_images``: uint8 ``[M, H, W]`` or ``[M, H, W, C]``, ``train_labels``: int64 ``[M]``, ``class_names``: what
      ``npz:PATH`` and readers of MedMNIST take. These are the decoded images, rounded to 8 bits;
    - ``images``: the same, exact: float32 ``[M, C, H, W]``, normalised by ``mean`` and ``std`` (one value a channel);
    - ``soft_labels``: float32 ``[M, K]``, where there are some;
    - ``stored`` and ``formations``, where several images share the place of one.

    Equal sets give equal bytes.
    """
    whole = synthetic.decoded
    pixels = whole.to_uint8().permute(0, 2, 3, 1).numpy()
    arrays: dict[str, Any] = {
        "train_images": pixels[..., 0] if pixels.shape[3] == 1 else pixels,
        "train_labels": whole.labels.cpu().numpy(),
        "class_names": np.array(whole.class_names),
        "images": _exact(whole.images),
        "mean": np.array(whole.mean, np.float32),
        "std": np.array(whole.std, np.float32),
    }
    if whole.soft_labels is not None:
        arrays["soft_labels"] = _exact(whole.soft_labels)
    if synthetic.formations > 1:
        arrays |= {"stored": _exact(synthetic.images), "formations": np.int64(synthetic.formations)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _exact(values: Tensor) -> np.ndarray:
    return values.detach().cpu().contiguous().numpy()


def to_datasets(synthetic: Any) -> Any:
    """A ``datasets.Dataset`` with the columns ``image`` (8 bits), ``label`` and, where there are some, ``soft_label``.

    Raises:
        RddError: the package ``datasets`` is not installed; images of neither one nor three channels.
    """
    try:
        import datasets
    except ImportError:
        raise RddError("to_datasets() needs Hugging Face's datasets: pip install datasets") from None
    whole = synthetic.decoded
    if whole.shape[0] not in (1, 3):
        raise RddError(f"images of {whole.shape[0]} channels are no pictures: use to_torch(), or save them as .npz")
    from PIL import Image

    pixels = whole.to_uint8().permute(0, 2, 3, 1).numpy()
    columns: dict[str, list[Any]] = {
        "image": [Image.fromarray(each[..., 0] if each.shape[2] == 1 else each) for each in pixels],
        "label": whole.labels.tolist(),
    }
    kinds: dict[str, Any] = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(whole.class_names))}
    if whole.soft_labels is not None:
        columns["soft_label"] = whole.soft_labels.tolist()
        kinds["soft_label"] = datasets.Sequence(datasets.Value("float32"), length=whole.num_classes)
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
