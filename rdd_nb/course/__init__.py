"""The course: exercises that check themselves, explorers, student copies, and notebooks cleaned for the repository."""

from rdd_nb.course.exercise import check

__all__ = ["check"]
