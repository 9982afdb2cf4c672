"""Groups that nobody named: cells of a synthetic set, k-means in several spaces, densities, and how stable they are.

All of it works **within classes**: a group is a pair (class, id), so that "the worst group" is not just "the hardest
class". Nothing here reads a group label. Start at :mod:`~rdd_nb.clustering.discovery`.
"""

from rdd_nb.clustering.agreement import stability
from rdd_nb.clustering.choice import at_price, price_where
from rdd_nb.clustering.density import density_weights
from rdd_nb.clustering.discovery import AUTO, candidates, discover_groups, learnability
from rdd_nb.clustering.groups import STARTS, Benefit, Groups, Trial, known_groups
from rdd_nb.clustering.kmeans import cells, kmeans, medoids
from rdd_nb.clustering.partial_labels import UNKNOWN, extended_groups, known_but
from rdd_nb.clustering.shares import group_mass, group_shares, group_weights, matched_mass
from rdd_nb.clustering.spaces import SPACES, space
from rdd_nb.clustering.trials import Trials

__all__ = [
    "AUTO",
    "SPACES",
    "STARTS",
    "UNKNOWN",
    "Benefit",
    "Groups",
    "Trial",
    "Trials",
    "at_price",
    "candidates",
    "cells",
    "density_weights",
    "discover_groups",
    "extended_groups",
    "group_mass",
    "group_shares",
    "group_weights",
    "kmeans",
    "known_but",
    "known_groups",
    "learnability",
    "matched_mass",
    "medoids",
    "price_where",
    "space",
    "stability",
]
