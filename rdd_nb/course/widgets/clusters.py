"""The cluster explorer: groups found in a feature space, compared with the named groups, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from rdd_nb import clustering
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import stream
from rdd_nb.course.widgets.explorer import INKS, MARKERS, Explorer, choice
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.figures import image_sheet
from rdd_nb.figures.figure import Figure, legend_name, shortened

__all__ = ["ClusterExplorer", "ClusterState", "principal_plane"]

_EXEMPLARS = 8
_DRAWN = 1500  # points in the scatter; more would only lie on each other


def principal_plane(points: Tensor) -> tuple[Tensor, float]:
    """Points ``[N, D]`` on their two directions of largest variance: ``[N, 2]``, and the share of variance they keep.

    Each direction points to where its largest component is positive, so that a picture does not flip between runs.

    >>> plane, kept = principal_plane(torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [4.0, 0.0, 1.0]]))
    >>> plane.tolist(), kept
    ([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], 1.0)
    """
    centred = points.flatten(1).double()
    centred = centred - centred.mean(0)
    _, scale, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:2] * directions[:2].gather(1, directions[:2].abs().argmax(1, keepdim=True)).sign()
    plane = centred @ directions.T
    plane = torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))
    total = scale.square().sum().item()
    return (plane + 0.0).float(), scale[:2].square().sum().item() / total if total else 1.0


@dataclass(frozen=True, eq=False)
class ClusterState:
    """What the cluster explorer shows of one class of n images.

    Attributes:
        space, label, cluster: what was chosen.
        members: int ``[n]``, the class's images in the data.
        ids: int ``[n]``, the cluster of each.
        plane: ``[n, 2]`` and ``kept``, the share of the variance it shows.
        sizes: int ``[k]``, images in each cluster.
        minority_share: ``[k]``, how much of each cluster is of the minority; None where the data name none.
        share, mass: of the class's minority: in the data, and if all clusters counted equally; NaN where there is none.
        rand: adjusted Rand index with the named groups; NaN where there are none.
        near, far, chance: indices into the data: nearest to the selected cluster's centre, farthest, at random.
    """

    space: str
    label: int
    cluster: int
    members: NDArray[np.int64]
    ids: NDArray[np.int64]
    plane: NDArray[np.float32]
    kept: float
    sizes: NDArray[np.int64]
    minority_share: NDArray[np.float64] | None
    share: float
    mass: float
    rand: float
    near: NDArray[np.int64]
    far: NDArray[np.int64]
    chance: NDArray[np.int64]


class ClusterExplorer(Explorer[ClusterState]):
    """Choose a space, a number of groups and a class; look at each cluster by its near, far and random images.

    The points of a space are computed when it is first chosen, and kept.

    Args:
        data: what to cluster; its named groups and minority, if any, are only looked at for comparison.
        spaces: names from :data:`rdd_nb.clustering.SPACES`.
        seed: of the spaces, of k-means and of the random exemplars; groups are those of
            :func:`rdd_nb.clustering.discover_groups` with this seed.
        num_groups: where the slider stands at first.

    Raises:
        RddError: a space that is not known, or none.
    """

    def __init__(
        self,
        data: ImageDataset,
        spaces: Sequence[str] = ("pixels", "style", "probabilities"),
        seed: int = 0,
        num_groups: int = 4,
    ) -> None:
        super().__init__()
        if not spaces:
            raise RddError("the cluster explorer was given no space: name some of rdd_nb.clustering.SPACES")
        for name in spaces:
            if name not in clustering.SPACES:
                raise unknown("space", name, clustering.SPACES)
        self._data, self._seed = data, seed
        self._points: dict[str, Tensor] = {}
        self._found: dict[tuple[str, int, int], Tensor] = {}
        self.space = choice("space", list(spaces))
        self.num_groups = widgets.IntSlider(
            value=num_groups, min=2, max=10, description="groups", continuous_update=False
        )
        classes = [(name, k) for k, name in enumerate(data.class_names) if data.class_counts[k]]
        self.label = choice("class", classes)
        self.cluster = widgets.BoundedIntText(value=1, min=1, max=num_groups, description="cluster")
        self._watch(self.space, self.num_groups, self.label, self.cluster)

    def choices(self) -> dict[str, object]:
        """Space, number of groups, class, and the selected cluster (counted from 0)."""
        count = self.num_groups.value
        with self._quietly():  # a cluster that is no longer there gives way to the last one
            self.cluster.max = count
        return {
            "space": self.space.value,
            "num_groups": count,
            "label": self.label.value,
            "cluster": self.cluster.value - 1,
        }

    def controls(self) -> tuple[widgets.Widget, ...]:
        """Space, number of groups, class, cluster."""
        return (self.space, self.num_groups, self.label, self.cluster)

    def compute(self, space: str, num_groups: int, label: int, cluster: int) -> ClusterState:  # type: ignore[override]
        """Cluster one class and compare with the named groups."""
        data = self._data
        members = (data.labels == label).nonzero()[:, 0]
        points = self._in(space)[members].flatten(1)
        labels = data.labels[members]
        key = (space, num_groups, label)
        if key not in self._found:
            self._found[key] = clustering.kmeans(points, labels, num_groups, self._seed)
        ids = self._found[key]
        sizes = torch.bincount(ids, minlength=num_groups).numpy()
        minority_share, share, mass, rand = None, np.nan, np.nan, np.nan
        if data.minority is not None:
            marked = data.minority[members]
            hits = torch.bincount(ids, weights=marked.double(), minlength=num_groups).numpy()
            minority_share = np.divide(hits, sizes, out=np.full(num_groups, np.nan), where=sizes > 0)
            share = marked.double().mean().item()
            mass = clustering.group_mass(Groups(ids, num_groups, space), labels, marked)
        if data.groups is not None:
            rand = float(adjusted_rand_score(data.groups[members].numpy(), ids.numpy()))
        near, far, chance = self._exemplars(points, ids, cluster, (space, num_groups, label))
        plane, kept = principal_plane(points)
        return ClusterState(
            space,
            label,
            cluster,
            members.numpy(),
            ids.numpy(),
            plane.numpy(),
            kept,
            sizes,
            minority_share,
            share,
            mass,
            rand,
            *(members[where].numpy() for where in (near, far, chance)),
        )

    def _in(self, space: str) -> Tensor:
        if space not in self._points:
            self._points[space] = clustering.space(self._data, space, self._seed)
        return self._points[space]

    def _exemplars(self, points: Tensor, ids: Tensor, cluster: int, key: object) -> tuple[Tensor, Tensor, Tensor]:
        mine = (ids == cluster).nonzero()[:, 0]
        if not len(mine):  # a class with fewer distinct images than groups
            return mine, mine, mine
        distances = (points[mine] - points[mine].mean(0)).norm(dim=1)
        order = mine[distances.argsort(stable=True)]
        shuffled = torch.randperm(len(mine), generator=stream(self._seed, "exemplars", key, cluster))
        return order[:_EXEMPLARS], order.flip(0)[:_EXEMPLARS], mine[shuffled[:_EXEMPLARS]]

    def draw(self, state: ClusterState) -> Figure:
        """The class in its principal plane, and the selected cluster's images."""
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.2, 1), height_ratios=(1.25, 1))
        points = figure.add_subplot(grid[:, 0])
        self._scatter(points, state)
        marks, names = points.get_legend_handles_labels()
        if names:
            figure.legend(
                marks, names, title="named groups (shape)", loc="outside lower center", ncols=5, frameon=False
            )
        rows = [np.resize(part, len(state.near)) for part in (state.near, state.far, state.chance)]
        strip = figure.add_subplot(grid[0, 1])
        strip.set_title(f"Images of cluster {state.cluster + 1}")
        if len(state.near):
            image_sheet(strip, self._data.images[np.concatenate(rows)].numpy(), len(rows[0]), ("near", "far", "random"))
        else:
            strip.set_axis_off()
        self._sizes(figure.add_subplot(grid[1, 1]), state)
        return figure

    def _sizes(self, axes: Axes, state: ClusterState) -> None:
        y = np.arange(len(state.sizes))
        few = np.zeros(len(y)) if state.minority_share is None else np.nan_to_num(state.minority_share) * state.sizes
        named = state.minority_share is not None
        # Black and grey: here colours tell clusters apart.
        axes.barh(y, few, color="black", hatch="///", edgecolor="white", linewidth=0)
        axes.barh(y, state.sizes - few, left=few, color="#AAAAAA")
        for k, size in enumerate(state.sizes):
            axes.annotate(f"{size:,}", (size, k), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_yticks(y, [str(k + 1) for k in y])
        axes.get_yticklabels()[state.cluster].set_fontweight("bold")
        axes.set_title("Sizes" + (f"; hatched: {self._data.minority_names[1]}" if named else ""))
        axes.set(xlabel="images", ylabel="cluster", xlim=(0, 1.12 * state.sizes.max()))
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)

    def _scatter(self, axes: Axes, state: ClusterState) -> None:
        draw = torch.randperm(len(state.ids), generator=stream(self._seed, "points"))[:_DRAWN].numpy()
        shape, names = self._shapes(state)
        for kind, name in enumerate(names):
            for cluster in range(len(state.sizes)):
                here = draw[(state.ids[draw] == cluster) & (shape[draw] == kind)]
                axes.scatter(
                    state.plane[here, 0],
                    state.plane[here, 1],
                    s=24,
                    marker=MARKERS[kind],
                    color=INKS[cluster % len(INKS)],
                    alpha=0.9 if cluster == state.cluster else 0.45,
                    linewidth=0,
                    zorder=2 + (cluster == state.cluster),
                )
            if name and (shape == kind).any():
                axes.scatter([], [], marker=MARKERS[kind], color="#444444", s=28, label=legend_name(name))
        for cluster in map(int, np.flatnonzero(state.sizes)):
            centre = state.plane[state.ids == cluster].mean(0)
            box = {"boxstyle": "circle", "facecolor": "white", "edgecolor": INKS[cluster % len(INKS)], "linewidth": 2}
            bold = "bold" if cluster == state.cluster else "normal"
            axes.annotate(str(cluster + 1), centre, ha="center", va="center", zorder=5, bbox=box, fontweight=bold)
        name = shortened(self._data.class_names[state.label])
        axes.set_title(f"{name} in {state.space} ({state.kept:.0%} of the variance)")
        axes.set(xlabel="first principal direction", ylabel="second", xticks=[], yticks=[])

    def _shapes(self, state: ClusterState) -> tuple[NDArray[np.int64], list[str]]:
        """Which marker each image has, and what the markers mean."""
        data, members = self._data, torch.from_numpy(state.members)
        if data.groups is not None and data.num_groups <= len(MARKERS):
            return data.groups[members].numpy(), list(data.group_names)
        if data.minority is not None:
            return data.minority[members].long().numpy(), list(data.minority_names)
        return np.zeros(len(members), np.int64), [""]

    def describe(self, state: ClusterState) -> str:
        """The selected cluster, and how well the clusters agree with the named groups."""
        data = self._data
        found = int((state.sizes > 0).sum())
        words = (
            f"{data.class_names[state.label]}, {len(state.ids):,} images, fall into {found} groups in the space "
            f"{state.space!r}. Cluster {state.cluster + 1} holds {state.sizes[state.cluster]:,} of them"
        )
        if state.minority_share is not None and state.sizes[state.cluster]:
            words += f", {state.minority_share[state.cluster]:.0%} of these {data.minority_names[1]}"
        words += "."
        if state.share > 0:
            words += (
                f" Minority mass: {data.minority_names[1]} images are {state.share:.0%} of the class, and would be "
                f"{state.mass:.0%} if all clusters counted equally."
            )
        if not np.isnan(state.rand):
            words += f" Adjusted Rand index with the named groups: {state.rand:.2f} (1 is the same, 0 is chance)."
        return words
