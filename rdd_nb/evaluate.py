"""The train-on-synthetic protocol: fresh nets are trained on a set, and what each says of each test sample is kept.

Everything that is reported is derived from those predictions (:class:`Scores`), so accuracy, worst group, paired tests
and robustness all speak of the same nets. The last step of training counts; nothing is selected on the test set.
"""

from __future__ import annotations

import dataclasses
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from rdd_nb import augment, networks
from rdd_nb.datasets import ImageDataset
from rdd_nb.errors import RddError, unknown
from rdd_nb.machine import pick_device, seed_of, stream, tune_allocator
from rdd_nb.runs import SyntheticSet, atomic_write

__all__ = [
    "PROFILES",
    "Protocol",
    "Scores",
    "cluster_groups",
    "corrupt",
    "evaluate",
    "matched",
    "predict",
    "robustness",
    "train",
]


@dataclass(frozen=True)
class Protocol:
    """How an evaluation net is trained; the defaults are the reference protocol (Zhao et al., 2006.05929).

    SGD with momentum and weight decay, the learning rate divided by 10 once, half way. ``augment`` draws one
    operation a batch with parameters for each sample (DSA's evaluation uses 1,000 epochs with it).
    """

    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augment: str = "none"
    network: str = "convnet"
    width: int = 128
    depth: int = 3
    norm: str = "instance"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "width", "depth"):
            if getattr(self, name) < 1:
                raise RddError(f"protocol {name}={getattr(self, name)} must be at least 1")
        if self.lr <= 0:
            raise RddError(f"protocol lr={self.lr} must be above 0")
        augment.parse(self.augment)


#: The three sizes: ``smoke`` only proves that the code runs, ``full`` is the papers' protocol.
PROFILES: dict[str, Protocol] = {
    "smoke": Protocol(epochs=3, width=8),
    "quick": Protocol(epochs=100, lr=0.02, width=32),
    "full": Protocol(),
}


@dataclass(frozen=True, eq=False)
class Scores:
    """What each of several nets said about each test sample.

    Attributes:
        predictions: int16 ``[nets, N]``, the predicted class.
        losses: float32 ``[nets, N]``, cross-entropy in nats.
        confidence: float32 ``[nets, N]``, probability of the predicted class.
        labels: int64 ``[N]``.
        class_names: K names.
        groups, group_names, minority, minority_names: of the test set, where it has them.
    """

    predictions: NDArray[np.int16]
    losses: NDArray[np.float32]
    confidence: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    minority: NDArray[np.bool_] | None = None
    minority_names: tuple[str, str] = ("majority", "minority")

    @property
    def correct(self) -> NDArray[np.bool_]:
        """bool ``[nets, N]``."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Of each net, ``[nets]``."""
        return self.correct.mean(1)

    def table(self, by: str = "group") -> pd.DataFrame:
        """A tidy table: net, group, n, correct.

        Args:
            by: ``group`` (the named groups), ``minority`` (majority and minority), ``class``, ``class-group`` or
                ``all``.

        Raises:
            RddError: another ``by``, or one that the test set has no names for.
        """
        ids, names = self._partition(by)
        return self.table_of(ids, names)

    def table_of(self, ids: NDArray[Any], names: tuple[str, ...]) -> pd.DataFrame:
        """Like :meth:`table`, for groups of your own: ``ids`` int ``[N]`` into ``names``."""
        sizes = np.bincount(ids, minlength=len(names))
        rows = [
            {"net": net, "group": name, "n": int(sizes[k]), "correct": int(right)}
            for net, hits in enumerate(self.correct)
            for k, (name, right) in enumerate(zip(names, np.bincount(ids, weights=hits, minlength=len(names))))
        ]
        return pd.DataFrame(rows)

    def _partition(self, by: str) -> tuple[NDArray[Any], tuple[str, ...]]:
        if by == "all":
            return np.zeros(len(self.labels), dtype=int), ("all",)
        if by == "class":
            return self.labels, self.class_names
        if by == "minority" and self.minority is not None:
            return self.minority.astype(int), self.minority_names
        if by == "group" and self.groups is not None:
            return self.groups, self.group_names
        if by == "class-group" and self.groups is not None:
            names = tuple(f"{c} / {g}" for c in self.class_names for g in self.group_names)
            return self.labels * len(self.group_names) + self.groups, names
        known = ("all", "class", "group", "class-group", "minority")
        if by in known:
            raise RddError(f"the test set names no groups, so there is no table by {by!r}: use by='class' or by='all'")
        raise unknown("grouping", by, known)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as ``.npz`` (no pickle)."""
        arrays = {k: np.asarray(v) for k, v in vars(self).items() if v is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return atomic_write(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Read what :meth:`save` wrote; RddError if it is something else."""
        try:
            with np.load(path, allow_pickle=False) as held:
                values: dict[str, Any] = {name: held[name] for name in held.files}
            for name in ("class_names", "group_names", "minority_names"):
                values[name] = tuple(map(str, values[name]))
            return cls(**values)
        except (
            *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError),
            *(zipfile.BadZipFile, zlib.error),  # a file cut short
        ) as error:
            raise RddError(f"{path} holds no scores ({type(error).__name__}): evaluate the run again") from None


