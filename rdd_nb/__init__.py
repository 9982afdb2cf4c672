"""rdd_nb: group-distributionally-robust dataset distillation."""

__version__ = "0.1.0"
