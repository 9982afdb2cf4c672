"""What decides a distillation, in one checked object that notebooks, the command line and run folders share."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pydantic

from rdd_nb.core.checked import complaint
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.models import augmentation, networks
from rdd_nb.models.protocol import MOST

__all__ = ["DistillConfig"]


#: What counts for trajectories alone.
_TRAJECTORY = {
    *("expert_objective", "num_experts", "expert_epochs", "match_epochs", "max_start_epoch", "first_max_start_epoch"),
    *("student_steps", "student_batch", "student_lr", "lr_step"),
    *("learn_labels", "lr_label"),
}


#: What counts for latents alone.
_LATENT = {"parameterisation", "latents", "decoder", "decoder_steps"}


#: Left out of what a config says of itself where labels are not learnt.
_HARD = {"learn_labels": False, "lr_label": 10.0}


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
    formations: int = pydantic.Field(
        1,
        ge=1,
        le=16,
        description="each synthetic image holds so many by so many smaller ones, enlarged before use",
    )
    parameterisation: Literal["pixels", "latent"] = pydantic.Field(
        "pixels", description="what is kept of images: their pixels, or codes that a decoder makes images of"
    )
    latents: int = pydantic.Field(
        8, ge=1, le=10_000, description="latent: codes in the place of each image; all of them are images to train on"
    )
    decoder: str | None = pydantic.Field(
        None, description="latent: the file of a decoder; default a small one, trained on the training set"
    )
    decoder_steps: int = pydantic.Field(
        1000, ge=1, le=10**9, description="latent: steps of training that decoder, or an encoder for one of a file"
    )
    matching: Literal["distribution", "gradient", "trajectory"] = pydantic.Field(
        "distribution", description="what is matched"
    )
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
        None, ge=1, le=10**9, description="networks met; default 200 (gradient: 60; trajectory: 300 students)"
    )
    outer: int = pydantic.Field(1, ge=1, le=10**9, description="matches in the life of one network")
    inner: int = pydantic.Field(1, ge=0, le=10**9, description="epochs the network is trained for between two matches")
    inner_data: Literal["real", "synthetic"] = pydantic.Field("real", description="what the network is trained on")
    batch_real: int = pydantic.Field(64, ge=1, le=10**9, description="real images per class in one match")
    lr_img: float | None = pydantic.Field(
        None,
        gt=0,
        description="step size of the pixels; default 5 (gradient: 1; trajectory: 100), of codes that over latents",
    )
    momentum_img: float = pydantic.Field(0.5, ge=0, lt=1, description="momentum of the pixels")
    lr_net: float = pydantic.Field(0.01, gt=0, description="step size of the network between matches, and of experts")
    batch_net: int = pydantic.Field(
        256, ge=1, le=10**9, description="batch of the network's training between matches, and of experts"
    )
    expert_objective: Literal["auto", "erm", "robust", "cvar", "group-dro"] = pydantic.Field(
        "auto",
        description="trajectory: how experts are trained; auto is erm where objective is, else robust: batches drawn "
        "by the groups' shares",
    )
    num_experts: int = pydantic.Field(5, ge=1, le=10_000, description="trajectory: networks trained on the real data")
    expert_epochs: int = pydantic.Field(20, ge=1, le=10_000, description="trajectory: epochs of an expert, each kept")
    match_epochs: int = pydantic.Field(2, ge=1, le=10_000, description="trajectory: epochs that a student makes up for")
    max_start_epoch: int | None = pydantic.Field(
        None, ge=0, le=10_000, description="trajectory: the last epoch that a student starts from; default half of them"
    )
    first_max_start_epoch: int | None = pydantic.Field(
        None,
        ge=0,
        le=10_000,
        description="trajectory: that epoch at first, growing evenly over the first half of the iterations; default "
        "as max_start_epoch",
    )
    student_steps: int = pydantic.Field(20, ge=1, le=10_000, description="trajectory: steps of a student")
    student_batch: int | None = pydantic.Field(
        None, ge=1, le=10**9, description="trajectory: synthetic images in a student's step; default all"
    )
    student_lr: float = pydantic.Field(
        0.02, gt=0, description="trajectory: step size of a student at first; it is learnt with the images"
    )
    lr_step: float = pydantic.Field(
        0.05, ge=0, description="trajectory: step size of the logarithm of a student's step size; 0 keeps it"
    )
    learn_labels: bool = pydantic.Field(
        False, description="trajectory: soft labels, learnt with the images; at first they are what the experts say"
    )
    lr_label: float = pydantic.Field(10.0, ge=0, description="trajectory: step size of learnt labels, as logits")
    augment: str = pydantic.Field("color_crop_cutout_flip_scale_rotate", description="siamese augmentation, or none")
    init: Literal["auto", "real", "noise", "medoids", "groups", "group-medoids"] = pydantic.Field(
        "auto",
        description="start: random real images, noise, k-means medoids, or real images or medoids spread over groups; "
        "auto is what the trial of the groups says, groups where they were not tried, and real without any",
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
        if self.parameterisation == "latent" and self.formations > 1:
            raise ValueError(
                "formations beside parameterisation=latent: codes take the place of several images already"
            )
        if self.parameterisation == "pixels" and self.decoder is not None:
            raise ValueError("decoder beside parameterisation=pixels has no effect: set parameterisation=latent")
        if self.matching == "trajectory":
            self._check_trajectory()
        elif self.learn_labels:
            raise ValueError(
                f"learn_labels=True beside matching={self.matching}: only matching=trajectory learns labels"
            )
        if self.mean_weight + self.max_weight == 0:
            raise ValueError("mean_weight and max_weight are both 0: nothing is left of the risk")
        if self.network not in networks.available():
            raise ValueError(str(unknown("network", self.network, networks.available())))
        if self.norm not in networks.NORMS:
            raise ValueError(str(unknown("norm", self.norm, networks.NORMS)))
        augmentation.parse(self.augment)
        return self

    def _check_trajectory(self) -> None:
        if self.outer > 1 or self.reference == "robust":
            raise ValueError(
                "matching=trajectory has its networks trained before (expert_objective says how): leave outer=1 and "
                "reference=erm"
            )
        if self.match_epochs + self.last_start > self.expert_epochs:
            raise ValueError(
                f"a student that starts at epoch {self.last_start} and makes up for {self.match_epochs} ends beyond "
                f"the experts' last epoch ({self.expert_epochs}): lower max_start_epoch or match_epochs"
            )
        if self.first_max_start_epoch is not None and self.first_max_start_epoch > self.last_start:
            raise ValueError(
                f"first_max_start_epoch={self.first_max_start_epoch} is above max_start_epoch={self.last_start}"
            )
        if self.norm == "batch":
            raise ValueError("norm=batch keeps running statistics, which are no weights to match: use another norm")

    @pydantic.model_serializer(mode="wrap")
    def _told(self, told: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs and tables from before there was a choice of precision, formations, latents or trajectories stay known by
        # the settings they were made with.
        left = (set() if self.matching == "trajectory" else _TRAJECTORY) | (
            set() if self.parameterisation == "latent" else _LATENT
        )
        first = {"precision": "float32", "formations": 1} | ({} if self.learn_labels else _HARD)
        return {k: v for k, v in told(self).items() if (k, v) not in first.items() and k not in left}

    @property
    def decoded_ipc(self) -> int:
        """How many images per class the networks see: those in all parts of the stored ones, or of all codes.

        >>> DistillConfig(ipc=10, formations=2).decoded_ipc, DistillConfig(parameterisation="latent").decoded_ipc
        (40, 80)
        """
        return self.ipc * (self.latents if self.parameterisation == "latent" else self.formations**2)

    @property
    def last_start(self) -> int:
        """The last epoch of an expert that a student starts from, with its default filled in."""
        if self.max_start_epoch is not None:
            return self.max_start_epoch
        return max(0, min(self.expert_epochs // 2, self.expert_epochs - self.match_epochs))

    def start_epochs(self, iteration: int) -> int:
        """The last epoch that a student of this iteration (from 0) may start from.

        >>> grows = DistillConfig(matching="trajectory", iterations=100, max_start_epoch=10, first_max_start_epoch=2)
        >>> [grows.start_epochs(i) for i in (0, 25, 50, 99)]
        [2, 6, 10, 10]
        """
        first = self.last_start if self.first_max_start_epoch is None else self.first_max_start_epoch
        part = min(1.0, 2 * iteration / self.num_iterations)
        return first + int(part * (self.last_start - first))

    @property
    def num_iterations(self) -> int:
        """Iterations with the matching's default filled in."""
        return self.iterations or {"distribution": 200, "gradient": 60, "trajectory": 300}[self.matching]

    @property
    def step_size(self) -> float:
        """Step size of what is stored, with the matching's default filled in.

        A number of a code moves as many times more pixels as there are codes in the place of an image.

        >>> DistillConfig().step_size, DistillConfig(parameterisation="latent", latents=4).step_size
        (5.0, 1.25)
        """
        default = {"distribution": 5.0, "gradient": 1.0, "trajectory": 100.0}[self.matching]
        return self.lr_img or default / (self.latents if self.parameterisation == "latent" else 1)

    def matched(self, classes: int) -> int:
        """How many images, real and synthetic, are matched in one iteration on a data set of ``classes`` classes.

        >>> DistillConfig(ipc=10, batch_real=64).matched(10)
        740
        """
        if self.matching == "trajectory":
            whole = classes * self.decoded_ipc
            return self.student_steps * min(self.student_batch or whole, whole)
        return self.outer * classes * (self.batch_real + self.decoded_ipc)


def _say(error: Any) -> str:
    """One pydantic complaint as a person would say it; of a choice, with the nearest that there is."""
    if error["type"] == "literal_error":
        (where,) = error["loc"]
        return str(unknown(where, error["input"], get_args(DistillConfig.model_fields[where].annotation)))
    return complaint(error)
