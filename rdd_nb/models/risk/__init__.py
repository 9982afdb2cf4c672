"""Risk of a batch of losses: exact CVaR, CVaR within groups, the double robust objective, and group DRO.

Losses have shape ``[..., N]``; leading dimensions are independent problems, solved at once. Group ids are integers
``0 … num_groups - 1``, and ``-1`` says that a sample belongs to no group. ``tail`` in (0, 1] is the fraction of worst
samples averaged: 1 gives the mean, towards 0 the maximum. A tensor of tails broadcasts against the leading dimensions,
so ``cvar(losses, tails)`` is a whole CVaR curve from one sort. Half precision is raised to float32 (results too), and
sums over groups run in float64 where the device has it.

Bad input raises :class:`~rdd_nb.core.errors.RddError`. Its *values* (losses, ids, weights, a tensor of tails) are seen
on the CPU only, since an accelerator would have to be waited for; there a bad value turns the problem it lies in to
NaN, which whoever watches the loss then sees.

Small batches make CVaR look safe: exponential losses have CVaR 3.30 at tail 0.1, but the average over batches of 8 is
2.72, of 32 it is 3.16, of 128 it is 3.27. See :func:`effective_tail` and :class:`DualCVaR`.

:mod:`~rdd_nb.models.risk.tail_risk` has CVaR and CVaR within groups, :mod:`~rdd_nb.models.risk.robust` the double
objective, :mod:`~rdd_nb.models.risk.online` the risks that keep a state from batch to batch.
"""

from rdd_nb.models.risk.online import DualCVaR, GroupDRO
from rdd_nb.models.risk.robust import robust_risk, robust_weights
from rdd_nb.models.risk.tail_risk import (
    GroupRisk,
    cvar,
    cvar_weights,
    effective_tail,
    group_cvar,
    group_cvar_weights,
    rockafellar_uryasev,
)

__all__ = [
    "DualCVaR",
    "GroupDRO",
    "GroupRisk",
    "cvar",
    "cvar_weights",
    "effective_tail",
    "group_cvar",
    "group_cvar_weights",
    "robust_risk",
    "robust_weights",
    "rockafellar_uryasev",
]
