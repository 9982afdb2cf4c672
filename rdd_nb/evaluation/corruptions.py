"""The table of the paper's kind (Acc, Cluster-min, Noise, Blur, Invert) of trained nets, and how far its numbers move.

Notebook 04 teaches what is here.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special
from torch import Tensor, nn

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.evaluation.predictions import predict

__all__ = [
    "CORRUPTIONS",
    "Interaction",
    "ReversedPairs",
    "cluster_groups",
    "corrupt",
    "interaction",
    "relative",
    "reversed_pairs",
    "robustness",
    "severity_curves",
    "spreads",
]

#: What :func:`corrupt` can do to an image.
CORRUPTIONS = ("noise", "blur", "invert")


def corrupt(test: ImageDataset, kind: str, seed: int = 0, severity: float = 1.0) -> ImageDataset:
    """``test`` with each image corrupted; at ``severity`` 1 as the released code of arXiv 2402.04676 does it.

    Args:
        test: any set; groups and labels stay.
        kind: ``noise`` (Gaussian; variance 0.005 of pixels in [0, 1] up to 64 px, standard deviation 0.2 above),
            ``blur`` (Gaussian, standard deviation 2 pixels, border pixels repeated) or ``invert`` (255 − pixel).
        seed: of the noise, whose pattern is the same at every severity.
        severity: a factor of both standard deviations; for ``invert`` how far each pixel goes towards 255 − pixel, at
            most 1: on the way, at 0.5, all pixels are the same grey. At 0 the images stay what they are.

    Raises:
        RddError: an unknown corruption; a severity below 0 or not finite, or above 1 for ``invert``.

    >>> data = ImageDataset(torch.tensor([[[[0, 100]]]], dtype=torch.uint8), torch.tensor([0]), ("a",), (0.5,), (0.2,))
    >>> [corrupt(data, "invert", severity=s).images.flatten().tolist() for s in (0, 0.25, 0.5, 1)]
    [[0, 100], [64, 114], [128, 128], [255, 155]]
    """
    if kind not in CORRUPTIONS:
        raise unknown("corruption", kind, CORRUPTIONS)
    if not 0 <= severity < math.inf:
        raise RddError(f"corruption {kind!r}: severity={severity!r} must be a number, at least 0")
    if kind == "invert" and severity > 1:
        raise RddError(f"corruption 'invert': severity={severity!r} is beyond the negative: give at most 1")
    if severity == 0:
        return test
    x = test.images
    if kind == "noise":
        sigma = severity * 255 * (0.005**0.5 if max(test.shape[1:]) <= 64 else 0.2)
        draw = stream(seed, "corrupt")
        x = _by_parts(x, lambda p: p + sigma * torch.randn(p.shape, generator=draw).to(p.device))
    elif kind == "blur":
        rows, columns = (_blur_matrix(side, 2 * severity).to(x.device) for side in test.shape[1:])
        x = _by_parts(x, lambda p: rows @ p @ columns.T)
    else:
        x = _by_parts(x, lambda p: p + severity * (255 - 2 * p))
    return dataclasses.replace(test, images=x)


def _by_parts(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """``change`` of a thousand images at a time, as floats, and what it gives as bytes."""
    return torch.cat([change(p.float()).round_().clamp_(0, 255).to(torch.uint8) for p in images.split(1000)])


def _blur_matrix(side: int, sigma: float) -> Tensor:
    """[side, side]: row i holds what each pixel gives to the blurred pixel i; what lies outside is the border pixel."""
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-offsets.double().square() / (2 * sigma**2))
    source = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, source, (weights / weights.sum()).expand(side, -1)).float()


def cluster_groups(test: ImageDataset, k: int = 10, seed: int = 0) -> Tensor:
    """Cluster-min's groups: k-means on the test set's normalised pixels, int64 ``[N]`` in 0..k-1.

    They depend on the test images alone, so they are fixed before any net is trained.

    Raises:
        RddError: fewer samples than clusters.
    """
    if not 1 <= k <= len(test):
        raise RddError(f"k={k} clusters of {len(test)} test images: give 1 to {len(test)}")
    from sklearn.cluster import KMeans  # scikit-learn takes seconds to import
    from sklearn.exceptions import ConvergenceWarning

    points = test.normalised().flatten(1).cpu().numpy()
    with warnings.catch_warnings():  # of images that are all alike: what they need not fill stays empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(KMeans(k, n_init=1, random_state=seed).fit_predict(points)).long()


def robustness(nets: Sequence[nn.Module], test: ImageDataset, seed: int = 0, k: int = 10) -> pd.DataFrame:
    """Acc, Cluster-min, Noise, Blur and Invert of each net: a tidy table net, metric, value (fractions).

    Cluster-min is the accuracy on the worst of the ``k`` clusters of :func:`cluster_groups` (of as many as there are
    images, where these are fewer), of each net for itself: a minimum, so it falls below the true one the more the
    smaller the clusters are (see ``subgroups.minimum_band``).
    ``seed`` is that of the clusters and of the noise.
    """
    plain, k = predict(nets, test), min(k, len(test))
    clusters = plain.table_of(cluster_groups(test, k, seed).numpy(), tuple(map(str, range(k))))
    worst = (clusters["correct"] / clusters["n"].where(clusters["n"] > 0)).groupby(clusters["net"]).min()
    values = {"Acc": plain.accuracy, "Cluster-min": worst.to_numpy()}
    for kind in CORRUPTIONS:
        values[kind.capitalize()] = predict(nets, corrupt(test, kind, seed)).accuracy
    return pd.DataFrame(
        [{"net": net, "metric": m, "value": float(v)} for m, column in values.items() for net, v in enumerate(column)]
    )


def severity_curves(
    nets: Sequence[nn.Module], test: ImageDataset, severities: Mapping[str, Sequence[float]], seed: int = 0
) -> pd.DataFrame:
    """Accuracy of each net on ``test``, corrupted more and more: a tidy table kind, severity, net, value (fractions).

    Args:
        nets: trained, all on one device.
        test: as the nets expect it (see :func:`rdd_nb.evaluation.predictions.matched`).
        severities: corruption → severities, as :func:`corrupt` takes them. The same noise serves all of them, so that a
            curve shows what the strength does and not what another draw does.
        seed: of the noise.
    """
    rows: list[dict[str, object]] = []
    known: dict[object, NDArray[np.float64]] = {}
    for kind, points in severities.items():
        for severity in points:
            corrupted, key = corrupt(test, kind, seed, severity), (kind, severity) if severity else "clean"
            if key not in known:
                known[key] = predict(nets, corrupted).accuracy
            one = {"kind": kind, "severity": float(severity)}
            rows += [{**one, "net": net, "value": float(v)} for net, v in enumerate(known[key])]
    return pd.DataFrame(rows, columns=["kind", "severity", "net", "value"])


def relative(clean: ArrayLike, corrupted: ArrayLike, chance: float) -> NDArray[np.float64]:
    """The part left above ``chance``: the mean over corruptions of (a − c) / (a₀ − c), ``[nets]``.

    1 where nothing is lost, 0 where the net might as well guess, negative where it is misled. Without ``chance`` a poor
    net, which has less to lose, would look robust.

    Args:
        clean: accuracy of each net on clean images, ``[nets]``.
        corrupted: on corrupted ones, ``[nets, kinds]``.
        chance: accuracy of guessing, one over the number of classes.

    Returns:
        NaN for a net that is no better than chance when clean.

    >>> relative([0.8, 0.1], [[0.8, 0.45], [0.1, 0.1]], chance=0.1).tolist()
    [0.75, nan]
    """
    before, after = np.asarray(clean, float), np.asarray(corrupted, float)
    if before.ndim != 1 or after.ndim != 2 or len(before) != len(after):
        raise RddError(
            f"clean accuracies must be [nets] and corrupted ones [nets, kinds], not {before.shape} and {after.shape}"
        )
    above_chance = np.where(before > chance, before - chance, np.nan)
    return (after.mean(1) - chance) / above_chance


def spreads(values: ArrayLike) -> dict[str, float]:
    """How far a number moves with the method, with the protocol, with both together, and from net to net.

    ``values`` ``[methods, protocols, nets]`` are taken apart as mean + method + protocol + both + net (the two-way
    layout). Each part is told as a standard deviation, in the unit of the values: of the methods' means, of the
    protocols' means, of what a method gains or loses in one protocol beyond these two, and of the nets of one cell
    (NaN for a single net). They describe these methods and protocols. The nets' noise is in each of the first three,
    most in ``both``: :func:`interaction` says how much it gives there alone.

    Raises:
        RddError: not three axes, or fewer than two methods or protocols.

    >>> found = spreads([[[0.5], [0.7]], [[0.6], [0.8]]])
    >>> {name: round(value, 3) for name, value in found.items()}
    {'methods': 0.071, 'protocols': 0.141, 'both': 0.0, 'nets': nan}
    """
    x = np.asarray(values, float)
    if x.ndim != 3 or min(x.shape[:2]) < 2 or not x.shape[2]:
        raise RddError(f"values must be [methods, protocols, nets], two of the first two at least, not {x.shape}")
    cells = x.mean(2)
    rows, columns = cells.mean(1), cells.mean(0)
    both = cells - rows[:, None] - columns + cells.mean()
    return {
        "methods": float(rows.std(ddof=1)),
        "protocols": float(columns.std(ddof=1)),
        "both": float(np.sqrt((both**2).sum() / ((len(rows) - 1) * (len(columns) - 1)))),
        "nets": float(np.sqrt(x.var(axis=2, ddof=1).mean())) if x.shape[2] > 1 else float("nan"),
    }


class Interaction(NamedTuple):
    """What ``both`` of :func:`spreads` would be if methods and protocols did not interact, and the test of that.

    Attributes:
        noise: the standard deviation that the nets' noise alone gives, in the unit of the values.
        p_value: of the F-test of no interaction.
    """

    noise: float
    p_value: float


def interaction(values: ArrayLike) -> Interaction:
    """Do methods ``[methods, protocols, nets]`` gain in one protocol and lose in another by more than the nets' noise?

    Of σ² between nets, σ²/nets remains in the mean of a cell, and ``both`` has that expected square even if nothing
    interacts. Net k of all cells may start alike (:func:`rdd_nb.models.training.train`), so the noise is what is left
    when cells and starts are taken out, with (methods − 1)(protocols − 1)(nets − 1) degrees of freedom.

    Raises:
        RddError: not three axes, or fewer than two of anything.

    >>> found = interaction([[[0.5, 0.6], [0.7, 0.7]], [[0.6, 0.6], [0.5, 0.6]]])
    >>> round(found.noise, 3), round(found.p_value, 2)
    (0.05, 0.3)
    """
    x = np.asarray(values, float)
    if x.ndim != 3 or min(x.shape) < 2:
        raise RddError(f"values must be [methods, protocols, nets], at least two of each, not {x.shape}")
    start = x - x.mean(2, keepdims=True)
    left = start - start.mean(0) - start.mean(1, keepdims=True) + start.mean((0, 1))
    freedom = (x.shape[0] - 1) * (x.shape[1] - 1)
    noise = float(np.sqrt((left**2).sum() / (freedom * (x.shape[2] - 1)) / x.shape[2]))
    ratio = (spreads(x)["both"] / max(noise, 1e-12)) ** 2
    return Interaction(noise, float(special.fdtrc(freedom, freedom * (x.shape[2] - 1), ratio)))


class ReversedPairs(NamedTuple):
    """The share of pairs of methods in another order than on average.

    Attributes:
        within: both measured in one protocol, over all protocols and pairs.
        across: each measured in another protocol, over all pairs of protocols and of methods.
    """

    within: float
    across: float


def reversed_pairs(values: ArrayLike) -> ReversedPairs:
    """How often does a comparison of two methods contradict their mean order, in one protocol and across two?

    Args:
        values: accuracy of each method in each protocol, ``[protocols, methods]``; the mean over protocols gives the
            order. A tie contradicts it, unless the two tie on average as well.

    Raises:
        RddError: not two axes, or fewer than two protocols or methods.

    >>> reversed_pairs([[0.5, 0.6], [0.7, 0.8]])
    ReversedPairs(within=0.0, across=0.5)
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise RddError(f"values must be [protocols, methods], at least two of each, not {table.shape}")
    order = np.sign(np.subtract.outer(table.mean(0), table.mean(0)))
    seen = np.sign(table[:, None, :, None] - table[None, :, None, :])  # [p, q, a, b]: a in p against b in q
    first, second = np.triu_indices(table.shape[1], 1)
    turned = (seen != order)[:, :, first, second].mean(2)
    one = np.eye(len(table), dtype=bool)
    return ReversedPairs(float(turned[one].mean()), float(turned[~one].mean()))
