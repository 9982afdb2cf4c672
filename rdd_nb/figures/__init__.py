"""Every figure, as a pure function from data to a matplotlib ``Figure``; and :func:`show`, which puts it in a notebook.

No pyplot: nothing global, nothing to close, and safe in a thread. Every text is shown as it is, for names come from
users: a formula is written in Unicode (:mod:`rdd_nb.figures.figure`). Colours are Okabe and Ito's, readable by the
colour-blind, and every colour is backed by a marker.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.evaluation import subgroups
from rdd_nb.figures.figure import PIXELS_PER_INCH, Figure, legend_name, shortened

if TYPE_CHECKING:
    from rdd_nb.evaluation.scores import Scores

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PINK",
    "captioned_sheet",
    "clean_axes",
    "group_accuracy",
    "image_sheet",
    "show",
    "synthetic_sheets",
    "training_sheet",
    "two_panels",
]

#: One colour for one meaning, in every figure.
COLOURS = {"majority": "#0072B2", "minority": "#D55E00", "grey": "#666666", "light": "#DDDDDD"}
BLUE, ORANGE, GREY = COLOURS["majority"], COLOURS["minority"], COLOURS["grey"]
GREEN, PINK = "#009E73", "#CC79A7"
_MARKERS = {"majority": "o", "minority": "D"}
_DPI = 100  # of the pictures in notebooks


def clean_axes(axes: Axes, grid: str = "both") -> Axes:
    """``axes`` with two spines and, behind the data, a light grid: ``both``, ``x``, ``y``, or "" for none."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, color="#EEEEEE")  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    return axes


def two_panels(height: float, ratios: Sequence[float] = (1, 1)) -> tuple[Figure, Axes, Axes]:
    """A figure of a notebook's width and ``height`` inches, with two panels whose widths are as ``ratios``."""
    figure = Figure(figsize=(9.5, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=ratios)
    return figure, clean_axes(left), clean_axes(right)


def show(figure: Figure, caption: str, alt: str, width: int | None = None) -> None:
    """Display a figure in a notebook as a PNG with a caption under it and alternative text for those who cannot see it.

    Args:
        figure: any matplotlib figure.
        caption: one sentence, in Markdown.
        alt: what the picture shows, in words.
        width: in CSS pixels; by default that at which the smallest text has 9 points.
    """
    from IPython.display import Image, Markdown, display

    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, bbox_inches="tight")
    # 256 colours make a committed notebook a quarter of the size, and an octree keeps each of the few of a text.
    picture = PIL.Image.open(drawn).convert("RGB").quantize(256, PIL.Image.Quantize.FASTOCTREE)
    picture.putpalette([255 if level > 250 else level for level in picture.getpalette() or ()])  # white stays white
    picture.save(buffer, format="png", optimize=True)
    width = width or round(picture.width / _DPI * PIXELS_PER_INCH)
    display(Image(data=buffer.getvalue(), format="png", width=width, alt=alt), Markdown(f"*{caption}*"))