def _source(data: SyntheticSet | ImageDataset, device: torch.device) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A function from indices to normalised images on ``device``, and the labels there."""
    labels = data.labels.to(device)
    images = data.images.to(device)
    if isinstance(data, SyntheticSet):
        return lambda index: images[index], labels
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    return lambda index: (images[index].float() / 255 - mean) / std, labels


def train(
    data: SyntheticSet | ImageDataset,
    protocol: Protocol | None = None,
    *,
    nets: int = 5,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[nn.Module]:
    """Train ``nets`` fresh networks on ``data``; net i depends on ``seed`` and i alone.

    On CUDA all of them are trained at once (one batched step for all), on the CPU one after another, which is faster
    there. Both give the same nets up to rounding.

    Args:
        data: a distilled set, or real images.
        protocol: how; default :class:`Protocol`.
        progress: called with (steps done, steps in all).

    Raises:
        RddError: ``nets`` below 1, or a net whose loss is no longer finite.
    """
    tune_allocator()
    protocol = protocol or Protocol()
    if nets < 1:
        raise RddError(f"nets={nets}: train at least 1")
    where = pick_device(device)
    made = [
        networks.build(
            protocol.network,
            data.shape,
            data.num_classes,
            width=protocol.width,
            depth=protocol.depth,
            norm=protocol.norm,
            seed=seed_of(seed, "evaluation", i),
        ).to(where)
        for i in range(nets)
    ]
    together = where.type == "cuda" and nets > 1 and not any(True for _ in made[0].buffers())
    groups = [made] if together else [[net] for net in made]
    for number, part in enumerate(groups):
        streams = [stream(seed, "evaluation", number + i, "batches") for i in range(len(part))]
        (_train_together if together else _train_one)(
            part, data, protocol, streams, where, _tell(progress, number, len(groups))
        )
    return [net.eval() for net in made]


def _tell(progress: Callable[[int, int], None] | None, number: int, of: int) -> Callable[[int, int], None]:
    if progress is None:
        return lambda done, total: None
    return lambda done, total: progress(number * total + done, of * total)


def _rate(protocol: Protocol, epoch: int) -> float:
    """The learning rate in ``epoch``: a tenth of it in the second half (the reference: from ⌊E/2⌋ + 1 on)."""
    return protocol.lr * (0.1 if epoch > protocol.epochs // 2 else 1.0)


def _train_one(
    nets: Sequence[nn.Module],
    data: SyntheticSet | ImageDataset,
    protocol: Protocol,
    streams: list[torch.Generator],
    device: torch.device,
    tell: Callable[[int, int], None],
) -> None:
    [net], [draw] = nets, streams
    images, labels = _source(data, device)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=protocol.lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )
    for epoch in range(protocol.epochs):
        for group in optimiser.param_groups:
            group["lr"] = _rate(protocol, epoch)
        for part in torch.randperm(len(labels), generator=draw).split(protocol.batch):
            transform = augment.draw(protocol.augment, len(part), draw, device=device)
            part = part.to(device)
            loss = F.cross_entropy(net(transform(images(part))), labels[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        _check_finite(loss.detach(), epoch)
        tell(epoch + 1, protocol.epochs)
    for p in net.parameters():  # the last step comes after the last loss
        _check_finite(p.detach(), protocol.epochs - 1)


def _train_together(
    nets: Sequence[nn.Module],
    data: SyntheticSet | ImageDataset,
    protocol: Protocol,
    streams: list[torch.Generator],
    device: torch.device,
    tell: Callable[[int, int], None],
) -> None:
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap

    images, labels = _source(data, device)
    parameters, _ = stack_module_state(list(nets))
    parameters = {name: p.detach().clone() for name, p in parameters.items()}
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    shell = nets[0]

    def loss_of(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(shell, p, (x,)), y)

    step = vmap(grad_and_value(loss_of))
    loss = torch.zeros(len(nets))
    for epoch in range(protocol.epochs):
        rate = _rate(protocol, epoch)
        orders = [torch.randperm(len(labels), generator=draw).split(protocol.batch) for draw in streams]
        for parts in zip(*orders):
            transforms = [augment.draw(protocol.augment, len(p), d, device=device) for p, d in zip(parts, streams)]
            index = torch.stack(parts).to(device)
            x = images(index.flatten()).view(*index.shape, *data.shape)
            if protocol.augment != "none":
                x = torch.stack([transform(part) for transform, part in zip(transforms, x)])
            gradient, loss = step(parameters, x, labels[index])
            for name, p in parameters.items():
                g = gradient[name].add_(p, alpha=protocol.weight_decay)
                velocity[name].mul_(protocol.momentum).add_(g)
                p.sub_(velocity[name], alpha=rate)
        if epoch % 25 == 24 or epoch + 1 == protocol.epochs:  # reading the loss waits for the device
            _check_finite(loss, epoch)
        tell(epoch + 1, protocol.epochs)
    for p in parameters.values():  # the last step comes after the last loss
        _check_finite(p, protocol.epochs - 1)
    with torch.no_grad():
        for i, net in enumerate(nets):
            for name, p in net.named_parameters():
                p.copy_(parameters[name][i])


def _check_finite(values: Tensor, epoch: int) -> None:
    if not bool(torch.isfinite(values).all()):
        raise RddError(
            f"an evaluation net diverged in epoch {epoch + 1} (it is no longer finite): lower the protocol's lr"
        )


@torch.no_grad()
def predict(nets: Sequence[nn.Module], test: ImageDataset, batch: int = 512) -> Scores:
    """What ``nets`` (all on one device) say about ``test``."""
    device = next(nets[0].parameters()).device
    labels = test.labels.to(device)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in torch.arange(len(test)).split(batch):
        x, y = test.normalised(part, device), labels[part.to(device)]
        logits = torch.stack([net(x) for net in nets])
        top = logits.softmax(2).max(2)
        losses = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(nets)), reduction="none").view(len(nets), -1)
        columns.append((top.indices, losses, top.values))
    said, nats, confidence = (torch.cat(c, 1).cpu().numpy() for c in zip(*columns))
    return Scores(
        predictions=said.astype(np.int16),
        losses=nats.astype(np.float32),
        confidence=confidence.astype(np.float32),
        labels=test.labels.numpy(),
        class_names=test.class_names,
        groups=None if test.groups is None else test.groups.numpy(),
        group_names=test.group_names,
        minority=None if test.minority is None else test.minority.numpy(),
        minority_names=test.minority_names,
    )


def matched(trained_on: SyntheticSet | ImageDataset, test: ImageDataset) -> ImageDataset:
    """``test`` with the normalisation of ``trained_on``: the nets see what they were trained to see.

    Raises:
        RddError: the two have other classes or another image shape.
    """
    if trained_on.class_names != test.class_names:
        raise RddError(
            f"trained on classes {_names(trained_on.class_names)}, tested on {_names(test.class_names)}: use a test "
            "set of the same classes in the same order"
        )
    if trained_on.shape != test.shape:
        raise RddError(
            f"trained on images of {trained_on.shape}, tested on {test.shape}: load both with the same size and "
            "scenario"
        )
    if not np.allclose((*trained_on.mean, *trained_on.std), (*test.mean, *test.std), atol=1e-4):
        test = test.with_statistics(trained_on.mean, trained_on.std)
    return test


def evaluate(
    trained_on: SyntheticSet | ImageDataset,
    test: ImageDataset,
    *,
    nets: int = 5,
    protocol: Protocol | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Train fresh nets on a set and score them on ``test``.

    Raises:
        RddError: the two do not fit (classes, image shape, normalisation), or see :func:`train`.
    """
    test = matched(trained_on, test)
    return predict(train(trained_on, protocol, nets=nets, seed=seed, device=device, progress=progress), test)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")


