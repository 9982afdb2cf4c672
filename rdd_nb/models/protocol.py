"""The training protocol of a network, checked, and its three sizes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from rdd_nb.core.device import PRECISIONS
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.models import augmentation, networks

__all__ = ["OBJECTIVES", "PROFILES", "SHORT", "Protocol"]

#: The largest networks that somebody may mean: more is a slip of the hand, and would fill the memory.
MOST = {"width": 8192, "depth": 16}
#: What an evaluation net minimises: the mean loss, or group DRO's on the groups that the training set names.
OBJECTIVES = ("erm", "group-dro")


@dataclass(frozen=True)
class Protocol:
    """How an evaluation net is trained; the defaults are the reference protocol (Zhao et al., 2006.05929).

    SGD with momentum and weight decay; after half of the epochs the learning rate is divided by 10, once, and momentum
    starts afresh, as in the reference code. ``augment`` draws one operation a batch with parameters for each sample
    (DSA's evaluation uses 1,000 epochs with it). ``steps``, where given, replaces ``epochs`` by a number of batches.

    ``objective="group-dro"`` is for whole training sets that name their groups: group DRO over the (class, group) pairs
    that occur in them (Sagawa et al., 1911.08731, Algorithm 1). As in its authors' experiments, batches hold all groups
    in equal numbers (members drawn with replacement) and the groups' weights follow their losses by exponentiated
    gradient of step ``group_step``; an epoch has as many batches as a plain one. The paper finds that it needs strong
    regularisation or few epochs, as a net that fits every training sample has no worst group.

    ``precision`` is the arithmetic of the training (:data:`rdd_nb.core.device.PRECISIONS`); predictions are float32's.

    Raises:
        RddError: a value of the wrong kind or out of range; an unknown augmentation, network, norm or objective.
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
    steps: int | None = None
    objective: str = "erm"
    group_step: float = 0.01
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "width", "depth", *(["steps"] if self.steps is not None else [])):
            value = getattr(self, name)
            most = MOST.get(name, 10**9)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise RddError(f"protocol {name}={value!r} must be a whole number from 1 to {most:,}")
        for name in ("lr", "momentum", "weight_decay", "group_step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
                raise RddError(f"protocol {name}={value!r} must be a number, at least 0")
        if self.lr == 0 or self.momentum >= 1:
            raise RddError(f"protocol lr={self.lr} must be above 0, and momentum={self.momentum} below 1")
        for name in ("augment", "network", "norm", "objective", "precision"):
            if not isinstance(getattr(self, name), str):
                raise RddError(
                    f"protocol {name}={getattr(self, name)!r} must be a text, such as {getattr(Protocol, name)!r}"
                )
        augmentation.parse(self.augment)
        if self.network not in networks.available():
            raise unknown("network", self.network, networks.available(), "protocol")
        if self.norm not in networks.NORMS:
            raise unknown("norm", self.norm, networks.NORMS, "protocol")
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES, "protocol")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS, "protocol")

    @property
    def settings(self) -> dict[str, Any]:
        """What the protocol says, by name, for whoever compares it: ``precision`` only where it is not float32.

        Tables from before there was a choice of precision stay known by it.
        """
        return {k: v for k, v in vars(self).items() if (k, v) != ("precision", "float32")}

    def schedule(self, samples: int) -> tuple[int, int, int]:
        """For a set of ``samples``: how many steps in all, how many at the full rate, and how many make one epoch.

        >>> Protocol(epochs=300).schedule(100), Protocol(epochs=4).schedule(1000), Protocol(steps=10).schedule(1000)
        ((300, 151, 1), (16, 12, 4), (10, 6, 4))
        """
        each = -(-samples // self.batch)
        if self.steps is not None:
            return self.steps, min(self.steps // 2 + 1, self.steps), each
        return self.epochs * each, min(self.epochs // 2 + 1, self.epochs) * each, each


#: The three sizes: ``smoke`` only proves that the code runs, ``full`` is the papers' protocol.
PROFILES: dict[str, Protocol] = {
    "smoke": Protocol(epochs=3, width=8),
    "quick": Protocol(epochs=100, lr=0.02, width=32),
    "full": Protocol(),
}

#: The same for notebooks, before which a person waits: at ``quick`` a third of the epochs at five times the step. On
#: the coloured sample, networks trained so on real images differed by a point off-colour, by two to three on-colour.
SHORT: dict[str, Protocol] = {**PROFILES, "quick": Protocol(epochs=30, lr=0.1, width=32)}
