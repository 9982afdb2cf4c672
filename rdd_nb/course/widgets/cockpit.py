"""The distillation cockpit: run, stop and resume a distillation, and watch the loss and the images."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError
from rdd_nb.course.widgets.explorer import Explorer
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.decoders import Decoder
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.experts import Experts, load_or_train_experts
from rdd_nb.distillation.initialization import State, fingerprint, given_decoder, initial_state, synthetic_of
from rdd_nb.distillation.loop import distill, run_config, saved_state
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.distillation.step import steps
from rdd_nb.figures import COLOURS, image_sheet
from rdd_nb.figures.figure import Figure

__all__ = ["CockpitState", "DistillationCockpit"]

_SHEET_COLUMNS = 10
_PACE = 20  # iterations over which the speed is averaged
_EVERY = 0.7  # seconds between two pictures, at least


class _Stopped(Exception):
    """Raised while experts are trained, when they are no longer wanted."""


class CockpitState(NamedTuple):
    """What the cockpit shows."""

    status: str  #: ready, running, stopped, done or failed
    iteration: int  #: iterations completed
    total: int
    losses: NDArray[np.float64]  #: ``[iteration]``, the matching loss of each
    images: NDArray[np.uint8]  #: ``[M, C, H, W]``, sorted by class
    images_per_second: float  #: real images matched (trajectory: synthetic ones), of late; NaN before the first
    seconds_left: float  #: at that speed; NaN before the first iteration


class DistillationCockpit(Explorer[CockpitState]):
    """Run, Stop and Resume around :func:`rdd_nb.distillation.step.steps`; bit-identical to
    :func:`rdd_nb.distillation.loop.distill`.

    Run works in a thread of its own, so that the notebook stays free and Stop is heard (after the iteration under way).
    ``run(block=True)`` does the same in the caller's thread, for papermill and tests. With ``out`` the run folder is
    that of ``distill``: each may resume what the other began, and a finished run is complete in it.

    Args:
        data, config, groups: as for :func:`rdd_nb.distillation.loop.distill`.
        out: a run folder; without one, the state lives as long as the cockpit.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        source: as for ``distill``; part of what a run folder must agree on.
        decoder: as for ``distill``. Where one is to be trained, or an encoder for it, that is done here, at once.

    Attributes:
        distilled: the :class:`rdd_nb.distillation.initialization.State` after the last iteration.

    Raises:
        RddError: as ``distill`` does; also where ``out`` holds another run.
    """

    def __init__(
        self,
        data: ImageDataset,
        config: DistillConfig,
        groups: Groups | None = None,
        out: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        source: dict[str, Any] | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__()
        self._data, self._config, self._groups, self._device, self._source = data, config, groups, device, source
        self._decoder = given_decoder(config, decoder)
        self._said = run_config(config, fingerprint(data, groups), source, self._decoder)
        self._folder = None if out is None else RunFolder(out)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._experts: Experts | None = None
        self.distilled = self._begin()
        button = {"layout": widgets.Layout(width="110px")}
        self.run_button = widgets.Button(description="Run", icon="play", tooltip="Start from the beginning", **button)
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", tooltip="Stop after this iteration and keep what is done", **button
        )
        self.resume_button = widgets.Button(
            description="Resume", icon="step-forward", tooltip="Resume where it stopped, bit for bit", **button
        )
        self.progress = widgets.IntProgress(
            value=0, min=0, max=config.num_iterations, description="iterations", layout=widgets.Layout(width="360px")
        )
        self.run_button.on_click(self._pressed)
        self.resume_button.on_click(self._pressed)
        self.stop_button.on_click(lambda _: self.stop())
        self._show("ready" if self.distilled.iteration == 0 else "stopped")

    # ------------------------------------------------------------------------------------------------------ doing

    def run(self, block: bool = False, iterations: int | None = None) -> None:
        """Start, or go on where it stands; does nothing where all is done.

        Args:
            block: work in the caller's thread and return when it is over; errors are then raised here.
            iterations: at most so many now.

        Raises:
            RddError: it is running already; or the distillation's own, if ``block``.
        """
        if self.running:
            raise RddError("this distillation is running already: wait for it, or stop it first")
        if self.distilled.iteration >= self._config.num_iterations:
            return
        self._stop.clear()
        until = min(self._config.num_iterations, self.distilled.iteration + (iterations or self._config.num_iterations))
        self._show("running")
        if block:
            self._work(until, reraise=True)
        else:
            self._thread = threading.Thread(target=self._work, args=(until,), name="distillation", daemon=True)
            self._thread.start()

    def stop(self, wait: bool = False) -> None:
        """Stop after the iteration under way; what is done is kept. With ``wait``, return when it has stopped."""
        self._stop.set()
        if wait:
            self.wait()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the thread to end.

        Raises:
            RddError: it has not, after ``timeout`` seconds.
        """
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise RddError(f"the distillation is still running after {timeout:g} s: stop it, or wait longer")

    @property
    def running(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def synthetic(self) -> SyntheticSet:
        """The images as they stand."""
        return synthetic_of(self.distilled, self._data, self._config)

    def _pressed(self, _button: object) -> None:
        with self._reported():
            self.run()

    def _begin(self) -> State:
        """Where a run in the folder stands, or the beginning."""
        begin = functools.partial(initial_state, self._data, self._config, self._groups, self._decoder, self._device)
        if self._folder is None or not (Path(self._folder.path) / "config.json").exists():
            return begin()
        self._folder.create(self._said)  # raises if it is another run's
        if self._folder.complete:
            told, made = self._folder.history, self._folder.load_synthetic()
            images, learnt = made.images, made.soft_labels
            losses, seconds, weighing = (tuple(map(float, told[name])) for name in ("loss", "seconds", "weighing"))
            labels = None if learnt is None else learnt.clamp_min(1e-30).log()
            ended = State(len(told), images, torch.zeros_like(images), losses, seconds, weighing, labels=labels)
            if made.latents is None:
                return ended
            return dataclasses.replace(ended, codes=made.latents.codes, decoder=made.latents.decoder)
        if self._folder.has_checkpoint:
            return saved_state(self._folder, self._data, self._config, self._decoder)
        return begin()

    def _work(self, until: int, reraise: bool = False) -> None:
        try:
            with ExitStack() as held:
                if self._folder is not None:
                    held.enter_context(self._folder.create(self._said).lock())
                try:
                    self._iterate(until)
                finally:  # also where it failed or was interrupted: what is done is kept
                    self._save()
            if self._folder is not None and self.distilled.iteration == self._config.num_iterations:
                # The checkpoint is the end; distill writes the rest of the folder from it.
                distill(
                    self._data,
                    self._config,
                    self._groups,
                    out=self._folder.path,
                    device=self._device,
                    progress=False,
                    source=self._source,
                    decoder=None if self._config.decoder else self._decoder,
                )
            self._show("done" if self.distilled.iteration == self._config.num_iterations else "stopped")
        except Exception as error:
            self._buttons("failed")
            self._failed(error)
            if reraise:
                raise

    def _iterate(self, until: int) -> None:
        if self._config.matching == "trajectory" and self._experts is None:
            self._experts = self._trained()
            if self._experts is None:
                return
        for state in steps(self._data, self._config, self._groups, self.distilled, self._device, self._experts):
            self.distilled = state
            self.progress.value = state.iteration
            if state.iteration >= until or self._stop.is_set():
                return
            if state.iteration % self._config.checkpoint_every == 0:
                self._save()
            if time.perf_counter() > self._next:
                self._show("running")

    def _trained(self) -> Experts | None:
        """The experts of trajectory matching, kept where ``distill`` looks for them; None where they were stopped."""

        def tell(done: int, total: int) -> None:
            self.progress.description = "iterations" if done == total else f"experts {done}/{total}"
            if self._stop.is_set():
                raise _Stopped

        out = None if self._folder is None else self._folder.files.part("experts").path
        with suppress(_Stopped):
            return load_or_train_experts(
                self._data, self._config, self._groups, out=out, device=self._device, progress=tell
            )
        return None

    def _save(self) -> None:
        if self._folder is not None and self.distilled.iteration:
            self._folder.save_checkpoint(self.distilled.held())

    # ---------------------------------------------------------------------------------------------------- showing

    def _show(self, status: str) -> None:
        if self.distilled.iteration >= self._config.num_iterations:
            status = "done"
        began = time.perf_counter()
        self._buttons(status)
        self.refresh()
        took = time.perf_counter() - began
        self._next = began + max(_EVERY, 5 * took)  # pictures take a fifth of the time at most

    def _buttons(self, status: str) -> None:
        self.status = status
        begun = self.distilled.iteration > 0
        self.run_button.disabled = begun or status == "running"
        self.resume_button.disabled = not begun or status in ("running", "done")
        self.stop_button.disabled = status != "running"
        self.progress.value = self.distilled.iteration

    def choices(self) -> dict[str, Any]:
        """Where the distillation stands."""
        return {"distilled": self.distilled, "status": self.status}

    def controls(self) -> tuple[widgets.Widget, ...]:
        """Run, Stop, Resume, progress."""
        return (self.run_button, self.stop_button, self.resume_button, self.progress)

    def compute(self, distilled: State, status: str) -> CockpitState:  # type: ignore[override]
        """Images as pixels, speed and time left of a state."""
        config, last = self._config, distilled.seconds[-_PACE:]
        pace = sum(last) / len(last) if last else np.nan
        matched = self._data.num_classes * config.batch_real * config.outer
        if config.matching == "trajectory":
            matched = config.matched(self._data.num_classes)
        return CockpitState(
            status,
            distilled.iteration,
            config.num_iterations,
            np.array(distilled.losses, np.float64),
            synthetic_of(distilled, self._data, self._config).to_uint8().numpy(),
            matched / pace,
            (config.num_iterations - distilled.iteration) * pace,
        )

    def draw(self, state: CockpitState) -> Figure:
        """The loss curve, and up to ten images of each class."""
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _curve(left, state)
        classes = self._data.num_classes
        ipc = len(state.images) // classes
        each = min(ipc, _SHEET_COLUMNS)
        images = state.images.reshape(classes, ipc, *state.images.shape[1:])[:, :each]
        image_sheet(right, images.reshape(-1, *state.images.shape[1:]), each, self._data.class_names)
        some = "" if each == ipc else f" ({each} of {ipc} per class)"
        right.set_title(f"The images after {state.iteration} iterations{some}")
        return figure

    def describe(self, state: CockpitState) -> str:
        """Where it stands, how fast it is, and what the buttons do now."""
        config = self._config
        if state.iteration == 0:
            count = f"{self._data.num_classes} classes of {config.ipc} images, {state.total} iterations"
            return f"{'Starting' if state.status == 'running' else 'Ready'}: {count} of {config.matching} matching."
        some, learnt = min(_PACE, state.iteration), config.matching == "trajectory"
        words = (
            f"{state.status.capitalize()}: iteration {state.iteration} of {state.total}. Matching loss "
            f"{state.losses[-some:].mean():.4g} over the last {some} iterations, {state.losses[:some].mean():.4g} over "
            f"the first. {state.images_per_second:,.0f} {'synthetic' if learnt else 'real'} images a second"
        )
        if state.status == "done":
            return f"{words}; {sum(self.distilled.seconds):.0f} s in all."
        words += f", about {state.seconds_left:.0f} s left."
        return words + (" Resume continues bit for bit." if state.status == "stopped" else "")


def _curve(axes: Axes, state: CockpitState) -> None:
    steps_done = np.arange(1, state.iteration + 1)
    few = state.iteration <= 30
    axes.plot(steps_done, state.losses, ".-" if few else "-", color=COLOURS["grey"], alpha=0.6, linewidth=1)
    window = max(1, min(_PACE, state.iteration // 3))
    if window > 1:
        smooth = np.convolve(state.losses, np.ones(window) / window, "valid")
        axes.plot(steps_done[window - 1 :], smooth, color=COLOURS["majority"], linewidth=2.2, label=f"mean of {window}")
        axes.legend(frameon=False)
    axes.set(xlabel="iteration", ylabel="matching loss", xlim=(0, state.total + 0.5), title="Loss")
    axes.spines[["top", "right"]].set_visible(False)
