"""The loop of a distillation: steps (:mod:`rdd_nb.distillation.step`), checkpoints, and resuming to the same bits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.groups_file import groups_from_bytes, groups_to_bytes
from rdd_nb.core.device import pick_device, release_memory
from rdd_nb.core.environment import describe
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import expert_bytes, load_or_train_experts
from rdd_nb.distillation.initialization import (
    State,
    check,
    expect_fit,
    fingerprint,
    given_decoder,
    initial_state,
    synthetic_of,
)
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.distillation.step import steps
from rdd_nb.models.autoencoder import untrained_decoder

__all__ = ["Run", "distill", "expect_room", "kept_groups", "run_config", "saved_state"]


GROUPS = "groups.npz"
RECENT = 10  # iterations: what the bar tells the speed of


@dataclass(frozen=True, eq=False)
class Run:
    """A finished distillation: the synthetic set, what it was made with, and how it went (a row an iteration)."""

    synthetic: SyntheticSet
    config: DistillConfig
    history: pd.DataFrame
    path: Path | None = None


def distill(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    progress: bool | str = True,
    source: dict[str, Any] | None = None,
    experts: str | Path | None = None,
    decoder: Decoder | None = None,
) -> Run:
    """Distil ``data`` into ``config.ipc`` images per class.

    Args:
        data: the training set.
        config: see :class:`DistillConfig`.
        groups: known or discovered; without them the robust objective uses the cells of the synthetic set.
        out: a run folder. An interrupted run in it, made with the same config and data, goes on where its last
            checkpoint stands and ends with the same bits as an uninterrupted one. A finished one is just loaded.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        progress: show a bar on stderr; a string becomes its label.
        source: how to get the data again (such as its name and scenario); kept in the run's ``config.json``.
        experts: of trajectory matching: a folder for experts that runs share; by default ``experts`` in ``out``.
        decoder: of ``parameterisation="latent"``: yours, in place of a small one that is trained here. The run goes on
            with the same one only.

    Raises:
        RddError: see :func:`steps`; also when ``out`` holds another run or cannot be written, or where ``decoder`` and
            ``config`` name one each.
    """
    if decoder is not None and config.decoder is not None:
        raise RddError(f"a decoder was passed, and the config names {config.decoder}: give one of the two")
    decoder = given_decoder(config, decoder)
    if out is None:
        return _run(data, config, groups, None, device, progress, experts, decoder)
    pick_device(device)
    check(data, config, groups, decoder)  # before there is a folder: the mended command may want the same one
    said = run_config(config, fingerprint(data, groups), source, decoder)
    folder = RunFolder(out)
    with folder.lock():  # before anything is written: two processes that start together must not mix
        folder.create(said)
        if folder.complete:
            return Run(folder.load_synthetic(), config, _history(folder), folder.path)
        if groups is not None and groups.report and not folder.files.there(GROUPS):
            folder.files.write(GROUPS, groups_to_bytes(groups))
        experts = experts or folder.files.part("experts").path
        return _run(data, config, groups, folder, device, progress, experts, decoder)


def run_config(
    config: DistillConfig, data: dict[str, Any], source: dict[str, Any] | None, decoder: Decoder | None = None
) -> dict[str, Any]:
    """What ``config.json`` says of a run, and its identity is made of: ``data`` is what is told of the training set.

    A decoder that was given is told by its digest; one that is trained follows from the rest.
    """
    told = {"distill": config.model_dump(mode="json"), "data": data, "source": source or {}}
    return told if decoder is None else {**told, "decoder": decoder.digest}


def expect_room(
    folder: RunFolder,
    data: ImageDataset,
    config: DistillConfig,
    source: dict[str, Any],
    experts: str | Path | None = None,
) -> None:
    """Whether a run can be kept in ``folder``, as far as that can be known before there are groups.

    ``experts`` is the folder of its experts, where trajectories are matched and they are not kept in the run.

    Raises:
        RddError: too few images in a class, another run in the folder, or too little free space for the run's files.
    """
    expect_fit(data, config)
    told, decoder = {k: v for k, v in fingerprint(data, None).items() if k != "groups"}, given_decoder(config)
    folder.expect(run_config(config, told, source, decoder))
    images = (
        4 * data.num_classes * config.decoded_ipc * math.prod(data.shape)
    )  # of formations and codes: more than that
    images += 0 if decoder is None else 4 * decoder.numbers
    folder.files.probe(3 * images + 100 * config.num_iterations)  # checkpoint (images and momentum), set, history
    if config.matching == "trajectory":
        (Folder(experts) if experts else folder.files).probe(expert_bytes(data, config))


def kept_groups(folder: RunFolder, data: ImageDataset) -> Groups | None:
    """The groups that a run in ``folder`` found in ``data``, to go on without finding them anew; None without such."""
    with contextlib.suppress(OSError, RddError):
        groups, _ = groups_from_bytes(folder.files.read(GROUPS), data)
        told = folder.config.get("data")
        if isinstance(told, dict) and told.get("groups") == fingerprint(data, groups)["groups"]:
            return groups
    return None


def _history(folder: RunFolder) -> pd.DataFrame:
    """The history of a run that is finished."""
    history = folder.history
    columns = ("iteration", "loss", "seconds")
    if history.empty or not all(c in history and pd.api.types.is_numeric_dtype(history[c]) for c in columns):
        raise RddError(
            f"{folder.path / 'history.csv'} is missing or damaged: put it back; or remove metrics.json beside it, and "
            "the same command ends the run anew"
        )
    return history


def _run(
    data: ImageDataset,
    config: DistillConfig,
    groups: Groups | None,
    folder: RunFolder | None,
    device: str,
    progress: bool | str,
    experts: str | Path | None,
    decoder: Decoder | None,
) -> Run:
    followed = None
    if config.matching == "trajectory":
        with _telling("experts", "epoch", bool(progress)) as tell:
            followed = load_or_train_experts(data, config, groups, out=experts, device=device, progress=tell)
    if folder is not None and folder.has_checkpoint:
        state = saved_state(folder, data, config, decoder)
    else:
        with _telling("decoder", "step", bool(progress) and config.parameterisation == "latent") as tell:
            state = initial_state(data, config, groups, decoder, device, tell)
    saved = state.iteration

    def save(current: State) -> None:
        if folder is not None:
            folder.save_checkpoint(current.held())

    bar = tqdm(
        total=config.num_iterations,
        initial=state.iteration,
        desc=progress if isinstance(progress, str) else f"{config.matching} {config.objective}",
        disable=not progress,
        mininterval=2.0,
        unit="it",
    )
    try:
        for state in steps(data, config, groups, state, device, followed):  # noqa: B020 (the last one is what counts)
            bar.update()
            recent = state.seconds[-RECENT:]
            rate = config.matched(data.num_classes) * len(recent) / max(sum(recent), 1e-9)  # a coarse clock may tell 0
            bar.set_postfix_str(f"loss={state.losses[-1]:.3g}, {rate:,.0f} images/s", refresh=False)
            if state.iteration % config.checkpoint_every == 0:
                save(state)
                saved = state.iteration
    except BaseException:  # also Ctrl-C: keep what is done, then let it through
        if state.iteration > saved:
            save(state)
        raise
    finally:
        bar.close()
        release_memory()
    meta = {
        "dataset": data.name,
        "matching": config.matching,
        "objective": config.objective,
        "reference": config.reference,
        "groups": "none" if groups is None else groups.source,
        "seed": str(config.seed),
        **({"step_size": f"{state.step_sizes[-1]:.6g}"} if state.step_sizes else {}),
    }
    synthetic = synthetic_of(state, data, config, meta)
    history = pd.DataFrame(
        {
            "iteration": range(1, state.iteration + 1),
            "loss": state.losses,
            "seconds": state.seconds,
            "weighing": state.weighing,
            **({"step_size": state.step_sizes} if state.step_sizes else {}),
        }
    )
    if folder is not None:
        folder.write_history(history.to_dict("records"))
        folder.save_synthetic(synthetic)
        folder.write_metrics(
            {
                "iterations": state.iteration,
                "loss": state.losses[-1],
                "seconds": sum(state.seconds),
                **({} if followed is None else {"expert_seconds": followed.seconds}),
                "machine": describe(pick_device(device)),
                **({} if groups is None or not groups.report else {"groups": _found(groups)}),
            }
        )
    return Run(synthetic, config, history, folder.path if folder else None)


@contextlib.contextmanager
def _telling(what: str, unit: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for what is trained before the first iteration: it is told how much is done, and how much there is."""
    with tqdm(desc=what, unit=unit, disable=not shown, mininterval=2.0) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def _found(groups: Groups) -> dict[str, Any]:
    """Why which groups are raised: what the report's first line says, and what was tried."""
    return {"said": groups.report.partition("\n")[0], "trials": [trial.row() for trial in groups.trials]}


