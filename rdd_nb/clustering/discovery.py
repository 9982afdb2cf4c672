"""Groups that nobody named: candidates from several views of the data, and a trial of what raising each would bring."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from rdd_nb.clustering.choice import choose, price_where
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.groups_file import KeptGroups
from rdd_nb.clustering.kmeans import kmeans
from rdd_nb.clustering.partial_labels import UNKNOWN, extended
from rdd_nb.clustering.reference_networks import biased_stages, held_out_probabilities
from rdd_nb.clustering.shares import group_weights
from rdd_nb.clustering.spaces import principal, space
from rdd_nb.clustering.trials import POWER, Trials
from rdd_nb.core.errors import RddError
from rdd_nb.data.dataset import ImageDataset

__all__ = ["AUTO", "candidates", "discover_groups", "learnability"]

AUTO = "auto"
RAISED = "probabilities before and after raising"
STAGES = (1, 2, 4)  # epochs of the biased network: what it believes between the easy rule and the hard cases


def discover_groups(
    data: ImageDataset,
    space_name: str = AUTO,
    *,
    num_groups: int = 10,
    learnable: bool = True,
    ipc: int = 10,
    group_power: float = POWER,
    price: float | None = None,
    known: Tensor | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    kept: str | os.PathLike[str] | None = None,
) -> Groups:
    """Groups within each class, found without any group label, and how far each is to be raised.

    The default ``"auto"`` looks for groups in several views (:func:`candidates`) and tries what raising each would
    bring, on held-out training images and at the size of the set that is to be made
    (:class:`~rdd_nb.clustering.trials.Trials`). The two that bring most are tried at several strengths, and of these
    one is taken that is worth its ``price`` (:func:`at_price`). Where nothing is, nothing is raised: ``learnable``
    is 0 everywhere and robust matching is plain matching. The groups' ``report`` tells what was tried, which class
    pays most and what other prices would raise, and their ``trials`` what was tried as numbers
    (:class:`~rdd_nb.clustering.groups.Groups`).

    With the name of a space it is k-means in that space, and ``learnable`` is each group's :func:`learnability`.

    Args:
        data: the training set.
        space_name: ``"auto"``, or one of :data:`~rdd_nb.clustering.SPACES`.
        num_groups: the most that a class is divided into.
        learnable: False to raise the groups in full without asking what it brings (with ``"auto"``, those of the best
            candidate).
        ipc: images per class of the set that is to be made, for the trial.
        group_power: what a group that is raised in full counts as, to be made and in the trial's eyes: its size to
            this power (:class:`~rdd_nb.DistillConfig` has the same). At 0 all groups count alike.
        price: how many points of accuracy, on images that come as the training set's do, a point for the small may
            cost, from 0 to 1. No trial can know what a minority is worth. The default is a tenth, for those who want
            nobody harmed, and 1 where some groups are ``known``: who names groups says that they count. For data that
            will come in other proportions, and where every group is as dear, 1 goes with ``group_power=0``.
        known: int64 ``[N]``, group labels where there are some, and −1. With all of them they are the groups, and
            nothing is tried. With a part, their extension to the rest
            (:func:`~rdd_nb.clustering.partial_labels.extended_groups`) is one more candidate of ``"auto"``, and all
            candidates are judged by it, as far as it puts labelled images right that it has not seen, and for the rest
            by what the images say. With another space it is the grouping.
        seed: of the networks, the clusterings and the trial.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        progress: with ``"auto"``, say on stderr what is being done, and in the end how long each part took.
        kept: with ``"auto"``, a folder where candidates and results are kept, and taken from when the same is asked
            again (:class:`~rdd_nb.clustering.groups_file.KeptGroups`): for another price only the trial is made anew.

    Raises:
        RddError: no such space, ``num_groups`` or ``ipc`` below 1, ``group_power`` or ``price`` outside [0, 1], no
            class of two images, or bad ``known``.

    Taught in ``notebooks/00_quickstart.ipynb``.
    """
    if num_groups < 1:
        raise RddError(f"num_groups is {num_groups}: ask for at least 1 group a class")
    if ipc < 1:
        raise RddError(f"ipc is {ipc}: ask for at least 1 image per class")
    some = known is not None and bool((known != UNKNOWN).any())
    price = price if price is not None else price_where(some)
    for name, value in (("group_power", group_power), ("price", price)):
        if not 0 <= value <= 1:
            raise RddError(f"{name} is {value:g}: give a number from 0 to 1")
    if known is not None and some and (space_name != AUTO or bool((known != UNKNOWN).all())):
        return extended(data, known, seed, device)[0]
    if space_name == AUTO:
        keeper = KeptGroups(kept, data, device, num_groups=num_groups, seed=seed)
        told_of = "" if known is None else hashlib.sha256(known.cpu().numpy().tobytes()).hexdigest()
        asked = {"learnable": learnable, "ipc": ipc, "group_power": group_power, "price": price, "known": told_of}
        with _Clock(progress) as clock:

            def search() -> list[Groups]:
                partly = None
                if known is not None and some:
                    with clock.part("known groups"):
                        partly = extended(data, known, seed, device)
                with clock.part("views of the data"):
                    found, _ = keeper.or_found(lambda: candidates(data, num_groups, seed, device))
                with clock.part("trials"):
                    trials = Trials(data, ipc=ipc, seed=seed, device=device)
                    return [choose(trials, found, partly, data.class_names, group_power, price, learnable)]

            (groups,), again = keeper.or_found(search, **asked)
            if again:
                clock.line.set_description_str("groups: as they were found before")
            return groups
    points = space(data, space_name, seed, device)
    groups = Groups(kmeans(points, data.labels, num_groups, seed), num_groups, space_name)
    return replace(groups, learnable=learnability(groups, data, seed, device=device)) if learnable else groups


def candidates(data: ImageDataset, num_groups: int = 10, seed: int = 0, device: str = "auto") -> Iterator[Groups]:
    """The groupings that ``discover_groups`` tries: k-means within classes, in several views of the data.

    First the class probabilities of the biased network after one, two and four epochs, side by side: they show what
    breaks a class's rule and how soon that is learnt, but not whether it could be classified if it were met more often.
    So these groups are raised, two networks are trained that each judge the half they never met, and what they say
    stands beside the former in the second view: there, images that raising helps part from images that look like
    another class or wear a wrong label. Then the biased network's features (GEORGE, 2011.12945), a frozen network's
    features, and colours, where there are some, also in three groups: a minority that fills one group of ten cannot be
    raised. ``learnable`` of all is their :func:`learnability` by the same two networks.
    """
    stages = biased_stages(data, seed, epochs=STAGES, device=device)
    before = torch.cat([told for told, _ in stages.values()], 1)
    first = _in_view(data, "probabilities", before, num_groups, seed)
    weights = group_weights(first, data.labels, data.num_classes, POWER)
    after = held_out_probabilities(data, weights, seed, device=device)
    views = [
        (RAISED, torch.cat([before, after], 1), num_groups),
        ("features learnt", principal(stages[2][1]), num_groups),
        ("features of a frozen network", principal(space(data, "features", seed, device)), num_groups),
    ]
    if data.shape[0] == 3:
        colours = space(data, "colour", seed, device)
        if not (colours.std(0) < 1e-5).all():  # grey images in three channels have none
            views += [("colour", colours, count) for count in dict.fromkeys((num_groups, min(3, num_groups)))]
    for groups in (first, *(_in_view(data, *view, seed) for view in views)):
        yield replace(groups, learnable=_learnability(groups, data.labels, after))


def _in_view(data: ImageDataset, name: str, points: Tensor, count: int, seed: int) -> Groups:
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than groups, but for rounding
        return Groups(kmeans(points, data.labels, count, seed), count, f"{name} ({count} groups)")


class _Clock(contextlib.ExitStack):
    """A line on stderr that says what is being done and, at the end, how long each part took."""

    def __init__(self, show: bool) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.line = tqdm(bar_format="{desc}", disable=not show)
        self.callback(self.line.close)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.line.set_description_str(f"groups: {name}")
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        spent = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in self.seconds.items())
        self.line.set_description_str(f"groups: {sum(self.seconds.values()):.0f} s ({spent})")


def learnability(
    groups: Groups, data: ImageDataset, seed: int = 0, *, power: float = POWER, device: str = "auto"
) -> Tensor:
    """How far a network that meets a group often learns to classify those of its members that it never met.

    A group may be badly served because it is rare, which raising it mends, or because its images look like another
    class or wear a wrong label, which raising it makes worse: it takes from the class what it cannot give to the group.
    The difference shows out of sample. Two small networks, each trained on half of the data with all groups raised to
    ``power``, judge the other half (:func:`rdd_nb.clustering.reference_networks.held_out_probabilities`); a group's
    learnability is twice the mean probability of the right class, at most 1: from an even chance on, a group counts in
    full. The trial is ours; networks that judge what they have not met are known from finding wrong labels (Northcutt
    et al., 1911.00068).

    Returns:
        float64 ``[num_classes, num_groups]`` in [0, 1]; 0 for an empty group.

    Raises:
        RddError: fewer than two samples.
    """
    weights = group_weights(replace(groups, learnable=None), data.labels, data.num_classes, power)
    return _learnability(groups, data.labels, held_out_probabilities(data, weights, seed, device=device))


def _learnability(groups: Groups, labels: Tensor, said: Tensor) -> Tensor:
    """The same, of what networks ``said`` that never met the samples: probabilities ``[N, K]``."""
    flat, classes = labels * groups.num_groups + groups.ids, said.shape[1]
    total = torch.zeros(classes * groups.num_groups, dtype=torch.float64)
    total.index_add_(0, flat, said.gather(1, labels[:, None])[:, 0].double())
    mean = total.view(classes, -1) / groups.sizes(labels, classes).clamp_min(1)
    return (2 * mean).clamp_max(1)
