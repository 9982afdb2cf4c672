"""The synthetic set: a few images per class with all that their use needs, and its file, safe to open from anybody."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write, one_line, without_folders
from rdd_nb.core.folders import read_regular
from rdd_nb.core.version import __version__
from rdd_nb.data import synthetic_formats
from rdd_nb.data.decoders import Decoder, Latents
from rdd_nb.data.formations import check_formations, decode

__all__ = ["SyntheticSet", "load_synthetic", "save_synthetic"]

FORMAT, FORMAT_VERSION = "rdd_nb.synthetic", "1"
#: How images and labels may be kept; a reader that does not know one of these refuses the file.
SOFT = ", soft labels"
KNOWN = tuple(kind + soft for soft in ("", SOFT) for kind in ("pixels", "formations", "latent"))
DECODER = "decoder."  # before the names of its weights


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """A distilled set: ``ipc`` stored images for each class, in the units the networks see.

    Attributes:
        images: float32 ``[M, C, H, W]``, normalised: ``(pixel / 255 - mean) / std``; ``M = ipc × classes``.
        labels: int64 ``[M]`` in ``0..K-1``; every class occurs exactly ``ipc`` times, in any order.
        class_names: K names.
        mean, std: per channel, of ``pixel / 255``, of the real training set; length C.
        ipc: stored images per class.
        meta: where it comes from (dataset, scenario, matching, objective, seed, …), strings only.
        formations: each stored image is a grid of so many by so many smaller ones (:mod:`rdd_nb.data.formations`);
            networks are trained on :attr:`decoded`. With 1 the two are the same.
        soft_labels: None, or float32 ``[M · formations², K]``, each row summing to 1: what networks are trained by in
            place of the classes, one for each decoded image.
        latents: None, or the codes that the images are kept as, and their decoder; ``images`` are then
            ``latents.images``.

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
    formations: int = 1
    soft_labels: Tensor | None = None
    latents: Latents | None = None

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
        check_formations(self.formations, *self.shape[1:])
        if self.latents is not None and (images is not self.latents.images or self.formations != 1):
            raise RddError("images beside latents must be latents.images, in 1 formation: or give latents=None")
        self._check_soft_labels()

    def _check_soft_labels(self) -> None:
        soft, shape = self.soft_labels, (len(self.images) * self.formations**2, self.num_classes)
        if soft is None:
            return
        if soft.shape != shape or soft.dtype != torch.float32:
            raise RddError(f"soft labels are {_shape(soft)}: give float32 {list(shape)}, a row for each decoded image")
        if not bool(((soft >= 0).all(1) & ((soft.sum(1) - 1).abs() < 1e-3)).all()):
            raise RddError("soft labels must be at least 0 and sum to 1 in each row: give probabilities")

    @functools.cached_property
    def decoded(self) -> SyntheticSet:
        """What networks are trained on: ``ipc · formations²`` images for each class, each of the full size.

        >>> stored = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (1.0,), 1, {}, 2)
        >>> stored.decoded.ipc, stored.decoded.labels.tolist()
        (4, [0, 0, 0, 0, 1, 1, 1, 1])
        """
        if self.latents is not None:
            return dataclasses.replace(self, latents=None)
        if self.formations == 1:
            return self
        many = self.formations**2
        return dataclasses.replace(
            self,
            images=decode(self.images, self.formations),
            labels=self.labels.repeat_interleave(many),
            ipc=self.ipc * many,
            formations=1,
        )

    @property
    def stored_numbers(self) -> int:
        """How many numbers the set keeps: of pixels or codes, and of soft labels; classes are not counted.

        What decodes them counts apart, as many sets may share it: :attr:`decoder_numbers`.

        >>> SyntheticSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("a", "b"), (0.5,), (1.0,), 1).stored_numbers
        32
        """
        soft = 0 if self.soft_labels is None else self.soft_labels.numel()
        return (self.images if self.latents is None else self.latents.codes).numel() + soft

    @property
    def decoder_numbers(self) -> int:
        """How many numbers the decoder of codes has; 0 where images are kept."""
        return 0 if self.latents is None else self.latents.decoder.numbers

    @property
    def kept(self) -> str:
        """How images are kept that are not kept as they are, in words; else empty.

        >>> SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (1.0,), 1, {}, 2).kept
        'each holds 2 × 2 smaller ones, which are enlarged before use'
        """
        if self.latents is not None:
            numbers = self.latents.codes.numel()
            return (
                f"each is kept as a code of {self.latents.decoder.code_numbers:,} numbers, {numbers:,} in all, and "
                f"{numbers + self.decoder_numbers:,} with the decoder that makes images of them"
            )
        many = self.formations
        return "" if many == 1 else f"each holds {many} × {many} smaller ones, which are enlarged before use"

    @property
    def step_size(self) -> float | None:
        """The step size that trajectory matching learnt with the images, above 0; None of all other sets."""
        with contextlib.suppress(ValueError):
            value = float(self.meta.get("step_size", ""))
            return value if 0 < value < math.inf else None
        return None

    @property
    def targets(self) -> Tensor:
        """What networks are trained by: ``soft_labels`` ``[M, K]`` where there are some, else ``labels`` ``[M]``."""
        return self.labels if self.soft_labels is None else self.soft_labels

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
        """The stored images as ordinary pixels, uint8 ``[M, C, H, W]`` on the CPU: denormalised, rounded, clamped."""
        mean, std = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((self.images.detach().cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def to_torch(self) -> torch.utils.data.TensorDataset:
        """The same as :meth:`as_tensor_dataset`."""
        return self.as_tensor_dataset()

    def to_datasets(self) -> Any:
        """A ``datasets.Dataset`` of Hugging Face: see :func:`rdd_nb.data.synthetic_formats.to_datasets`."""
        return synthetic_formats.to_datasets(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as ``.safetensors`` (:func:`save_synthetic`) or ``.npz`` (of :mod:`rdd_nb.data.synthetic_formats`).

        Raises:
            RddError: another suffix, or a place that cannot be written.
        """
        suffix = Path(path).suffix
        if suffix == ".npz":
            return atomic_write(path, synthetic_formats.to_npz(self))
        if suffix != ".safetensors":
            raise RddError(f"cannot save a synthetic set as {path}: call it NAME.safetensors or NAME.npz")
        return save_synthetic(path, self)

    def as_tensor_dataset(self) -> torch.utils.data.TensorDataset:
        """``(image, label)`` pairs for a plain PyTorch ``DataLoader``, on the CPU: float32 ``[C, H, W]``, int64 ``[]``.

        These are the decoded images, as networks are trained on them, with their soft labels (float32 ``[K]``) where
        the set has such; ``cross_entropy`` takes either. They are normalised, ``(pixel / 255 - mean) /
        std`` with the ``mean`` and ``std`` of the real training set that are kept here: normalise test images with the
        same two, and do not normalise these again.

        >>> s = SyntheticSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("cat", "dog"), (0.5,), (0.25,), ipc=1)
        >>> image, label = s.as_tensor_dataset()[1]
        >>> image.shape, int(label)
        (torch.Size([1, 4, 4]), 1)
        """
        whole = self.decoded
        return torch.utils.data.TensorDataset(whole.images.detach().cpu(), whole.targets.detach().cpu())


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def save_synthetic(path: str | os.PathLike[str], synthetic: SyntheticSet) -> Path:
    """Write ``synthetic`` as safetensors, atomically; returns the path. Equal sets give equal bytes.

    The tensors are ``images`` (float32, normalised), ``labels`` (int64) and, where there are some, ``soft_labels``
    (float32); where the set has latents ``codes`` in place of images, and the decoder's weights, ``decoder.`` before
    their names. The metadata, all strings: ``format`` ``"rdd_nb.synthetic"``, ``format_version``, ``parameterisation``
    (``"pixels"``; or ``"formations"``, with how many as ``formations``; or ``"latent"``, with the decoder's code and
    layers as JSON in ``decoder``; ``", soft labels"`` after it where there are some), ``ipc``, ``class_names``,
    ``mean``, ``std`` and ``meta`` as JSON, and ``rdd_nb``, the version that wrote it.
    Any safetensors reader opens it.

    Raises:
        RddError: the place is not writable or full, or no file can carry the decoder.
    """
    tensors, more = {"labels": synthetic.labels.cpu().contiguous()}, {}
    if synthetic.latents is not None:
        kept, codes, (more["decoder"], weights) = "latent", synthetic.latents.codes, synthetic.latents.decoder.told()
        tensors |= {"codes": codes.detach().cpu().contiguous(), **{DECODER + name: t for name, t in weights.items()}}
    else:
        kept, tensors["images"] = "pixels", synthetic.images.detach().cpu().contiguous()
        if synthetic.formations > 1:
            kept, more["formations"] = "formations", str(synthetic.formations)
    if synthetic.soft_labels is not None:
        kept += SOFT
        tensors["soft_labels"] = synthetic.soft_labels.detach().cpu().contiguous()
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parameterisation": kept,
        **more,
        "ipc": str(synthetic.ipc),
        "class_names": json.dumps(list(synthetic.class_names)),
        "mean": json.dumps(list(synthetic.mean)),
        "std": json.dumps(list(synthetic.std)),
        "rdd_nb": __version__,
        "meta": json.dumps({str(k): without_folders(str(v)) for k, v in synthetic.meta.items()}, sort_keys=True),
    }
    data = safetensors.torch.save(tensors, metadata)
    # The library writes the header in the order of a hash map, another one each time: write it sorted instead.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return atomic_write(path, len(header).to_bytes(8, "little") + header + data[end:])


def load_synthetic(path: str | os.PathLike[str], follow: bool = True) -> SyntheticSet:
    """Read a set that :func:`save_synthetic` wrote. Nothing in the file is executed.

    Args:
        path: of the file.
        follow: whether it may be a link; not where the folder it lies in may be a stranger's.

    Raises:
        RddError: no such file; not safetensors, or truncated; safetensors of something else; another format version;
            tensors that do not fit each other or the metadata.
    """
    make = "make one with `rdd-nb distill` or rdd_nb.data.synthetic_set.save_synthetic"
    try:
        data = read_regular(path, follow=follow)
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # the library gives none of it
        said, names = header.get("__metadata__", {}), sorted(tensors)
    except OSError as error:
        raise RddError(f"cannot read the synthetic set {path} ({error.strerror or error}): {make}") from None
    except safetensors.SafetensorError as error:
        raise RddError(f"{path} is truncated or no safetensors file ({error}): copy it again, or {make}") from None
    except (TypeError, KeyError) as error:  # a kind of number that this PyTorch does not know
        raise RddError(f"{path} holds tensors that cannot be read ({one_line(error)}): {make}") from None
    if said.get("format") != FORMAT:
        raise RddError(f"{path} holds the tensors {', '.join(names[:4]) or '(none)'}, not a synthetic set: {make}")
    if said.get("format_version") != FORMAT_VERSION or said.get("parameterisation") not in KNOWN:
        raise RddError(
            f"{path} has format version {said.get('format_version')} ({said.get('parameterisation')}), by rdd_nb "
            f"{said.get('rdd_nb')}; this one reads version {FORMAT_VERSION} ({', '.join(KNOWN[:3])}): use "
            "the rdd_nb that wrote it"
        )
    try:
        latents = None
        if said["parameterisation"].startswith("latent"):
            weights = {name.removeprefix(DECODER): t for name, t in tensors.items() if name.startswith(DECODER)}
            latents = Latents(tensors["codes"], Decoder.rebuilt(said["decoder"], weights))
        return SyntheticSet(
            images=tensors["images"] if latents is None else latents.images,
            labels=tensors["labels"],
            class_names=tuple(map(str, json.loads(said["class_names"]))),
            mean=tuple(map(float, json.loads(said["mean"]))),
            std=tuple(map(float, json.loads(said["std"]))),
            ipc=int(said["ipc"]),
            meta={str(k): str(v) for k, v in json.loads(said["meta"]).items()},
            formations=int(said["formations"]) if said["parameterisation"].startswith("formations") else 1,
            soft_labels=tensors["soft_labels"] if said["parameterisation"].endswith(SOFT) else None,
            latents=latents,
        )
    except RddError as error:
        raise RddError(f"{path} does not fit together: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise RddError(f"{path} is a damaged synthetic set ({one_line(error)}): {make}") from None