def saved_state(folder: RunFolder, data: ImageDataset, config: DistillConfig, decoder: Decoder | None = None) -> State:
    """The state in a run folder's checkpoint, to go on from with :func:`steps`; with the ``decoder`` that was given.

    Raises:
        RddError: the checkpoint is not one of this config and data.
    """
    held = folder.load_checkpoint()
    shape = (data.num_classes * config.ipc, *data.shape)
    try:
        weights = held.pop("decoder", None)
        if config.parameterisation == "latent":
            decoder = decoder or _rebuilt(weights, data, config)
            shape = (data.num_classes * config.decoded_ipc, *data.shape)
        state = State(**held, decoder=decoder)
        stored = shape if decoder is None else (shape[0], *decoder.code)
        told = (state.losses, state.seconds, state.weighing)
        fits = _is_whole(state.images, shape) and _is_whole(state.momentum, stored)
        fits &= state.codes is None if decoder is None else _is_whole(state.codes, stored)
        fits &= type(state.iteration) is int and 0 <= state.iteration <= config.num_iterations
        fits &= all(len(each) == state.iteration and all(type(v) is float for v in each) for each in told)
        learnt = state.iteration if config.matching == "trajectory" else 0
        fits &= len(state.step_sizes) == learnt and all(type(v) is float and v > 0 for v in state.step_sizes)
        fits &= type(state.step_momentum) is float
        rows = (data.num_classes * config.decoded_ipc, data.num_classes)
        learning = config.learn_labels and state.iteration > 0
        for each in (state.labels, state.label_momentum):
            fits &= _is_whole(each, rows) if learning else each is None
    except (TypeError, AttributeError, RddError):
        fits = False
    if not fits:
        raise RddError(
            f"{folder.path / 'checkpoint.pt'} is no checkpoint of this run (it should hold images {list(shape)}): "
            "delete it to start this run afresh"
        )
    return state


def _rebuilt(weights: Any, data: ImageDataset, config: DistillConfig) -> Decoder:
    """The decoder that was trained in a run, of what its checkpoint holds of it; an RddError for what is none."""
    if not isinstance(weights, dict) or not all(_is_whole(t, getattr(t, "shape", ())) for t in weights.values()):
        raise RddError("the checkpoint holds no decoder")
    layers, _ = untrained_decoder(data.shape, config.latents).told()
    return Decoder.rebuilt(layers, {str(name): t for name, t in weights.items()})


def _is_whole(tensor: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a plain tensor of float32 in memory, of this shape, and finite."""
    plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
    plain = plain and tensor.dtype == torch.float32 and tensor.shape == shape
    return plain and bool(torch.isfinite(tensor).all())
