"""Checks of losses, ids, weights and tails, and sums over groups, shared by the risks."""

from __future__ import annotations

import torch
from torch import Tensor

from rdd_nb.core.errors import RddError


def wide_dtype(like: Tensor) -> torch.dtype:
    """The dtype of sums: float64, which only Apple's devices lack."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def readable(x: Tensor) -> bool:
    """Whether its values can be looked at without waiting for an accelerator."""
    return x.device.type == "cpu"


def at_least_float32(losses: Tensor) -> Tensor:
    """The losses as they are, or half precision raised to float32."""
    return losses if losses.dtype in (torch.float32, torch.float64) else losses.float()


def group_sums(values: Tensor, index: Tensor, groups: int) -> Tensor:
    """Sums of the values ``[..., N]`` by their index, 0 … groups - 1; what has index ``groups`` is dropped."""
    out = torch.zeros((*values.shape[:-1], groups + 1), dtype=values.dtype, device=values.device)
    return out.scatter_add(-1, index, values)[..., :groups]


def flag(fault: Tensor, what: str) -> Tensor:
    """Where there is a fault, with the last dimension reduced to 1; on the CPU there is an error instead."""
    if readable(fault) and bool(fault.any()):
        raise RddError(f"{int(fault.sum())} of {fault.numel()} {what}")
    return fault.any(-1, keepdim=True)


def checked_tail(tail: float | Tensor, like: Tensor) -> Tensor:
    """The tail, checked, as ``[..., 1]`` in the wide dtype on the device of ``like``."""
    if isinstance(tail, Tensor):
        values = tail.flatten().tolist() if readable(tail) else []
        t = tail.detach().to(like.device, wide_dtype(like)).unsqueeze(-1)
    else:
        values = [tail]
        t = torch.full((1,), tail, dtype=wide_dtype(like), device=like.device)  # a fill, so nothing is copied over
    for value in values:
        if not 0 < value <= 1:
            raise RddError(f"tail must lie in (0, 1], got {value}: the fraction of worst samples averaged (1 = mean)")
    return t


def check_losses(losses: Tensor) -> Tensor:
    """Which problems ``[..., 1]`` hold losses that are not finite (on the CPU: an error instead)."""
    if not losses.is_floating_point() or losses.ndim == 0 or losses.numel() == 0:
        raise RddError(f"losses must be floats [..., N], N ≥ 1, got {losses.dtype} {list(losses.shape)}")
    return flag(~losses.isfinite(), "losses are not finite: look for a learning rate that is too high")


def check_arguments(losses: Tensor, groups: Tensor, num_groups: int, weights: Tensor | None) -> Tensor:
    """Which problems ``[..., 1]`` hold bad values (on the CPU: an error instead), after a check of shapes and types."""
    bad = check_losses(losses)
    for name, other in (("groups", groups), ("weights", weights)):
        if other is not None and (other.shape != losses.shape or other.device != losses.device):
            where = f"{list(losses.shape)} on {losses.device}"
            raise RddError(f"{name} {list(other.shape)} on {other.device} must match the losses {where}")
    if num_groups < 1 or groups.dtype != torch.int64:
        raise RddError(f"groups must be int64 with num_groups ≥ 1, got {groups.dtype} and num_groups {num_groups}")
    known = f"group ids lie outside -1 … {num_groups - 1} (-1: no group)"
    bad = bad | flag((groups < -1) | (groups >= num_groups), known)
    if weights is not None:
        bad = bad | flag(~((weights >= 0) & weights.isfinite()), "sample weights are negative or not finite")
    return bad
