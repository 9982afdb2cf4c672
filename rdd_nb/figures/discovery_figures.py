"""Groups that were found, as pictures of their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rdd_nb.figures import image_sheet
from rdd_nb.figures.figure import Figure

__all__ = ["group_exemplars"]


def group_exemplars(
    parts: Mapping[tuple[str, str], Sequence[NDArray[np.uint8]]], names: Sequence[str], columns: int = 6
) -> Figure:
    """Groups by their exemplars: a row for each, a panel for each way to choose them.

    Args:
        parts: (way, what such images tell) → for each group uint8 ``[k, C, H, W]``; k may differ, up to ``columns``.
        names: of the groups.
        columns: images that fit beside one another in each panel.
    """
    shape = next(iter(parts.values()))[0].shape[1:]
    height = len(names) * 3.3 / columns * shape[1] / shape[2]
    figure = Figure(figsize=(12.5, height + 1.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(parts)))
    for place, (axes, ((way, told), groups)) in enumerate(zip(panels, parts.items())):
        sheet = np.full((len(names), columns, *shape), 255, np.uint8)
        for row, images in zip(sheet, groups):
            row[: len(images)] = images
        image_sheet(axes, sheet.reshape(-1, *shape), columns, () if place else names)
        if place:
            axes.set_yticks([])
        axes.set_title(way)
        axes.set_xlabel(told)
    return figure