# --- the table of the paper's kind: Acc, Cluster-min, Noise, Blur, Invert -------------------------------------------


def corrupt(test: ImageDataset, kind: str, seed: int = 0) -> ImageDataset:
    """``test`` with each image corrupted (method, "What the released code does").

    Args:
        kind: ``noise`` (Gaussian; variance 0.005 of pixels in [0, 1] up to 64 px, standard deviation 0.2 above),
            ``blur`` (Gaussian, standard deviation 2 pixels) or ``invert`` (255 − pixel).
    """
    x = test.images
    if kind == "noise":
        sigma = 255 * (0.005**0.5 if test.shape[-1] <= 64 else 0.2)
        noise = torch.randn(x.shape, generator=stream(seed, "corrupt"))
        x = (x.float() + sigma * noise).round().clamp(0, 255).to(torch.uint8)
    elif kind == "blur":
        reach = torch.arange(-6, 7, dtype=torch.float32)
        kernel = torch.exp(-(reach**2) / 8)
        kernel = (kernel / kernel.sum()).expand(test.shape[0], 1, -1)
        parts = []
        for part in x.float().split(1000):
            for axis in (2, 3):
                edge = (6, 6, 0, 0) if axis == 3 else (0, 0, 6, 6)
                weight = kernel[:, :, None, :] if axis == 3 else kernel[:, :, :, None]
                part = F.conv2d(F.pad(part, edge, mode="replicate"), weight, groups=test.shape[0])
            parts.append(part.round().clamp(0, 255).to(torch.uint8))
        x = torch.cat(parts)
    elif kind == "invert":
        x = 255 - x
    else:
        raise unknown("corruption", kind, ("noise", "blur", "invert"))
    return dataclasses.replace(test, images=x)


