"""Where a distillation starts: how real samples are drawn, the first images, and what a resumed run must find again."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering.coresets import check_fits, select
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder, Latents, load_decoder
from rdd_nb.data.formations import Formations, check_formations, encode
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.models.autoencoder import check_decoder, code_shape, train_autoencoder

__all__ = [
    "State",
    "check",
    "expect_fit",
    "fingerprint",
    "given_decoder",
    "initial_state",
    "sampling_weights",
    "start_of",
    "synthetic_of",
]


@dataclass(frozen=True, eq=False)
class State:
    """A distillation between two iterations.

    Attributes:
        iteration: how many have been completed.
        images: as they are stored, ``[C·ipc, channels, H, W]`` in normalised units, sorted by class; where codes are
            stored, the images of these.
        momentum: like what is stored, the optimiser's buffer.
        losses: the matching loss of each completed iteration (mean over its matches).
        seconds: wall-clock time of each completed iteration.
        weighing: the part of ``seconds`` spent on the risk: losses, groups and weights of the real samples. On a GPU it
            counts until the work is under way, not until it is done.
        step_sizes: trajectory matching: a student's learnt step size after each completed iteration.
        step_momentum: of the logarithm of that step size.
        labels: trajectory matching with ``learn_labels``: the logits ``[M, K]`` of each decoded image, from the first
            iteration on.
        label_momentum: like ``labels``.
        codes: with ``parameterisation="latent"``: what is stored, ``[C·ipc·latents, *code]``, sorted by class.
        decoder: which makes images of them; it stays as it is.
    """

    iteration: int
    images: Tensor
    momentum: Tensor
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    weighing: tuple[float, ...] = ()
    step_sizes: tuple[float, ...] = ()
    step_momentum: float = 0.0
    labels: Tensor | None = None
    label_momentum: Tensor | None = None
    codes: Tensor | None = None
    decoder: Decoder | None = None

    @property
    def stored(self) -> Tensor:
        """What the distillation changes: codes, or else images."""
        return self.images if self.codes is None else self.codes

    def parameterisation(self, config: DistillConfig) -> Formations | Decoder:
        """What makes images of what is stored."""
        return Formations(config.formations) if self.decoder is None else self.decoder

    def shown(self, config: DistillConfig) -> Tensor:
        """What networks see: ``decoded_ipc`` images of each class."""
        return self.images if self.codes is not None else self.parameterisation(config).decode(self.images)

    def moved(self, stored: Tensor, momentum: Tensor, began: float, **more: Any) -> State:
        """The state one iteration later, which ``began`` at that count of seconds, with all else that has changed."""
        kept = {"images": stored} if self.decoder is None else {"images": self.decoder.decode(stored), "codes": stored}
        seconds = (*self.seconds, time.perf_counter() - began)
        return dataclasses.replace(
            self, iteration=self.iteration + 1, momentum=momentum, seconds=seconds, **{**kept, **more}
        )

    def to(self, device: torch.device | str) -> State:
        """The same, with what is stored on a device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if k in _TENSORS and v is not None}
        return dataclasses.replace(self, **moved, decoder=self.decoder and self.decoder.to(device))

    def held(self) -> dict[str, Any]:
        """For a checkpoint: numbers, tensors on the CPU, and the decoder's weights, where a file can tell of it."""
        weights = self.decoder.told()[1] if self.decoder is not None and self.decoder.layers is not None else None
        return {k: v.cpu() if torch.is_tensor(v) else v for k, v in vars(self).items()} | {"decoder": weights}


_TENSORS = ("images", "momentum", "codes")


def synthetic_of(
    state: State, data: ImageDataset, config: DistillConfig, meta: dict[str, str] | None = None
) -> SyntheticSet:
    """The synthetic set as it stands in a state: images, formations or codes, and learnt labels, on the CPU.

    Where no file can tell of the decoder, the set is of the images that it makes, and its ``meta`` says so.
    """
    decoder = state.decoder and state.decoder.to("cpu")
    latents = None
    if decoder is not None and decoder.layers is not None:
        latents = Latents(state.stored.cpu(), decoder)
    elif decoder is not None:
        meta = {**(meta or {}), "decoded_by": f"{type(decoder.module).__name__} {decoder.digest}"}
    ipc = len(state.images) // data.num_classes
    return SyntheticSet(
        images=state.images.cpu() if latents is None else latents.images,
        labels=torch.arange(data.num_classes).repeat_interleave(ipc),
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        ipc=ipc,
        meta=meta or {},
        formations=config.formations,
        soft_labels=None if state.labels is None else state.labels.cpu().softmax(1),
        latents=latents,
    )


def sampling_weights(data: ImageDataset, config: DistillConfig, groups: Groups | None = None) -> Tensor:
    """How often each real sample is drawn, relative to the others of its class: ``[N]``, above 0.

    All alike in plain matching; by :func:`rdd_nb.clustering.group_weights` where the objective is given groups; by the
    inverse of the sample's density for ``density`` (R4). It is a sample's expected part in what is matched, before the
    tail within a group and the worst group are raised further.
    """
    if config.objective == "density":
        return clustering.density_weights(clustering.space(data, "style", config.seed), data.labels)
    if config.objective in ("robust", "group") and groups is not None:
        return clustering.group_weights(groups, data.labels, data.num_classes, config.group_power)
    return torch.ones(len(data))


