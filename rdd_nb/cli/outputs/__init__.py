"""What each command prints with ``--json``: every key, its type, its unit, and what may be null.

The one place where this is stated. A command builds what it prints as one of these types, which mypy checks; nothing is
checked while it runs. :mod:`rdd_nb.cli.schema` makes JSON Schema of them, and the tests hold real outputs against it.
Commands import these modules for their annotations only, as they need the models that config and sources are made of.

A number that is not finite, such as the accuracy on a group without images, is null. Shares and accuracies are
fractions, not per cent. These modules do without postponed annotations, since pydantic then finds what is not required
on every Python.
"""

from typing import Any

from rdd_nb.cli.outputs.data import Checks, CourseCopy, CourseGrade, DataCache, DataFetch, DataList, Discover
from rdd_nb.cli.outputs.runs import Compare, Distill, Doctor, Evaluate, Export
from rdd_nb.cli.outputs.studies import Report, Study, StudyPlan, Sweep, SweepPlan

__all__ = ["OUTPUTS", "VERSION", "Output"]

VERSION = 1  #: of all that is stated here: one more where a key goes, or means something else

Output = (
    DataCache | DataFetch | DataList | CourseCopy | CourseGrade | Checks | Compare | Discover | Distill | Doctor
    | Evaluate | Export | StudyPlan | Study | SweepPlan | Sweep | Report
)  # fmt: skip

#: What each command prints, by the words that call it.
OUTPUTS: dict[str, Any] = {
    "checks": Checks,
    "compare": Compare,
    "course copy": CourseCopy,
    "course grade": CourseGrade,
    "data cache": DataCache,
    "data fetch": DataFetch,
    "data list": DataList,
    "discover": Discover,
    "distill": Distill,
    "doctor": Doctor,
    "evaluate": Evaluate,
    "export": Export,
    "report": Report,
    "study": Study | StudyPlan,
    "sweep": Sweep | SweepPlan,
}
