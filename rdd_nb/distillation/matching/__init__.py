"""What is matched: statistics of weighted real samples against those of the synthetic ones.

The real side of every objective is a set of *weighted means*, and the weights carry all the robustness:

================  ===============================================================================================
``erm``           every sample the same: plain matching (DC, Zhao et al. 2006.05929; DM, Zhao and Bilen 2110.04181)
``robust``        the subgradient of the double objective, CVaR within groups, mean and maximum across them (R2)
``group``         one mean for each group, and the distance averaged over groups (R3; FairDD 2411.19623)
``density``       the inverse of the sample's density within its class (R4)
================  ===============================================================================================

Everything here is a pure function of tensors. Batches are class-balanced and shaped ``[C, B, …]``: ``B`` real samples
of each of ``C`` classes.
"""

from rdd_nb.distillation.matching.distribution import coverage_losses, distribution_loss
from rdd_nb.distillation.matching.gradient import gradient_distance, gradient_loss, gradient_losses
from rdd_nb.distillation.matching.objectives import OBJECTIVES, group_means_weights, objective_weights
from rdd_nb.distillation.matching.trajectory import TrajectoryMatch, flat_parameters, match_trajectory, student_path

__all__ = [
    "OBJECTIVES",
    "TrajectoryMatch",
    "coverage_losses",
    "distribution_loss",
    "flat_parameters",
    "gradient_distance",
    "gradient_loss",
    "gradient_losses",
    "group_means_weights",
    "match_trajectory",
    "objective_weights",
    "student_path",
]
