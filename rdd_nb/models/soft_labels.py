"""Soft labels: how much of each class a trained network sees in an image, as a target to train other networks by.

A soft label tells more than a class, so that networks trained by soft labels do better on any images, random real ones
included. To know what distillation brings, all sets that are compared need labels of the same teacher: Li et al.,
*DD-Ranking* (2505.13300). Soft labels by a teacher: Hinton, Vinyals and Dean (1503.02531).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.models.protocol import Protocol

__all__ = ["TEACHER", "soft_labels", "taught"]

#: How a teacher is trained on the real training images, where nothing else is said.
TEACHER = Protocol(steps=500, lr=0.02, width=32)
_AT_A_TIME = 512


@torch.no_grad()
def soft_labels(teachers: Sequence[nn.Module], images: Tensor, temperature: float = 1.0) -> Tensor:
    """``[M, K]``: the mean of the teachers' probabilities for images ``[M, C, H, W]``, softmax(logits / temperature).

    Args:
        teachers: trained networks, in evaluation mode, on one device.
        images: normalised, anywhere; the labels come back to their device.
        temperature: above 1 the classes are nearer to one another, below 1 the first is clearer.

    Raises:
        RddError: no teacher, or a temperature that is not above 0.
    """
    if not teachers or not 0 < temperature < float("inf"):
        raise RddError(f"{len(teachers)} teachers at temperature {temperature:g}: at least one, and a number above 0")
    where = next(teachers[0].parameters()).device
    found = []
    for part in images.split(_AT_A_TIME):
        told = [net(part.to(where)).float().div(temperature).softmax(1) for net in teachers]
        found.append(torch.stack(told).mean(0).to(images.device))
    return torch.cat(found)


def taught(synthetic: SyntheticSet, teachers: Sequence[nn.Module], temperature: float = 1.0) -> SyntheticSet:
    """The set with a label of the teachers for each decoded image; pixels and classes stay as they are."""
    told = soft_labels(teachers, synthetic.decoded.images, temperature)
    return dataclasses.replace(synthetic, soft_labels=told, meta={**synthetic.meta, "labels": "soft"})