def cluster_groups(test: ImageDataset, k: int = 10, seed: int = 0) -> Tensor:
    """Cluster-min's groups: k-means on the test set's normalised pixels, int64 ``[N]``; fixed beforehand.

    Raises:
        RddError: ``k`` below 1 or above N.
    """
    if not 1 <= k <= len(test):
        raise RddError(f"k={k} clusters of {len(test)} test images: give 1 to {len(test)}")
    points = test.normalised().flatten(1).numpy()
    return torch.from_numpy(KMeans(k, n_init=1, random_state=seed).fit_predict(points)).long()


def robustness(nets: Sequence[nn.Module], test: ImageDataset, seed: int = 0, k: int = 10) -> pd.DataFrame:
    """Acc, Cluster-min, Noise, Blur and Invert of each net: a tidy table net, metric, value (fractions)."""
    plain = predict(nets, test).correct
    clusters = cluster_groups(test, k, seed).numpy()
    values = {
        "Acc": plain.mean(1),
        "Cluster-min": np.min([plain[:, clusters == c].mean(1) for c in np.unique(clusters)], axis=0),
    }
    for kind in ("noise", "blur", "invert"):
        values[kind.capitalize()] = predict(nets, corrupt(test, kind, seed)).accuracy
    return pd.DataFrame(
        [{"net": net, "metric": m, "value": float(v)} for m, column in values.items() for net, v in enumerate(column)]
    )
