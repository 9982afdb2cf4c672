"""What decides a distillation, in one checked object that notebooks, the command line and run folders share."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pydantic

from rdd_nb.core.checked import complaint
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.models import augmentation, networks
from rdd_nb.models.protocol import MOST

__all__ = ["DistillConfig"]


class DistillConfig(pydantic.BaseModel):
    """Everything that decides a distillation, checked when it is made.

    ``DistillConfig(ipc=10, matching="distribution", objective="robust", tail=0.2, seed=0)``

    The defaults of ``group_power``, ``max_weight`` and ``tail`` are one setting for all scenarios, chosen on held-out
    *training* data (``data/studies/selection.yaml``, ``data/results/selection.csv``: seeds 100 and 101, powers 0, 0.25,
    0.3 and 0.5, weights 0 and 0.25, tails 0.5, 0.8 and 1). The step size of distribution matching was chosen so too, on
    the coloured sample, among 1, 5 and 20. Published distribution matching takes 20,000 iterations at step 1.

    Raises:
        RddError: one line naming every field that is wrong and how to mend it; unknown names with the nearest known.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ipc: int = pydantic.Field(10, ge=1, le=1_000_000, description="synthetic images per class")
    matching: Literal["distribution", "gradient"] = pydantic.Field("distribution", description="what is matched")
    objective: Literal["erm", "robust", "group", "density"] = pydantic.Field(
        "robust", description="how real samples are weighted on the real side (R2, R3, R4; erm is plain)"
    )
    reference: Literal["erm", "robust"] = pydantic.Field(
        "erm", description="how the network is trained between matches; robust is the paper's placement (R1)"
    )
    tail: float = pydantic.Field(0.8, gt=0, le=1, description="fraction of worst samples averaged within a group")
    mean_weight: float = pydantic.Field(1.0, ge=0, description="weight of the mean over groups in the risk")
    max_weight: float = pydantic.Field(0.0, ge=0, description="weight of the worst group in the risk")
    group_power: float = pydantic.Field(
        0.3, ge=0, le=1, description="a learnable group counts as its size to this power: 0 alike, 1 as in the data"
    )
    iterations: int | None = pydantic.Field(
        None, ge=1, le=10**9, description="networks met; default 200 (gradient: 60)"
    )
    outer: int = pydantic.Field(1, ge=1, le=10**9, description="matches in the life of one network")
    inner: int = pydantic.Field(1, ge=0, le=10**9, description="epochs the network is trained for between two matches")
    inner_data: Literal["real", "synthetic"] = pydantic.Field("real", description="what the network is trained on")
    batch_real: int = pydantic.Field(64, ge=1, le=10**9, description="real images per class in one match")
    lr_img: float | None = pydantic.Field(None, gt=0, description="step size of the pixels; default 5 (gradient: 1)")
    momentum_img: float = pydantic.Field(0.5, ge=0, lt=1, description="momentum of the pixels")
    lr_net: float = pydantic.Field(0.01, gt=0, description="step size of the network between matches")
    batch_net: int = pydantic.Field(256, ge=1, le=10**9, description="batch of the network's training between matches")
    augment: str = pydantic.Field("color_crop_cutout_flip_scale_rotate", description="siamese augmentation, or none")
    init: Literal["auto", "real", "noise", "medoids", "groups"] = pydantic.Field(
        "auto",
        description="start: random real images, noise, k-means medoids, or real images spread over groups; auto is "
        "groups where the objective is given some, else real",
    )
    network: str = pydantic.Field("convnet", description="architecture whose statistics are matched")
    width: int = pydantic.Field(32, ge=1, le=MOST["width"], description="channels of the ConvNet (the papers: 128)")
    depth: int = pydantic.Field(3, ge=1, le=MOST["depth"], description="blocks of the ConvNet")
    norm: str = pydantic.Field("instance", description="normalisation layer of the ConvNet")
    precision: Literal["float32", "bfloat16"] = pydantic.Field(
        "float32",
        description="arithmetic of the real side and of the training between matches; the synthetic side is float32",
    )
    checkpoint_every: int = pydantic.Field(50, ge=1, le=10**9, description="iterations between two checkpoints")
    seed: int = pydantic.Field(0, ge=-(2**63), lt=2**63, description="every random draw derives from it")

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in type(self).model_fields:
                raise unknown("parameter", name, type(self).model_fields, "DistillConfig")
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise RddError("; ".join(_say(e) for e in error.errors())) from None

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> DistillConfig:
        if self.reference == "robust" and (self.outer < 2 or self.inner < 1 or self.inner_data != "real"):
            raise ValueError(
                "reference=robust trains the network on real data between matches: set outer ≥ 2, inner ≥ 1 and "
                "inner_data=real"
            )
        if self.mean_weight + self.max_weight == 0:
            raise ValueError("mean_weight and max_weight are both 0: nothing is left of the risk")
        if self.network not in networks.available():
            raise ValueError(str(unknown("network", self.network, networks.available())))
        if self.norm not in networks.NORMS:
            raise ValueError(str(unknown("norm", self.norm, networks.NORMS)))
        augmentation.parse(self.augment)
        return self

    @pydantic.model_serializer(mode="wrap")
    def _told(self, told: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs and tables from before there was a choice of precision stay known by the settings they were made with.
        return {k: v for k, v in told(self).items() if (k, v) != ("precision", "float32")}

    @property
    def num_iterations(self) -> int:
        """Iterations with the matching's default filled in."""
        return self.iterations or {"distribution": 200, "gradient": 60}[self.matching]

    @property
    def step_size(self) -> float:
        """Step size of the pixels with the matching's default filled in."""
        return self.lr_img or {"distribution": 5.0, "gradient": 1.0}[self.matching]

    def matched(self, classes: int) -> int:
        """How many images, real and synthetic, are matched in one iteration on a data set of ``classes`` classes.

        >>> DistillConfig(ipc=10, batch_real=64).matched(10)
        740
        """
        return self.outer * classes * (self.batch_real + self.ipc)


def _say(error: Any) -> str:
    """One pydantic complaint as a person would say it; of a choice, with the nearest that there is."""
    if error["type"] == "literal_error":
        (where,) = error["loc"]
        return str(unknown(where, error["input"], get_args(DistillConfig.model_fields[where].annotation)))
    return complaint(error)