def _canvas(images: NDArray[np.uint8], columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """Images uint8 ``[N, C, H, W]`` laid out row by row on a white canvas ``[h, w, 3]``."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for k, image in enumerate(images):
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0).repeat(3 // channels, axis=2)
    return canvas


def image_sheet(axes: Axes, images: NDArray[np.uint8], columns: int, row_names: Sequence[str] = ()) -> None:
    """Draw images uint8 ``[N, C, H, W]`` on ``axes``, ``columns`` a row, with a name left of each row."""
    axes.imshow(_canvas(images, columns), interpolation="nearest")
    step = images.shape[2] + 2
    axes.set_xticks([])
    places = [r * step + images.shape[2] / 2 for r in range(len(row_names))]
    axes.set_yticks(places, [shortened(name, 30) for name in row_names])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def captioned_sheet(
    axes: Axes, images: NDArray[np.uint8], columns: int, words: Sequence[str], margin: float = 0.75
) -> None:
    """Draw images uint8 ``[N, C, H, W]``, ``columns`` a row, words under each on a white ``margin`` of its height."""
    height, width = images.shape[2:]
    below = int(margin * height)
    image_sheet(axes, np.pad(images, ((0, 0), (0, 0), (0, below), (0, 0)), constant_values=255), columns)
    for k, text in enumerate(words):
        x, y = (k % columns) * (width + 2) + width / 2, (k // columns) * (height + below + 2) + height
        axes.text(x, y, text, ha="center", va="top", linespacing=1.0)


def training_sheet(data: ImageDataset, columns: int = 20, seed: int = 0) -> Figure:
    """Random training images, a row for each class, drawn in proportion; those of the minority are framed.

    Raises:
        RddError: the data names no minority.
    """
    if data.minority is None:
        raise RddError(f"{data.name!r} names no minority to frame: apply a scenario first")
    draw = np.random.default_rng(seed)
    labels = data.labels.numpy()
    index = np.concatenate(
        [
            draw.choice(np.flatnonzero(labels == c), min(columns, int((labels == c).sum())), replace=False)
            for c in range(data.num_classes)
        ]
    )
    figure = Figure(figsize=(9.5, 9.5 * data.num_classes / columns + 0.5), layout="constrained")
    axes = figure.subplots()
    image_sheet(axes, data.images[index].numpy(), columns, data.class_names)
    side = data.shape[1] + 2
    for k in np.flatnonzero(data.minority.numpy()[index]):
        corner = ((k % columns) * side - 1.5, (k // columns) * side - 1.5)
        axes.add_patch(Rectangle(corner, side - 0.5, side - 0.5, fill=False, color=COLOURS["minority"], linewidth=1.8))
    axes.set_title(f"Training images, {data.minority_names[1]} ones framed ({data.minority.float().mean():.0%} of all)")
    return figure


def synthetic_sheets(sets: Mapping[str, SyntheticSet]) -> Figure:
    """Distilled sets side by side: a row for each class, ``ipc`` images in it."""
    figure = Figure(figsize=(4.6 * len(sets), 4.7), layout="constrained")
    for axes, (name, synthetic) in zip(np.atleast_1d(figure.subplots(1, len(sets))), sets.items()):
        images = synthetic.to_uint8()[synthetic.labels.argsort(stable=True)].numpy()
        image_sheet(
            axes, images, synthetic.ipc, synthetic.class_names if axes.get_subplotspec().colspan.start == 0 else ()
        )
        axes.set_title(shortened(name, 50))
    figure.suptitle(f"Distilled sets: {' and '.join(sorted({str(s.ipc) for s in sets.values()}))} images per class")
    return figure


def group_accuracy(scores: Mapping[str, Scores], level: float = 0.95) -> Figure:
    """Accuracy of majority and minority under each method, with intervals, joined by the gap.

    Intervals cover the test sample and the training of the nets (:func:`rdd_nb.evaluation.subgroups.group_table`).
    """
    rows = {name: subgroups.group_table(s, by="minority", level=level).set_index("group") for name, s in scores.items()}
    figure = Figure(figsize=(8.2, 0.62 * len(rows) + 1.5), layout="constrained")
    axes = figure.subplots()
    names = next(iter(scores.values())).minority_names
    for y, (_, table) in enumerate(rows.items()):
        values = table.loc[list(names), "accuracy"].to_numpy(float) * 100
        axes.plot(values, [y, y], color=COLOURS["light"], linewidth=5, solid_capstyle="round", zorder=1)
        for group, kind, shift in zip(names, ("majority", "minority"), (-0.13, 0.13)):
            row = table.loc[group, ["accuracy", "low", "high"]].astype(float) * 100
            reach = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
            axes.errorbar(
                row["accuracy"],
                y + shift,
                xerr=reach,
                fmt=_MARKERS[kind],
                color=COLOURS[kind],
                capsize=3,
                markersize=8,
                label=legend_name(group) if y == 0 else None,
                zorder=2,
            )
    axes.set_yticks(range(len(rows)), [shortened(name, 40) for name in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 101)
    axes.set_xlabel(f"test accuracy in %, with {level:.0%} intervals")
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    figure.suptitle("Test accuracy by training set")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
