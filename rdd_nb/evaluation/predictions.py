"""The train-on-synthetic protocol: fresh nets are trained on a set, and what each says of each test sample is kept.

Everything that is reported is derived from those predictions (:class:`Scores`), so accuracy, worst group, paired tests
and robustness all speak of the same nets. How they are trained, :mod:`rdd_nb.models.training` says; nothing is selected
on the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rdd_nb.core.device import release_memory
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation.scores import Scores
from rdd_nb.models.descent import images_at_once
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.training import train

__all__ = ["evaluate", "matched", "predict"]


@torch.no_grad()
def predict(nets: Sequence[nn.Module], test: ImageDataset, batch: int | None = None) -> Scores:
    """What ``nets`` (all on one device) say about ``test``, normalised by its own statistics; their mode is kept.

    Raises:
        RddError: no nets, no samples, outputs that are not one logit a class, or outputs that are not finite.
    """
    if not nets or not len(test):
        raise RddError(f"{len(nets)} nets on {len(test)} test samples: give at least one of each")
    device = next(nets[0].parameters()).device
    labels = test.labels.to(device)
    modes = [net.training for net in nets]
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        for net in nets:
            net.eval()
        batch = batch or min(test.at_once, max(1, images_at_once(nets[0], test.shape) // 2))  # wide nets hold more
        for part in torch.arange(len(test)).split(batch):
            x, y = test.normalised(part, device), labels[part.to(device)]
            logits = torch.stack([net(x) for net in nets])
            if logits.shape[2] != test.num_classes:
                raise RddError(
                    f"the nets give {logits.shape[2]} logits, the test set has {test.num_classes} classes: use a test "
                    "set of the classes they were trained on"
                )
            top = logits.softmax(2).max(2)
            losses = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(nets)), reduction="none").view(len(nets), -1)
            columns.append((top.indices, losses, top.values))
    finally:
        for net, mode in zip(nets, modes):
            net.train(mode)
    said, nats, confidence = (torch.cat(c, 1).cpu().numpy() for c in zip(*columns))
    for i in np.flatnonzero(~np.isfinite(nats).all(1)):
        raise RddError(f"net {i} gives outputs that are not finite: it diverged; lower the protocol's lr")
    return Scores(
        predictions=said.astype(np.int16),
        losses=nats.astype(np.float32),
        confidence=confidence.astype(np.float32),
        labels=test.labels.cpu().numpy(),
        class_names=test.class_names,
        groups=None if test.groups is None else test.groups.cpu().numpy(),
        group_names=test.group_names,
        minority=None if test.minority is None else test.minority.cpu().numpy(),
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
    if trained_on.shape[0] != test.shape[0]:
        raise RddError(
            f"trained on images of {trained_on.shape[0]} channels, tested on {test.shape[0]}: load both with the same "
            "channels"
        )
    if trained_on.shape != test.shape:
        raise RddError(
            f"trained on images of {trained_on.shape}, tested on {test.shape}: load both with the same size and "
            "scenario"
        )
    return test.with_statistics(trained_on.mean, trained_on.std)


def evaluate(
    trained_on: SyntheticSet | ImageDataset,
    test: ImageDataset,
    *,
    nets: int = 5,
    protocol: Protocol | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Train fresh nets on a set (:func:`train`) and score them on ``test`` (:func:`predict`).

    The test images are normalised as the training images were, whatever statistics ``test`` carries.

    Raises:
        RddError: the two do not fit (classes, image shape), or see :func:`train`.
    """
    test = matched(trained_on, test)
    scores = predict(train(trained_on, protocol, nets=nets, seed=seed, device=device, progress=progress), test)
    release_memory()
    return scores


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
