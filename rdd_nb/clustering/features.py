"""What a network or a formula makes of all images, as points, in a memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rdd_nb.core.random_streams import stream
from rdd_nb.data.dataset import ImageDataset

__all__ = ["embedded", "outputs", "principal", "reduction", "standardised"]

LARGE = 256_000_000  #: bytes of points from which on they are reduced
COMPONENTS = 64  # that are kept of them
FITTED_BYTES = 100_000_000  # of the points that the components are found from
MANY = 512  # coordinates from which on the first components alone are looked for, which takes a fraction of the time
WIDE = 4096  # more coordinates than that are too many for their covariance


@torch.no_grad()
def outputs(
    function: Callable[[Tensor], Tensor], data: ImageDataset, device: torch.device, index: Tensor | None = None
) -> Tensor:
    """What ``function`` makes of the images at ``index`` (of all), as many at once as ``data.at_once`` says.

    Args:
        function: normalised images ``[n, C, H, W]`` → ``[n, …]``.

    Returns:
        ``[N, …]`` on the CPU.
    """
    index = torch.arange(len(data)) if index is None else index
    made: Tensor | None = None
    for start, batch in zip(range(0, len(index), data.at_once), index.split(data.at_once)):
        part = function(data.normalised(batch, device))
        # At once for all: small pieces that stay among large ones that go would break up the free memory.
        made = torch.empty((len(index), *part.shape[1:]), dtype=part.dtype) if made is None else made
        made[start : start + len(batch)] = part
    assert made is not None
    return made


def principal(points: Tensor, most: int = 20) -> Tensor:
    """The first principal components of points ``[N, D]``: ``[N, most or fewer]``, by the covariance (exact).

    With more than 4,096 coordinates the components are those of about 2,000 evenly spaced points.
    """
    centred = points - points.mean(0)
    return centred @ _directions(centred, most)


def _directions(centred: Tensor, most: int) -> Tensor:
    """The principal directions of points with mean 0, the first first: ``[D, most or fewer]``."""
    if centred.shape[1] <= WIDE:
        covariance = (centred.T @ centred).double()
        if len(covariance) > max(MANY, most) and bool(covariance.any()):
            from scipy.sparse.linalg import eigsh  # takes a while to import

            start = torch.randn(len(covariance), generator=stream(0, "first direction"), dtype=torch.float64)
            _, found = eigsh(covariance.cpu().numpy(), k=most, v0=start.numpy())
            return torch.from_numpy(found).flip(1).to(centred)
        _, vectors = torch.linalg.eigh(covariance)
        return vectors.flip(1)[:, :most].to(centred)
    # Points span no more directions than they are: those of the smaller matrix of their products.
    some = centred[:: max(1, len(centred) // 2000)]
    values, vectors = torch.linalg.eigh((some @ some.T).double())
    kept = values > 1e-9 * values[-1]
    return (some.T.double() @ (vectors[:, kept] / values[kept].sqrt())).flip(1)[:, :most].to(centred)


def standardised(points: Tensor) -> Tensor:
    """Points ``[N, D]`` with mean 0 and deviation 1 in each coordinate; a constant coordinate is 0."""
    return (points - points.mean(0)) / points.std(0).clamp_min(1e-6)


def reduction(
    function: Callable[[Tensor], Tensor],
    data: ImageDataset,
    device: torch.device,
    seed: int = 0,
    standardise: bool = False,
) -> Callable[[Tensor], Tensor] | None:
    """How points ``[n, D]`` are to be reduced so that those of all images are at most 256 MB; None if they are.

    Kept are their first 64 principal components, found from a sample of the images that has 100 MB of points at most.
    With ``standardise`` each coordinate is first brought to mean 0 and deviation 1, as the sample has them.

    Args:
        function: normalised images ``[n, C, H, W]`` → points ``[n, D]``.
        data: the images.
        device: where ``function`` computes.
        seed: of the sample.
    """
    each = 4 * outputs(function, data, device, torch.zeros(1, dtype=torch.int64)).shape[1]
    if each * len(data) <= LARGE or each <= 4 * COMPONENTS:
        return None
    order = torch.randperm(len(data), generator=stream(seed, "sample for components"))
    sample = outputs(function, data, device, order[: max(1000, FITTED_BYTES // each)]).to(device)
    mean = sample.mean(0)
    scale = sample.std(0).clamp_min(1e-6) if standardise else torch.ones_like(mean)
    directions = _directions((sample - mean) / scale, COMPONENTS)
    return lambda points: ((points - mean) / scale) @ directions


def embedded(
    function: Callable[[Tensor], Tensor],
    data: ImageDataset,
    device: torch.device,
    seed: int = 0,
    standardise: bool = False,
) -> Tensor:
    """What ``function`` makes of all images, on the CPU: ``[N, D]``, or ``[N, 64]`` where that is :func:`reduction`'s.

    The arguments are those of :func:`reduction`.
    """
    keep = reduction(function, data, device, seed, standardise)
    if keep is not None:
        return outputs(lambda x: keep(function(x)), data, device)
    points = outputs(function, data, device)
    return standardised(points) if standardise else points
