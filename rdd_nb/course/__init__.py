"""The course: exercises that check themselves, explorers, student copies, and notebooks cleaned for the repository."""

from rdd_nb.course.claims import Claims
from rdd_nb.course.exercise import check
from rdd_nb.course.samples import sample
from rdd_nb.course.setting import one_of, scenario_options, settle
from rdd_nb.experiments.data_mapping import read_mapping

__all__ = ["Claims", "check", "one_of", "read_mapping", "sample", "scenario_options", "settle"]
