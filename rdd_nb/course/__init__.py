"""The course: exercises that check themselves, explorers, student copies, and notebooks cleaned for the repository."""

from rdd_nb.course.claims import Claims
from rdd_nb.course.exercise import check
from rdd_nb.course.samples import sample

__all__ = ["Claims", "check", "sample"]