def fingerprint(data: ImageDataset, groups: Groups | None) -> dict[str, Any]:
    """What a run must find again to be resumed: the data (bytes, shape, names, statistics) and the groups."""
    told = None
    if groups is not None:
        held = [t.numpy().tobytes() for t in (groups.ids, groups.learnable) if t is not None]
        told = {
            "source": groups.source,
            "num_groups": groups.num_groups,
            "digest": hashlib.sha256(b"".join(held)).hexdigest()[:16],
            **({} if groups.start is None else {"start": groups.start}),
        }
    return {
        "name": data.name,
        "samples": len(data),
        "digest": data.digest[:16],
        "shape": list(data.shape),
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "groups": told,
    }


_OVER_GROUPS = ("groups", "group-medoids")  # starts that are spread over groups
#: The coreset method (:data:`rdd_nb.clustering.coresets.METHODS`) behind each start from real images.
_SELECTED = {"real": "random", "medoids": "medoids", "groups": "balanced", "group-medoids": "balanced-medoids"}


def start_of(config: DistillConfig, groups: Groups | None) -> str:
    """What ``config.init`` stands for: itself, or for ``auto`` what the groups' trial says, else what is raised."""
    if config.init != "auto":
        return config.init
    if groups is None or config.objective not in ("robust", "group"):
        return "real"
    if config.objective == "robust" and groups.start is not None:
        return groups.start
    return "groups" if groups.raised else "real"


def given_decoder(config: DistillConfig, decoder: Decoder | None = None) -> Decoder | None:
    """The decoder that is given, else the one in the config's file, else None: then one is trained.

    Raises:
        RddError: a decoder where pixels are kept; a file that holds none.
    """
    if decoder is not None and config.parameterisation == "pixels":
        raise RddError("a decoder beside parameterisation=pixels has no effect: set parameterisation=latent")
    return load_decoder(config.decoder) if decoder is None and config.decoder is not None else decoder


def initial_state(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None = None,
    decoder: Decoder | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> State:
    """The synthetic set before its first iteration, as ``config.init`` says; on the CPU.

    Codes of real images come from an encoder, trained with the decoder or for it; those of noise are random normal
    numbers, as the codes of a decoder trained here are over the training set.

    Args:
        data, config, groups: of the distillation.
        decoder: in place of the one that would be trained, or of the config's file.
        device: where that is trained.
        progress: called meanwhile, with (steps done, steps in all).

    Raises:
        RddError: ``ipc`` exceeds the smallest class, ``init=groups`` or ``init=group-medoids`` without groups, or
            groups of other data; as :func:`given_decoder` and :func:`rdd_nb.models.autoencoder.train_autoencoder`.
    """
    check(data, config, groups, decoder)
    init = start_of(config, groups)
    if init in _OVER_GROUPS and groups is None:
        raise RddError(
            f"init={init} spreads the first images over groups, and there are none: pass groups or use init=real"
        )
    coder, decoder = None, given_decoder(config, decoder)
    if config.parameterisation == "latent" and (decoder is None or init != "noise"):
        how: dict[str, Any] = {"steps": config.decoder_steps, "seed": config.seed, "device": device}
        coder = train_autoencoder(data, config.latents, **how, decoder=decoder, progress=progress)
        decoder = coder.decoder
    if init == "noise":
        size = (config.ipc, *data.shape) if decoder is None else (config.decoded_ipc, *decoder.code)
        stored = torch.randn(data.num_classes * size[0], *size[1:], generator=stream(config.seed, "init"))
    else:
        over, power = (groups, config.group_power) if init in _OVER_GROUPS else (None, 0.0)
        chosen = select(data, _SELECTED[init], config.decoded_ipc, groups=over, power=power, seed=config.seed)
        real = data.normalised(chosen)
        stored = encode(real, config.formations) if coder is None else coder.encode(real)
    if decoder is None:
        return State(0, stored, torch.zeros_like(stored))
    return State(0, decoder.decode(stored), torch.zeros_like(stored), codes=stored, decoder=decoder)


def check(data: ImageDataset, config: DistillConfig, groups: Groups | None, decoder: Decoder | None = None) -> None:
    """Whether data, config, groups and decoder fit together; before anything is computed or written.

    Raises:
        RddError: see :func:`expect_fit`; groups of other data; or ``objective=group`` without groups.
    """
    expect_fit(data, config, groups, decoder)
    if config.objective == "group" and groups is None:
        raise RddError("objective=group matches each group's statistics, and no groups were given: pass groups=…")


def expect_fit(
    data: ImageDataset, config: DistillConfig, groups: Groups | None = None, decoder: Decoder | None = None
) -> None:
    """What can be known of :func:`check` before there are groups.

    Raises:
        RddError: see :func:`rdd_nb.clustering.coresets.check_fits`, whose number counts the parts of stored images and
            all codes; images too small for as many ``formations`` or ``latents``; a decoder of other images.
    """
    check_formations(config.formations, *data.shape[1:])
    if config.parameterisation == "latent":
        decoder = given_decoder(config, decoder)
        if decoder is None:
            code_shape(data.shape, config.latents)
        else:
            check_decoder(data, decoder)
    try:
        check_fits(data, config.decoded_ipc, groups, of_real=config.init != "noise")
    except RddError as error:
        many = (
            f"{config.formations} × {config.formations} parts" if config.formations > 1 else f"{config.latents} codes"
        )
        more = f" ({config.ipc} images of {many})"
        raise error if config.decoded_ipc == config.ipc else RddError(f"{error}{more}") from None
