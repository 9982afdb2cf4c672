"""What the commands about data and about the course print with ``--json``."""

from typing import Annotated, Literal

from typing_extensions import TypedDict

from rdd_nb.cli.outputs.fields import Count, Share, SourceFields, means

__all__ = ["Checks", "CourseCopy", "CourseGrade", "DataCache", "DataFetch", "DataList", "Discover"]


class DataList(TypedDict):
    """``rdd-nb data list``."""

    datasets: Annotated[dict[str, str], means("what each name of --data is")]
    scenarios: Annotated[dict[str, str], means("what each name of --scenario does")]


class DataFetch(TypedDict):
    """``rdd-nb data fetch``."""

    name: Annotated[str, means("of the data, with what was changed when they were read")]
    train: Annotated[Count, means("training images")]
    validation: Annotated[Count, means("validation images; 0 where there are none")]
    test: Annotated[Count, means("test images")]
    classes: Annotated[list[str], means("names of the classes, in the order of their labels")]
    groups: Annotated[list[str], means("names of the groups; empty where the data name none")]
    shape: Annotated[list[int], means("channels, height and width of an image, the last two in pixels")]
    root: Annotated[str, means("the folder in which the data lie")]


class KeptPixels(TypedDict):
    """The decoded pixels of one data set, read in one way."""

    name: Annotated[str, means("of the data; unfinished where the making was interrupted")]
    shape: Annotated[list[int], means("images, channels, height and width; empty where it is unfinished")]
    bytes: Annotated[Count, means("on the disk")]


class KeptSearches(TypedDict):
    """What is kept of groups that were found."""

    files: Annotated[Count, means("candidates and results of searches")]
    bytes: Annotated[Count, means("on the disk")]


class DataCache(TypedDict):
    """``rdd-nb data cache``."""

    root: Annotated[str | None, means("the folder; null where the cache is off")]
    removed: Annotated[bool, means("whether all of it was removed now")]
    bytes: Annotated[Count, means("of all sets of pixels together")]
    groups: Annotated[KeptSearches, means("groups that were found")]
    sets: Annotated[list[KeptPixels], means("what was used last comes first")]


class CourseCopy(TypedDict):
    """``rdd-nb course copy``."""

    folder: Annotated[str, means("where the copies are")]
    notebooks: Annotated[list[str], means("names of all notebooks of the course")]
    written: Annotated[list[str], means("names of those that were written now; the others were there already")]


class Mark(TypedDict):
    """What became of one exercise in one copy."""

    student: Annotated[str, means("name of the folder that the copy is in")]
    exercise: Annotated[str, means("such as 01-exact-cvar")]
    right: Annotated[bool, means("whether the answer is right")]
    cases: Annotated[Share, means("part of the exercise's cases that came out right before the first that did not")]
    said: Annotated[str, means("what the student would be told; empty where the answer is right")]


class CourseGrade(TypedDict):
    """``rdd-nb course grade``."""

    folder: Annotated[str, means("in which the students' folders are")]
    marks: Annotated[list[Mark], means("one for each exercise in each copy")]


class Counts(TypedDict):
    """How many findings of each kind."""

    error: Count
    warning: Count
    note: Count


class Finding(TypedDict):
    """One thing to know about the data."""

    severity: Literal["error", "warning", "note"]
    what: Annotated[str, means("what was found")]
    where: Annotated[str, means("in which images, classes or files")]
    mend: Annotated[str, means("what can be done")]


class Checks(TypedDict):
    """``rdd-nb checks``."""

    data: Annotated[str, means("name of the data")]
    counts: Counts
    findings: Annotated[list[Finding], means("the gravest first")]


class Trial(TypedDict):
    """One way of raising groups that was tried; changes, in points, against raising none, from random images."""

    groups: Annotated[str, means("where the groups come from")]
    how: Annotated[str, means("how far they were raised, or nothing")]
    start: Annotated[
        str, means("from which images: groups (random ones of each), medoids (of each class) or group-medoids")
    ]
    final: Annotated[bool, means("whether it was tried on the sets that decide")]
    kept: Annotated[bool, means("of a candidate: it was tried again; of a final trial: it is what is raised")]
    balanced: Annotated[float | None, means("change where each group counts as its size to the power 0.3")]
    mean: Annotated[float | None, means("change of the plain accuracy")]
    error: Annotated[float | None, means("standard error of value")]
    value: Annotated[float | None, means("the average of balanced and mean")]


# fmt: off
FoundGroup = TypedDict("FoundGroup", {
    "class": Annotated[str, means("name of the class")],
    "label": Annotated[Count, means("number of the class")],
    "group": Annotated[Count, means("number of the group within its class")],
    "size": Annotated[Count, means("training images")],
    "share": Annotated[Share, means("its part of the class")],
    "matched": Annotated[float, means("its part of what is matched of the class")],
    "raised": Annotated[bool, means("whether matched is above share")],
})  # a key is a word of Python
# fmt: on


class NamedGroup(TypedDict):
    """A group that the data name."""

    name: str
    size: Annotated[Count, means("training images")]
    share: Annotated[float, means("its part of what is matched where nothing is raised")]
    matched: Annotated[float, means("its part of what is matched now")]


class Named(TypedDict):
    """The groups that the data name."""

    read_for: Annotated[str, means("what their labels were read for")]
    groups: Annotated[list[NamedGroup], means("empty where the data name none")]


class Discover(TypedDict):
    """``rdd-nb discover``."""

    command: Literal["rdd-nb discover"]
    source: SourceFields
    ipc: Annotated[Count, means("synthetic images per class that the trial was for")]
    price: Annotated[float, means("points of accuracy that a point for the small may cost")]
    seed: int
    data: Annotated[str, means("name of the data")]
    group_power: Annotated[float, means("a raised group counts as its size to this power")]
    raised: Annotated[bool, means("whether any group is raised")]
    said: Annotated[str, means("the outcome in a sentence")]
    candidates: Annotated[list[Trial], means("trials that only choose which come to the final ones")]
    trials: Annotated[list[Trial], means("the final ones")]
    chosen: Annotated[Trial | None, means("that of trials which is raised; null where none is")]
    groups: Annotated[list[FoundGroup], means("every group with images, by class, what gains most first")]
    named: Named
    out: Annotated[str | None, means("the folder that was written; null without --out")]
